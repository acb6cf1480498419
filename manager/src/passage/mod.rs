//! What a worker may reach, and as whom.
//!
//! [`Terms`] are the operator's decisions, [`Grant`] is what one worker gets by them, and of that
//! follow the [`Passage`](worker_protocol::gateway::Passage) that the gateway reads and the
//! environment that the agent finds. No I/O here.

mod environment;
mod grant;
mod terms;

pub use environment::{Surroundings, proxy_environment};
pub use grant::{Grant, Model};
pub use terms::{Allowed, Credential, EgressTerms, Opening, Terms};
