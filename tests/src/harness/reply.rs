//! A reply, in whichever form it came.

use serde_json::{Map, Value};

use super::Entry;

/// The fields of a reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    fields: Map<String, Value>,
}

impl Reply {
    /// From an entry of the responses.
    pub fn read(entry: &Entry) -> Self {
        if entry.fields.len() == 1 && entry.fields.contains_key("data") {
            return Self::from_json(entry.get("data"));
        }
        let fields = entry.fields.iter();
        Self { fields: fields.map(|(k, v)| (k.clone(), Value::String(v.clone()))).collect() }
    }

    /// From the JSON of a document or of a reply list.
    pub fn from_json(text: &str) -> Self {
        let fields = serde_json::from_str(text);
        Self { fields: fields.unwrap_or_else(|error| panic!("no JSON object: {error}: {text}")) }
    }

    /// A field as text; empty, when it is not there.
    pub fn get(&self, name: &str) -> String {
        match self.fields.get(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    /// Whether the command succeeded.
    pub fn is_ok(&self) -> bool {
        self.get("ok") == "true"
    }

    /// The names and values, without the time, which differs.
    pub fn timeless(&self) -> Map<String, Value> {
        let mut fields = self.fields.clone();
        fields.remove("timestamp");
        fields
    }
}
