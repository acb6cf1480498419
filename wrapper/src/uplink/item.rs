//! What waits: entries and acknowledgements, and how they are written to the spool.

use jiff::Timestamp;
use std::borrow::Cow;
use std::collections::VecDeque;

use super::backlog::StreamId;
use worker_protocol::{Output, OutputKind};

/// What an entry costs in memory beside its texts.
const ENTRY_OVERHEAD: usize = 256;

/// Names and values of a stream entry.
pub type Fields = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// Something that waits for its turn.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Entry(Entry),
    Ack { id: String, trim_below: StreamId },
}

/// An output entry that has no number yet.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    fields: Fields,
    facts: Facts,
}

/// What must be known of an entry to leave it out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Facts {
    /// Whether it is never left out. Somebody waits for the ends of turns.
    pub(super) stays: bool,
    /// Bytes of `content`, `data` and `raw`.
    pub(super) text_bytes: u64,
    pub(super) at: Timestamp,
}

impl Entry {
    pub(super) fn new(output: Output, at: Timestamp) -> Self {
        let stays = matches!(output.kind, OutputKind::TurnCompleted | OutputKind::Exit);
        let fields = output.into_entry(0, at).into_iter();
        let fields: Fields = fields.map(|(name, value)| (name.into(), value)).collect();
        let is_text = |name: &str| matches!(name, "content" | "data" | "raw");
        let texts = fields.iter().filter(|(name, _)| is_text(name)).map(|(_, text)| text.len());
        let text_bytes = texts.sum::<usize>() as u64;
        Self { fields, facts: Facts { stays, text_bytes, at } }
    }

    /// One that is never left out.
    pub(super) fn lasting(output: Output, at: Timestamp) -> Self {
        let mut entry = Self::new(output, at);
        entry.facts.stays = true;
        entry
    }

    /// What it takes in memory.
    pub(super) fn cost(&self) -> usize {
        ENTRY_OVERHEAD + self.fields.iter().map(|(_, value)| value.len()).sum::<usize>()
    }

    /// Its fields, under its number.
    pub(super) fn numbered(mut self, seq: u64) -> Fields {
        for (name, value) in &mut self.fields {
            if name == "seq" {
                *value = seq.to_string().into();
            }
        }
        self.fields
    }
}

impl Item {
    /// Those of an entry.
    pub(super) fn facts(&self) -> Option<Facts> {
        match self {
            Self::Entry(entry) => Some(entry.facts),
            Self::Ack { .. } => None,
        }
    }

    /// The facts of an entry that may be left out; none of what must stay.
    fn droppable(&self) -> Option<Facts> {
        self.facts().filter(|facts| !facts.stays)
    }

    /// What it takes in memory.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.cost(),
            Self::Ack { .. } => 0,
        }
    }
}

/// Items in memory, in order, and what they take.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    droppable: usize,
}

impl Queue {
    pub(super) fn push_back(&mut self, item: Item) {
        self.count(&item);
        self.items.push_back(item);
    }

    pub(super) fn push_front(&mut self, item: Item) {
        self.count(&item);
        self.items.push_front(item);
    }

    fn count(&mut self, item: &Item) {
        self.bytes += item.cost();
        self.droppable += usize::from(item.droppable().is_some());
    }

    pub(super) fn pop_front(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.cost();
        self.droppable -= usize::from(item.droppable().is_some());
        Some(item)
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes out the oldest entries until at most `target` bytes are left. Acknowledgements and
    /// the ends of turns stay.
    pub(super) fn shed(&mut self, target: usize, mut lost: impl FnMut(Facts)) {
        let (mut kept, mut kept_bytes) = (Vec::new(), 0);
        while self.bytes + kept_bytes > target && self.droppable > 0 {
            let Some(item) = self.pop_front() else { break };
            if let Some(facts) = item.droppable() {
                lost(facts);
            } else {
                kept_bytes += item.cost();
                kept.push(item);
            }
        }
        for item in kept.into_iter().rev() {
            self.push_front(item);
        }
    }
}

/// The beginning of a record: enough to leave the record out without reading it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    /// Bytes of the record after the header.
    pub(super) length: u32,
    /// None of an acknowledgement.
    pub(super) entry: Option<Facts>,
}

impl Header {
    pub(super) const BYTES: usize = 21;

    fn write(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        if let Some(facts) = self.entry {
            bytes[4] = 1 + u8::from(facts.stays);
            bytes[5..13].copy_from_slice(&facts.text_bytes.to_le_bytes());
            bytes[13..].copy_from_slice(&facts.at.as_millisecond().to_le_bytes());
        }
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let text_bytes = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
        let at = i64::from_le_bytes(bytes.get(13..Self::BYTES)?.try_into().ok()?);
        let at = Timestamp::from_millisecond(at).ok()?;
        let entry = match bytes[4] {
            0 => None,
            1 => Some(Facts { stays: false, text_bytes, at }),
            2 => Some(Facts { stays: true, text_bytes, at }),
            _ => return None,
        };
        Some(Self { length, entry })
    }
}

/// An item as a record. The form is no one else's: the file does not outlive the process.
pub(super) fn write_record(item: &Item) -> Vec<u8> {
    let mut bytes = vec![0; Header::BYTES];
    let mut text = |text: &str| {
        bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    };
    let entry = match item {
        Item::Entry(entry) => {
            for (name, value) in &entry.fields {
                text(name);
                text(value);
            }
            Some(entry.facts)
        }
        Item::Ack { id, trim_below } => {
            text(id);
            text(&trim_below.to_string());
            None
        }
    };
    let length = u32::try_from(bytes.len() - Header::BYTES).unwrap_or(u32::MAX);
    bytes[..Header::BYTES].copy_from_slice(&Header { length, entry }.write());
    bytes
}

/// The item of a record; nothing when it is not what was written.
pub(super) fn read_record(header: Header, mut bytes: &[u8]) -> Option<Item> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let text = bytes.get(4..4 + length)?;
        texts.push(String::from_utf8(text.to_vec()).ok()?);
        bytes = &bytes[4 + length..];
    }
    let mut texts = texts.into_iter();
    let Some(facts) = header.entry else {
        let (id, trim_below) = (texts.next()?, StreamId::parse(&texts.next()?)?);
        return Some(Item::Ack { id, trim_below });
    };
    let mut fields = Fields::new();
    while let Some(name) = texts.next() {
        fields.push((name.into(), texts.next()?.into()));
    }
    Some(Item::Entry(Entry { fields, facts }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use worker_protocol::Source;

    #[test]
    fn items_are_read_back_as_they_were_written() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let mut output = Output::new(OutputKind::Stdout, Source::Agent, "a\nb\0ü")
            .with_data(json!({"cost": 0.1, "n": [1, null]}));
        output.raw = Some(String::new());
        let end = Output::new(OutputKind::Exit, Source::Wrapper, "");
        let items = [
            Item::Entry(Entry::new(output, at)),
            Item::Entry(Entry::new(end, at)),
            Item::Ack { id: "7-0".into(), trim_below: StreamId { ms: 8, n: 1 } },
        ];
        for item in items {
            let bytes = write_record(&item);
            let header = Header::read(&bytes).unwrap();
            assert_eq!(header.length as usize, bytes.len() - Header::BYTES);
            assert_eq!(read_record(header, &bytes[Header::BYTES..]), Some(item));
            let short = &bytes[Header::BYTES..bytes.len() - 1];
            assert_eq!(read_record(header, short), None);
        }
    }
}
