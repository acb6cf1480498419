//! Output that waits on disk: a ring in a file without a name.
//!
//! Positions only grow; a position's place in the file is its remainder by the capacity. So the
//! file is never longer than its capacity, and the oldest make room without being moved. A file
//! that is unlinked as soon as it is open leaves nothing behind, however the wrapper ends.
//!
//! Reads and writes are not asynchronous: they go to the page cache.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::item::{Facts, Header, Item, read_record};

/// Read at once: hundreds of ordinary entries.
const WINDOW: usize = 64 << 10;
/// A disk that has less than this to give is as good as none.
const SMALLEST: u64 = 64 << 10;

/// The ring.
pub(super) struct Spool {
    file: File,
    capacity: u64,
    /// The position after the newest record.
    end: u64,
    /// The position of the oldest record.
    begin: u64,
    /// Entries that are in it, and the bytes of their texts.
    entries: u64,
    text_bytes: u64,
    /// What was read ahead, and the position of its first byte.
    window: Vec<u8>,
    window_at: u64,
}

/// What became of a record.
#[derive(Debug)]
pub(super) enum Append {
    Done,
    /// The oldest must go first.
    NoRoom,
    /// As `NoRoom`, since the disk is full: the bytes that it has given so far are all there are.
    DiskFull {
        error: io::Error,
        held: u64,
    },
}

impl Spool {
    /// A new one in `folder`, which is made, for root alone.
    pub(super) fn create(folder: &Path, capacity: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder.parent().unwrap_or(folder))?;
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = folder.join("output");
        // Left by a wrapper that was killed between the next two lines.
        let _ = std::fs::remove_file(&path);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(Self::over(file, capacity))
    }

    fn over(file: File, capacity: u64) -> Self {
        Self {
            file,
            capacity,
            end: 0,
            begin: 0,
            entries: 0,
            text_bytes: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> u64 {
        self.end - self.begin
    }

    /// Entries that are in it, and the bytes of their texts.
    pub(super) fn content(&self) -> (u64, u64) {
        (self.entries, self.text_bytes)
    }

    /// Writes a record behind all others. An error means that nothing more can be written at all.
    pub(super) fn append(&mut self, record: &[u8], entry: Option<Facts>) -> io::Result<Append> {
        let end = self.end + record.len() as u64;
        if end - self.begin > self.capacity {
            return Ok(Append::NoRoom);
        }
        if let Err(error) = self.write(self.end, record) {
            return self.make_do(end, error);
        }
        self.end = end;
        if let Some(facts) = entry {
            self.entries += 1;
            self.text_bytes += facts.text_bytes;
        }
        Ok(Append::Done)
    }

    /// A file that has not come round yet may end here: what was written stays where it is, and
    /// its blocks can be written again when the oldest are gone.
    fn make_do(&mut self, wanted: u64, error: io::Error) -> io::Result<Append> {
        let full = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        );
        if !full || wanted > self.capacity || self.end < SMALLEST {
            return Err(error);
        }
        self.capacity = self.end;
        Ok(Append::DiskFull { error, held: self.capacity })
    }

    /// What the oldest record is.
    pub(super) fn peek(&mut self) -> io::Result<Option<Header>> {
        if self.is_empty() {
            return Ok(None);
        }
        let bytes = self.read(self.begin, Header::BYTES)?;
        Header::read(bytes).map(Some).ok_or_else(damaged)
    }

    /// Takes the oldest out.
    pub(super) fn take(&mut self) -> io::Result<Option<Item>> {
        let Some(header) = self.peek()? else { return Ok(None) };
        let at = self.begin + Header::BYTES as u64;
        let bytes = self.read(at, header.length as usize)?;
        let item = read_record(header, bytes).ok_or_else(damaged)?;
        self.leave(header);
        Ok(Some(item))
    }

    /// Leaves the oldest out, which is `header`.
    pub(super) fn leave(&mut self, header: Header) {
        self.begin += Header::BYTES as u64 + u64::from(header.length);
        if let Some(facts) = header.entry {
            self.entries -= 1;
            self.text_bytes -= facts.text_bytes;
        }
    }

    /// Makes the file end early, as a broken disk might.
    #[cfg(test)]
    pub(super) fn cut(&self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let (place, first) = self.place(at, bytes.len());
        self.file.write_all_at(&bytes[..first], place)?;
        self.file.write_all_at(&bytes[first..], 0)
    }

    /// `length` bytes from a position on, by way of the window.
    fn read(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + length as u64 > window_end {
            let there = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            if length > there {
                return Err(damaged());
            }
            let mut window = std::mem::take(&mut self.window);
            window.resize(length.max(WINDOW).min(there), 0);
            let (place, first) = self.place(at, window.len());
            let (head, tail) = window.split_at_mut(first);
            self.file.read_exact_at(head, place)?;
            self.file.read_exact_at(tail, 0)?;
            (self.window, self.window_at) = (window, at);
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        self.window.get(from..from + length).ok_or_else(damaged)
    }

    /// The place of a position, and how many of the bytes lie before the file's end.
    fn place(&self, at: u64, length: usize) -> (u64, usize) {
        let place = at % self.capacity;
        let before_end = usize::try_from(self.capacity - place).unwrap_or(usize::MAX);
        (place, length.min(before_end))
    }
}

fn damaged() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "what is there is not what was written")
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
