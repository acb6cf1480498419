//! The wire of worker-manager: what stands in its streams, and nothing else.
//!
//! No I/O, no clock, no Redis and no Docker here: bytes and text become checked types, and back.
//! `docs/wire.md` describes the same for people.
//!
//! Reading order: [`key`] and [`id`] name things; [`fields`] reads the two forms of an entry with
//! the notations of [`value`]; [`command`] and [`create`] are what clients ask for ([`pattern`]: which
//! commands an agent may run; [`egress`] and [`credentials`]: what it may reach, and as whom), [`reply`] what they are told ([`caller`] and [`signature`]: who they are); [`input`] and [`output`] are a worker's own streams; [`boot`] and [`pulse`] are
//! what manager and wrapper tell each other, [`gateway`] what the manager tells the gateway.

pub mod agent;
pub mod boot;
pub mod caller;
pub mod command;
pub mod create;
pub mod credentials;
pub mod egress;
pub mod fields;
pub mod gateway;
pub mod id;
pub mod input;
pub mod key;
pub mod limits;
pub mod output;
pub mod pattern;
pub mod problem;
pub mod pulse;
pub mod reached;
pub mod record;
pub mod reply;
pub mod secret;
pub mod signature;
pub mod value;

pub use agent::{AgentProtocol, AgentType};
pub use boot::Boot;
pub use caller::{CallerName, RequestName};
pub use command::{Command, Header, parse_command};
pub use create::Create;
pub use credentials::{CredentialName, Credentials};
pub use egress::{Egress, Host};
pub use id::{ModuleName, WorkerId};
pub use input::Input;
pub use key::Keys;
pub use output::{Output, OutputKind, Source};
pub use pattern::CommandPattern;
pub use problem::{ErrorKind, Problem};
pub use pulse::Pulse;
pub use reached::{LimitName, Reached};
pub use record::Status;
pub use reply::Reply;
pub use secret::Secret;

/// A moment as the wire writes it: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}
