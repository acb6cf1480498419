//! What the end-to-end tests and the measurements share: an installation of one's own, and a
//! scripted model for real agents.

pub mod harness;
pub mod model;
