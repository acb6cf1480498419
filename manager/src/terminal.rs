//! What workers, builds and callers say, as people may see it.
//!
//! A terminal obeys what it is shown: a line may set its title, write to the clipboard, move the
//! cursor over what stands there, or have it type an answer. So on a terminal, and in the log, each
//! character that is an order is shown as a number. Programs get what was said as it is.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// A text of several lines. Orders are shown as JSON writes them, so that JSON stays what it is.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    replaced(text, |c| !matches!(c, '\n' | '\t') && is_order(c))
}

/// A text that has to stand in one line.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    replaced(text, is_order)
}

/// Prints a line on stdout.
pub fn print(text: impl Display) {
    let text = text.to_string();
    let shown = if io::stdout().is_terminal() { plain(&text) } else { Cow::Borrowed(&*text) };
    println!("{shown}");
}

/// Prints a line on stderr.
pub fn tell(text: impl Display) {
    eprintln!("{}", plain(&text.to_string()));
}

fn replaced(text: &str, is_order: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_order) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if is_order(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Control characters of both kinds, and those that turn the direction in which a line is read, by
/// which it can seem to say something else.
fn is_order(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes what is written to it for lines of a log, each with its end.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: Write> Write for Lines<W> {
    /// What is no text stays as it is: the log is text, and no character is cut in two.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match str::from_utf8(bytes) {
            Ok(text) => {
                let (body, end) = text.strip_suffix('\n').map_or((text, ""), |body| (body, "\n"));
                write!(self.0, "{}{end}", line(body))?;
            }
            Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [&str; 8] = [
        "\x1b]0;title\x07",
        "\x1b]52;c;ZXZpbA==\x1b\\",
        "\x1b[2J\x1b[1;1H",
        "\x1bP+q544e\x1b\\",
        "\u{9b}31m",
        "\rovertaken",
        "a\x08\x7f",
        "\u{202e}txt.exe",
    ];

    #[test]
    fn no_order_is_left_and_everything_else_is() {
        for text in ORDERS {
            let shown = plain(text);
            assert!(!shown.contains(is_order), "{shown:?}");
            assert!(shown.contains("\\u"), "{shown}");
        }
        for text in ["", "zwölf\n\t日本 😀", "C:\\temp"] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(plain("a\x1b[1mb"), "a\\u001b[1mb");
        assert_eq!(line("a\nb"), "a\\u000ab");
    }

    #[test]
    fn json_stays_json() {
        for text in ORDERS {
            let json = serde_json::json!({ "content": text }).to_string();
            let read: serde_json::Value = serde_json::from_str(&plain(&json)).unwrap();
            assert_eq!(read["content"], text);
        }
    }

    #[test]
    fn a_line_of_the_log_is_one_line_whatever_it_tells() {
        let mut log = Lines(Vec::new());
        log.write_all(b"WARN said=a\nINFO forged \x1b[2J\n").unwrap();
        assert_eq!(log.0, b"WARN said=a\\u000aINFO forged \\u001b[2J\n");
    }
}
