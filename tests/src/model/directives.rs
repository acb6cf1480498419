//! Plans in the prompt itself: lines that begin with `@model `, which no prose does.
//!
//! ```text
//! @model say TEXT                    a text block; write \n for a new line
//! @model think TEXT                  a thinking block
//! @model tool NAME {JSON}            a tool call; several in one step are one answer
//!                                    (over OpenAI's API, NAMESPACE.NAME is one of a namespace)
//! @model quote                       a text block with what the latest tool call answered
//! @model long BYTES                  a text block of so many bytes
//! @model drip MILLISECONDS TEXT      a text block word by word, with a pause before each
//! @model usage INPUT OUTPUT          the token numbers that this answer reports
//! @model error STATUS TYPE MESSAGE   an error: the answer's status as the first act of a step,
//!                                    an `error` event in the stream after others
//! @model stall [SECONDS]             silence; without a number, until the agent hangs up
//! @model close                       the connection breaks
//! @model then                        begins the next step
//! ```
//!
//! Acts happen in the order of their lines. All other lines of the prompt are ignored. A line
//! that cannot be understood is answered with status 400 and a text that says why, so that a
//! mistake in a test shows in its first answer.

use super::plan::{Act, Plan, PlanError, Step};

const MARK: &str = "@model ";

/// Why directives are not understood.
#[derive(Debug, thiserror::Error)]
pub enum DirectiveError {
    /// A verb that is not in the grammar.
    #[error("unknown directive `{0}`")]
    UnknownVerb(String),
    /// A verb with something wrong behind it.
    #[error("directive `{line}` is incomplete: write `{form}`")]
    Form {
        /// The line, without its mark.
        line: String,
        /// What would be right.
        form: &'static str,
    },
    /// A tool's input that is no JSON.
    #[error("failed to read the JSON of tool {name}: {message}")]
    Json {
        /// The tool.
        name: String,
        /// What the parser says.
        message: String,
    },
    /// A plan that cannot be played.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The plan in a prompt, where it has one.
pub fn plan_in(prompt: &str) -> Result<Option<Plan>, DirectiveError> {
    let mut lines = prompt.lines().filter_map(|line| line.trim().strip_prefix(MARK)).peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut steps: Vec<Step> = vec![Vec::new()];
    for line in lines.map(str::trim) {
        if line == "then" {
            steps.push(Vec::new());
        } else if let Some(step) = steps.last_mut() {
            step.push(act(line)?);
        }
    }
    Ok(Some(Plan::new(steps)?))
}

fn act(line: &str) -> Result<Act, DirectiveError> {
    let (verb, rest) = word(line);
    let form = |form| DirectiveError::Form { line: line.to_owned(), form };
    match verb {
        "say" => text(rest).map(Act::Say).ok_or_else(|| form("say TEXT")),
        "think" => text(rest).map(Act::Think).ok_or_else(|| form("think TEXT")),
        "tool" => tool(rest),
        "quote" => Ok(Act::Quote),
        "long" => rest.parse().map(Act::Long).map_err(|_| form("long BYTES")),
        "drip" => drip(rest).ok_or_else(|| form("drip MILLISECONDS TEXT")),
        "usage" => usage(rest).ok_or_else(|| form("usage INPUT OUTPUT")),
        "error" => error(rest).ok_or_else(|| form("error STATUS TYPE MESSAGE")),
        "stall" if rest.is_empty() => Ok(Act::Stall(None)),
        "stall" => rest
            .parse()
            .map(|seconds| Act::Stall(Some(seconds)))
            .map_err(|_| form("stall [SECONDS]")),
        "close" => Ok(Act::Close),
        _ => Err(DirectiveError::UnknownVerb(verb.to_owned())),
    }
}

fn word(line: &str) -> (&str, &str) {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (first, rest.trim_start())
}

fn text(rest: &str) -> Option<String> {
    (!rest.is_empty()).then(|| rest.replace("\\n", "\n"))
}

fn tool(rest: &str) -> Result<Act, DirectiveError> {
    let (name, input) = word(rest);
    let name = name.to_owned();
    match serde_json::from_str(input) {
        Ok(input) => Ok(Act::Tool { name, input }),
        Err(error) => Err(DirectiveError::Json { name, message: error.to_string() }),
    }
}

fn drip(rest: &str) -> Option<Act> {
    let (pause, words) = word(rest);
    Some(Act::Drip { pause_ms: pause.parse().ok()?, text: text(words)? })
}

fn usage(rest: &str) -> Option<Act> {
    let (input, output) = word(rest);
    Some(Act::Usage { input: input.parse().ok()?, output: output.parse().ok()? })
}

fn error(rest: &str) -> Option<Act> {
    let (status, rest) = word(rest);
    let (kind, message) = word(rest);
    let (kind, message) = (text(kind)?, text(message)?);
    Some(Act::Error { status: status.parse().ok()?, kind, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn steps(prompt: &str) -> Vec<Step> {
        let plan = plan_in(prompt).unwrap().unwrap();
        (0..prompt.matches("@model then").count() + 1).map(|answers| plan.step(answers)).collect()
    }

    #[test]
    fn prose_has_no_plan() {
        for prompt in ["", "say hello", "what is @model say?", "@modelling is hard", "@model"] {
            assert!(plan_in(prompt).unwrap().is_none(), "{prompt}");
        }
    }

    #[test]
    fn steps_are_parted_by_then() {
        let prompt = "Please do this:\n\
                      @model say Looking.\\nNow.\n\
                      @model tool Bash {\"command\":\"git --version\"}\n\
                      @model then\n\
                        @model quote\n\
                      @model usage 12 34\n\
                      thank you";
        let bash = Act::Tool { name: "Bash".into(), input: json!({"command": "git --version"}) };
        let usage = Act::Usage { input: 12, output: 34 };
        let first = vec![Act::Say("Looking.\nNow.".into()), bash];
        assert_eq!(steps(prompt), vec![first, vec![Act::Quote, usage]]);
    }

    #[test]
    fn each_verb_has_its_act() {
        let overloaded = Act::Error {
            status: 529,
            kind: "overloaded_error".into(),
            message: "Overloaded, try later".into(),
        };
        let cases = [
            ("think Hm.", Act::Think("Hm.".into())),
            ("long 200000", Act::Long(200_000)),
            ("drip 50 one two", Act::Drip { pause_ms: 50, text: "one two".into() }),
            ("error 529 overloaded_error Overloaded, try later", overloaded),
            ("stall", Act::Stall(None)),
            ("stall 30", Act::Stall(Some(30))),
            ("close", Act::Close),
        ];
        for (line, act) in cases {
            assert_eq!(steps(&format!("@model {line}")), vec![vec![act]], "{line}");
        }
    }

    #[test]
    fn a_mistake_names_what_would_be_right() {
        let cases = [
            ("shout loud", "unknown directive `shout`"),
            ("say", "write `say TEXT`"),
            ("long ten", "write `long BYTES`"),
            ("error 529", "write `error STATUS TYPE MESSAGE`"),
            ("stall soon", "write `stall [SECONDS]`"),
            ("tool Bash ls", "failed to read the JSON of tool Bash"),
            ("error 200 fine Fine", "status 200 is no error"),
            ("then", "step 1 is empty"),
        ];
        for (line, why) in cases {
            let error = plan_in(&format!("@model {line}")).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
