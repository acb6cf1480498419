//! The wire of worker-manager.
