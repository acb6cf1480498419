//! The wrapper by itself, without a container: how much comes through it, what that costs, and how
//! soon it is there; beside Redis alone, tini and the sandbox-agent CLI.

mod flood;
mod outage;
mod peer;
mod start;
mod wrapped;

pub(crate) use outage::measure as outage;
pub(crate) use peer::{AGENT, be_an_agent_that_floods};

use worker_tests::harness::Installation;

/// Tables in Markdown.
pub(crate) fn measure(it: &Installation) -> String {
    [flood::measure(it), start::measure(it), peer::measure(it)].join("\n")
}

/// The middle one of a few.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
