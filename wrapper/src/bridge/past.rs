//! What is known of earlier runs of the worker, and noted down for later ones.

use super::event::{Delivery, Effect, Now};
use super::state::Bridge;
use crate::kept::Past;
use crate::reaper::Ended;
use crate::uplink::backlog::StreamId;

/// How far the agent had come before this run, and what was noted since.
#[derive(Default)]
pub(super) struct Notes {
    /// None, when nothing was noted.
    before: Option<Past>,
    last: Past,
}

impl Bridge {
    /// Goes on with what was noted in an earlier run.
    pub fn go_on_after(&mut self, past: Past) {
        self.pulse.turns = past.turns;
        self.pulse.cost_usd = past.cost_usd;
        self.pulse.session_id.clone_from(&past.session_id);
        self.notes.last = past.clone();
        self.notes.before = Some(past);
    }

    /// A prompt that was delivered in an earlier run may not have been begun then.
    pub(super) fn delivery_of(&self, id: StreamId, delivery: Delivery) -> Delivery {
        let Some(before) = &self.notes.before else { return delivery };
        let begun = before.begun.as_deref().and_then(StreamId::parse);
        match delivery {
            Delivery::Again if begun.is_none_or(|begun| begun < id) => Delivery::First,
            other => other,
        }
    }

    /// Notes down how far the agent has come.
    pub(super) fn note(&mut self) {
        let begun = self.turn.as_ref().and_then(|turn| turn.id).map(|id| id.to_string());
        self.note_down(Past {
            session_id: self.pulse.session_id.clone(),
            turns: self.pulse.turns,
            cost_usd: self.pulse.cost_usd,
            counted_usd: self.notes.last.counted_usd,
            begun: begun.or_else(|| self.notes.last.begun.clone()),
        });
    }

    /// An agent writes down what it has counted when it ends, and not when it is killed.
    pub(super) fn note_end(&mut self, ended: Ended) {
        if matches!(ended, Ended::Exited(_)) {
            let counted_usd = self.driver.counted_usd();
            self.note_down(Past { counted_usd, ..self.notes.last.clone() });
        }
    }

    fn note_down(&mut self, past: Past) {
        if past != self.notes.last {
            self.effects.push(Effect::Note(past.clone()));
            self.notes.last = past;
        }
    }

    /// An agent that ended before it was ready, and was to go on with a session, may have lost it:
    /// it gets a new one. Whether it was begun anew.
    pub(super) fn begin_anew(&mut self, end: &str, now: Now) -> bool {
        let may = !self.ready && !self.ending.is_told() && self.ending.pipes_closed;
        if !may || !self.driver.forget() {
            return false;
        }
        self.error(&format!(
            "{end} before it could go on with its session; a new session begins, which knows \
             nothing of what was said before"
        ));
        self.ending = super::ending::Ending::default();
        self.unwritten.clear();
        self.started = now.clock;
        self.effects.push(Effect::KillAll);
        self.effects.push(Effect::Begin(self.driver.arguments()));
        let mut told = Vec::new();
        self.driver.begin(&mut told);
        self.carry_out(told, now);
        true
    }
}
