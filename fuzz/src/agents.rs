//! What agents print, and what is made of it.

use std::collections::BTreeMap;
use worker_protocol::boot::BootAgent;
use worker_protocol::{AgentProtocol, AgentType};
use worker_wrapper::driver::{self, Driver, RunEnd, Told, Verdict};
use worker_wrapper::frame::{Framer, Line};
use worker_wrapper::reaper::Ended;

/// The most bytes of a line: small, so that lines are cut.
const LINE: usize = 1 << 12;

/// An agent of no vendor in particular.
pub(crate) fn agent(protocol: AgentProtocol) -> BootAgent {
    BootAgent {
        agent_type: AgentType::Custom,
        version: None,
        protocol,
        command: vec!["agent".to_owned()],
        env: BTreeMap::new(),
        system_prompt_file: None,
        model: None,
        mcp_file: None,
        uid: 1000,
        workspace: "/workspace".to_owned(),
    }
}

/// Plays a conversation. Of its lines the agent says all but those that begin with one of five
/// characters: `>` is a prompt, `!` an interrupt, `?` an answer, `.` the clock and `$` the end of a
/// turn's process.
fn play(driver: &mut dyn Driver, data: &[u8]) {
    let mut framer = Framer::new(LINE);
    let mut lines = framer.feed(data);
    lines.extend(framer.finish());
    let mut told = Vec::new();
    driver.begin(&mut told);
    told.clear();
    let mut said = 0;
    for line in lines {
        let rest = line.text.get(1..).unwrap_or_default().to_owned();
        match line.text.chars().next() {
            Some('>') => driver.prompt(&rest, &mut told),
            Some('!') => driver.interrupt(&mut told),
            Some('?') => driver.answer(&rest, &Verdict::Deny("no".to_owned()), &mut told),
            Some('.') => driver.time_passed(&mut told),
            Some('$') => {
                let ended = Ended::Exited(u8::from(rest.is_empty()));
                driver.run_ended(RunEnd { ended, oom_killed: false }, &mut told);
            }
            _ => {
                said += 1;
                driver.line(line, &mut told);
            }
        }
    }
    driver.finish(&mut told);
    assert!(said == 0 || !told.is_empty(), "nothing came of {said} lines");
}

/// A line of the agent's gives something, whatever it holds.
pub(crate) fn acp(data: &[u8]) {
    play(&mut driver::Acp::new(&agent(AgentProtocol::Acp), None), data);
}

/// As with [`acp`].
pub(crate) fn claude(data: &[u8]) {
    play(&mut driver::Claude::new(&agent(AgentProtocol::Claude), Some(1.0)), data);
}

/// As with [`acp`].
pub(crate) fn droid(data: &[u8]) {
    play(&mut driver::Droid::new(&agent(AgentProtocol::Droid)), data);
}

/// As with [`acp`].
pub(crate) fn lines(data: &[u8]) {
    play(&mut driver::Lines, data);
}

/// As with [`acp`].
pub(crate) fn stream_json(data: &[u8]) {
    play(&mut driver::StreamJson::default(), data);
}

/// What is drawn on a terminal, whose size changes meanwhile, becomes text.
pub(crate) fn pty(data: &[u8]) {
    let mut driver = driver::Pty::default();
    let mut told = Vec::new();
    driver.begin(&mut told);
    for piece in data.split(|byte| *byte == 0) {
        match piece {
            [b'R', rows, cols] => {
                let _ = driver.resize(u16::from(*rows), u16::from(*cols), &mut told);
            }
            _ => driver.drew(piece, &mut told),
        }
        driver.time_passed(&mut told);
    }
    driver.finish(&mut told);
    let texts = told.iter().filter(|told| matches!(told, Told::Say(_)));
    assert!(texts.count() <= 2 * data.len() + 2, "more is told than was drawn");
}

/// Lines do not depend on how their bytes were read, and none is longer than the limit.
pub(crate) fn frame(data: &[u8]) {
    let Some((&at, data)) = data.split_first() else { return };
    let at = usize::from(at).min(data.len());
    let limit = 1 + at % 16;
    let lines = |pieces: &[&[u8]]| -> Vec<Line> {
        let mut framer = Framer::new(limit);
        let mut lines: Vec<_> = pieces.iter().flat_map(|piece| framer.feed(piece)).collect();
        lines.extend(framer.finish());
        lines
    };
    let whole = lines(&[data]);
    assert_eq!(lines(&[&data[..at], &data[at..]]), whole);
    // A byte that is no text becomes a character of three.
    assert!(whole.iter().all(|line| line.text.len() <= 3 * limit));
}
