//! Finds in an answer, as it passes, the few values that say what it cost: in JSON of any size, in
//! pieces of any size, with little memory.
//!
//! Only the places count where services put them: at the top, or in `message` or `response` there.
//! The rest of an answer is the model's, and a model may be led to say anything, also an object with
//! a `usage` of its own.

/// A value that is longer is none of those that are looked for.
const LONGEST: usize = 4096;
/// Names that are looked for are shorter.
const LONGEST_NAME: usize = 16;

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// `usage` or `usageMetadata`, as JSON.
    Usage(Vec<u8>),
    /// `model` or `modelVersion`, as JSON.
    Model(Vec<u8>),
}

/// What a key is to the scanner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Name {
    Usage,
    Model,
    /// Something that holds these.
    Holder,
    #[default]
    Other,
}

impl Name {
    fn of(text: &[u8]) -> Self {
        match text {
            b"usage" | b"usageMetadata" => Self::Usage,
            b"model" | b"modelVersion" => Self::Model,
            b"message" | b"response" => Self::Holder,
            _ => Self::Other,
        }
    }
}

/// Reads one JSON text, or an array of them.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Open objects and arrays.
    depth: usize,
    /// 1 in an array of answers.
    base: usize,
    /// Whether the top object, or that of a holder in it, is an object and not an array.
    keyed: [bool; 2],
    holder: Name,
    string: Option<Text>,
    /// The string that ended last.
    last: Text,
    value: Option<Value>,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    escaped: bool,
}

#[derive(Debug)]
struct Value {
    name: Name,
    depth: usize,
    bytes: Vec<u8>,
}

impl Scanner {
    /// Takes the next piece, and gives what was found in it.
    pub fn take(&mut self, piece: &[u8]) -> Vec<Found> {
        piece.iter().filter_map(|byte| self.byte(*byte)).collect()
    }

    fn byte(&mut self, byte: u8) -> Option<Found> {
        if self.string.is_some() {
            self.keep(byte);
            self.in_string(byte);
            return None;
        }
        let found = match byte {
            b',' | b'}' | b']' => self.value_ends(),
            _ => None,
        };
        self.keep(byte);
        match byte {
            b'"' => self.string = Some(Text::default()),
            b'{' | b'[' => self.opens(byte),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' => self.value_begins(),
            _ => {}
        }
        found
    }

    fn in_string(&mut self, byte: u8) {
        let Some(text) = &mut self.string else { return };
        if text.escaped {
            text.escaped = false;
        } else if byte == b'\\' {
            text.escaped = true;
        } else if byte == b'"' {
            self.last = self.string.take().unwrap_or_default();
            return;
        }
        if text.bytes.len() <= LONGEST_NAME {
            text.bytes.push(byte);
        }
    }

    fn opens(&mut self, byte: u8) {
        if self.depth == 0 && byte == b'[' {
            self.base = 1;
        } else if let Some(keyed) =
            self.depth.checked_sub(self.base).and_then(|n| self.keyed.get_mut(n))
        {
            *keyed = byte == b'{';
        }
        self.depth += 1;
    }

    /// The last string was a key.
    fn value_begins(&mut self) {
        let name = Name::of(&self.last.bytes);
        let level = self.depth.saturating_sub(self.base);
        if level == 1 {
            self.holder = name;
        }
        let in_place = match level {
            1 => self.keyed[0],
            2 => self.keyed[0] && self.keyed[1] && self.holder == Name::Holder,
            _ => false,
        };
        if in_place && matches!(name, Name::Usage | Name::Model) {
            self.value = Some(Value { name, depth: self.depth, bytes: Vec::new() });
        }
    }

    fn keep(&mut self, byte: u8) {
        if let Some(value) = &mut self.value {
            value.bytes.push(byte);
            if value.bytes.len() > LONGEST {
                self.value = None;
            }
        }
    }

    fn value_ends(&mut self) -> Option<Found> {
        let value = self.value.take_if(|value| value.depth == self.depth)?;
        match value.name {
            Name::Usage => Some(Found::Usage(value.bytes)),
            Name::Model => Some(Found::Model(value.bytes)),
            Name::Holder | Name::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Found {
        Found::Usage(json.into())
    }

    fn model(json: &str) -> Found {
        Found::Model(json.into())
    }

    fn found(text: &str) -> Vec<Found> {
        let whole = Scanner::default().take(text.as_bytes());
        let mut scanner = Scanner::default();
        let pieces: Vec<_> = text.as_bytes().iter().flat_map(|b| scanner.take(&[*b])).collect();
        assert_eq!(whole, pieces, "{text}");
        whole
    }

    #[test]
    fn values_are_found_where_services_put_them() {
        for (text, expected) in [
            (r#"{"model":"m","usage":{"a":1}}"#, vec![model("\"m\""), usage("{\"a\":1}")]),
            (r#"{"message":{"usage":{"a":{"b":[1]}}}}"#, vec![usage(r#"{"a":{"b":[1]}}"#)]),
            (r#"{"response":{"x":[{}],"model":"a,}"}}"#, vec![model(r#""a,}""#)]),
            (r#"{"usageMetadata":{},"modelVersion":"g"}"#, vec![usage("{}"), model("\"g\"")]),
            (r#"[{"usageMetadata":1},{"usageMetadata":2}]"#, vec![usage("1"), usage("2")]),
            (r#"{"usage":null}"#, vec![usage("null")]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn what_the_model_says_is_not_taken_for_it() {
        for text in [
            r#"{"content":[{"input":{"usage":{"input_tokens":0}}}]}"#,
            r#"{"content":{"usage":{"input_tokens":0}}}"#,
            r#"{"text":"\"usage\":{\"input_tokens\":0},"}"#,
            r#"{"text":"\\","x":"\",\"usage\":1,\""}"#,
            r#"{"message":{"content":[{"usage":1}]}}"#,
            r#"{"message":[{"usage":1}]}"#,
            r#"{"usage_of":1,"x":"usage"}"#,
            r#"[["usage",1],[{"x":{"usage":1}}]]"#,
            r#""usage":1}"#,
            "}}}}]]]]",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.take(br#"{"usage":{"x":""#), []);
        for _ in 0..100 {
            assert_eq!(scanner.take(&[b'x'; 1000]), []);
        }
        assert!(scanner.value.is_none() && scanner.string.as_ref().unwrap().bytes.len() < 32);
        assert_eq!(scanner.take(br#""},"model":1}"#), [model("1")]);
        let deep = "[".repeat(100_000);
        assert_eq!(found(&deep), []);
    }
}
