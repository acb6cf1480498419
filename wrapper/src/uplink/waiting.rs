//! Where items wait: the oldest in memory, the others on disk. Over the bound the oldest go, and
//! are counted.
//!
//! A disk that cannot be used is said once, and memory has to do, up to a bound of its own.

use jiff::Timestamp;
use serde_json::json;
use std::io;
use std::path::PathBuf;

use super::item::{Entry, Facts, Item, Queue, write_record};
use super::spool::{Append, Spool};
use worker_protocol::boot::Bounds;
use worker_protocol::{Output, OutputKind, Source};

/// What waits in memory before the rest goes to disk: a pause of Redis needs no file.
const IN_MEMORY: usize = 4 << 20;
/// When the bound of memory is passed, room is made for some time, so that it is rarely done.
const SHED_TO: f64 = 0.75;

pub(super) struct Waiting {
    /// What was left out, before all that waits.
    lost: Lost,
    queue: Queue,
    disk: Disk,
    memory_limit: usize,
    disk_limit: u64,
    folder: PathBuf,
    trouble: Trouble,
    /// The time of the newest entry.
    newest: Timestamp,
    /// Bytes that were written to disk so far.
    spooled: u64,
    /// Entries that were left out so far and told of.
    dropped: u64,
}

/// Whatever it holds is newer than what is in memory.
enum Disk {
    Off,
    Unused,
    Used(Spool),
    /// Until memory is empty; then it is tried again.
    GivenUp,
}

enum Trouble {
    None,
    Untold(String),
    Told,
}

#[derive(Clone, Copy, Default)]
struct Lost {
    entries: u64,
    bytes: u64,
    since: Timestamp,
    unreadable: bool,
}

impl Waiting {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self {
            lost: Lost::default(),
            queue: Queue::default(),
            disk: if bounds.spool_bytes > 0 { Disk::Unused } else { Disk::Off },
            memory_limit: bounds.backlog_bytes,
            disk_limit: bounds.spool_bytes,
            folder: bounds.spool_folder.clone().into(),
            trouble: Trouble::None,
            newest: Timestamp::default(),
            spooled: 0,
            dropped: 0,
        }
    }

    pub(super) fn say(&mut self, output: Output, at: Timestamp) {
        self.newest = at;
        self.keep(Item::Entry(Entry::new(output, at)));
        if let Trouble::Untold(text) = &self.trouble {
            let error = Output::new(OutputKind::Error, Source::Wrapper, text.as_str());
            self.trouble = Trouble::Told;
            self.keep(Item::Entry(Entry::lasting(error, at)));
        }
    }

    /// Adds an item behind all others.
    pub(super) fn keep(&mut self, item: Item) {
        if self.goes_to_disk(&item) {
            match self.write(&item) {
                Ok(true) => return,
                // Larger than the whole spool, which is empty by now.
                Ok(false) => {}
                Err(error) => self.give_up(&error),
            }
        }
        self.remember(item);
    }

    fn goes_to_disk(&self, item: &Item) -> bool {
        match &self.disk {
            Disk::Off | Disk::GivenUp => false,
            Disk::Used(spool) if !spool.is_empty() => true,
            Disk::Used(_) | Disk::Unused => {
                self.queue.bytes() + item.cost() > self.memory_limit.min(IN_MEMORY)
            }
        }
    }

    fn remember(&mut self, item: Item) {
        self.queue.push_back(item);
        if self.queue.bytes() > self.memory_limit {
            let target = (self.memory_limit as f64 * SHED_TO) as usize;
            self.queue.shed(target, |facts| self.lost.add(facts));
        }
    }

    /// Whether there was room for it, after the oldest have gone.
    fn write(&mut self, item: &Item) -> io::Result<bool> {
        if matches!(self.disk, Disk::Unused) {
            self.disk = Disk::Used(Spool::create(&self.folder, self.disk_limit)?);
        }
        let record = write_record(item);
        loop {
            let Disk::Used(spool) = &mut self.disk else { return Ok(false) };
            match spool.append(&record, item.facts())? {
                Append::Done => {
                    self.spooled += record.len() as u64;
                    return Ok(true);
                }
                Append::NoRoom => {}
                Append::DiskFull { error, held } => self.complain(format!(
                    "the disk is full ({error}): of the output that waits for redis, the newest \
                     {held} bytes are kept there; make room on the engine's disk"
                )),
            }
            if !self.leave_oldest_out()? {
                return Ok(false);
            }
        }
    }

    /// All in memory, then one on disk. Nothing happens when nothing is left.
    fn leave_oldest_out(&mut self) -> io::Result<bool> {
        self.queue.shed(0, |facts| self.lost.add(facts));
        let Disk::Used(spool) = &mut self.disk else { return Ok(false) };
        let Some(header) = spool.peek()? else { return Ok(false) };
        if let Some(facts) = header.entry.filter(|facts| !facts.stays) {
            spool.leave(header);
            self.lost.add(facts);
        } else if let Some(item) = spool.take()? {
            self.queue.push_back(item);
        }
        Ok(true)
    }

    /// In memory, until that is empty. What is on disk comes there too, as far as it fits.
    fn give_up(&mut self, error: &io::Error) {
        self.complain(format!(
            "output that waits for redis cannot be kept on disk in {}: {error}; up to {} bytes \
             are kept in memory",
            self.folder.display(),
            self.memory_limit
        ));
        if let Disk::Used(mut spool) = std::mem::replace(&mut self.disk, Disk::GivenUp) {
            loop {
                match spool.take() {
                    Ok(Some(item)) => self.remember(item),
                    Ok(None) => return,
                    Err(_) => return self.lost.unreadable(spool.content(), self.newest),
                }
            }
        }
    }

    fn complain(&mut self, text: String) {
        if matches!(self.trouble, Trouble::None) {
            self.trouble = Trouble::Untold(text);
        }
    }

    /// Takes out the oldest. What was left out came before it.
    pub(super) fn pop(&mut self) -> Option<Item> {
        if let Some(item) = self.queue.pop_front() {
            return Some(item);
        }
        if let Disk::Used(spool) = &mut self.disk {
            match spool.take() {
                Ok(Some(item)) => return Some(item),
                // Gives the disk back.
                Ok(None) => self.disk = Disk::Unused,
                Err(error) => self.give_up(&error),
            }
        }
        let item = self.queue.pop_front();
        if item.is_none() && matches!(self.disk, Disk::GivenUp) {
            self.disk = Disk::Unused;
        }
        item
    }

    /// Whether the next one is known to be an entry: it is in memory, and nothing was left out
    /// before it.
    pub(super) fn next_is_entry(&self) -> bool {
        self.lost.entries == 0 && matches!(self.queue.front(), Some(Item::Entry(_)))
    }

    /// Puts back what was taken out last.
    pub(super) fn put_back(&mut self, item: Item) {
        self.queue.push_front(item);
    }

    /// What was left out, as an entry that comes before all that waits.
    pub(super) fn pop_gap(&mut self) -> Option<Entry> {
        let lost = std::mem::take(&mut self.lost);
        self.dropped += lost.entries;
        (lost.entries > 0).then(|| Entry::new(lost.describe(), lost.since))
    }

    /// What it cost so far that Redis was away: bytes that waited on disk, and entries that were
    /// left out.
    pub(super) fn toll(&self) -> (u64, u64) {
        (self.spooled, self.dropped)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        let on_disk = match &self.disk {
            Disk::Used(spool) => spool.bytes(),
            _ => 0,
        };
        self.queue.bytes().saturating_add(usize::try_from(on_disk).unwrap_or(usize::MAX))
    }

    pub(super) fn is_empty(&self) -> bool {
        let nothing_on_disk = match &self.disk {
            Disk::Used(spool) => spool.is_empty(),
            _ => true,
        };
        self.lost.entries == 0 && self.queue.is_empty() && nothing_on_disk
    }
}

impl Lost {
    fn add(&mut self, facts: Facts) {
        if self.entries == 0 {
            self.since = facts.at;
        }
        self.entries += 1;
        self.bytes += facts.text_bytes;
    }

    fn unreadable(&mut self, (entries, bytes): (u64, u64), at: Timestamp) {
        if self.entries == 0 {
            self.since = at;
        }
        self.entries += entries;
        self.bytes += bytes;
        self.unreadable = true;
    }

    fn describe(self) -> Output {
        let Self { entries, bytes, .. } = self;
        let (reason, why) = if self.unreadable {
            ("spool_unreadable", "the file in which they waited for redis cannot be read")
        } else {
            ("backlog_full", "redis was away for longer than the room for output lasts")
        };
        let content = format!("{entries} entries ({bytes} bytes) were lost: {why}");
        Output::new(OutputKind::Gap, Source::Wrapper, content)
            .with_data(json!({"entries": entries, "bytes": bytes, "reason": reason}))
    }
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
