//! Redis: the only folder that names the client library.
//!
//! [`connect`] gives connections; [`lease`] says which manager leads, and [`fence`] keeps others
//! from writing; [`read`] takes commands, and [`tries`] counts how often; [`mod@write`] gives
//! replies, records and events; [`worker`] opens and closes a worker's own keys; `image` remembers
//! images; [`follow`] is for clients, [`dead`] for operators.

mod connect;
mod dead;
mod fence;
mod follow;
mod image;
mod lease;
mod read;
mod tries;
mod worker;
mod write;

pub use connect::{Store, StoreError};
pub use dead::{DeadEntry, Retried};
pub use follow::{Follower, Seen};
pub use lease::{Holder, LeaseHolder};
pub use read::{CommandReader, Delivered};
pub use worker::{Admission, OpenWorker, Tail};
pub(crate) use write::Batch;
pub use write::Retention;
