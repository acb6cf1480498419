//! What every test starts from: an installation of its own on the machine's engine and Redis.
//!
//! [`Installation`] is one `worker-manager serve` under a random namespace, with a scripted model
//! beside it; dropping it takes away all that the namespace has on the engine and in Redis, also
//! when the test failed. [`Worker`] is one worker as a client sees it. Everything is asked of Redis
//! with the commands that `redis-cli` would send, and of the engine by its own command line, so
//! that nothing of the programs under test judges itself.

mod database;
mod engine;
mod entry;
mod environment;
mod installation;
mod manager;
mod poll;
mod reply;
mod templates;
mod worker;

pub(crate) use database::Redis;
pub(crate) use engine::docker;
pub(crate) use entry::Entry;
pub(crate) use environment::Environment;
pub(crate) use installation::{Installation, Options};
pub(crate) use manager::{Finished, Program};
pub(crate) use poll::until;
pub(crate) use reply::Reply;
pub(crate) use templates::Templates;
pub(crate) use worker::{Worker, assert_numbered};
