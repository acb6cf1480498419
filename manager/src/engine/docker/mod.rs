//! The engine that is Docker. Nothing outside this folder names bollard.
//!
//! Reading order: [`connection`] reaches the daemon and says why it could not; [`verbs`] is the
//! seam's list of verbs; behind it, [`image`] looks at and fetches images, [`build`] makes them and
//! [`build_log`] reads what a build prints, [`instance`] takes a container through its life,
//! [`found`] reads how one stands, [`network`] and [`watch`] do what their names say.

mod build;
mod build_log;
mod collect;
mod connection;
mod found;
mod image;
mod instance;
mod network;
mod verbs;
mod watch;

pub use connection::DockerEngine;
