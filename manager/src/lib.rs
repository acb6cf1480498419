//! The control plane of workers.
