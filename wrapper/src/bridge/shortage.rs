//! Memory or processes have run out: said at once, then not more than once a minute.

use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use worker_protocol::{Output, OutputKind, Source};

use super::event::Now;
use super::state::Bridge;
use crate::cgroup::Shortage;

/// A fork bomb is refused thousands of times a second.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was counted, and how much of it was told.
#[derive(Default)]
pub(super) struct Shortages {
    counted: Shortage,
    oom_kills: Told,
    pids_refused: Told,
}

#[derive(Default)]
struct Told {
    count: u64,
    at: Option<Instant>,
}

impl Told {
    /// How many are to be told now.
    fn due(&mut self, count: u64, now: Now) -> Option<u64> {
        let rests = self.at.is_some_and(|at| now.clock.duration_since(at) < TOLD_EVERY);
        if rests || count <= self.count {
            return None;
        }
        let more = count - self.count;
        *self = Self { count, at: Some(now.clock) };
        Some(more)
    }
}

impl Shortages {
    /// What an `exit` says of all of it.
    pub(super) fn entries(&self) -> Map<String, Value> {
        let all =
            [("oom_kills", self.counted.oom_kills), ("pids_refused", self.counted.pids_refused)];
        let some = all.into_iter().filter(|(_, count)| *count > 0);
        some.map(|(name, count)| (name.to_owned(), count.into())).collect()
    }
}

impl Bridge {
    pub(super) fn ran_short(&mut self, shortage: Shortage, now: Now) {
        // Who counts at an agent's end may overtake who counts all the time.
        self.shortages.counted = self.shortages.counted.or_later(shortage);
        self.tell_shortages(now);
    }

    pub(super) fn tell_shortages(&mut self, now: Now) {
        let Shortages { counted, oom_kills, pids_refused } = &mut self.shortages;
        let Shortage { memory_limit, pids_limit, .. } = *counted;
        let killed = oom_kills.due(counted.oom_kills, now);
        let refused = pids_refused.due(counted.pids_refused, now);
        if let Some(killed) = killed {
            let text = format!(
                "the kernel killed {killed} of this worker's processes for want of memory: {}; \
                 give it more, or let the agent do less at a time",
                shown("limits.memory", memory_limit, " bytes")
            );
            let limit = json!({"name": "memory", "value": memory_limit});
            self.tell_shortage(&text, json!({"oom_kills": killed, "limit": limit}));
        }
        if let Some(refused) = refused {
            let text = format!(
                "processes or threads were not started, {refused} times: {}; \
                 allow more, or let the agent run fewer at a time",
                shown("limits.pids", pids_limit, "")
            );
            let limit = json!({"name": "pids", "value": pids_limit});
            self.tell_shortage(&text, json!({"pids_refused": refused, "limit": limit}));
        }
    }

    fn tell_shortage(&mut self, text: &str, data: Value) {
        self.say(Output::new(OutputKind::Error, Source::Wrapper, text).with_data(data));
    }
}

fn shown(name: &str, limit: Option<u64>, unit: &str) -> String {
    match limit {
        Some(limit) => format!("`{name}` is {limit}{unit}"),
        None => "the host has no more".to_owned(),
    }
}
