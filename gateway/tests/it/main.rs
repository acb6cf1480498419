//! The gateway as a process, with a real Redis, and servers and workers on addresses of loopback.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod egress;
mod forward;
mod gateway;
mod models;
mod redis_door;
mod redis_server;
mod told;
