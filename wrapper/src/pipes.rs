//! The agent's pipes and its terminal: what comes becomes events, what goes is written.

use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use crate::bridge::Event;
use crate::frame::{Framer, Line};
use crate::mask::Masks;
use crate::uplink::Uplink;

const READ_BYTES: usize = 64 << 10;
/// Of an event: a read may hold tens of thousands of empty lines, and each becomes an entry. All
/// that waits in events must be little beside what may wait for Redis in memory.
const LINES_AT_ONCE: usize = 64;

/// What comes from a terminal, as it comes. Its end is an error: the last program has closed it.
pub(crate) async fn watch(mut terminal: pipe::Receiver, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let drawn = match terminal.read(&mut buffer).await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => return,
            Ok(read) => buffer[..read].to_vec(),
        };
        if events.send(Event::Drew(drawn)).await.is_err() {
            return;
        }
    }
}

/// Writes to the agent's stdin; closes it when nobody is left to send.
pub(crate) async fn write(
    mut stdin: pipe::Sender,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    events: mpsc::Sender<Event>,
) {
    while let Some(bytes) = queue.recv().await {
        let event = match stdin.write_all(&bytes).await {
            Ok(()) => Event::Written,
            Err(_) => Event::StdinClosed,
        };
        let closed = matches!(event, Event::StdinClosed);
        if events.send(event).await.is_err() || closed {
            return;
        }
    }
}

/// One of the agent's pipes, line by line.
pub(crate) struct Lines {
    pub(crate) framer: Framer,
    pub(crate) masks: Arc<Masks>,
    pub(crate) uplink: Uplink,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Lines {
    /// Reads to the end.
    pub(crate) async fn read(
        mut self,
        mut pipe: impl AsyncRead + Unpin,
        event: fn(Vec<Line>) -> Event,
    ) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.uplink.room().await;
            let lines = match pipe.read(&mut buffer).await {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(read) => self.framer.feed(&buffer[..read]),
            };
            if self.pass_on(lines, event).await.is_err() {
                return;
            }
        }
        let last = self.framer.finish().into_iter().collect();
        let _ = self.pass_on(last, event).await;
    }

    async fn pass_on(&self, mut lines: Vec<Line>, event: fn(Vec<Line>) -> Event) -> Result<(), ()> {
        while !lines.is_empty() {
            let rest = lines.split_off(lines.len().min(LINES_AT_ONCE));
            lines.iter_mut().for_each(|line| self.masks.line(line));
            self.events.send(event(lines)).await.map_err(drop)?;
            lines = rest;
        }
        Ok(())
    }
}
