//! Any program that reads and prints JSON lines.
//!
//! A prompt goes in as one line, whatever line ends it holds. What comes out is understood where it
//! names itself with the words of the output stream; all else is passed on as it is.

use serde_json::{Map, Value, json};
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::{Driver, Told, TurnEnd, TurnsEnd, printed};
use crate::frame::Line;

/// Values of `type` that end a turn: the output stream's own, and those of agents in common use.
const ENDS: [&str; 3] = ["result", "turn_completed", "completion"];
/// Where programs put a text, the more telling name first.
const TEXTS: [&str; 5] = ["content", "text", "message", "result", "finalText"];
/// A line that was cut shows its type within so many bytes, or is taken for output.
const HEAD: usize = 256;

/// Knows whether a turn runs: a line that ends one means something only then.
#[derive(Default)]
pub struct StreamJson {
    in_turn: bool,
}

impl StreamJson {
    fn object(&mut self, object: Map<String, Value>, raw: String, told: &mut Vec<Told>) {
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        let session_id = object.get("session_id").and_then(Value::as_str).map(str::to_owned);
        if self.in_turn && ENDS.contains(&kind) {
            self.in_turn = false;
            let mut end = TurnEnd::new(outcome(&object), text(&object).unwrap_or_default());
            end.cost_usd_total = cost(&object);
            (end.data, end.raw, end.session_id) = (object, Some(raw), session_id);
            return told.push(Told::TurnEnded(end));
        }
        let known = known(kind, &object);
        let content = match (&known, text(&object)) {
            (Some(_), Some(text)) => text.to_owned(),
            (Some(_), None) => tool(&object).unwrap_or_default().to_owned(),
            (None, _) => kind.to_owned(),
        };
        let kind = known.unwrap_or(OutputKind::Stdout);
        let mut output = Output::new(kind, Source::Agent, content).with_data(object.into());
        (output.raw, output.session_id) = (Some(raw), session_id);
        told.push(Told::Say(output));
    }

    /// A line that is no object, or too long to be read as one. An end that was too long ends its
    /// turn all the same: nothing else ever would.
    fn no_object(&mut self, line: Line, told: &mut Vec<Told>) {
        let ends = self.in_turn && line.cut && shows_an_end(&line.text);
        told.push(Told::Say(printed(OutputKind::Stdout, line)));
        if ends {
            self.in_turn = false;
            let text = "the program's final text was too long to be read";
            told.push(Told::TurnEnded(TurnEnd::new(Outcome::Success, text)));
        }
    }
}

impl Driver for StreamJson {
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenToldSo
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Ready { raw: None });
    }

    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        self.in_turn = true;
        let line = json!({"type": "prompt", "content": text});
        told.push(Told::Write(format!("{line}\n").into_bytes()));
    }

    /// A signal: a program at work reads no line.
    fn interrupt(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Interrupt);
    }

    fn stdin(&mut self, text: &str, told: &mut Vec<Told>) -> Result<(), &'static str> {
        told.push(Told::Write(text.as_bytes().to_vec()));
        Ok(())
    }

    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        match serde_json::from_str(&line.text) {
            Ok(Value::Object(object)) if !line.cut => self.object(object, line.text, told),
            _ => self.no_object(line, told),
        }
    }
}

/// What a line is, when it says so and holds what belongs to it.
fn known(kind: &str, object: &Map<String, Value>) -> Option<OutputKind> {
    match kind {
        "message" | "text" => text(object).map(|_| OutputKind::Message),
        "thinking" => text(object).map(|_| OutputKind::Thinking),
        "tool_call" => tool(object).map(|_| OutputKind::ToolCall),
        "tool_result" => text(object).map(|_| OutputKind::ToolResult),
        "error" => text(object).map(|_| OutputKind::Error),
        _ => None,
    }
}

fn text(object: &Map<String, Value>) -> Option<&str> {
    TEXTS.iter().find_map(|name| object.get(*name).and_then(Value::as_str))
}

fn tool(object: &Map<String, Value>) -> Option<&str> {
    ["tool", "name"].iter().find_map(|name| object.get(*name).and_then(Value::as_str))
}

fn outcome(object: &Map<String, Value>) -> Outcome {
    let word = object.get("outcome").and_then(Value::as_str);
    let all = [Outcome::Error, Outcome::Interrupted, Outcome::Timeout, Outcome::Limit];
    let named = all.into_iter().find(|outcome| Some(outcome.as_str()) == word);
    let failed = object.get("is_error").and_then(Value::as_bool) == Some(true);
    named.unwrap_or(if failed { Outcome::Error } else { Outcome::Success })
}

fn cost(object: &Map<String, Value>) -> Option<f64> {
    ["cost_usd_total", "total_cost_usd"]
        .iter()
        .find_map(|name| object.get(*name).and_then(Value::as_f64))
}

fn shows_an_end(text: &str) -> bool {
    let head: String = text.chars().take(HEAD).filter(|c| !c.is_whitespace()).collect();
    head.starts_with('{') && ENDS.iter().any(|end| head.contains(&format!("\"type\":\"{end}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line { text: text.to_owned(), full_bytes: text.len(), cut: false }
    }

    fn told(driver: &mut StreamJson, text: &str) -> Told {
        let mut told = Vec::new();
        driver.line(line(text), &mut told);
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    #[test]
    fn a_prompt_is_one_line_of_json() {
        let mut told = Vec::new();
        StreamJson::default().prompt("-a \"b\"\nc", &mut told);
        let Told::Write(bytes) = &told[0] else { panic!("{told:?}") };
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        let line: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(line, json!({"type": "prompt", "content": "-a \"b\"\nc"}));
    }

    #[test]
    fn a_line_is_what_it_says_it_is() {
        for (written, kind, content) in [
            (r#"{"type":"message","content":"hi"}"#, OutputKind::Message, "hi"),
            (r#"{"type":"text","text":"hi"}"#, OutputKind::Message, "hi"),
            (r#"{"type":"message","content":[1]}"#, OutputKind::Stdout, "message"),
            (r#"{"type":"thinking","text":"hm"}"#, OutputKind::Thinking, "hm"),
            (r#"{"type":"tool_call","tool":"ls","input":{}}"#, OutputKind::ToolCall, "ls"),
            (r#"{"type":"tool_result","content":"a"}"#, OutputKind::ToolResult, "a"),
            (r#"{"type":"error","message":"no"}"#, OutputKind::Error, "no"),
            (r#"{"type":"progress","content":"1"}"#, OutputKind::Stdout, "progress"),
            (r#"{"type":"exit","content":"1"}"#, OutputKind::Stdout, "exit"),
            (r#"{"a":1}"#, OutputKind::Stdout, ""),
            // Nothing runs that could end.
            (r#"{"type":"result","result":"x"}"#, OutputKind::Stdout, "result"),
        ] {
            let Told::Say(output) = told(&mut StreamJson::default(), written) else {
                panic!("{written}")
            };
            assert_eq!((output.kind, output.content.as_str()), (kind, content), "{written}");
            assert_eq!(output.data, Some(serde_json::from_str(written).unwrap()));
            assert_eq!(output.raw.as_deref(), Some(written));
        }
    }

    #[test]
    fn what_is_no_object_is_a_line() {
        for written in ["plain", "", "[1]", "12", "{\"a\":", "null"] {
            let Told::Say(output) = told(&mut StreamJson::default(), written) else {
                panic!("{written}")
            };
            assert_eq!((output.kind, output.content.as_str()), (OutputKind::Stdout, written));
            assert_eq!((output.data, output.raw), (None, None));
        }
    }

    #[test]
    fn a_turn_ends_as_its_line_says() {
        for (written, outcome, text) in [
            (r#"{"type":"result","result":"done"}"#, Outcome::Success, "done"),
            (r#"{"type":"result","is_error":true}"#, Outcome::Error, ""),
            (r#"{"type":"completion","finalText":"x"}"#, Outcome::Success, "x"),
            (r#"{"type":"turn_completed","outcome":"limit"}"#, Outcome::Limit, ""),
            (r#"{"type":"turn_completed","outcome":"?","content":"x"}"#, Outcome::Success, "x"),
        ] {
            let mut driver = StreamJson::default();
            driver.prompt("p", &mut Vec::new());
            let Told::TurnEnded(end) = told(&mut driver, written) else { panic!("{written}") };
            assert_eq!((end.outcome, end.text.as_str()), (outcome, text), "{written}");
            // A second end is output.
            assert!(matches!(told(&mut driver, written), Told::Say(_)));
        }
    }

    #[test]
    fn an_end_that_was_cut_ends_its_turn() {
        let mut driver = StreamJson::default();
        driver.prompt("p", &mut Vec::new());
        let mut said = Vec::new();
        let text = r#"{"type": "result", "result": "xxxx"#.to_owned();
        driver.line(Line { text, full_bytes: 9_000_000, cut: true }, &mut said);
        assert!(matches!(&said[..], [Told::Say(_), Told::TurnEnded(_)]), "{said:?}");
    }
}
