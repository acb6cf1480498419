//! The only way out of a worker's network.
