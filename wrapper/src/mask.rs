//! Keeps secrets out of the output stream.
//!
//! Which texts are hidden is decided once, at the start, by `secret_forms`; here they are found and
//! replaced. A whole line of the agent is masked before anything is made of it, and each entry once
//! more, since a JSON text has by then become plain text.

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use serde_json::Value;
use std::ops::Range;

use worker_protocol::{Boot, Output};

use crate::frame::Line;
use crate::secret_forms::{Secrets, of_boot};

/// Fewer leading characters of a secret at the end of a cut line tell nothing.
const SHORTEST_HEAD: usize = 4;

/// The texts to replace and what stands in their place.
#[derive(Default)]
pub struct Masks {
    patterns: Vec<Pattern>,
    /// Tells of most texts, in one look, that there is nothing to hide. None: each is looked through.
    any: Option<AhoCorasick>,
}

struct Pattern {
    text: String,
    finder: Finder<'static>,
    mark: String,
}

/// A part of a text that is replaced, and the pattern that says by what.
struct Found {
    range: Range<usize>,
    pattern: usize,
}

impl Masks {
    /// Masks for all that is secret in a boot document.
    #[must_use]
    pub fn of(boot: &Boot) -> Self {
        Self::new(of_boot(boot))
    }

    fn new(secrets: Secrets) -> Self {
        let pattern = |(text, mark): (String, String)| {
            let finder = Finder::new(text.as_bytes()).into_owned();
            Pattern { text, finder, mark }
        };
        let patterns: Vec<_> = secrets.into_forms().into_iter().map(pattern).collect();
        let any = AhoCorasick::new(patterns.iter().map(|pattern| &pattern.text)).ok();
        Self { patterns, any }
    }

    /// Masks a line before anything is made of it, so that no part of a secret is cut off and kept.
    pub fn line(&self, line: &mut Line) {
        let mut found = self.find(&line.text);
        if line.cut {
            found.extend(self.find_head(&line.text));
        }
        self.replace(&mut line.text, found);
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
        let found = self.find(text);
        self.replace(text, found);
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.value(item));
                if map.keys().any(|name| !self.find(name).is_empty()) {
                    let renamed = std::mem::take(map).into_iter().map(|(mut name, value)| {
                        self.text(&mut name);
                        (name, value)
                    });
                    *map = renamed.collect();
                }
            }
            // A secret of digits can stand as a number.
            Value::Number(number) => {
                let mut text = number.to_string();
                if !self.find(&text).is_empty() {
                    self.text(&mut text);
                    *value = Value::String(text);
                }
            }
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// Every place of every secret, also where they overlap.
    fn find(&self, text: &str) -> Vec<Found> {
        let mut all = Vec::new();
        if self.any.as_ref().is_some_and(|any| !any.is_match(text)) {
            return all;
        }
        let bytes = text.as_bytes();
        for (pattern, Pattern { text, finder, .. }) in self.patterns.iter().enumerate() {
            let mut from = 0;
            while let Some(at) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
                let begin = from + at;
                all.push(Found { range: begin..begin + text.len(), pattern });
                from = begin + 1;
            }
        }
        all
    }

    /// The limit of a line may have cut a secret in two.
    fn find_head(&self, text: &str) -> Option<Found> {
        let heads = self.patterns.iter().enumerate().filter_map(|(pattern, secret)| {
            let heads = secret.text.char_indices().map(|(at, _)| &secret.text[..at]).rev();
            let mut heads = heads.take_while(|head| head.len() >= SHORTEST_HEAD);
            let head = heads.find(|head| text.ends_with(head))?;
            Some(Found { range: text.len() - head.len()..text.len(), pattern })
        });
        heads.max_by_key(|found| found.range.len())
    }

    fn replace(&self, text: &mut String, mut found: Vec<Found>) {
        if found.is_empty() {
            return;
        }
        // The longest at a place gives its name to all that it overlaps.
        found.sort_by_key(|found| (found.range.start, std::cmp::Reverse(found.range.end)));
        let (mut masked, mut done) = (String::with_capacity(text.len()), 0);
        for Found { range, pattern } in found {
            if range.start >= done {
                masked.push_str(&text[done..range.start]);
                masked.push_str(&self.patterns[pattern].mark);
            }
            done = done.max(range.end);
        }
        masked.push_str(&text[done..]);
        *text = masked;
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
