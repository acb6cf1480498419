//! `worker-wrapper hook pretooluse`: what the agent's program runs before it uses a tool.
//!
//! It reads the vendor's JSON on stdin, asks the wrapper that is PID 1, and answers in the vendor's
//! way. Claude Code and Droid have the same one: exit code 2 refuses, and stderr tells the model
//! why. Whatever is not an `allow` refuses.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::gate::QUESTION_LIMIT;

/// The most bytes of a tool's use: a tool that writes files has the whole text in it.
const INPUT_LIMIT: u64 = 64 << 20;
/// The most bytes of an answer.
const ANSWER_LIMIT: u64 = 64 << 10;

/// Why a tool may not be used; the text is for the model.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The wrapper says so.
    #[error("not allowed: {0}")]
    Denied(String),
    /// Nobody could be asked, or nothing was understood.
    #[error("not allowed: the question could not be brought before the worker's policy ({0})")]
    Unasked(String),
}

/// Asks about the tool that `stdin` tells of, and gives what to print when it may be used.
///
/// # Errors
/// When it may not be used, or nobody said that it may.
pub fn ask(stdin: impl Read, socket: &Path) -> Result<String, Refusal> {
    let unasked = |what: &str| Refusal::Unasked(what.to_owned());
    let mut text = Vec::new();
    stdin.take(INPUT_LIMIT).read_to_end(&mut text).map_err(|_| unasked("stdin fails"))?;
    let used: Value =
        serde_json::from_slice(&text).map_err(|_| unasked("what stands on stdin is no JSON"))?;
    let question = question(&used).ok_or_else(|| unasked("no `tool_name` is given"))?;
    if question.len() as u64 >= QUESTION_LIMIT {
        return Err(unasked("the command is too long"));
    }
    let answer = exchange(&question, socket)
        .map_err(|error| Refusal::Unasked(format!("the wrapper does not answer: {error}")))?;
    match answer.get("decision").and_then(Value::as_str) {
        Some("allow") => Ok(allowing()),
        Some("deny") => {
            let why = answer.get("reason").and_then(Value::as_str).unwrap_or("no reason is given");
            Err(Refusal::Denied(why.to_owned()))
        }
        _ => Err(unasked("the wrapper's answer is not understood")),
    }
}

/// What the policy judges, in one line. Of a tool without a command, only its name.
fn question(used: &Value) -> Option<String> {
    let tool = used.get("tool_name")?.as_str()?;
    let input = used
        .get("tool_input")
        .filter(|input| ["command", "cmd"].iter().any(|name| input.get(name).is_some()));
    let question = json!({"tool": tool, "input": input, "call": used.get("tool_use_id")});
    Some(format!("{question}\n"))
}

fn exchange(question: &str, socket: &Path) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_LIMIT)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// An `allow` that says so holds also where the agent would otherwise ask somebody.
fn allowing() -> String {
    json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "the worker's policy allows it",
    }})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const USE: &str = r#"{"hook_event_name": "PreToolUse", "tool_name": "Bash",
        "tool_input": {"command": "git log"}, "tool_use_id": "t1"}"#;

    /// Asks somebody who answers so, and gives what was asked too.
    fn asked(used: &str, answer: &str) -> (Result<String, Refusal>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gate");
        let listener = UnixListener::bind(&socket).unwrap();
        let answer = answer.to_owned();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut question).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            question
        });
        let verdict = ask(used.as_bytes(), &socket);
        (verdict, server.join().unwrap())
    }

    #[test]
    fn only_an_allow_allows() {
        let (verdict, question) = asked(USE, "{\"decision\":\"allow\"}\n");
        assert!(verdict.unwrap().contains(r#""permissionDecision":"allow""#));
        let question: Value = serde_json::from_str(&question).unwrap();
        let right = json!({"tool": "Bash", "input": {"command": "git log"}, "call": "t1"});
        assert_eq!(question, right);
        for (answer, why) in [
            ("{\"decision\":\"deny\",\"reason\":\"`rm` is not\"}\n", "`rm` is not"),
            ("{\"decision\":\"deny\"}\n", "no reason"),
            ("{\"decision\":\"maybe\"}\n", "not understood"),
            ("{}\n", "not understood"),
            ("allow\n", "does not answer"),
            ("", "does not answer"),
        ] {
            let refusal = asked(USE, answer).0.unwrap_err().to_string();
            assert!(refusal.starts_with("not allowed: ") && refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let nowhere = Path::new("/nonexistent/gate");
        let long = format!(
            r#"{{"tool_name": "Bash", "tool_input": {{"command": "{}"}}}}"#,
            "x".repeat(1 << 20)
        );
        for (used, why) in [
            (USE, "does not answer"),
            ("", "no JSON"),
            ("{", "no JSON"),
            ("[]", "no `tool_name`"),
            (r#"{"tool_name": 1}"#, "no `tool_name`"),
            (&long, "too long"),
        ] {
            let refusal = ask(used.as_bytes(), nowhere).unwrap_err().to_string();
            assert!(refusal.contains(why), "{refusal}");
        }
    }

    #[test]
    fn of_a_tool_without_a_command_only_the_name_is_asked() {
        let used = json!({"tool_name": "Write", "tool_input": {"content": "x".repeat(4 << 20)}});
        let (verdict, question) = asked(&used.to_string(), "{\"decision\":\"allow\"}\n");
        assert!(verdict.is_ok());
        assert_eq!(question, "{\"call\":null,\"input\":null,\"tool\":\"Write\"}\n");
    }
}
