//! What is common to the outputs of both builders.

use bollard::models::BuildInfo;
use std::collections::VecDeque;

use crate::engine::BuildStep;

/// Enough to see why a step failed.
pub(super) const KEPT_LINES: usize = 20;
/// A line goes into events and replies; a program that prints no line break must not fill them.
pub(super) const LONGEST_LINE: usize = 2000;

/// A build's output, as it is read.
pub(super) trait Printed: Send {
    /// Takes what came next and gives what it completes; none, when it holds nothing new.
    fn read(&mut self, item: BuildInfo) -> Option<Vec<BuildStep>>;

    /// Whether the engine keeps to itself what a running step prints, so that its silence says
    /// little.
    fn is_muted(&self) -> bool {
        false
    }

    /// Which step a failure belongs to, and what was said about it.
    fn reason(&self, said: &str) -> String;

    /// The last lines, the one that is not complete included.
    fn last_lines(&mut self) -> Vec<String>;
}

/// The lines that are kept for a failure's report.
#[derive(Default)]
pub(super) struct LastLines(VecDeque<String>);

impl LastLines {
    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == KEPT_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).into()
    }
}

/// What a builder says of a failure, in one line of a length that can be read: it repeats the whole
/// instruction, which is cut in its middle.
pub(super) fn shortened(said: &str) -> String {
    const HEAD: usize = 160;
    const TAIL: usize = 80;
    let said: Vec<char> = plain(said).chars().collect();
    if said.len() <= HEAD + TAIL {
        return String::from_iter(said);
    }
    let (head, tail) = (&said[..HEAD], &said[said.len() - TAIL..]);
    [head, &[' ', '…', ' '], tail].concat().into_iter().collect()
}

/// A line as it would last stand on a terminal: what a carriage return wrote over is gone, and so
/// are colours (the builder prints errors in red).
pub(super) fn plain(line: &str) -> String {
    let line = line.trim_end();
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| {
        let end = piece.find(|c: char| ('@'..='~').contains(&c)).map_or(piece.len(), |at| at + 1);
        text + &piece[end..]
    })
}
