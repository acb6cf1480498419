//! What a command is answered.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::command::Header;
use crate::fields::Form;
use crate::problem::Problem;
use crate::rfc3339;

/// The one reply of a command: the same names and values in both forms.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    fields: Map<String, Value>,
}

impl Reply {
    /// The command was carried out; `content` is what it gives beside the common fields. Values
    /// that are null are left out.
    #[must_use]
    pub fn ok(header: &Header, now: Timestamp, content: Map<String, Value>) -> Self {
        let mut reply = Self::begin(header, now, true);
        reply.add(content);
        reply
    }

    /// The command failed; `content` tells what is known nevertheless, such as the worker's id.
    #[must_use]
    pub fn failed(
        header: &Header,
        now: Timestamp,
        problem: &Problem,
        content: Map<String, Value>,
    ) -> Self {
        let mut reply = Self::begin(header, now, false);
        reply.fields.insert("error".to_owned(), json!(problem.kind.as_str()));
        reply.fields.insert("message".to_owned(), json!(problem.message));
        reply.add(content);
        reply
    }

    /// A stored reply, read back.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|fields| Self { fields })
    }

    /// Whether the command was carried out.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.fields.get("ok") == Some(&Value::Bool(true))
    }

    /// A field as text; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.fields.get(name).map(plain).unwrap_or_default()
    }

    /// As JSON: for lists, for storage, and for the document form.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(self.fields.clone()).to_string()
    }

    /// As the fields of a stream entry.
    #[must_use]
    pub fn to_entry(&self, form: Form) -> Vec<(String, String)> {
        match form {
            Form::Document => vec![("data".to_owned(), self.to_json())],
            Form::Flat => {
                self.fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
            }
        }
    }

    fn begin(header: &Header, now: Timestamp, ok: bool) -> Self {
        let mut fields = Map::new();
        fields.insert("request_id".to_owned(), json!(header.request_id));
        if let Some(id) = &header.correlation_id {
            fields.insert("correlation_id".to_owned(), json!(id));
        }
        fields.insert("command".to_owned(), json!(header.command.to_ascii_lowercase()));
        fields.insert("ok".to_owned(), json!(ok));
        fields.insert("timestamp".to_owned(), json!(rfc3339(now)));
        // `timestamp` is the reply's own; the caller's goes by its side only if nothing is hidden.
        for (name, value) in &header.passed_through {
            fields.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Self { fields }
    }

    fn add(&mut self, content: Map<String, Value>) {
        self.fields.extend(content.into_iter().filter(|(_, value)| !value.is_null()));
    }
}

/// A value as a stream field holds it: text as it is, anything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keys;
    use crate::problem::ErrorKind;

    fn header(pairs: &[(&str, &str)]) -> Header {
        let pairs: Vec<_> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        crate::command::parse_command("5-0", &pairs, &Keys::new("worker").unwrap()).0
    }

    #[test]
    fn a_reply_takes_the_form_of_its_command() {
        let now = Timestamp::UNIX_EPOCH;
        let header = header(&[("command", "PING"), ("correlation_id", "c7")]);
        let mut content = Map::new();
        content.insert("version".to_owned(), json!("0.1.0"));
        content.insert("nothing".to_owned(), Value::Null);
        let reply = Reply::ok(&header, now, content);
        let flat = reply.to_entry(Form::Flat);
        assert!(flat.contains(&("request_id".to_owned(), "5-0".to_owned())));
        assert!(flat.contains(&("ok".to_owned(), "true".to_owned())));
        assert!(flat.contains(&("command".to_owned(), "ping".to_owned())));
        assert!(flat.contains(&("timestamp".to_owned(), "1970-01-01T00:00:00.000Z".to_owned())));
        assert!(!flat.iter().any(|(name, _)| name == "nothing"));
        let [(name, data)] = &reply.to_entry(Form::Document)[..] else { panic!("one field") };
        assert_eq!(name, "data");
        assert_eq!(Reply::from_json(data), Some(reply));
    }

    #[test]
    fn a_failure_has_a_word_and_a_sentence() {
        let header = header(&[("command", "status")]);
        let problem = Problem::new(ErrorKind::UnknownWorker, "no worker has the id x");
        let reply = Reply::failed(&header, Timestamp::UNIX_EPOCH, &problem, Map::new());
        let flat = reply.to_entry(Form::Flat);
        assert!(flat.contains(&("error".to_owned(), "unknown_worker".to_owned())));
        assert!(flat.contains(&("ok".to_owned(), "false".to_owned())));
    }
}
