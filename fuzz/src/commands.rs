//! What clients write to the streams, and what comes back from there.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use worker_manager::client::{show, show_build};
use worker_manager::image::ImageWish;
use worker_manager::label;
use worker_manager::terminal;
use worker_protocol::gateway::{GatewayBoot, Passage};
use worker_protocol::reached::LimitName;
use worker_protocol::signature::{Claim, unsigned};
use worker_protocol::{
    Command, CommandPattern, Create, Input, Keys, Output, Pulse, Reply, parse_command, value,
};
use worker_wrapper::policy::Policy;

use crate::pairs;

/// An entry in the form that its first byte says.
fn entry(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    match data.split_first() {
        Some((b'{', _)) => vec![("data".to_owned(), data.to_vec())],
        _ => pairs(data),
    }
}

/// Whatever was sent is answered, and a wish that was understood is the same when it is read back
/// from where it is noted down.
pub(crate) fn command(data: &[u8]) {
    let Ok(keys) = Keys::new("fuzz") else { return };
    let (header, command) = parse_command("1-1", &entry(data), &keys);
    match command {
        Err(problem) => {
            let reply = Reply::failed(&header, Timestamp::UNIX_EPOCH, &problem, Map::new());
            assert!(!problem.message.is_empty() && !reply.to_entry(header.form).is_empty());
        }
        Ok(Command::Create(create)) => {
            let noted = label::spec_text(&create);
            let read: Create = serde_json::from_str(&noted).expect("what was noted is read");
            assert_eq!(label::spec_text(&read), noted);
        }
        Ok(_) => {}
    }
}

/// Who is said to have signed an entry is none of its content.
pub(crate) fn signature(data: &[u8]) {
    let entry = pairs(data);
    let claim = Claim::read(&entry);
    let content = unsigned(&entry);
    assert_eq!(Claim::read(&content), Ok(None));
    if let Ok(Some(claim)) = claim {
        assert_eq!(claim.signature_text().len(), 2 * claim.signature.len());
    }
}

/// A mistake is told in words.
pub(crate) fn input(data: &[u8]) {
    if let Err(problem) = Input::parse(&entry(data)) {
        assert!(!problem.message.is_empty());
    }
}

/// Numbers, sizes, durations and lists, in either form.
pub(crate) fn value(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let as_json = serde_json::from_str(&text).ok();
    for given in [Some(Value::String(text)), as_json].into_iter().flatten() {
        let number = value::number(&given);
        assert!(number.is_none_or(f64::is_finite), "{given}");
        let _ = value::boolean(&given);
        let _ = value::duration(&given);
        let _ = value::list(&given);
        let _ = value::object(&given);
        let _ = value::size(&given);
    }
}

/// What is written is what was read.
pub(crate) fn pattern(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(pattern) = CommandPattern::parse(&text) {
        let again = CommandPattern::parse(&pattern.to_string());
        assert_eq!(again.ok(), Some(pattern));
    }
}

/// What is written is what was read.
pub(crate) fn wish(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(wish) = text.parse::<ImageWish>() {
        assert_eq!(wish.to_string().parse().ok(), Some(wish));
    }
}

/// A line for a shell. That none which is allowed runs anything else is shown elsewhere, with real
/// shells; here a list that allows nothing never allows a name.
pub(crate) fn shell(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let some = ["git", "npm run *", "ls -l"].map(CommandPattern::parse);
    let some = Policy::new(some.into_iter().flatten().collect());
    let _ = some.judge_line(&line);
    let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let _ = some.judge_argv(&argv);
    let input = serde_json::from_slice(data).unwrap_or_default();
    let _ = some.rule("Bash", &input);
    let none = Policy::new(Vec::new());
    let named = line.starts_with(|first: char| first.is_ascii_alphabetic());
    let plain = line.bytes().all(|byte| byte.is_ascii_alphanumeric());
    assert!(!(named && plain && none.judge_line(&line).is_ok()) || is_builtin(&line), "{line}");
}

/// What a shell does by itself, and runs no program.
fn is_builtin(line: &str) -> bool {
    ["cd", "echo", "exit", "false", "printf", "pwd", "test", "true"].contains(&line)
}

/// What a worker says is shown to whoever follows it, and gives his terminal no orders.
pub(crate) fn output(data: &[u8]) {
    let fields: BTreeMap<String, String> = pairs(data)
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let shown = |text: Option<String>| {
        let text = text.unwrap_or_default();
        let shown = terminal::plain(&text);
        assert!(!shown.contains(|c: char| c.is_control() && !"\n\t".contains(c)), "{shown:?}");
    };
    shown(show_build(&fields));
    if let Some(output) = Output::from_entry(&fields) {
        shown(show(&output));
        let _ = LimitName::of_exit(output.data.as_ref().unwrap_or(&Value::Null));
        let _ = output.into_entry(1, Timestamp::UNIX_EPOCH);
    }
}

/// A worker's sign of life.
pub(crate) fn pulse(data: &[u8]) {
    let _ = serde_json::from_slice::<Pulse>(data);
}

/// What stands on an instance, which may be somebody else's.
pub(crate) fn label(data: &[u8]) {
    let labels: BTreeMap<String, String> = pairs(data)
        .into_iter()
        .map(|(name, value)| {
            (format!("io.worker-manager.{name}"), String::from_utf8_lossy(&value).into_owned())
        })
        .collect();
    if let Some(known) = label::read(&labels) {
        assert_eq!(known.write("fuzz").get(label::WORKER), Some(&known.id.to_string()));
    }
}

/// What the gateway is told.
pub(crate) fn passage(data: &[u8]) {
    if let Ok(passage) = serde_json::from_slice::<Passage>(data) {
        let written = serde_json::to_vec(&passage).expect("a passage is JSON");
        assert_eq!(serde_json::from_slice::<Passage>(&written).ok(), Some(passage));
    }
    let _ = serde_json::from_slice::<GatewayBoot>(data);
}
