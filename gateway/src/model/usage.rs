//! What an answer used, as it tells itself: JSON and server-sent events of Anthropic's messages,
//! OpenAI's chat completions and responses, and Gemini's generateContent.

use serde_json::Value;

use super::scan::{Found, Scanner};

/// Bytes that make a token, roughly, in English and in code. Only for what no answer tells.
const BYTES_OF_A_TOKEN: u64 = 4;
/// What precedes JSON in a line of server-sent events.
const DATA: &[u8] = b"data:";

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Read, and not from a cache.
    pub input: u64,
    /// Written.
    pub output: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written to a cache.
    pub cache_write: u64,
}

impl Usage {
    /// Reads the object of any of the services; what is missing is 0.
    fn parse(usage: &Value) -> Self {
        let at = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
        if usage.get("promptTokenCount").is_some() || usage.get("totalTokenCount").is_some() {
            // https://ai.google.dev/api/generate-content#UsageMetadata: the prompt includes the cached.
            let cached = at("/cachedContentTokenCount");
            let prompt = at("/promptTokenCount").saturating_add(at("/toolUsePromptTokenCount"));
            return Self {
                input: prompt.saturating_sub(cached),
                output: at("/candidatesTokenCount").saturating_add(at("/thoughtsTokenCount")),
                cache_read: cached,
                cache_write: 0,
            };
        }
        let openai = ["/prompt_tokens_details", "/input_tokens_details"];
        let cached = openai.iter().map(|path| at(&format!("{path}/cached_tokens"))).sum::<u64>();
        // OpenAI's input includes the cached, Anthropic's does not.
        Self {
            input: at("/input_tokens").max(at("/prompt_tokens")).saturating_sub(cached),
            output: at("/output_tokens").max(at("/completion_tokens")),
            cache_read: at("/cache_read_input_tokens").max(cached),
            cache_write: at("/cache_creation_input_tokens"),
        }
    }

    /// Services tell again, in the course of a stream, how much it was so far.
    fn at_least(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_write: self.cache_write.max(other.cache_write),
        }
    }

    fn read(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, whole.
    Json,
    /// `text/event-stream`.
    Events,
}

/// Reads one answer as it passes.
#[derive(Debug)]
pub struct Meter {
    form: Form,
    scanner: Scanner,
    line: Line,
    bytes: u64,
    /// Server-sent events. Each is a token or more.
    events: u64,
    told: Option<Usage>,
    model: Option<String>,
}

/// Where in a line of server-sent events.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// So many bytes of [`DATA`] were there.
    Begins(usize),
    Data,
    Else,
}

impl Meter {
    /// At the beginning of an answer.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            form,
            scanner: Scanner::default(),
            line: Line::Begins(0),
            bytes: 0,
            events: 0,
            told: None,
            model: None,
        }
    }

    /// Takes the next piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        match self.form {
            Form::Json => self.scan(piece),
            Form::Events => {
                for part in piece.split_inclusive(|byte| *byte == b'\n') {
                    self.part_of_line(part);
                }
            }
        }
    }

    fn part_of_line(&mut self, mut part: &[u8]) {
        let ends = part.ends_with(b"\n");
        while let (Line::Begins(there), Some((first, rest))) = (self.line, part.split_first()) {
            part = rest;
            self.line = match DATA.get(there) == Some(first) {
                false => Line::Else,
                true if there + 1 == DATA.len() => {
                    self.events += 1;
                    self.scanner = Scanner::default();
                    Line::Data
                }
                true => Line::Begins(there + 1),
            };
        }
        if let Line::Data = self.line {
            self.scan(part);
        }
        if ends {
            self.line = Line::Begins(0);
        }
    }

    fn scan(&mut self, piece: &[u8]) {
        for found in self.scanner.take(piece) {
            match found {
                Found::Usage(json) => {
                    if let Ok(usage @ Value::Object(_)) = serde_json::from_slice(&json) {
                        let more = Usage::parse(&usage);
                        self.told = Some(self.told.unwrap_or_default().at_least(more));
                    }
                }
                Found::Model(json) => {
                    self.model = serde_json::from_slice(&json).ok().or(self.model.take());
                }
            }
        }
    }

    /// The model that answered, if it said so.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// What the answer used, to a request of so many bytes. What a whole answer does not tell, and
    /// what one that was broken off could not tell any more, is reckoned by its size: else it would
    /// cost nothing to hang up in time.
    #[must_use]
    pub fn usage(&self, request_bytes: u64, ended: Ended) -> Usage {
        let mut usage = self.told.unwrap_or_default();
        if self.told.is_some() && ended == Ended::Whole {
            return usage;
        }
        if usage.read() == 0 {
            usage.input = request_bytes / BYTES_OF_A_TOKEN;
        }
        let written = match self.form {
            Form::Json => self.bytes / BYTES_OF_A_TOKEN,
            Form::Events => self.events,
        };
        usage.output = usage.output.max(written);
        usage
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As the service meant it to.
    Whole,
    /// Before: somebody hung up.
    Early,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANTHROPIC: &str = "event: message_start\n\
        data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"content\":[],\
        \"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":7,\
        \"cache_read_input_tokens\":100,\"output_tokens\":1}}}\n\n\
        event: content_block_delta\n\
        data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"data: {\\\"usage\\\":1}\"}}\n\n\
        event: message_delta\n\
        data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":15}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn tokens(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Usage {
        Usage { input, output, cache_read, cache_write }
    }

    fn read(form: Form, text: &str) -> (Usage, Option<String>) {
        let mut whole = Meter::new(form);
        whole.take(text.as_bytes());
        let mut pieces = Meter::new(form);
        text.as_bytes().chunks(3).for_each(|piece| pieces.take(piece));
        let usage = whole.usage(4000, Ended::Whole);
        assert_eq!(usage, pieces.usage(4000, Ended::Whole));
        (usage, whole.model().map(str::to_owned))
    }

    #[test]
    fn answers_in_one_piece_are_read() {
        for (text, usage, model) in [
            (
                r#"{"model":"claude-x","content":[{"type":"tool_use","input":{"usage":{}}}],
                "usage":{"input_tokens":10,"output_tokens":20,"cache_read_input_tokens":3,
                "cache_creation_input_tokens":4}}"#,
                tokens(10, 20, 3, 4),
                "claude-x",
            ),
            (
                r#"{"model":"gpt-x","usage":{"prompt_tokens":100,"completion_tokens":20,
                "prompt_tokens_details":{"cached_tokens":60}}}"#,
                tokens(40, 20, 60, 0),
                "gpt-x",
            ),
            (
                r#"{"object":"response","model":"gpt-y","usage":{"input_tokens":100,
                "input_tokens_details":{"cached_tokens":30},"output_tokens":20}}"#,
                tokens(70, 20, 30, 0),
                "gpt-y",
            ),
            (
                r#"{"usageMetadata":{"promptTokenCount":50,"candidatesTokenCount":5,
                "thoughtsTokenCount":6,"cachedContentTokenCount":20},"modelVersion":"gemini-x"}"#,
                tokens(30, 11, 20, 0),
                "gemini-x",
            ),
        ] {
            assert_eq!(read(Form::Json, text), (usage, Some(model.to_owned())), "{text}");
        }
    }

    #[test]
    fn answers_in_events_are_read() {
        let (usage, model) = read(Form::Events, ANTHROPIC);
        assert_eq!((usage, model.as_deref()), (tokens(25, 15, 100, 7), Some("claude-x")));
        let openai = "data: {\"model\":\"gpt-x\",\"choices\":[{}],\"usage\":null}\r\n\r\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":8}}\r\n\r\n\
            data: [DONE]\r\n\r\n";
        assert_eq!(read(Form::Events, openai).0, tokens(9, 8, 0, 0));
        let responses = "data:{\"type\":\"response.completed\",\"response\":{\"model\":\"gpt-y\",\
            \"output\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":8}}}\n\n";
        assert_eq!(read(Form::Events, responses).0, tokens(9, 8, 0, 0));
        let gemini = "data: {\"usageMetadata\":{\"promptTokenCount\":5,\"totalTokenCount\":6}}\n\n\
            data: {\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":9}}\n\n";
        assert_eq!(read(Form::Events, gemini).0, tokens(5, 9, 0, 0));
    }

    #[test]
    fn what_is_not_told_is_reckoned_by_size() {
        let silent = "data: {\"choices\":[]}\n\n".repeat(30);
        assert_eq!(read(Form::Events, &silent).0, tokens(1000, 30, 0, 0));
        assert_eq!(read(Form::Json, &"x".repeat(80)).0, tokens(1000, 20, 0, 0));
    }

    #[test]
    fn who_hangs_up_in_time_pays_for_what_came() {
        let mut meter = Meter::new(Form::Events);
        let begin = ANTHROPIC.split("event: content").next().unwrap();
        meter.take(begin.as_bytes());
        (0..50).for_each(|_| meter.take(b"data: {\"delta\":{}}\n\n"));
        assert_eq!(meter.usage(4000, Ended::Early), tokens(25, 51, 100, 7));
        assert_eq!(Meter::new(Form::Events).usage(4000, Ended::Early), tokens(1000, 0, 0, 0));
    }
}
