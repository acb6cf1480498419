//! How Redis is reached: at one address, by sentinels or in a cluster, with or without TLS.
//!
//! [`address`] reads the URL, and takes credentials out of it; [`tls`] is made of certificates in
//! PEM; [`find`] asks sentinels or a cluster's nodes where the master is; [`mod@link`] puts them
//! together; [`connection`] is what comes out; [`error`] says what was wrong, and what to change, [`chain`]
//! in one line.

mod address;
pub mod chain;
mod connection;
mod error;
mod find;
mod link;
mod tls;

pub use address::{Address, Host, Way, without_credentials};
pub use connection::{Bytes, Connection, Stream};
pub use error::LinkError;
pub use link::Link;
