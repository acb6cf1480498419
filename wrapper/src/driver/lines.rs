//! Any program: prompts go in as lines, and each line that it prints is an event.

use super::{Driver, Told, TurnsEnd, printed};
use crate::frame::Line;
use worker_protocol::OutputKind;

/// Has no state: the program says nothing about turns.
///
/// A prompt is written as it is, with one line end after it. A line end within a prompt stays, so
/// a prompt of several lines reaches a program that reads lines as several.
pub struct Lines;

impl Driver for Lines {
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenWritten
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Ready { raw: None });
    }

    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        told.push(Told::Write(format!("{text}\n").into_bytes()));
    }

    fn interrupt(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Interrupt);
    }

    fn stdin(&mut self, text: &str, told: &mut Vec<Told>) -> Result<(), &'static str> {
        told.push(Told::Write(text.as_bytes().to_vec()));
        Ok(())
    }

    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        told.push(Told::Say(printed(OutputKind::Stdout, line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_a_line_and_stdin_is_raw() {
        let mut told = Vec::new();
        Lines.prompt("a\nb", &mut told);
        Lines.stdin("\u{4}", &mut told).unwrap();
        assert_eq!(told, [Told::Write(b"a\nb\n".to_vec()), Told::Write(b"\x04".to_vec())]);
    }

    #[test]
    fn a_cut_line_says_how_long_it_was() {
        let mut told = Vec::new();
        Lines.line(Line { text: "ab".into(), full_bytes: 9, cut: true }, &mut told);
        let Told::Say(output) = &told[0] else { panic!("{told:?}") };
        assert!(output.truncated);
        assert_eq!(output.data, Some(serde_json::json!({"full_bytes": 9})));
    }
}
