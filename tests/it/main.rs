//! End to end: real engine, real Redis, real Claude Code against a scripted model.
//!
//! Each file is a topic, each test a sentence. A test needs `REDIS_URL` and the rest of what
//! `scripts/services env` prints, and fails without it; `make test` starts all of that. Nothing
//! here waits for a length of time: it waits for something to be so, with a limit.

mod agents;
mod attacks;
mod bad_input;
mod build;
mod build_faults;
mod callers;
mod capacity;
mod claude;
mod codex;
mod credentials;
mod dead;
mod docker_module;
mod doctor;
mod egress;
mod factory;
mod faults;
mod gemini;
mod headless;
mod idempotency;
mod images;
mod isolation;
mod lifecycle;
mod limits;
mod lines;
mod mcp;
mod mend;
mod modules;
mod offline;
mod opencode;
mod orphans;
mod outage;
mod pause;
mod permissions;
mod private_engine;
mod processes;
mod pty;
mod readme;
mod recovery;
mod redis_failover;
mod redis_tls;
mod restart;
mod sbom;
mod secrets;
mod sessions;
mod shields;
mod spool;
mod standby;
mod stream_json;
mod telemetry;
mod traces;
