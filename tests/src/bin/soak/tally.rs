//! What has happened, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use worker_tests::harness::{Census, Installation, Reply};

use crate::faults::Chosen;

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) rounds: u32,
    pub(crate) violations: usize,
    /// What there was at the beginning, and at the end.
    pub(crate) census: Option<(Census, Census)>,
    commands: BTreeMap<&'static str, u32>,
    faults: BTreeMap<String, u32>,
    replies: BTreeMap<String, usize>,
    outputs: usize,
    workers: usize,
    slowest: Duration,
    peak_descriptors: usize,
    peak_memory_kb: usize,
}

impl Tally {
    pub(crate) fn command(&mut self, name: &'static str) {
        *self.commands.entry(name).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, chosen: &Chosen) {
        *self.faults.entry(chosen.fault.name()).or_default() += 1;
    }

    pub(crate) fn recovery(&mut self, took: Duration) {
        self.slowest = self.slowest.max(took);
    }

    /// Looks at what the installation has by now.
    pub(crate) fn look(&mut self, it: &Installation) {
        let now = it.census();
        self.peak_descriptors = self.peak_descriptors.max(now.descriptors);
        self.peak_memory_kb = self.peak_memory_kb.max(now.memory_kb);
        self.replies.clear();
        for reply in it.redis.stream(&it.key("responses")).iter().map(Reply::read) {
            let kind = if reply.is_ok() { "ok".to_owned() } else { reply.get("error") };
            *self.replies.entry(kind).or_default() += 1;
        }
        let outputs = it.redis.keys(&it.key("*:output"));
        self.workers = outputs.len();
        let length = |key: &String| it.redis.run::<usize>(&["XLEN", key]);
        self.outputs = outputs.iter().map(length).sum();
    }
}

fn listed<K: fmt::Display, V: fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    let each: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    each.join(", ")
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, value: String| writeln!(f, "| {what} | {value} |");
        row("what", "figure".to_owned())?;
        row("---", "---".to_owned())?;
        row("rounds", self.rounds.to_string())?;
        row("commands", listed(&self.commands))?;
        row("replies", listed(&self.replies))?;
        row("faults", listed(&self.faults))?;
        row("workers", self.workers.to_string())?;
        row("output entries", self.outputs.to_string())?;
        row("violations", self.violations.to_string())?;
        row("slowest recovery", format!("{:.1} s", self.slowest.as_secs_f64()))?;
        row("most descriptors of a manager", self.peak_descriptors.to_string())?;
        row("most memory of a manager", format!("{} MB", self.peak_memory_kb >> 10))?;
        let Some((before, after)) = &self.census else { return Ok(()) };
        let both = |before: usize, after: usize| format!("{before} before, {after} after");
        row("containers", both(before.containers, after.containers))?;
        row("networks", both(before.networks, after.networks))?;
        row("volumes", both(before.volumes, after.volumes))?;
        row("Redis users", both(before.users, after.users))?;
        row("keys that do not expire", both(before.lasting_keys, after.lasting_keys))?;
        row("consumers", both(before.consumers, after.consumers))?;
        row("descriptors", both(before.descriptors, after.descriptors))?;
        row("threads", both(before.threads, after.threads))
    }
}
