//! Keeps secrets out of the output stream.

use serde_json::Value;
use std::collections::BTreeMap;

use worker_protocol::{Output, Secret};

use crate::frame::Line;

/// A shorter value is no secret worth the name, and would be found in ordinary text.
const SHORTEST: usize = 8;
/// What the name of a secret variable contains.
const TELLING: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"];
/// Fewer leading characters of a secret at the end of a cut line tell nothing.
const SHORTEST_HEAD: usize = 4;

/// The texts to replace and what stands in their place.
pub struct Masks {
    /// Longest first, so that a secret that holds another is replaced whole.
    patterns: Vec<(String, String)>,
}

impl Masks {
    /// Masks for the variables of an agent whose names look secret.
    #[must_use]
    pub fn new(env: &BTreeMap<String, Secret>) -> Self {
        let mut masks = Self { patterns: Vec::new() };
        for (name, value) in env.iter().filter(|(name, _)| looks_secret(name)) {
            masks.hide(name, value.reveal());
        }
        masks.patterns.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        masks
    }

    /// A value, its lines (a private key is printed in several) and how JSON writes each.
    fn hide(&mut self, name: &str, value: &str) {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mark = format!("***{name}***");
        for text in std::iter::once(value).chain(value.lines()) {
            let text = text.trim();
            let quoted = Value::from(text).to_string();
            let inner = quoted.trim_matches('"').to_owned();
            for text in [text.to_owned(), inner] {
                let known = self.patterns.iter().any(|(other, _)| *other == text);
                if text.len() >= SHORTEST && !known {
                    self.patterns.push((text, mark.clone()));
                }
            }
        }
    }

    /// Masks a line before anything is made of it, so that no part of a secret is cut off and kept.
    pub fn line(&self, line: &mut Line) {
        self.text(&mut line.text);
        if line.cut {
            self.tail(&mut line.text);
        }
    }

    /// Masks every text of an entry.
    pub fn output(&self, output: &mut Output) {
        if self.patterns.is_empty() {
            return;
        }
        self.text(&mut output.content);
        if let Some(raw) = &mut output.raw {
            self.text(raw);
        }
        if let Some(data) = &mut output.data {
            self.value(data);
        }
    }

    fn text(&self, text: &mut String) {
        for (secret, mark) in &self.patterns {
            if text.contains(secret) {
                *text = text.replace(secret, mark);
            }
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }

    /// The limit of a line may have cut a secret in two.
    fn tail(&self, text: &mut String) {
        for (secret, mark) in &self.patterns {
            let heads = secret.char_indices().map(|(at, _)| &secret[..at]).rev();
            let head = heads.take_while(|h| h.len() >= SHORTEST_HEAD).find(|h| text.ends_with(h));
            if let Some(head) = head {
                text.truncate(text.len() - head.len());
                text.push_str(mark);
            }
        }
    }
}

fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    TELLING.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use worker_protocol::{OutputKind, Source};

    fn masks(pairs: &[(&str, &str)]) -> Masks {
        Masks::new(&pairs.iter().map(|(n, v)| ((*n).to_owned(), Secret::new(*v))).collect())
    }

    fn line(text: &str, cut: bool) -> Line {
        Line { text: text.to_owned(), full_bytes: text.len(), cut }
    }

    #[test]
    fn every_text_of_an_entry_is_masked() {
        let masks = masks(&[("API_KEY", "sk-12345678"), ("PATH", "/usr/bin:/bin")]);
        let mut output =
            Output::new(OutputKind::Stdout, Source::Agent, "key sk-12345678 /usr/bin:/bin")
                .with_data(json!({"a": ["xsk-12345678x"]}));
        output.raw = Some("sk-12345678".to_owned());
        masks.output(&mut output);
        assert_eq!(output.content, "key ***API_KEY*** /usr/bin:/bin");
        assert_eq!(output.data, Some(json!({"a": ["x***API_KEY***x"]})));
        assert_eq!(output.raw.as_deref(), Some("***API_KEY***"));
    }

    #[test]
    fn a_secret_is_found_as_json_writes_it_and_by_its_lines() {
        let masks = masks(&[("DEPLOY_KEY", "-----BEGIN-----\nab\"cdefgh\n")]);
        for text in [r#"{"x":"-----BEGIN-----\nab\"cdefgh"}"#, "-----BEGIN-----", "ab\"cdefgh"] {
            let mut line = line(text, false);
            masks.line(&mut line);
            assert!(line.text.contains("***DEPLOY_KEY***"), "{}", line.text);
            assert!(!line.text.contains("cdefgh"), "{}", line.text);
        }
    }

    #[test]
    fn the_head_of_a_secret_at_the_end_of_a_cut_line_goes_too() {
        let masks = masks(&[("TOKEN", "tökensecret")]);
        for (text, masked) in [("a tökense", "a ***TOKEN***"), ("a tö", "a tö")] {
            let mut line = line(text, true);
            masks.line(&mut line);
            assert_eq!(line.text, masked);
        }
    }

    #[test]
    fn short_values_are_left_alone() {
        let mut line = line("true", false);
        masks(&[("USE_TOKEN", "true")]).line(&mut line);
        assert_eq!(line.text, "true");
    }
}
