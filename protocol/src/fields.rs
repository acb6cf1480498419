//! The two forms of an entry, read into one: names and values.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::problem::{Problem, Shown, did_you_mean};
use crate::value;

/// How an entry was written; its reply is written in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One stream field for each key.
    Flat,
    /// One field, `data`, with a JSON object.
    Document,
}

/// An entry's keys and values. A value that is empty counts as not given, so that a script may
/// pass an empty variable.
///
/// No `Debug`: values may be secrets.
#[derive(Clone)]
pub struct Fields {
    form: Form,
    values: BTreeMap<String, Value>,
}

impl Fields {
    /// Reads the raw pairs of a stream entry. What could be read is given in any case, so that a
    /// malformed command can still be answered to the one who sent it.
    pub fn read(pairs: &[(String, Vec<u8>)]) -> (Self, Result<(), Problem>) {
        match (Self::form_of(pairs), pairs) {
            (Form::Document, [(_, data)]) => Self::read_document(data),
            _ => Self::read_flat(pairs),
        }
    }

    /// How an entry is written, whatever it holds.
    #[must_use]
    pub fn form_of(pairs: &[(String, Vec<u8>)]) -> Form {
        match pairs {
            [(name, _)] if name == "data" => Form::Document,
            _ => Form::Flat,
        }
    }

    fn read_flat(pairs: &[(String, Vec<u8>)]) -> (Self, Result<(), Problem>) {
        let mut values = BTreeMap::new();
        let mut fault = Ok(());
        for (name, bytes) in pairs {
            let problem = match std::str::from_utf8(bytes) {
                Err(_) => Some(format!("the field `{}` must be UTF-8 text", clean(name))),
                Ok(text) => values
                    .insert(name.clone(), Value::String(text.to_owned()))
                    .map(|_| format!("the field `{}` stands twice in the entry", clean(name))),
            };
            if let (Some(message), Ok(())) = (problem, &fault) {
                fault = Err(Problem::malformed(message));
            }
        }
        (Self::new(Form::Flat, values), fault)
    }

    fn read_document(data: &[u8]) -> (Self, Result<(), Problem>) {
        let empty = || Self::new(Form::Document, BTreeMap::new());
        let mut map = match serde_json::from_slice::<Value>(data) {
            Ok(Value::Object(map)) => map,
            Ok(_) => {
                return (empty(), Err(Problem::malformed("`data` must be a JSON object")));
            }
            Err(error) => {
                // The parser's text tells the place, never the content.
                let message = format!("`data` must be a JSON object: {error}");
                return (empty(), Err(Problem::malformed(message)));
            }
        };
        let mut fault = Ok(());
        match map.remove("config") {
            None | Some(Value::Null) => {}
            Some(Value::Object(config)) => {
                for (name, inner) in config {
                    if map.contains_key(&name) {
                        let name = clean(&name);
                        fault = Err(Problem::malformed(format!(
                            "`{name}` stands both in `data` and in its `config`"
                        )));
                    }
                    map.entry(name).or_insert(inner);
                }
            }
            Some(_) => fault = Err(Problem::malformed("`config` must be an object")),
        }
        (Self::new(Form::Document, map.into_iter().collect()), fault)
    }

    fn new(form: Form, mut values: BTreeMap<String, Value>) -> Self {
        values.retain(|_, given| !matches!(given, Value::Null) && given.as_str() != Some(""));
        Self { form, values }
    }

    /// How the entry was written.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The names that are given, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Refuses a name that is not known, and suggests the nearest one that is.
    ///
    /// # Errors
    /// For the first unknown name.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.names().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let near = did_you_mean(name, known.iter().copied());
                let known = known.join(", ");
                let name = clean(name);
                Err(Problem::malformed(format!(
                    "the field `{name}` is not known{near} (known: {known})"
                )))
            }
        }
    }

    /// The value as it stands.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// A text of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, or no text.
    pub fn text(&self, name: &str, limit: usize) -> Result<Option<String>, Problem> {
        match self.raw(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= limit => Ok(Some(text.clone())),
            Some(Value::String(text)) => Err(Problem::malformed(format!(
                "`{name}` may be at most {limit} bytes long, and is {}",
                text.len()
            ))),
            Some(_) => Err(wrong(name, "a text")),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.read_as(name, value::boolean, "`true` or `false`")
    }

    /// A list of texts.
    ///
    /// # Errors
    /// When it is something else.
    pub fn list(&self, name: &str) -> Result<Vec<String>, Problem> {
        let right = "a list: a JSON array of strings, or words between commas";
        Ok(self.read_as(name, value::list, right)?.unwrap_or_default())
    }

    /// A JSON object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, name: &str) -> Result<serde_json::Map<String, Value>, Problem> {
        let right = r#"a JSON object such as {"name": "value"}"#;
        Ok(self.read_as(name, value::object, right)?.unwrap_or_default())
    }

    /// A JSON object whose values are texts.
    ///
    /// # Errors
    /// When it is something else; the message does not show the values.
    pub fn texts(&self, name: &str) -> Result<BTreeMap<String, String>, Problem> {
        let entry = |(key, given): (String, Value)| match given {
            Value::String(text) => Ok((key, text)),
            Value::Number(number) => Ok((key, number.to_string())),
            Value::Bool(yes) => Ok((key, yes.to_string())),
            _ => Err(wrong(&format!("{name}.{}", clean(&key)), "a text")),
        };
        self.object(name)?.into_iter().map(entry).collect()
    }

    /// A duration.
    ///
    /// # Errors
    /// When it is something else.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        self.read_as(name, value::duration, "a duration such as 90s, 15m or 7d")
    }

    /// One of a few words, read without regard to case.
    ///
    /// # Errors
    /// When it is none of them; the message lists them and suggests the nearest.
    pub fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(given) = self.text(name, usize::MAX)? else { return Ok(None) };
        let found =
            choices.iter().copied().find(|choice| word(*choice).eq_ignore_ascii_case(&given));
        found.map(Some).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|choice| word(*choice)).collect();
            let near = did_you_mean(&given, words.iter().copied());
            let known = words.join(", ");
            Problem::malformed(format!(
                "`{name}` must be one of {known}, not {}{near}",
                Shown(&given)
            ))
        })
    }

    fn read_as<T>(
        &self,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
        right: &str,
    ) -> Result<Option<T>, Problem> {
        self.raw(name).map(|given| read(given).ok_or_else(|| wrong(name, right))).transpose()
    }
}

/// Without the value: it may be a secret that slipped into the wrong field.
fn wrong(name: &str, right: &str) -> Problem {
    Problem::malformed(format!("`{name}` must be {right}"))
}

/// A caller's name for a field, fit for a message.
fn clean(name: &str) -> String {
    Shown(name).to_string().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(pairs: &[(&str, &str)]) -> Fields {
        let pairs: Vec<_> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let (fields, fault) = Fields::read(&pairs);
        fault.unwrap();
        fields
    }

    fn document(data: &str) -> (Fields, Result<(), Problem>) {
        Fields::read(&[("data".to_owned(), data.as_bytes().to_vec())])
    }

    #[test]
    fn both_forms_give_the_same_values() {
        let a = flat(&[("headless", "true"), ("modules", "GIT,CURL"), ("env", r#"{"A":"1"}"#)]);
        let (b, _) = document(
            r#"{"headless": true, "config": {"modules": ["GIT","CURL"], "env": {"A": 1}}}"#,
        );
        for fields in [&a, &b] {
            assert_eq!(fields.boolean("headless"), Ok(Some(true)));
            assert_eq!(fields.list("modules").unwrap(), ["GIT", "CURL"]);
            assert_eq!(fields.texts("env").unwrap()["A"], "1");
        }
        assert_eq!((a.form(), b.form()), (Form::Flat, Form::Document));
    }

    #[test]
    fn broken_documents_say_what_would_be_right() {
        for (data, part) in [
            ("{", "`data` must be a JSON object"),
            ("[1]", "`data` must be a JSON object"),
            (r#"{"config": 1}"#, "`config` must be an object"),
            (r#"{"a": 1, "config": {"a": 2}}"#, "`a` stands both"),
        ] {
            let message = document(data).1.unwrap_err().message;
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let message = flat(&[("promt", "x")]).only(&["prompt", "env"]).unwrap_err().message;
        assert_eq!(
            message,
            "the field `promt` is not known, did you mean `prompt`? (known: prompt, env)"
        );
    }

    #[test]
    fn messages_do_not_show_values_of_objects() {
        let message = flat(&[("env", "TOKEN=hunter2")]).texts("env").unwrap_err().message;
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn text_over_the_limit_is_refused_with_both_numbers() {
        let fields = flat(&[("instructions", &"x".repeat(11))]);
        let message = fields.text("instructions", 10).unwrap_err().message;
        assert_eq!(message, "`instructions` may be at most 10 bytes long, and is 11");
    }

    #[test]
    fn empty_values_count_as_not_given() {
        assert_eq!(flat(&[("prompt", "")]).text("prompt", 9), Ok(None));
    }

    #[test]
    fn a_field_that_stands_twice_or_is_no_text_is_refused() {
        let twice = [("a".to_owned(), b"1".to_vec()), ("a".to_owned(), b"2".to_vec())];
        assert!(Fields::read(&twice).1.unwrap_err().message.contains("twice"));
        let binary = [("a".to_owned(), vec![0xff]), ("b".to_owned(), b"2".to_vec())];
        assert!(Fields::read(&binary).1.unwrap_err().message.contains("UTF-8"));
    }
}
