//! Redis: the only folder that names the client library.
//!
//! [`connect`] gives connections; [`read`] takes commands; [`mod@write`] gives replies, records and
//! events; [`worker`] opens and closes a worker's own keys, and [`intake`] sees how far it is with its
//! input; `belongings` finds what nobody may know; `image` remembers images; [`follow`] is for clients.

mod belongings;
mod connect;
mod follow;
mod image;
mod intake;
mod read;
mod worker;
mod write;

pub use connect::{Store, StoreError};
pub use follow::{Follower, Seen};
pub use intake::{Intake, Listener};
pub use read::{CommandReader, Delivered};
pub use worker::{Admission, OpenWorker, Tail};
pub use write::Retention;
