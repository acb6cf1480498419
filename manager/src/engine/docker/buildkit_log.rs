//! What BuildKit tells of a build, read as steps and lines.

use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};
use bollard::models::{BuildInfo, BuildInfoAux};
use std::collections::{BTreeMap, HashMap};

use super::printed::{LONGEST_LINE, LastLines, Printed, plain, shortened};
use crate::engine::BuildStep;

/// With these words BuildKit stops telling what a step prints, after a megabyte of it.
const CLIPPED: &[u8] = b"[output clipped, log limit ";

/// Follows the status messages of BuildKit. A *vertex* is whatever it works on: a step of the
/// Dockerfile, or something of its own. Steps run side by side, so they are counted in the order in
/// which they begin.
#[derive(Default)]
pub(super) struct BuildKitLog {
    vertexes: HashMap<String, Seen>,
    /// How many of the vertexes are steps, and how many of these have begun.
    steps: u32,
    begun: u32,
    failed: Option<String>,
    last: LastLines,
}

/// What is known of a vertex.
#[derive(Default)]
struct Seen {
    name: String,
    /// The how many-th step it is; 0: none, or not begun.
    step: u32,
    begun: bool,
    ended: bool,
    /// Nothing of what it prints comes any more.
    muted: bool,
    /// The line of stdout and that of stderr that have no end yet: they come side by side.
    partial: BTreeMap<i64, Vec<u8>>,
    /// How far each of its parts is.
    parts: HashMap<String, i64>,
}

impl BuildKitLog {
    /// The step that began last and has not ended: what the build hangs at, if it hangs.
    fn under_way(&self) -> Option<&Seen> {
        self.vertexes.values().filter(|seen| !seen.ended).max_by_key(|seen| seen.step)
    }

    fn status(&mut self, status: StatusResponse) -> Option<Vec<BuildStep>> {
        let mut lines = Vec::new();
        // All that are there, before the first is counted as one of them.
        for vertex in &status.vertexes {
            self.meet(vertex);
        }
        let mut new = false;
        for vertex in status.vertexes {
            new |= self.vertex(vertex, &mut lines);
        }
        for part in status.statuses {
            new |= self.part(part);
        }
        for log in status.logs {
            new |= !log.msg.is_empty();
            self.log(log, &mut lines);
        }
        new.then_some(lines)
    }

    fn meet(&mut self, vertex: &Vertex) {
        if !self.vertexes.contains_key(&vertex.digest) {
            self.steps += u32::from(is_step(&vertex.name));
            let name = cut(&plain(&vertex.name));
            self.vertexes.insert(vertex.digest.clone(), Seen { name, ..Seen::default() });
        }
    }

    /// Whether it has begun or ended since the last time; the same is told again and again.
    fn vertex(&mut self, vertex: Vertex, lines: &mut Vec<BuildStep>) -> bool {
        let Some(seen) = self.vertexes.get_mut(&vertex.digest) else { return false };
        let begins = vertex.started.is_some() && !seen.begun;
        let ends = vertex.completed.is_some() && !seen.ended;
        if begins {
            seen.begun = true;
            if is_step(&vertex.name) {
                self.begun += 1;
                seen.step = self.begun;
                let line = seen.name.clone();
                self.say(&vertex.digest, line, lines);
            }
        }
        if ends {
            self.end(vertex, lines);
        }
        begins || ends
    }

    fn end(&mut self, vertex: Vertex, lines: &mut Vec<BuildStep>) {
        let Some(seen) = self.vertexes.get_mut(&vertex.digest) else { return };
        seen.ended = true;
        for rest in std::mem::take(&mut seen.partial).into_values() {
            self.line(&vertex.digest, &rest, lines);
        }
        // When one fails, those beside it are cancelled, which is no failure of theirs.
        if !vertex.error.is_empty() && !is_cancelled(&vertex.error) {
            self.failed.get_or_insert(vertex.digest);
        }
    }

    /// Whether it has gone on.
    fn part(&mut self, part: VertexStatus) -> bool {
        let Some(seen) = self.vertexes.get_mut(&part.vertex) else { return false };
        seen.parts.insert(part.id, part.current) != Some(part.current)
    }

    fn log(&mut self, log: VertexLog, lines: &mut Vec<BuildStep>) {
        for piece in log.msg.split_inclusive(|byte| *byte == b'\n') {
            let Some(seen) = self.vertexes.get_mut(&log.vertex) else { return };
            let partial = seen.partial.entry(log.stream).or_default();
            // A letter has up to four bytes.
            let left = (4 * LONGEST_LINE).saturating_sub(partial.len());
            partial.extend(piece.iter().take(left));
            if piece.ends_with(b"\n") {
                let line = std::mem::take(partial);
                self.line(&log.vertex, &line, lines);
            }
        }
    }

    fn line(&mut self, digest: &str, line: &[u8], lines: &mut Vec<BuildStep>) {
        if let Some(seen) = self.vertexes.get_mut(digest) {
            seen.muted |= line.starts_with(CLIPPED);
        }
        let line = cut(&plain(&String::from_utf8_lossy(line)));
        if !line.trim().is_empty() {
            self.say(digest, line, lines);
        }
    }

    fn say(&mut self, digest: &str, line: String, lines: &mut Vec<BuildStep>) {
        self.last.push(&line);
        let step = self.vertexes.get(digest).map_or(0, |seen| seen.step);
        // What belongs to no step comes between them.
        let step = if step == 0 { self.begun } else { step };
        lines.push(BuildStep { step, of: self.steps, line });
    }
}

impl Printed for BuildKitLog {
    fn read(&mut self, item: BuildInfo) -> Option<Vec<BuildStep>> {
        match item.aux {
            Some(BuildInfoAux::BuildKit(status)) => self.status(status),
            Some(BuildInfoAux::Default(_)) | None => None,
        }
    }

    fn is_muted(&self) -> bool {
        self.vertexes.values().any(|seen| seen.muted && !seen.ended)
    }

    fn reason(&self, said: &str) -> String {
        let shown = shortened(said);
        let failed = self.failed.as_ref().and_then(|digest| self.vertexes.get(digest));
        match failed.or_else(|| self.under_way()) {
            Some(seen) if seen.step > 0 => {
                let (step, of, name) = (seen.step, self.steps, shortened(&seen.name));
                format!("step {step} of {of} failed: {name}: {shown}")
            }
            _ => shown,
        }
    }

    /// Lines without an end are of steps that did not end either.
    fn last_lines(&mut self) -> Vec<String> {
        let mut open: Vec<_> = self.vertexes.values_mut().collect();
        open.sort_unstable_by_key(|seen| seen.step);
        let rest: Vec<_> = open
            .into_iter()
            .flat_map(|seen| std::mem::take(&mut seen.partial).into_values())
            .collect();
        for rest in rest {
            self.line("", &rest, &mut Vec::new());
        }
        self.last.take()
    }
}

/// `[2/5] RUN true` or `[stage 2/5] RUN true`, where BuildKit's own work is called
/// `[internal] load metadata`, `copy /context /` or `exporting to image`.
fn is_step(name: &str) -> bool {
    let within = name.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let counter = within.and_then(|(within, _)| within.split(' ').next_back()?.split_once('/'));
    counter.is_some_and(|(step, of)| step.parse::<u32>().is_ok() && of.parse::<u32>().is_ok())
}

/// It says so in more than one way.
fn is_cancelled(error: &str) -> bool {
    error.contains("context canceled") || error.contains("Canceled")
}

fn cut(line: &str) -> String {
    line.chars().take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(name: &str, started: bool, completed: bool, error: &str) -> Vertex {
        Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            started: started.then(Default::default),
            completed: completed.then(Default::default),
            error: error.to_owned(),
            ..Default::default()
        }
    }

    fn vertexes(vertexes: Vec<Vertex>) -> StatusResponse {
        StatusResponse { vertexes, ..Default::default() }
    }

    const STDOUT: i64 = 1;
    const STDERR: i64 = 2;

    fn printed(vertex: &str, msg: &[u8]) -> StatusResponse {
        printed_to(STDOUT, vertex, msg)
    }

    fn printed_to(stream: i64, vertex: &str, msg: &[u8]) -> StatusResponse {
        let (vertex, msg) = (vertex.to_owned(), msg.to_vec());
        let log = VertexLog { vertex, stream, msg, ..Default::default() };
        StatusResponse { logs: vec![log], ..Default::default() }
    }

    fn step(step: u32, of: u32, line: &str) -> BuildStep {
        BuildStep { step, of, line: line.to_owned() }
    }

    const ONE: &str = "[base 1/2] FROM docker.io/library/base";
    const TWO: &str = "[base 2/2] RUN work";
    const BESIDE: &str = "[agent 1/1] RUN fetch";

    /// Three steps, of which two run.
    fn running() -> BuildKitLog {
        let mut log = BuildKitLog::default();
        let known = [ONE, TWO, BESIDE, "[internal] load build definition", "copy /context /"];
        log.status(vertexes(known.map(|name| vertex(name, false, false, "")).to_vec()));
        log.status(vertexes(vec![vertex(ONE, true, true, ""), vertex(TWO, true, false, "")]));
        log
    }

    #[test]
    fn steps_are_counted_as_they_begin_and_lines_belong_to_theirs() {
        let mut log = running();
        let begun = log.status(vertexes(vec![vertex(BESIDE, true, false, "")]));
        assert_eq!(begun, Some(vec![step(3, 3, BESIDE)]));
        assert_eq!(log.status(printed(TWO, b"half ")), Some(vec![]));
        assert_eq!(log.status(printed(BESIDE, b"fetched\n")), Some(vec![step(3, 3, "fetched")]));
        let rest = log.status(printed(TWO, b"a line\n\n\x1b[91mred\r\n"));
        assert_eq!(rest, Some(vec![step(2, 3, "half a line"), step(2, 3, "red")]));
        assert_eq!(log.last_lines(), [ONE, TWO, BESIDE, "fetched", "half a line", "red"]);
    }

    #[test]
    fn a_line_of_stderr_is_no_part_of_one_of_stdout() {
        let mut log = running();
        log.status(printed(TWO, b"Building ... "));
        let error = log.status(printed_to(STDERR, TWO, b"E: no such package\nE: "));
        assert_eq!(error, Some(vec![step(2, 3, "E: no such package")]));
        assert_eq!(
            log.status(printed(TWO, b"done\n")),
            Some(vec![step(2, 3, "Building ... done")])
        );
        log.status(printed_to(STDERR, TWO, b"the end"));
        assert_eq!(log.last_lines().last().map(String::as_str), Some("E: the end"));
    }

    #[test]
    fn what_was_told_before_is_nothing_new() {
        let mut log = running();
        let again = vec![vertex(ONE, true, true, ""), vertex(TWO, true, false, "")];
        assert_eq!(log.status(vertexes(again)), None);
        assert_eq!(log.status(printed(TWO, b"")), None);
        let part = |current| StatusResponse {
            statuses: vec![VertexStatus {
                id: "layer".into(),
                vertex: TWO.into(),
                current,
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(log.status(part(1)), Some(vec![]));
        assert_eq!(log.status(part(1)), None);
        assert_eq!(log.status(part(2)), Some(vec![]));
    }

    #[test]
    fn a_reason_names_the_step_that_failed_and_not_those_that_were_cancelled_with_it() {
        let unread = BuildKitLog::default().reason("unknown instruction: RUM");
        assert_eq!(unread, "unknown instruction: RUM");
        let mut log = running();
        let hanging = log.reason("no output for 3 s");
        assert_eq!(hanging, "step 2 of 3 failed: [base 2/2] RUN work: no output for 3 s");
        log.status(vertexes(vec![vertex(BESIDE, true, false, "")]));
        log.status(printed(TWO, b"no line end"));
        log.status(vertexes(vec![
            vertex(BESIDE, true, true, "context canceled"),
            vertex(TWO, true, true, "executor failed running [work]: exit code: 7"),
        ]));
        let reason = log.reason("executor failed running [work]: exit code: 7");
        assert!(reason.starts_with("step 2 of 3 failed: [base 2/2] RUN work: "), "{reason}");
        assert!(reason.ends_with("exit code: 7"), "{reason}");
        assert_eq!(log.last_lines().last().map(String::as_str), Some("no line end"));
    }

    #[test]
    fn a_line_without_an_end_is_cut() {
        let mut log = running();
        for _ in 0..10 {
            log.status(printed(TWO, "ä".repeat(5000).as_bytes()));
        }
        let lines = log.status(printed(TWO, b"\nnext\n")).expect("lines");
        assert_eq!(lines[0].line.chars().count(), LONGEST_LINE);
        assert_eq!(lines[1].line, "next");
    }

    #[test]
    fn a_step_whose_output_is_clipped_is_muted_until_it_ends() {
        let mut log = running();
        assert!(!log.is_muted());
        log.status(printed(TWO, b"\n[output clipped, log limit 1MiB reached]\n"));
        assert!(log.is_muted());
        log.status(vertexes(vec![vertex(TWO, true, true, "")]));
        assert!(!log.is_muted());
    }

    #[test]
    fn only_steps_of_the_dockerfile_are_steps() {
        for name in [ONE, TWO, BESIDE, "[ 2/10] RUN true", "[stage-2 3/4] COPY a b"] {
            assert!(is_step(name), "{name}");
        }
        for name in ["[internal] load metadata", "exporting to image", "[auth] a/b pull", "x 1/2]"]
        {
            assert!(!is_step(name), "{name}");
        }
    }
}
