//! The engine that is Docker. Nothing outside this folder names bollard.
//!
//! Reading order: [`connection`] reaches the daemon and says why it could not; [`facts`] tells what
//! it is; [`verbs`] is the seam's list of verbs. Behind it:
//!
//! - [`image`] looks at and fetches images, and [`identity`] tells two apart;
//! - [`build`] makes them, each [`apart`]; [`build_log`] reads what the classic builder prints and [`buildkit_log`]
//!   what BuildKit tells, with [`printed`] in common;
//! - [`images`] lists them with their [`layers`], [`archive`] moves them, [`cache`] removes what builds
//!   left ([`leftovers`] says what may go, [`plain_http`] asks for what bollard cannot read);
//! - [`instance`] takes a container through its life with its [`companion`], for whose [`readiness`] it
//!   waits, and [`volumes`], and [`found`] reads how one stands; [`hardening`] with [`seccomp`] is what
//!   keeps it from the host;
//! - [`enclosure`] is a container's network, and [`gateway`] its only neighbour there;
//! - [`last_words`], [`memory`], [`network`], [`pause`], [`usage`], [`watch`] and [`trial`] do what
//!   their names say.

mod apart;
mod archive;
mod build;
mod build_log;
mod buildkit_log;
mod cache;
mod companion;
mod connection;
mod enclosure;
mod facts;
mod found;
mod gateway;
mod hardening;
mod identity;
mod image;
mod images;
mod instance;
mod last_words;
mod layers;
mod leftovers;
mod memory;
mod network;
mod pause;
mod plain_http;
mod printed;
mod readiness;
mod seccomp;
mod trial;
mod turn;
mod usage;
mod verbs;
mod volumes;
mod watch;

pub use connection::DockerEngine;
pub use facts::Builder;
