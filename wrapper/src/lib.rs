//! PID 1 of a worker: takes prompts from Redis, drives the agent, and writes what the agent says.
//!
//! Reading order: [`boot`] is what the manager tells, [`kept`] what is known of earlier runs,
//! [`ground`] whether root alone can change where it is;
//! [`bridge`] owns the state and decides; [`driver`] speaks the agent's protocol; [`policy`] judges
//! the commands that the agent wants to run, [`hook`] asks about them; [`agent`], [`terminal`] and
//! [`reaper`] are its process, [`fence`] what it may execute, [`pipes`] what goes in and out,
//! [`frame`] and [`mask`] its lines; [`downlink`] reads from Redis, [`uplink`] writes to it, by way of
//! [`connection`]; [`worker`] runs all of it.

pub mod agent;
pub mod boot;
pub mod bridge;
mod brief;
pub mod cgroup;
pub mod check;
pub mod confined;
pub mod connection;
pub mod downlink;
pub mod driver;
pub mod fence;
pub mod frame;
mod gate;
pub mod ground;
pub mod hook;
pub mod kept;
mod leftovers;
pub mod mask;
mod pipes;
pub mod policy;
#[cfg(test)]
mod random;
pub mod reaper;
mod runner;
mod secret_forms;
mod surroundings;
pub mod terminal;
pub mod uplink;
pub mod worker;

use std::fmt;
use std::io::{self, Write};

/// A line of the wrapper's own, for whoever looks at the worker's log. Never what the agent said.
pub fn log(message: fmt::Arguments<'_>) {
    // A log that nobody takes any more is no reason to end.
    let _ = writeln!(io::stderr(), "worker-wrapper: {message}");
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
