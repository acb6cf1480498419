//! What the operator configured. [`raw`] is what was written down; [`settings`] is what the
//! program uses; [`mod@redis`] is how Redis is reached. Nothing else reads the environment.

mod callers;
mod capacity;
mod credentials;
mod egress;
mod gc;
mod raw;
mod redis;
mod settings;

pub use callers::RawCaller;
pub use capacity::RawCapacity;
pub use credentials::RawCredential;
pub use egress::RawEgress;
pub use gc::{Gc, RawGc};
pub use raw::{RawConfig, RawLimits};
pub use redis::RedisSource;
pub use settings::{Defaults, Settings};

use std::path::PathBuf;

/// What is wrong with the configuration, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("failed to read {what} {path}")]
    Read {
        /// What it is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configuration file is malformed. The line itself is not shown: it may hold a secret.
    #[error("the configuration file {path} is malformed: line {line}: {message}")]
    Malformed {
        /// Where it is.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A value is wrong.
    #[error("{name}: {problem}")]
    Value {
        /// The key and its environment variable.
        name: &'static str,
        /// What would be right.
        problem: String,
    },
}
