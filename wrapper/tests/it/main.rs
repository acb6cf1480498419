//! The wrapper as a process, with a real Redis and small programs for agents.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod acp;
mod boot;
mod endings;
mod odd;
mod redis_away;
mod redis_server;
mod turns;
mod worker;
