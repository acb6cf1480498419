//! What clients send: prompts wait for their turn, everything else is done at once.

use worker_protocol::{Input, Output, OutputKind, Problem, Source};

use super::ending::Why;
use super::event::{Delivery, Effect, Now};
use super::state::Bridge;
use super::turns::Prompt;
use crate::driver::{Driver, Told};
use crate::uplink::backlog::StreamId;

/// Prompts that wait; an orchestrator that is further ahead has lost control.
const PROMPTS_KEPT: usize = 1000;
const PROMPT_BYTES_KEPT: usize = 32 << 20;
/// Bytes that wait for the agent to read them; more than one entry of the largest size.
const STDIN_BYTES_KEPT: usize = 16 << 20;

impl Bridge {
    pub(super) fn input(
        &mut self,
        id: StreamId,
        delivery: Delivery,
        input: Result<Input, Problem>,
        now: Now,
    ) {
        self.active(now);
        match input {
            _ if delivery == Delivery::Repeated => {
                if self.not_done().any(|other| other == id) {
                    return;
                }
            }
            Ok(Input::Prompt(text)) if self.has_room_for(&text) => {
                return self.queue.push_back(Prompt { id, delivery, text });
            }
            Ok(input) => {
                if let Err(problem) = self.obey(input, now) {
                    self.refuse(id, problem);
                }
            }
            Err(problem) => {
                self.refuse(id, format!("an input entry was not understood: {}", problem.message));
            }
        }
        self.acknowledge(id);
    }

    /// Does what is asked, or says why not.
    fn obey(&mut self, input: Input, now: Now) -> Result<(), String> {
        match input {
            Input::Interrupt => self.interrupt(now),
            Input::Stop => self.stop(Why::Wanted, now),
            Input::OverDisk(limit) => self.over_disk(limit, now),
            Input::Stdin(text) => {
                return self.typed(text.len(), now, |driver, told| driver.stdin(&text, told));
            }
            Input::Keys(keys) => {
                return self.typed(keys.len(), now, |driver, told| driver.keys(&keys, told));
            }
            Input::Resize { cols, rows } => {
                return self.typed(0, now, |driver, told| driver.resize(rows, cols, told));
            }
            Input::Prompt(_) => {
                return Err(format!(
                    "the prompt was not taken: at most {PROMPTS_KEPT} may wait, and \
                     {PROMPT_BYTES_KEPT} bytes of them; send it again later"
                ));
            }
            Input::Answer { permission_id, decision, message } => {
                return self.answered(&permission_id, decision, message, now);
            }
        }
        Ok(())
    }

    /// What goes to the agent without a turn.
    fn typed(
        &mut self,
        bytes: usize,
        now: Now,
        tell: impl FnOnce(&mut (dyn Driver + Send), &mut Vec<Told>) -> Result<(), &'static str>,
    ) -> Result<(), String> {
        if !self.ending.agent_reads() {
            return Err("the agent's stdin is closed".to_owned());
        }
        let waiting: usize = self.unwritten.iter().sum();
        if waiting + bytes > STDIN_BYTES_KEPT {
            return Err(format!(
                "the agent has not read {waiting} bytes that were sent before, and \
                 {STDIN_BYTES_KEPT} may wait; send it again later"
            ));
        }
        let mut told = Vec::new();
        tell(&mut *self.driver, &mut told)?;
        self.carry_out(told, now);
        Ok(())
    }

    fn refuse(&mut self, id: StreamId, problem: String) {
        let data = serde_json::json!({"entry": id.to_string()});
        self.say(Output::new(OutputKind::Error, Source::Wrapper, problem).with_data(data));
    }

    fn has_room_for(&self, prompt: &str) -> bool {
        let waiting: usize = self.queue.iter().map(|prompt| prompt.text.len()).sum();
        self.queue.len() < PROMPTS_KEPT && waiting + prompt.len() <= PROMPT_BYTES_KEPT
    }

    /// Prompts that wait, the one that runs, and those that may have to be done again.
    fn not_done(&self) -> impl Iterator<Item = StreamId> {
        let running = self.turn.as_ref().and_then(|turn| turn.id);
        let undecided = self.undecided.iter().copied();
        self.queue.iter().map(|prompt| prompt.id).chain(running).chain(undecided)
    }

    /// An input entry is done with.
    pub(super) fn acknowledge(&mut self, id: StreamId) {
        let trim_below = self.not_done().chain([id]).min().unwrap_or(id);
        self.effects.push(Effect::Acknowledge { id, trim_below });
    }
}
