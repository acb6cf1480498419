//! What every test starts from: an installation of its own on the machine's engine and Redis.
//!
//! [`Installation`] is one `worker-manager serve` under a random namespace, with a scripted model
//! beside it; dropping it takes away all that the namespace has on the engine and in Redis, also
//! when the test failed. A [`PrivateEngine`] is for tests that break the engine, a [`RedisServer`] for
//! those that break Redis, and [`Sentinels`] watch over two of them; `invariants` tells whether all is in order afterwards. [`Worker`] is one
//! worker as a client sees it. Everything is asked of Redis with the commands that `redis-cli`
//! would send, and of the engine by its own command line, so that nothing of the programs under
//! test judges itself.

mod database;
mod engine;
mod entry;
mod environment;
mod installation;
mod invariants;
mod manager;
mod poll;
mod private_engine;
mod processes;
mod proxy;
mod redis_server;
mod reply;
mod scrape;
mod sentinels;
mod templates;
mod terminal;
mod worker;

pub use database::Redis;
pub use engine::{Engine, docker};
pub use entry::{Entry, of_turn};
pub use environment::Environment;
pub use installation::{Installation, Options};
pub use invariants::{Census, Memory};
pub use manager::{Finished, Program};
pub use poll::until;
pub use private_engine::PrivateEngine;
pub use processes::processes_with;
pub use proxy::Proxy;
pub use redis_server::{Persistence, RedisServer};
pub use reply::Reply;
pub use scrape::Page;
pub use sentinels::Sentinels;
pub use templates::Templates;
pub use worker::{ALL_DAY, Worker, assert_numbered};
