//! Reading a request of the Messages API: which prompt is being worked on, and how far.

use serde::Deserialize;
use serde_json::Value;

/// The part of a request that the scripted model looks at.
#[derive(Debug, Deserialize)]
pub struct MessagesRequest {
    /// The model that was asked for; the answer names it again.
    #[serde(default)]
    pub model: String,
    /// Whether the answer is to be a stream of events.
    #[serde(default)]
    pub stream: bool,
    /// What to answer where the agent is not at work and wants an answer of a form of its own.
    #[serde(default)]
    pub aside: Option<String>,
    #[serde(default)]
    tools: Vec<Value>,
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolResult {
        content: Option<Content>,
    },
    #[serde(other)]
    Other,
}

/// Where a conversation stands.
#[derive(Debug, PartialEq)]
pub struct Conversation {
    /// The latest thing that a person said; empty where nobody said anything.
    pub prompt: String,
    /// How many answers the model has given since.
    pub answers: usize,
    /// What the latest tool call answered.
    pub result: Option<String>,
}

impl MessagesRequest {
    /// Whether this is an agent at work. Agents also ask for titles and summaries; those
    /// requests carry no tools, or want an answer of a form of its own.
    pub fn is_work(&self) -> bool {
        !self.tools.is_empty() && self.aside.is_none()
    }

    /// Where the conversation stands.
    pub fn conversation(&self) -> Conversation {
        let spoken = self.messages.iter().enumerate().rev().find_map(|(index, message)| {
            let said = (message.role == "user").then(|| message.content.spoken())??;
            Some((index, said))
        });
        let (start, prompt) = spoken.unwrap_or_default();
        let since = &self.messages[start..];
        Conversation {
            prompt,
            answers: since.iter().filter(|message| message.role == "assistant").count(),
            result: self.messages.iter().rev().find_map(|message| message.content.result()),
        }
    }
}

impl Content {
    /// The last text that a person wrote. Agents put prompts that follow each other without an
    /// answer between them into one message, so the last block is the one that counts.
    fn spoken(&self) -> Option<String> {
        match self {
            Content::Text(text) => by_a_person(text),
            Content::Blocks(blocks) => blocks.iter().rev().find_map(|block| match block {
                Block::Text { text } => by_a_person(text),
                _ => None,
            }),
        }
    }

    fn result(&self) -> Option<String> {
        match self {
            Content::Text(_) => None,
            Content::Blocks(blocks) => blocks.iter().rev().find_map(|block| match block {
                Block::ToolResult { content } => {
                    Some(content.as_ref().map(Content::plain).unwrap_or_default())
                }
                _ => None,
            }),
        }
    }

    fn plain(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Blocks(blocks) => {
                let texts = blocks.iter().filter_map(|block| match block {
                    Block::Text { text } => Some(text.as_str()),
                    _ => None,
                });
                texts.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

/// How texts begin that Claude Code writes in the person's name.
const BY_AGENT: [&str; 2] =
    ["[Request interrupted by user", "Your response above was cut off mid-stream."];

/// What is left of a text without what the agent itself put there.
fn by_a_person(text: &str) -> Option<String> {
    let left = without_reminders(text);
    let left = left.trim();
    let by_agent = BY_AGENT.iter().any(|beginning| left.starts_with(beginning));
    (!by_agent && !left.is_empty()).then(|| left.to_owned())
}

fn without_reminders(text: &str) -> String {
    const OPEN: &str = "<system-reminder>";
    const CLOSE: &str = "</system-reminder>";
    let mut left = String::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(OPEN) {
        left.push_str(before);
        rest = inside.split_once(CLOSE).map_or("", |(_, after)| after);
    }
    left.push_str(rest);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conversation(messages: Value) -> Conversation {
        let request = json!({"model": "m", "messages": messages});
        serde_json::from_value::<MessagesRequest>(request).unwrap().conversation()
    }

    fn at(prompt: &str, answers: usize) -> Conversation {
        Conversation { prompt: prompt.into(), answers, result: None }
    }

    #[test]
    fn a_first_prompt_has_no_answers() {
        assert_eq!(conversation(json!([{"role": "user", "content": "hello"}])), at("hello", 0));
        assert_eq!(conversation(json!([])), at("", 0));
    }

    #[test]
    fn reminders_are_not_said_by_a_person() {
        let reminder =
            json!({"type": "text", "text": "<system-reminder>@model close</system-reminder>"});
        let mixed = "<system-reminder>one</system-reminder>\nhello <system-reminder>two";
        let messages = json!([
            {"role": "user", "content": [reminder, {"type": "text", "text": mixed}, reminder]},
        ]);
        assert_eq!(conversation(messages), at("hello", 0));
    }

    #[test]
    fn tool_results_go_on_with_the_same_prompt() {
        let result = json!({"type": "tool_result", "tool_use_id": "t", "content": "2.39"});
        let listed = json!({"type": "tool_result", "tool_use_id": "t",
                            "content": [{"type": "text", "text": "2.40"}]});
        let reminder = json!({"type": "text", "text": "<system-reminder>x</system-reminder>"});
        let tool_use = json!([{"type": "tool_use", "id": "t", "name": "Bash", "input": {}}]);
        let messages = json!([
            {"role": "user", "content": "which version?"},
            {"role": "assistant", "content": tool_use},
            {"role": "user", "content": [result, reminder]},
            {"role": "assistant", "content": tool_use},
            {"role": "user", "content": [listed]},
        ]);
        let stands = conversation(messages);
        assert_eq!(stands.answers, 2);
        assert_eq!(stands.prompt, "which version?");
        assert_eq!(stands.result.as_deref(), Some("2.40"));
    }

    #[test]
    fn a_new_prompt_begins_anew() {
        let messages = json!([
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "two"}]},
        ]);
        assert_eq!(conversation(messages), at("two", 0));
    }

    #[test]
    fn a_broken_answer_is_a_step_that_was_played() {
        let again = "Your response above was cut off mid-stream. Resume directly.";
        let messages = json!([
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "fir"},
            {"role": "user", "content": [{"type": "text", "text": again}]},
        ]);
        assert_eq!(conversation(messages), at("one", 1));
    }

    #[test]
    fn what_the_agent_says_as_the_system_is_no_prompt() {
        let messages = json!([
            {"role": "user", "content": "one"},
            {"role": "system", "content": "# Environment"},
        ]);
        assert_eq!(conversation(messages), at("one", 0));
    }

    #[test]
    fn after_an_interrupt_the_later_prompt_counts() {
        let messages = json!([{"role": "user", "content": [
            {"type": "text", "text": "@model stall"},
            {"type": "text", "text": "[Request interrupted by user]"},
            {"type": "text", "text": "still there?"},
        ]}]);
        assert_eq!(conversation(messages), at("still there?", 0));
    }
}
