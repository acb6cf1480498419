//! What a worker says: entries of `worker:<id>:output`.

use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::rfc3339;

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// The agent can take prompts.
    Ready,
    /// A line on stdout that is no known message.
    Stdout,
    /// A line on stderr.
    Stderr,
    /// A turn begins.
    TurnStarted,
    /// The agent's text.
    Message,
    /// The agent's thoughts.
    Thinking,
    /// The agent uses a tool.
    ToolCall,
    /// What the tool gave.
    ToolResult,
    /// The agent asks, or the policy decided.
    Permission,
    /// Tokens, cost so far, rate limits.
    Usage,
    /// A turn ended.
    TurnCompleted,
    /// Output was lost.
    Gap,
    /// The wrapper could not do something.
    Error,
    /// The agent's process ended.
    Exit,
}

impl OutputKind {
    const ALL: [Self; 14] = [
        Self::Ready,
        Self::Stdout,
        Self::Stderr,
        Self::TurnStarted,
        Self::Message,
        Self::Thinking,
        Self::ToolCall,
        Self::ToolResult,
        Self::Permission,
        Self::Usage,
        Self::TurnCompleted,
        Self::Gap,
        Self::Error,
        Self::Exit,
    ];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::TurnStarted => "turn_started",
            Self::Message => "message",
            Self::Thinking => "thinking",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Permission => "permission",
            Self::Usage => "usage",
            Self::TurnCompleted => "turn_completed",
            Self::Gap => "gap",
            Self::Error => "error",
            Self::Exit => "exit",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The agent.
    Agent,
    /// The wrapper.
    Wrapper,
    /// The manager, about an end that the wrapper could not report.
    Manager,
}

impl Source {
    const ALL: [Self; 3] = [Self::Agent, Self::Wrapper, Self::Manager];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Wrapper => "wrapper",
            Self::Manager => "manager",
        }
    }
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The agent did what it was asked, as far as it knows.
    Success,
    /// The agent could not.
    Error,
    /// Somebody interrupted it.
    Interrupted,
    /// It took too long.
    Timeout,
    /// A limit on cost or turns was reached.
    Limit,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
        }
    }
}

/// One entry without its number and time, which it gets when it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is.
    pub kind: OutputKind,
    /// Who said it.
    pub source: Source,
    /// Text for people.
    pub content: String,
    /// The turn that it belongs to: the id of the turn's input entry.
    pub turn: Option<String>,
    /// The agent's own name for its session.
    pub session_id: Option<String>,
    /// The same for programs.
    pub data: Option<Value>,
    /// The agent's own line, untouched.
    pub raw: Option<String>,
    /// Whether something was cut.
    pub truncated: bool,
}

impl Output {
    /// An entry with no more than text.
    pub fn new(kind: OutputKind, source: Source, content: impl Into<String>) -> Self {
        Self {
            kind,
            source,
            content: content.into(),
            turn: None,
            session_id: None,
            data: None,
            raw: None,
            truncated: false,
        }
    }

    /// The same with data for programs.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The fields of the stream entry. `seq` counts from 1 without holes.
    #[must_use]
    pub fn into_entry(self, seq: u64, at: Timestamp) -> Vec<(&'static str, Cow<'static, str>)> {
        let mut fields = vec![
            ("type", self.kind.as_str().into()),
            ("content", self.content.into()),
            ("timestamp", rfc3339(at).into()),
            ("seq", seq.to_string().into()),
            ("source", self.source.as_str().into()),
        ];
        let optional = [
            ("turn", self.turn.map(Cow::Owned)),
            ("session_id", self.session_id.map(Cow::Owned)),
            ("data", self.data.map(|data| Cow::Owned(data.to_string()))),
            ("raw", self.raw.map(Cow::Owned)),
            ("truncated", self.truncated.then_some(Cow::Borrowed("true"))),
        ];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        fields
    }

    /// Reads an entry as a client does; an unknown `type` gives nothing.
    #[must_use]
    pub fn from_entry(fields: &BTreeMap<String, String>) -> Option<Self> {
        let get = |name: &str| fields.get(name).cloned();
        let source = get("source").unwrap_or_default();
        Some(Self {
            kind: OutputKind::from_wire(fields.get("type")?)?,
            source: Source::ALL.into_iter().find(|s| s.as_str() == source).unwrap_or(Source::Agent),
            content: get("content").unwrap_or_default(),
            turn: get("turn"),
            session_id: get("session_id"),
            data: fields.get("data").and_then(|text| serde_json::from_str(text).ok()),
            raw: get("raw"),
            truncated: fields.get("truncated").is_some_and(|word| word == "true"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_is_read_back() {
        let mut output = Output::new(OutputKind::ToolCall, Source::Agent, "Bash")
            .with_data(json!({"tool": "Bash", "input": {"command": "ls"}}));
        output.turn = Some("7-0".to_owned());
        output.truncated = true;
        let entry = output.clone().into_entry(3, Timestamp::UNIX_EPOCH);
        assert!(entry.contains(&("seq", "3".into())));
        let fields = entry.into_iter().map(|(n, v)| (n.to_owned(), v.into_owned())).collect();
        assert_eq!(Output::from_entry(&fields), Some(output));
    }

    #[test]
    fn every_kind_is_read_back() {
        for kind in OutputKind::ALL {
            assert_eq!(OutputKind::from_wire(kind.as_str()), Some(kind));
        }
    }
}
