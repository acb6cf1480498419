//! What a tool would run.

use serde_json::Value;

/// What is to be judged of a tool's use.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A line for a shell.
    Line(String),
    /// A program and its arguments.
    Argv(Vec<String>),
    /// It runs commands, and does not say which.
    Unknown,
    /// It runs none.
    NoCommand,
}

/// Tools that run commands, by the names that agents have for them and by the kind that the Agent
/// Client Protocol has. Any other with a `command` counts as one too.
const RUNNING: [&str; 7] =
    ["bash", "execute", "monitor", "powershell", "run_shell_command", "shell", "terminal"];
/// Kinds of the Agent Client Protocol that run none, whatever is in their input.
const NOT_RUNNING: [&str; 7] = ["delete", "edit", "fetch", "move", "read", "search", "think"];
/// Shells that agents put around a line.
const SHELLS: [&str; 3] = ["bash", "sh", "zsh"];

/// What a tool would run with this input.
pub(super) fn of(tool: &str, input: &Value) -> Subject {
    let tool = tool.to_ascii_lowercase();
    if NOT_RUNNING.contains(&tool.as_str()) {
        return Subject::NoCommand;
    }
    match input.get("command").or_else(|| input.get("cmd")) {
        Some(Value::String(line)) => Subject::Line(line.clone()),
        Some(Value::Array(words)) => argv(words),
        Some(_) => Subject::Unknown,
        None if RUNNING.contains(&tool.as_str()) => Subject::Unknown,
        None => Subject::NoCommand,
    }
}

/// A shell that the agent puts around a line is how it runs lines; the line is what counts.
fn argv(words: &[Value]) -> Subject {
    let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
    match words.as_deref() {
        None | Some([]) => Subject::Unknown,
        Some([shell, "-c" | "-lc", line]) if is_shell(shell) => Subject::Line((*line).to_owned()),
        Some(words) => Subject::Argv(words.iter().map(|&word| word.to_owned()).collect()),
    }
}

fn is_shell(program: &str) -> bool {
    let name = ["/usr/bin/", "/bin/"].iter().find_map(|folder| program.strip_prefix(folder));
    SHELLS.contains(&name.unwrap_or(program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tool_is_judged_by_its_command() {
        let line = |text: &str| Subject::Line(text.to_owned());
        for (tool, input, subject) in [
            ("Bash", json!({"command": "git log"}), line("git log")),
            ("Monitor", json!({"command": "git log"}), line("git log")),
            ("mcp__x__run", json!({"command": "git log"}), line("git log")),
            ("execute", json!({"command": ["/bin/bash", "-lc", "git log"]}), line("git log")),
            ("execute", json!({"cmd": "git log"}), line("git log")),
            (
                "execute",
                json!({"command": ["git", "log"]}),
                Subject::Argv(vec!["git".into(), "log".into()]),
            ),
            (
                "execute",
                json!({"command": ["/tmp/bash", "-c", "x"]}),
                Subject::Argv(vec!["/tmp/bash".into(), "-c".into(), "x".into()]),
            ),
            ("Bash", json!({}), Subject::Unknown),
            ("execute", json!({"command": []}), Subject::Unknown),
            ("execute", json!({"command": [1]}), Subject::Unknown),
            ("execute", json!({"command": {}}), Subject::Unknown),
            ("Read", json!({"file_path": "x"}), Subject::NoCommand),
            ("edit", json!({"command": "x"}), Subject::NoCommand),
            ("other", Value::Null, Subject::NoCommand),
        ] {
            assert_eq!(of(tool, &input), subject, "{tool} {input}");
        }
    }
}
