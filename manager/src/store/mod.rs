//! Redis: the only folder that names the client library.
//!
//! [`connect`] gives connections, which `dial` makes; [`lease`] says which manager leads, and [`fence`] keeps others from
//! writing; [`read`] takes commands, and [`tries`] counts how often; [`mod@write`] gives replies,
//! records and events; [`worker`] opens and closes a worker's own keys, and [`intake`] sees how far
//! it is with its input; `signed` remembers signatures; `passage` is what the gateway reads; `belongings` finds what nobody may know; `image` remembers images;
//! [`follow`] is for clients, [`dead`], `sight` and `examine` for operators; `counted` times what is
//! asked.

mod belongings;
mod connect;
mod counted;
mod dead;
mod dial;
mod examine;
mod fence;
mod follow;
mod image;
mod intake;
mod lease;
mod passage;
mod read;
mod sight;
mod signed;
mod tries;
mod worker;
mod write;

pub use connect::{Store, StoreError};
pub use dead::{DeadEntry, Retried};
pub use examine::{Permission, RedisFacts};
pub use follow::{Follower, Seen};
pub use intake::{Intake, Listener};
pub use lease::{Holder, LeaseHolder};
pub use read::{Asked, CommandReader, Delivered};
pub use sight::Backlog;
pub use signed::Acceptance;
pub use worker::{Admission, OpenWorker, Tail};
pub(crate) use write::Batch;
pub use write::Retention;
