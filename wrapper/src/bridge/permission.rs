//! The gate: whether the agent may use a tool is decided here, whoever asks, and told.
//!
//! ```text
//! agent's protocol ─┐               ┌─► allowed, or denied: an entry, and the answer
//!                   ├─► asked ─ policy
//! agent's hook ─────┘               └─► a client is asked: an entry, and a question that waits
//!                                          └─ `answer`, or the end of the turn ─► the same
//! ```

use serde_json::{Map, Value, json};
use worker_protocol::boot::Gate;
use worker_protocol::create::Permissions;
use worker_protocol::input::Decision;
use worker_protocol::{Output, OutputKind, Source};

use super::event::{Effect, Now};
use super::state::Bridge;
use crate::brief;
use crate::driver::{Question, Verdict};
use crate::policy::Ruling;

/// Questions that wait for clients. An agent with more tools in flight is out of its mind.
const QUESTIONS_KEPT: usize = 100;

/// Who asks, and waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The agent itself, in its protocol.
    Agent,
    /// A process of the agent's, at the socket: the connection's number.
    Hook(u64),
}

/// Questions that clients were asked.
#[derive(Default)]
pub(super) struct Questions {
    asked: u64,
    open: Vec<Open>,
}

struct Open {
    permission_id: String,
    asker: Asker,
    question: Question,
}

impl Bridge {
    pub(super) fn asked(&mut self, asker: Asker, question: Question, now: Now) {
        self.active(now);
        let ruling =
            self.policy.as_ref().map(|policy| policy.rule(&question.tool, &question.input));
        match ruling {
            _ if asker == Asker::Agent && self.turn_is_ending() => {
                let why = "the turn is being ended".to_owned();
                self.decide(asker, question, Verdict::Deny(why), None, now);
            }
            // What the policy has no say in is told as a tool call, and that is enough.
            Some(Ruling::NoCommand) if asker != Asker::Agent => {
                self.answer(asker, &question.id, &Verdict::Allow, now);
            }
            None | Some(Ruling::NoCommand | Ruling::Allowed) => {
                self.decide(asker, question, Verdict::Allow, None, now);
            }
            Some(Ruling::Denied(why)) => self.denied_by_policy(asker, question, why, now),
        }
    }

    /// What holds the agent to its policy, where it has one.
    pub(super) fn enforced(&self) -> Option<Vec<&'static str>> {
        let gate = self.boot.policy.as_ref()?.gate.map(Gate::as_str);
        Some(gate.into_iter().chain(self.fenced.then_some("landlock")).collect())
    }

    fn denied_by_policy(&mut self, asker: Asker, question: Question, why: String, now: Now) {
        let asks = self.boot.policy.as_ref().is_some_and(|p| p.permissions == Permissions::Ask);
        if !asks
            || self.turn.is_none()
            || self.turn_is_ending()
            || self.questions.open.len() >= QUESTIONS_KEPT
        {
            return self.decide(asker, question, Verdict::Deny(why), None, now);
        }
        self.questions.asked += 1;
        let permission_id = format!("{}-{}", now.at.as_millisecond(), self.questions.asked);
        let more = [("permission_id", json!(permission_id)), ("reason", json!(why))];
        self.tell(&question, "may it?", more);
        self.questions.open.push(Open { permission_id, asker, question });
    }

    /// A client's answer.
    pub(super) fn answered(
        &mut self,
        permission_id: &str,
        decision: Decision,
        message: Option<String>,
        now: Now,
    ) -> Result<(), String> {
        let open = &mut self.questions.open;
        let Some(at) = open.iter().position(|open| open.permission_id == permission_id) else {
            return Err(format!(
                "no question waits with the `permission_id` {permission_id:?}: it was answered, \
                 its turn has ended, or it never was asked"
            ));
        };
        let Open { asker, question, .. } = open.remove(at);
        let verdict = match decision {
            Decision::Allow => Verdict::Allow,
            Decision::Deny => {
                Verdict::Deny(message.unwrap_or_else(|| "a client has refused it".to_owned()))
            }
        };
        self.decide(asker, question, verdict, Some(permission_id), now);
        Ok(())
    }

    /// Nobody waits for the answers any more.
    pub(super) fn close_questions(&mut self, why: &str, now: Now) {
        for Open { permission_id, asker, question } in std::mem::take(&mut self.questions.open) {
            let verdict = Verdict::Deny(why.to_owned());
            self.decide(asker, question, verdict, Some(&permission_id), now);
        }
    }

    /// The process at the socket has gone.
    pub(super) fn hook_gone(&mut self, id: u64, now: Now) {
        let open = std::mem::take(&mut self.questions.open);
        let (gone, open) = open.into_iter().partition(|open| open.asker == Asker::Hook(id));
        self.questions.open = gone;
        self.close_questions("the agent has withdrawn the question", now);
        self.questions.open = open;
    }

    fn decide(
        &mut self,
        asker: Asker,
        question: Question,
        verdict: Verdict,
        permission_id: Option<&str>,
        now: Now,
    ) {
        let (word, decision, reason) = match &verdict {
            Verdict::Allow => ("allowed", Decision::Allow, None),
            Verdict::Deny(why) => ("denied", Decision::Deny, Some(why.as_str())),
        };
        let more = [
            ("decision", json!(decision.as_str())),
            ("reason", json!(reason)),
            ("permission_id", json!(permission_id)),
        ];
        self.tell(&question, word, more);
        self.answer(asker, &question.id, &verdict, now);
    }

    fn answer(&mut self, asker: Asker, id: &str, verdict: &Verdict, now: Now) {
        match asker {
            Asker::Agent => {
                let mut told = Vec::new();
                self.driver.answer(id, verdict, &mut told);
                self.carry_out(told, now);
            }
            Asker::Hook(connection) => {
                let verdict = verdict.clone();
                self.effects.push(Effect::AnswerHook { connection, verdict });
            }
        }
    }

    fn tell<const N: usize>(&mut self, question: &Question, word: &str, more: [(&str, Value); N]) {
        let mut data = Map::new();
        data.insert("tool".to_owned(), json!(question.tool));
        data.insert("input".to_owned(), question.input.clone());
        let call = ("id", json!(question.call));
        for (name, value) in more.into_iter().chain([call]).filter(|(_, value)| !value.is_null()) {
            data.insert(name.to_owned(), value);
        }
        let content = format!("{} {}: {word}", question.tool, brief::input(&question.input));
        let mut output =
            Output::new(OutputKind::Permission, Source::Wrapper, content).with_data(data.into());
        output.raw.clone_from(&question.raw);
        output.session_id.clone_from(&question.session_id);
        self.say(output);
    }
}
