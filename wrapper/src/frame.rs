//! Bytes to lines. Decoding comes after framing, so that a character is never split between reads.
//!
//! A line ends with a line feed. A carriage return within it begins it anew, as on a terminal: of
//! a progress bar the last state is kept, however often it was drawn. Escape sequences stay.

/// One line of an agent, without its line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text; bytes that are no UTF-8 became `U+FFFD`.
    pub text: String,
    /// How many bytes the line had; more than the limit when it was cut.
    pub full_bytes: usize,
    /// Whether it was longer than the limit, and `text` is its beginning.
    pub cut: bool,
}

/// Collects bytes until a line is complete. It keeps at most `limit` bytes of a line.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    held: Vec<u8>,
    /// Bytes of the unfinished line, with those over the limit, which are not held.
    seen: usize,
    /// A carriage return came last. What follows takes the place of what is held.
    returned: bool,
}

impl Framer {
    /// A framer whose lines have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), seen: 0, returned: false }
    }

    /// Takes what was read and gives the lines that are now complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(at) = memchr::memchr2(b'\n', b'\r', bytes) {
            self.hold(&bytes[..at]);
            if bytes[at] == b'\n' {
                lines.push(self.complete());
            } else {
                self.returned = true;
            }
            bytes = &bytes[at + 1..];
        }
        self.hold(bytes);
        lines
    }

    /// The last line, when the agent ended without a line end.
    pub fn finish(&mut self) -> Option<Line> {
        (self.seen > 0).then(|| self.complete())
    }

    fn hold(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if std::mem::take(&mut self.returned) {
            self.held.clear();
            self.seen = 0;
        }
        let room = self.limit.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..room]);
        self.seen += bytes.len();
    }

    fn complete(&mut self) -> Line {
        self.returned = false;
        let bytes = std::mem::take(&mut self.held);
        let full_bytes = std::mem::take(&mut self.seen);
        let cut = full_bytes > bytes.len();
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Line { text, full_bytes, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn lines(limit: usize, reads: &[&[u8]]) -> Vec<(String, bool)> {
        let mut framer = Framer::new(limit);
        let mut all: Vec<_> = reads.iter().flat_map(|bytes| framer.feed(bytes)).collect();
        all.extend(framer.finish());
        all.into_iter().map(|line| (line.text, line.cut)).collect()
    }

    #[test]
    fn lines_do_not_depend_on_how_they_were_read() {
        let bytes = "eins\r\nzwölf\n\n日本".as_bytes();
        let whole = lines(100, &[bytes]);
        assert_eq!(
            whole.iter().map(|l| l.0.as_str()).collect::<Vec<_>>(),
            ["eins", "zwölf", "", "日本"]
        );
        for at in 0..bytes.len() {
            assert_eq!(lines(100, &[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_is_whole() {
        let mut framer = Framer::new(4);
        let got = framer.feed(b"123456\n1234\n");
        assert_eq!(got[0], Line { text: "1234".into(), full_bytes: 6, cut: true });
        assert_eq!(got[1], Line { text: "1234".into(), full_bytes: 4, cut: false });
    }

    #[test]
    fn what_is_no_text_is_kept_as_far_as_it_is() {
        assert_eq!(lines(100, &[b"a\xffb\n"]), [("a\u{fffd}b".to_owned(), false)]);
    }

    #[test]
    fn of_a_progress_bar_the_last_state_is_kept() {
        let texts = |bytes: &[u8]| lines(5, &[bytes]).into_iter().map(|l| l.0).collect::<Vec<_>>();
        for (bytes, expected) in [
            (&b" 10%\r 50%\r100%\ndone\n"[..], vec!["100%", "done"]),
            (b"one\r\ntwo\r\r\n", vec!["one", "two"]),
            (b"\rone\r", vec!["one"]),
            (b"\r\n\r", vec![""]),
        ] {
            assert_eq!(texts(bytes), expected);
        }
        // However often it was drawn, it is not too long.
        let drawn = "\r[###]".repeat(10_000) + "\n";
        assert_eq!(lines(5, &[drawn.as_bytes()]), [("[###]".to_owned(), false)]);
    }

    /// What a stream's lines are, by the plainest rules.
    fn plainly(limit: usize, bytes: &[u8]) -> Vec<Line> {
        let mut all: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
        if all.last().is_some_and(|last| last.iter().all(|byte| *byte == b'\r')) {
            all.pop();
        }
        let line = |bytes: &[u8]| {
            let states = bytes.split(|byte| *byte == b'\r');
            let last = states.rev().find(|state| !state.is_empty()).unwrap_or_default();
            let kept = &last[..last.len().min(limit)];
            let text = String::from_utf8_lossy(kept).into_owned();
            Line { text, full_bytes: last.len(), cut: kept.len() < last.len() }
        };
        all.into_iter().map(line).collect()
    }

    #[test]
    fn any_bytes_read_in_any_pieces_give_the_same_lines() {
        let mut random = Random::new(1);
        let pieces: [&[u8]; 10] = [
            b"a",
            b"bc",
            b"\n",
            b"\r",
            b"\r\n",
            "ü€😀".as_bytes(),
            b"\xff",
            b"\xe2\x82",
            b"\0",
            b"\x1b[1m",
        ];
        for round in 0..5000 {
            let bytes: Vec<u8> = (0..random.below(40))
                .flat_map(|_| pieces[random.below(pieces.len())].to_vec())
                .collect();
            let limit = 1 + random.below(30);
            let mut framer = Framer::new(limit);
            let mut lines = Vec::new();
            for piece in random.pieces(&bytes) {
                lines.extend(framer.feed(piece));
            }
            lines.extend(framer.finish());
            assert_eq!(lines, plainly(limit, &bytes), "round {round}: {bytes:?}");
        }
    }
}
