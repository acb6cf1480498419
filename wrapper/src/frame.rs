//! Bytes to lines. Decoding comes after framing, so that a character is never split between reads.

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
}

impl Framer {
    /// A framer whose lines have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), seen: 0 }
    }

    /// Takes what was read and gives the lines that are now complete.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.hold(&bytes[..end]);
            lines.push(self.complete());
            bytes = &bytes[end + 1..];
        }
        self.hold(bytes);
        lines
    }

    /// The last line, when the agent ended without a line end.
    pub fn finish(&mut self) -> Option<Line> {
        (self.seen > 0).then(|| self.complete())
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..room]);
        self.seen += bytes.len();
    }

    fn complete(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.held);
        let full_bytes = std::mem::take(&mut self.seen);
        let cut = full_bytes > bytes.len();
        if !cut && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Line { text, full_bytes, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
