//! Limits of time, cost and disk that end the worker.
//!
//! A turn that runs is told to end first: so the agent keeps its session, and its cost is known.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use worker_protocol::boot::WhenIdle;
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Reached, Source, rfc3339};

use super::ending::Why;
use super::event::Now;
use super::state::Bridge;
use crate::driver::TurnsEnd;

/// How far the limits are.
pub(super) struct Limits {
    /// When this wrapper started, and what the worker had lived by then.
    started: Instant,
    age: Duration,
    /// Since when there is nothing to do.
    pub(super) idle_since: Instant,
    /// The one that ends the worker.
    pub(super) reached: Option<Reached>,
}

impl Limits {
    pub(super) fn new(age: Duration, now: Now) -> Self {
        Self { started: now.clock, age, idle_since: now.clock, reached: None }
    }

    /// What an entry's `data` says of the one that ends the worker.
    pub(super) fn entry(&self) -> Option<(String, Value)> {
        self.reached.map(|limit| ("limit".to_owned(), limit.to_data()))
    }
}

impl Bridge {
    /// Ends the worker when it has reached a limit.
    pub(super) fn heed_limits(&mut self, now: Now) {
        self.tell_idleness(now);
        let knows_turns = self.driver.turns_end() == TurnsEnd::WhenToldSo;
        // A headless program that knows no turns is dismissed before it begins its work.
        if self.ending.has_begun() && (knows_turns || !self.ending.is_dismissed()) {
            return;
        }
        if self.is_busy() {
            self.limits.idle_since = now.clock;
        }
        match self.limits.reached {
            _ if knows_turns && self.has_done_its_task() => self.limits.reached = None,
            Some(_) if self.turn.is_none() => self.stop(Why::Limit, now),
            Some(_) => {}
            None => {
                if let Some(reached) = self.reached(now) {
                    self.reach(reached, now);
                }
            }
        }
    }

    /// What a limit might end has ended, for better or worse.
    fn has_done_its_task(&self) -> bool {
        self.work_is_done() && self.ending.outcome != Some(Outcome::Limit)
    }

    /// Whether the worker ends before its work was done. One that is over its disk has failed: what
    /// it was about to write is missing.
    pub(super) fn is_cut_short(&self) -> bool {
        let turn_was = self.ending.outcome == Some(Outcome::Limit);
        let disk = matches!(self.limits.reached, Some(Reached::Disk(_)));
        turn_was || disk || self.is_headless() || !self.queue.is_empty()
    }

    fn is_busy(&self) -> bool {
        self.turn.is_some() || !self.queue.is_empty() || self.driver.works_in_background()
    }

    fn idle_for(&self, now: Now) -> Duration {
        now.clock.duration_since(self.limits.idle_since)
    }

    /// Where it is paused for that, it says at once that it is idle, and that it is not any more.
    fn tell_idleness(&mut self, now: Now) {
        let bounds = &self.boot.bounds;
        let limit = bounds.idle_timeout.filter(|_| bounds.when_idle == WhenIdle::Pause);
        let free = self.ready && !self.is_busy() && !self.ending.has_begun();
        let idle = free && limit.is_some_and(|limit| self.idle_for(now) >= limit);
        if idle != self.pulse.idle {
            self.pulse.idle = idle;
            self.pulse.lives_until = self.lives_until(now).filter(|_| idle).map(rfc3339);
            self.beat(now);
        }
    }

    /// When its longest life is over, as clients tell the time.
    fn lives_until(&self, now: Now) -> Option<Timestamp> {
        let limit = self.boot.bounds.max_lifetime?;
        let lived = self.limits.age + now.clock.duration_since(self.limits.started);
        now.at.checked_add(limit.saturating_sub(lived)).ok()
    }

    fn reached(&self, now: Now) -> Option<Reached> {
        let bounds = &self.boot.bounds;
        let cost = self.pulse.cost_usd;
        let lived = self.limits.age + now.clock.duration_since(self.limits.started);
        let idle = self.idle_for(now);
        let dear = bounds.max_cost_usd.filter(|limit| cost >= *limit);
        let old = bounds.max_lifetime.filter(|limit| lived >= *limit);
        let ends = bounds.when_idle == WhenIdle::End;
        let idle = bounds.idle_timeout.filter(|limit| ends && idle >= *limit);
        dear.map(Reached::MaxCostUsd)
            .or(old.map(Reached::MaxLifetime))
            .or(idle.map(Reached::IdleTimeout))
    }

    /// It is told again until it has ended.
    pub(super) fn over_disk(&mut self, limit: u64, now: Now) {
        if self.limits.reached.is_none() && !self.ending.has_begun() {
            self.reach(Reached::Disk(limit), now);
        }
    }

    fn reach(&mut self, reached: Reached, now: Now) {
        self.limits.reached = Some(reached);
        self.tell_limit(reached, "the worker ends");
        if self.turn.is_some() && self.driver.turns_end() == TurnsEnd::WhenToldSo {
            self.tell_turn_to_end(Outcome::Limit, Some(reached), now);
        } else {
            self.stop(Why::Limit, now);
        }
    }

    /// Says which limit was reached, and what follows.
    pub(super) fn tell_limit(&mut self, reached: Reached, follows: &str) {
        let text = format!("{reached}, so {follows}");
        let data = json!({"limit": reached.to_data()});
        self.say(Output::new(OutputKind::Error, Source::Wrapper, text).with_data(data));
    }

    /// Some agents tell in the middle of a turn what they have cost so far.
    pub(super) fn note_cost(&mut self, output: &Output) {
        if output.kind == OutputKind::Usage
            && let Some(total) =
                output.data.as_ref().and_then(|data| data["cost_usd_total"].as_f64())
        {
            self.pulse.cost_usd = total;
        }
    }
}
