//! One entry of a stream.

use redis::streams::StreamId;
use serde_json::Value;
use std::collections::BTreeMap;

/// Id and fields, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry's id.
    pub id: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
}

impl Entry {
    /// From the library's form.
    pub fn read(entry: StreamId) -> Self {
        let text = |value| redis::from_redis_value::<Vec<u8>>(value).unwrap_or_default();
        let fields = entry.map.into_iter();
        let fields =
            fields.map(|(name, value)| (name, String::from_utf8_lossy(&text(value)).into_owned()));
        Self { id: entry.id, fields: fields.collect() }
    }

    /// A field; empty, when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The field `type`.
    pub fn kind(&self) -> &str {
        self.get("type")
    }

    /// The field `content`.
    pub fn content(&self) -> &str {
        self.get("content")
    }

    /// The field `data`, read; null, when it is not there or no JSON.
    pub fn data(&self) -> Value {
        serde_json::from_str(self.get("data")).unwrap_or_default()
    }
}

/// Entries of one type that belong to a turn.
pub fn of_turn<'a>(output: &'a [Entry], turn: &str, kind: &str) -> Vec<&'a Entry> {
    output.iter().filter(|entry| entry.get("turn") == turn && entry.kind() == kind).collect()
}
