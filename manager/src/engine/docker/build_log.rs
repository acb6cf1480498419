//! What the classic builder prints, read as steps and lines.

use bollard::models::BuildInfo;

use super::printed::{LONGEST_LINE, LastLines, Printed, plain, shortened};
use crate::engine::BuildStep;

/// Follows the output of the classic builder, which comes in pieces of any length.
#[derive(Default)]
pub(super) struct BuildLog {
    step: u32,
    of: u32,
    partial: String,
    last: LastLines,
}

impl BuildLog {
    /// Takes the next piece and gives what it completes.
    fn push(&mut self, piece: &str) -> Vec<BuildStep> {
        let mut steps = Vec::new();
        for part in piece.split_inclusive('\n') {
            let left = LONGEST_LINE.saturating_sub(self.partial.chars().count());
            self.partial.extend(part.chars().take(left));
            if part.ends_with('\n') {
                let line = std::mem::take(&mut self.partial);
                steps.extend(self.line(&plain(&line)));
            }
        }
        steps
    }

    fn line(&mut self, line: &str) -> Option<BuildStep> {
        // What the builder says about its own containers and layers helps nobody.
        let chatter = line.starts_with(" ---> ") || line.starts_with("Removing intermediate ");
        if line.trim().is_empty() || chatter {
            return None;
        }
        let line = match step(line) {
            Some((step, of, instruction)) => {
                (self.step, self.of) = (step, of);
                instruction
            }
            None => line,
        };
        self.last.push(line);
        Some(BuildStep { step: self.step, of: self.of, line: line.to_owned() })
    }
}

impl Printed for BuildLog {
    /// Whatever comes is new: this builder says nothing just to be heard.
    fn read(&mut self, item: BuildInfo) -> Option<Vec<BuildStep>> {
        Some(self.push(&item.stream.unwrap_or_default()))
    }

    fn reason(&self, said: &str) -> String {
        let shown = shortened(said);
        if self.step == 0 {
            return shown;
        }
        format!("step {} of {} failed: {shown}", self.step, self.of)
    }

    fn last_lines(&mut self) -> Vec<String> {
        self.push("\n");
        self.last.take()
    }
}

/// `Step 3/12 : RUN true`
fn step(line: &str) -> Option<(u32, u32, &str)> {
    let (numbers, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (step, of) = numbers.split_once('/')?;
    Some((step.parse().ok()?, of.parse().ok()?, instruction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker::printed::KEPT_LINES;

    fn read(pieces: &[&str]) -> (Vec<BuildStep>, Vec<String>) {
        let mut log = BuildLog::default();
        let steps = pieces.iter().flat_map(|piece| log.push(piece)).collect();
        (steps, log.last_lines())
    }

    fn step(step: u32, of: u32, line: &str) -> BuildStep {
        BuildStep { step, of, line: line.to_owned() }
    }

    #[test]
    fn lines_belong_to_the_step_before_them() {
        let (steps, last) = read(&[
            "Step 1/2 : FROM base",
            "\n",
            " ---> ff5266bd0664\n",
            "Step 2/2 : RUN work\n ---> Running in 1a2b\n",
            "half ",
            "a line\nanother\n",
            "Removing intermediate container 1a2b\n",
            "Successfully built 3c4d\n",
        ]);
        let expected = [
            step(1, 2, "FROM base"),
            step(2, 2, "RUN work"),
            step(2, 2, "half a line"),
            step(2, 2, "another"),
            step(2, 2, "Successfully built 3c4d"),
        ];
        assert_eq!(steps, expected);
        assert_eq!(last.len(), 5);
    }

    #[test]
    fn colours_and_what_was_overwritten_are_gone() {
        let (steps, _) = read(&["\x1b[91mno such file\n\x1b[0m", "\x1b[0m10 %\r50 %\r100 %\r\n"]);
        assert_eq!(steps, [step(0, 0, "no such file"), step(0, 0, "100 %")]);
    }

    #[test]
    fn the_last_lines_are_kept_and_the_unfinished_one_with_them() {
        let all: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let (_, last) = read(&[&all, "the end"]);
        assert_eq!(last.len(), KEPT_LINES);
        assert_eq!((last[0].as_str(), last[19].as_str()), ("line 12", "the end"));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let (steps, _) = read(&["ä".repeat(5000).as_str(), "more", "\nnext\n"]);
        assert_eq!(steps[0].line.chars().count(), LONGEST_LINE);
        assert_eq!(steps[1].line, "next");
    }

    #[test]
    fn a_reason_names_the_step_and_stays_short() {
        let mut log = BuildLog::default();
        assert_eq!(log.reason("unknown instruction: RUM"), "unknown instruction: RUM");
        log.push("Step 3/9 : RUN x\n");
        let said = format!("The command '{}' returned a non-zero code: 7", "x".repeat(999));
        let reason = log.reason(&said);
        assert!(reason.starts_with("step 3 of 9 failed: The command") && reason.len() < 300);
        assert!(reason.ends_with("returned a non-zero code: 7"), "{reason}");
    }
}
