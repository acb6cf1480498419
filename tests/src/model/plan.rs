//! What the model is to do: a plan is a list of steps, a step is one answer of the API, and an
//! answer is a list of acts.

use serde::Deserialize;
use serde_json::Value;

/// The largest text of one act. More than any agent takes in one answer, and little enough
/// that a slip of the finger does not fill the machine's memory.
pub const LONGEST_TEXT: usize = 64 << 20;

/// What follows when an agent asks on after the last step.
const FINAL_TEXT: &str = "Done.";

/// One thing that happens in an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// A text block.
    Say(String),
    /// A thinking block.
    Think(String),
    /// A call of one of the agent's tools.
    Tool {
        /// The tool's name, as the agent knows it.
        name: String,
        /// What the tool is called with.
        input: Value,
    },
    /// A text block with what the latest tool call answered: the model knows no more than this.
    Quote,
    /// A text block of so many bytes, always the same ones.
    Long(usize),
    /// A text block word by word, with a pause before each.
    Drip {
        /// How long to wait before each word.
        pause_ms: u64,
        /// The words.
        text: String,
    },
    /// What the answer says that it used.
    Usage {
        /// Tokens read.
        input: u64,
        /// Tokens written.
        output: u64,
    },
    /// An error of the API: the answer's status where it is the step's first act, and an
    /// `error` event in the middle of the stream where it comes later.
    Error {
        /// The status, 400 to 599.
        status: u16,
        /// The API's word for it, such as `overloaded_error`.
        #[serde(rename = "type")]
        kind: String,
        /// The text for people.
        message: String,
    },
    /// Silence for so many seconds; without a number, until the agent hangs up.
    Stall(Option<u64>),
    /// The connection breaks.
    Close,
}

/// One answer of the API.
pub type Step = Vec<Act>;

/// The answers to one prompt, in order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Vec<Step>")]
pub struct Plan {
    steps: Vec<Step>,
}

/// Why a plan cannot be played.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A step without an act.
    #[error("step {0} is empty: give it at least one act")]
    EmptyStep(usize),
    /// A status that is no error.
    #[error("status {0} is no error: give one from 400 to 599")]
    NoErrorStatus(u16),
    /// A text that is too long.
    #[error("a text of {0} bytes is too long: give at most {LONGEST_TEXT}")]
    TooLong(usize),
    /// A tool's input that is no object.
    #[error("the input of tool {0} is no JSON object")]
    NoObject(String),
}

impl Plan {
    /// A plan of these steps, when each of them can be played.
    pub fn new(steps: Vec<Step>) -> Result<Plan, PlanError> {
        for (index, step) in steps.iter().enumerate() {
            if step.is_empty() {
                return Err(PlanError::EmptyStep(index + 1));
            }
            step.iter().try_for_each(check)?;
        }
        Ok(Plan { steps })
    }

    /// The step to play after so many answers.
    pub fn step(&self, answers: usize) -> Step {
        let scripted = self.steps.get(answers).cloned();
        scripted.unwrap_or_else(|| vec![Act::Say(FINAL_TEXT.to_owned())])
    }
}

impl TryFrom<Vec<Step>> for Plan {
    type Error = PlanError;

    fn try_from(steps: Vec<Step>) -> Result<Plan, PlanError> {
        Plan::new(steps)
    }
}

fn check(act: &Act) -> Result<(), PlanError> {
    match act {
        Act::Long(bytes) if *bytes > LONGEST_TEXT => Err(PlanError::TooLong(*bytes)),
        Act::Error { status, .. } if !(400..600).contains(status) => {
            Err(PlanError::NoErrorStatus(*status))
        }
        Act::Tool { name, input } if !input.is_object() => Err(PlanError::NoObject(name.clone())),
        _ => Ok(()),
    }
}

/// The text of [`Act::Long`]: numbered lines, so that a reader sees which part is missing.
pub fn long_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    for line in 1.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&format!("line {line:08} of a long scripted text\n"));
    }
    text.truncate(bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn after_the_last_step_the_model_is_done() {
        let plan = Plan::new(vec![vec![Act::Say("one".into())]]).unwrap();
        assert_eq!(plan.step(0), vec![Act::Say("one".into())]);
        assert_eq!(plan.step(1), vec![Act::Say("Done.".into())]);
        assert_eq!(plan.step(99), vec![Act::Say("Done.".into())]);
    }

    #[test]
    fn what_cannot_be_played_is_refused() {
        let tool = Act::Tool { name: "Bash".into(), input: json!("ls") };
        let error = Act::Error { status: 200, kind: "x".into(), message: "y".into() };
        let cases = [
            (vec![], PlanError::EmptyStep(1)),
            (vec![tool], PlanError::NoObject("Bash".into())),
            (vec![error], PlanError::NoErrorStatus(200)),
            (vec![Act::Long(usize::MAX)], PlanError::TooLong(usize::MAX)),
        ];
        for (step, why) in cases {
            assert_eq!(Plan::new(vec![step]), Err(why));
        }
    }

    #[test]
    fn a_long_text_has_exactly_its_length_and_is_always_the_same() {
        for bytes in [0, 1, 40, 41, 200_000] {
            assert_eq!(long_text(bytes).len(), bytes);
        }
        assert!(long_text(500).starts_with(&long_text(300)));
    }
}
