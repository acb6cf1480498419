//! Redis: the only folder that names the client library.
//!
//! [`connect`] gives connections; [`read`] takes commands; [`mod@write`] gives replies, records and
//! events; [`worker`] opens and closes a worker's own keys; `image` remembers images; [`follow`]
//! is for clients; `sight` and `examine` for operators.

mod connect;
mod counted;
mod examine;
mod follow;
mod image;
mod read;
mod sight;
mod worker;
mod write;

pub use connect::{Store, StoreError};
pub use examine::{Permission, RedisFacts};
pub use follow::{Follower, Seen};
pub use read::{CommandReader, Delivered};
pub use sight::Backlog;
pub use worker::{Admission, OpenWorker, Tail};
pub use write::Retention;
