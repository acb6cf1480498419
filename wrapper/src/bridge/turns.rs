//! Prompts run in order, one turn at a time.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Reached, Source};

use super::ending::Why;
use super::event::{Delivery, Effect, Now};
use super::state::Bridge;
use crate::driver::{Process, Told, TurnEnd, TurnsEnd};
use crate::uplink::backlog::StreamId;

/// An agent that was interrupted says so within a second, or never.
const INTERRUPT_WITHIN: Duration = Duration::from_secs(10);

/// A prompt that waits.
pub(super) struct Prompt {
    pub(super) id: StreamId,
    pub(super) delivery: Delivery,
    pub(super) text: String,
}

/// The turn that runs.
pub(super) struct Turn {
    /// Its input entry; none for work that the agent took up by itself.
    pub(super) id: Option<StreamId>,
    since: Instant,
    /// Writes that the agent's stdin has to take until it has the whole prompt.
    unwritten: usize,
    stopping: Option<Stopping>,
}

/// A turn that was told to end.
struct Stopping {
    why: Outcome,
    /// The limit that it has reached.
    limit: Option<Reached>,
    since: Instant,
    pressed: bool,
}

impl Bridge {
    /// Starts the next turn, when there is a prompt and the agent is free.
    pub(super) fn next_turn(&mut self, now: Now) {
        if !self.ready || self.turn.is_some() || self.ending.has_begun() {
            return;
        }
        let Some(prompt) = self.queue.pop_front() else { return };
        let mut told = Vec::new();
        self.driver.prompt(&prompt.text, &mut told);
        let own = told.iter().filter(|one| matches!(one, Told::Write(_))).count();
        let unwritten = self.unwritten.len() + own;
        let id = Some(prompt.id);
        self.turn = Some(Turn { id, since: now.clock, unwritten, stopping: None });
        self.note();
        let mut output = Output::new(OutputKind::TurnStarted, Source::Wrapper, prompt.text);
        if self.delivery_of(prompt.id, prompt.delivery) == Delivery::Again {
            output.data = Some(serde_json::json!({"redelivered": true}));
        }
        self.say(output);
        self.carry_out(told, now);
    }

    /// The agent works though nobody asked.
    pub(super) fn woke(&mut self, now: Now) {
        if self.turn.is_none() {
            self.turn = Some(Turn { id: None, since: now.clock, unwritten: 0, stopping: None });
            let data = serde_json::json!({"background": true});
            self.say(Output::new(OutputKind::TurnStarted, Source::Wrapper, "").with_data(data));
        }
    }

    /// The agent's stdin has taken a write. Where nobody says when a turn is over, it is now.
    pub(super) fn written(&mut self, now: Now) {
        self.unwritten.pop_front();
        let Some(turn) = &mut self.turn else { return };
        turn.unwritten = turn.unwritten.saturating_sub(1);
        if turn.unwritten == 0 && self.driver.turns_end() == TurnsEnd::WhenWritten {
            self.turn_ended(TurnEnd::new(Outcome::Success, ""), now);
        }
    }

    pub(super) fn turn_ended(&mut self, end: TurnEnd, now: Now) {
        if !end.background {
            self.close_questions("its turn has ended", now);
        }
        let TurnEnd { mut outcome, text, mut data, raw, session_id, cost_usd_total, background } =
            end;
        // The end of work in the background is not that of a prompt's turn that runs meanwhile.
        let prompted = self.turn.take_if(|turn| background && turn.id.is_some());
        if let Some(Turn { since, stopping: Some(stopping), .. }) = &self.turn
            && outcome != Outcome::Success
        {
            outcome = stopping.why;
            if let Some(limit) = stopping.limit {
                data.insert("limit".to_owned(), limit.to_data());
            }
            self.effects.push(Effect::EndCommands { since: *since });
        }
        if let Some(turn) = &self.turn {
            let spent = now.clock.duration_since(turn.since).as_millis();
            let spent = u64::try_from(spent).unwrap_or(u64::MAX);
            data.entry("duration_ms").or_insert_with(|| spent.into());
        }
        data.insert("outcome".to_owned(), outcome.as_str().into());
        let mut output = Output::new(OutputKind::TurnCompleted, Source::Wrapper, text);
        output.data = Some(data.into());
        output.raw = raw;
        output.session_id = session_id;
        self.say(output);
        self.pulse.turns += 1;
        self.pulse.cost_usd = cost_usd_total.unwrap_or(self.pulse.cost_usd);
        self.note();
        if let Some(id) = self.turn.take().and_then(|turn| turn.id) {
            self.turn_is_over(id, outcome);
        }
        if !background {
            self.ending.outcome = Some(outcome);
        }
        self.turn = prompted;
        self.beat(now);
    }

    pub(super) fn turn_is_ending(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.stopping.is_some())
    }

    /// Ends the turn that runs; the agent stays.
    pub(super) fn interrupt(&mut self, now: Now) {
        self.tell_turn_to_end(Outcome::Interrupted, None, now);
    }

    pub(super) fn tell_turn_to_end(&mut self, why: Outcome, limit: Option<Reached>, now: Now) {
        let Some(turn) = &mut self.turn else {
            // A program without turns may be at work all the same.
            if self.driver.turns_end() == TurnsEnd::WhenWritten {
                let mut told = Vec::new();
                self.driver.interrupt(&mut told);
                self.carry_out(told, now);
            }
            return;
        };
        if turn.stopping.is_some() {
            return;
        }
        turn.stopping = Some(Stopping { why, limit, since: now.clock, pressed: false });
        let mut told = Vec::new();
        self.driver.interrupt(&mut told);
        self.carry_out(told, now);
        self.close_questions("the turn is being ended", now);
    }

    /// A turn that takes too long is ended, and one that does not end is pressed.
    pub(super) fn watch_turn(&mut self, now: Now) {
        let Some(turn) = &mut self.turn else { return };
        let spent = now.clock.duration_since(turn.since);
        let limit = self.boot.bounds.turn_timeout.filter(|limit| spent > *limit);
        match &mut turn.stopping {
            None => {
                let Some(limit) = limit.map(Reached::TurnTimeout) else { return };
                self.tell_limit(limit, "the turn is ended");
                self.tell_turn_to_end(Outcome::Timeout, Some(limit), now);
            }
            Some(stopping) if now.clock.duration_since(stopping.since) > INTERRUPT_WITHIN => {
                let again = stopping.pressed;
                (stopping.pressed, stopping.since) = (true, now.clock);
                if self.driver.process() == Process::PerTurn {
                    // Its end is the turn's, and the worker's next turn has another.
                    self.effects.push(Effect::Signal(Signal::SIGKILL));
                } else if again {
                    self.limits.reached = self.limits.reached.or(stopping.limit);
                    self.error("the turn could not be ended, so the agent is");
                    self.stop(Why::Stuck, now);
                } else {
                    self.effects.push(Effect::Signal(Signal::SIGINT));
                }
            }
            _ => {}
        }
    }
}
