//! What a client tells a worker: entries of `worker:<id>:input`.

use serde_json::Value;

use crate::fields::Fields;
use crate::problem::{Problem, Shown};
use crate::value;

/// The most bytes of a prompt; Claude Code refuses more than 10 MB on stdin.
pub const PROMPT_LIMIT: usize = crate::create::PROMPT_LIMIT;

/// One entry, checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// A turn.
    Prompt(String),
    /// Ends the running turn; the agent stays.
    Interrupt,
    /// Answers a `permission` event.
    Answer {
        /// Which one.
        permission_id: String,
        /// Whether the agent may.
        decision: Decision,
        /// What it is told with a refusal.
        message: Option<String>,
    },
    /// Raw bytes to a `CUSTOM` agent.
    Stdin(String),
    /// Key strokes, for the `pty` protocol.
    Keys(String),
    /// A new size of the terminal, for the `pty` protocol.
    Resize {
        /// Width in characters.
        cols: u16,
        /// Height in characters.
        rows: u16,
    },
    /// Ends the agent gracefully.
    Stop,
    /// Ends it since the worker has written more to the disk than so many bytes: the manager sees
    /// that, and the wrapper cannot.
    OverDisk(u64),
}

/// Whether an agent may use a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

impl Decision {
    const ALL: [Self; 2] = [Self::Allow, Self::Deny];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

#[derive(Clone, Copy)]
enum Type {
    Prompt,
    Interrupt,
    Answer,
    Stdin,
    Keys,
    Resize,
    Stop,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::Prompt,
        Self::Interrupt,
        Self::Answer,
        Self::Stdin,
        Self::Keys,
        Self::Resize,
        Self::Stop,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Interrupt => "interrupt",
            Self::Answer => "answer",
            Self::Stdin => "stdin",
            Self::Keys => "keys",
            Self::Resize => "resize",
            Self::Stop => "stop",
        }
    }
}

impl Input {
    /// Reads an entry in either form.
    ///
    /// # Errors
    /// Names the field and what would be right.
    pub fn parse(pairs: &[(String, Vec<u8>)]) -> Result<Self, Problem> {
        let (fields, fault) = Fields::read(pairs);
        fault?;
        let kind = fields.choice("type", &Type::ALL, Type::as_str)?;
        match kind.unwrap_or(Type::Prompt) {
            Type::Prompt => prompt(&fields),
            Type::Interrupt => own(&fields, &[]).map(|()| Self::Interrupt),
            Type::Stop => stop(&fields),
            Type::Answer => answer(&fields),
            Type::Stdin => content(&fields).map(Self::Stdin),
            Type::Keys => content(&fields).map(Self::Keys),
            Type::Resize => {
                own(&fields, &["cols", "rows"])?;
                Ok(Self::Resize { cols: side(&fields, "cols")?, rows: side(&fields, "rows")? })
            }
        }
    }
}

fn own(fields: &Fields, names: &[&str]) -> Result<(), Problem> {
    const ALWAYS: [&str; 5] = ["type", "version", "timestamp", "context", "correlation_id"];
    fields.only(&[names, &ALWAYS].concat())
}

fn stop(fields: &Fields) -> Result<Input, Problem> {
    own(fields, &["disk"])?;
    let Some(given) = fields.raw("disk") else { return Ok(Input::Stop) };
    value::size(given).map(Input::OverDisk).ok_or_else(|| {
        Problem::malformed(format!("`disk` must be a size, not {}", Shown(&given.to_string())))
    })
}

/// The long form has `content`, the short one `prompt`.
fn prompt(fields: &Fields) -> Result<Input, Problem> {
    own(fields, &["content", "prompt"])?;
    let long = fields.text("content", PROMPT_LIMIT)?;
    let short = fields.text("prompt", PROMPT_LIMIT)?;
    let text = match (long, short) {
        (Some(_), Some(_)) => {
            return Err(Problem::malformed("give `content` or `prompt`, not both"));
        }
        (long, short) => long.or(short),
    };
    match text {
        Some(text) if !text.trim().is_empty() => Ok(Input::Prompt(text)),
        _ => Err(Problem::malformed("a prompt needs a text, in the field `content` or `prompt`")),
    }
}

fn content(fields: &Fields) -> Result<String, Problem> {
    own(fields, &["content"])?;
    fields
        .text("content", PROMPT_LIMIT)?
        .ok_or_else(|| Problem::malformed("the field `content` is missing: the text to send"))
}

fn answer(fields: &Fields) -> Result<Input, Problem> {
    own(fields, &["permission_id", "decision", "message"])?;
    let missing = |name: &str, what: &str| {
        Problem::malformed(format!("the field `{name}` is missing: {what}"))
    };
    Ok(Input::Answer {
        permission_id: fields
            .text("permission_id", 200)?
            .ok_or_else(|| missing("permission_id", "the one of the `permission` event"))?,
        decision: fields
            .choice("decision", &Decision::ALL, Decision::as_str)?
            .ok_or_else(|| missing("decision", "`allow` or `deny`"))?,
        message: fields.text("message", 4096)?,
    })
}

fn side(fields: &Fields, name: &str) -> Result<u16, Problem> {
    let given = fields.raw(name).unwrap_or(&Value::Null);
    let text = crate::reply::plain(given);
    text.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(|| {
        Problem::malformed(format!(
            "`{name}` must be a number from 1 to 1000, not {}",
            Shown(&text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Input, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        Input::parse(&pairs).map_err(|problem| problem.message)
    }

    #[test]
    fn a_prompt_has_a_long_and_a_short_form() {
        for pairs in [
            vec![("prompt", "hi")],
            vec![("type", "prompt"), ("content", "hi")],
            vec![("content", "hi")],
            vec![("data", r#"{"type":"prompt","content":"hi"}"#)],
        ] {
            assert!(read(&pairs) == Ok(Input::Prompt("hi".to_owned())));
        }
    }

    #[test]
    fn controls_are_read() {
        assert!(read(&[("type", "interrupt")]) == Ok(Input::Interrupt));
        assert!(read(&[("type", "STOP")]) == Ok(Input::Stop));
        assert!(read(&[("type", "stop"), ("disk", "1048576")]) == Ok(Input::OverDisk(1 << 20)));
        let resize = read(&[("type", "resize"), ("cols", "80"), ("rows", "24")]);
        assert!(resize == Ok(Input::Resize { cols: 80, rows: 24 }));
        let answer = read(&[("type", "answer"), ("permission_id", "p1"), ("decision", "deny")]);
        let decision = Decision::Deny;
        assert!(
            answer == Ok(Input::Answer { permission_id: "p1".into(), decision, message: None })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pairs, part) in [
            (vec![("type", "prompt")], "a prompt needs a text"),
            (vec![("prompt", " \n")], "a prompt needs a text"),
            (vec![("prmpt", "x")], "did you mean `prompt`?"),
            (vec![("type", "prmpt")], "`type` must be one of"),
            (vec![("prompt", "a"), ("content", "b")], "not both"),
            (vec![("type", "answer")], "`permission_id` is missing"),
            (vec![("type", "resize"), ("cols", "0"), ("rows", "1")], "`cols` must be"),
            (vec![("type", "stdin")], "`content` is missing"),
            (vec![("type", "stop"), ("disk", "full")], "`disk` must be a size"),
        ] {
            let message = read(&pairs).err().unwrap();
            assert!(message.contains(part), "{message}");
        }
    }
}
