//! Many at once: workers that start, workers that live, commands that come.

mod burst;
mod crowd;
mod starts;

use worker_tests::harness::{Installation, Options};

/// Tables in Markdown.
pub(crate) fn measure() -> String {
    [crowd::measure, starts::measure, burst::measure].map(|part| part(&installation())).join("\n")
}

/// A manager that has done nothing yet. Every reply and event is counted, so none is trimmed.
fn installation() -> Installation {
    let options = Options::default().set("WORKER_RESPONSES_ENTRIES", "200000");
    Installation::start_with(options.set("WORKER_EVENTS_ENTRIES", "200000"))
}

/// The `create` of a worker whose agent runs this argv, under an id of ours.
fn create<'a>(id: &'a str, argv: &'a str) -> Vec<(&'a str, &'a str)> {
    let agent = [("agent_type", "CUSTOM"), ("agent_command", argv)];
    [&[("command", "create"), ("worker_id", id)][..], &agent].concat()
}

/// The middle one, and the one that 95 of 100 do not exceed.
fn middle_and_tail(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() * 95 / 100])
}
