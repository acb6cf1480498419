//! An interactive program on a terminal: keys go in, and the screen comes out.
//!
//! What such a program prints is how it draws. So it is drawn here too, and what stands on the
//! screen is told: at the next beat of the clock after it has changed, so that a program which
//! draws all the time says no more than one which draws once.

use serde_json::json;
use std::num::NonZeroU16;
use vt100::{Callbacks, Parser, Screen};
use worker_protocol::{Output, OutputKind, Source};

use super::{Driver, Process, Told, TurnsEnd, printed};
use crate::frame::Line;

/// The size that terminals have by custom.
pub const ROWS: u16 = 24;
/// See [`ROWS`].
pub const COLS: u16 = 80;
/// Control and C: the terminal turns it into SIGINT for whatever is in the foreground, which need
/// not be the program that was started.
const INTERRUPT: &[u8] = b"\x03";
/// What a program that knows pasted text apart gets it between.
const PASTE: [&str; 2] = ["\x1b[200~", "\x1b[201~"];

/// The terminal.
pub struct Pty {
    parser: Parser<Answers>,
    /// Something was drawn since the screen was told.
    drawn: bool,
    /// What was told last.
    told: Option<Output>,
}

/// What the terminal answers by itself. A program that asks and hears nothing may wait for ever.
#[derive(Default)]
struct Answers(Vec<u8>);

impl Callbacks for Answers {
    fn unhandled_csi(
        &mut self,
        screen: &mut Screen,
        first: Option<u8>,
        _second: Option<u8>,
        parameters: &[&[u16]],
        last: char,
    ) {
        let parameter = parameters.first().and_then(|group| group.first()).copied().unwrap_or(0);
        match (first, last, parameter) {
            // Where the cursor is.
            (None, 'n', 6) => {
                let (row, col) = screen.cursor_position();
                self.0.extend(format!("\x1b[{};{}R", row + 1, col + 1).into_bytes());
            }
            // Whether it is well.
            (None, 'n', 5) => self.0.extend(b"\x1b[0n"),
            // What it is: a VT102.
            (None, 'c', 0) => self.0.extend(b"\x1b[?6c"),
            _ => {}
        }
    }
}

impl Default for Pty {
    fn default() -> Self {
        let parser = Parser::new_with_callbacks(side(ROWS), side(COLS), 0, Answers::default());
        Self { parser, drawn: false, told: None }
    }
}

impl Pty {
    /// The text, where the cursor is, and how large all of it is.
    fn shown(&self) -> Output {
        let screen = self.parser.screen();
        let (height, width) = screen.size();
        let rows: Vec<_> =
            screen.rows(0, width.get()).map(|row| row.trim_end().to_owned()).collect();
        let (row, col) = screen.cursor_position();
        let content = rows.join("\n").trim_end().to_owned();
        Output::new(OutputKind::Stdout, Source::Agent, content).with_data(json!({
            "rows": rows,
            "cursor": {"row": row, "col": col, "visible": !screen.hide_cursor()},
            "size": {"rows": height, "cols": width},
            "alternate": screen.alternate_screen(),
        }))
    }
}

impl Driver for Pty {
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    fn process(&self) -> Process {
        Process::OnTerminal
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenWritten
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Ready { raw: None });
    }

    /// As if it were typed, or pasted where the program knows the difference, and Enter after it.
    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        let typed = text.replace("\r\n", "\r").replace('\n', "\r");
        let [begin, end] =
            if self.parser.screen().bracketed_paste() { PASTE } else { Default::default() };
        told.push(Told::Write(format!("{begin}{typed}{end}\r").into_bytes()));
    }

    fn interrupt(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Write(INTERRUPT.to_vec()));
    }

    fn stdin(&mut self, text: &str, told: &mut Vec<Told>) -> Result<(), &'static str> {
        self.keys(text, told)
    }

    fn keys(&mut self, keys: &str, told: &mut Vec<Told>) -> Result<(), &'static str> {
        told.push(Told::Write(keys.as_bytes().to_vec()));
        Ok(())
    }

    fn resize(&mut self, rows: u16, cols: u16, told: &mut Vec<Told>) -> Result<(), &'static str> {
        self.parser.set_size(side(rows), side(cols));
        // Whoever asks is told, also when nothing changes.
        (self.drawn, self.told) = (true, None);
        told.push(Told::Resize { rows, cols });
        Ok(())
    }

    /// A terminal has no lines. What comes as one is told as one.
    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        told.push(Told::Say(printed(OutputKind::Stdout, line)));
    }

    fn drew(&mut self, bytes: &[u8], told: &mut Vec<Told>) {
        self.drawn = true;
        self.parser.process(bytes);
        let answers = std::mem::take(&mut self.parser.callbacks_mut().0);
        if !answers.is_empty() {
            told.push(Told::Write(answers));
        }
    }

    fn time_passed(&mut self, told: &mut Vec<Told>) {
        if !std::mem::take(&mut self.drawn) {
            return;
        }
        let shown = self.shown();
        if self.told.as_ref() != Some(&shown) {
            self.told = Some(shown.clone());
            told.push(Told::Say(shown));
        }
    }
}

/// A terminal has one row and one column at least.
fn side(length: u16) -> NonZeroU16 {
    NonZeroU16::new(length).unwrap_or(NonZeroU16::MIN)
}
