//! The wrapper as a process, with a real Redis and small programs for agents.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod acp;
mod again;
mod bad_input;
mod boot;
mod droid;
mod endings;
mod leftovers;
mod limits;
mod odd;
mod policy;
mod proxy;
mod pty;
mod redis_away;
mod redis_server;
mod redis_troubled;
mod secrets;
mod spool;
mod stream_json;
mod turns;
mod worker;
