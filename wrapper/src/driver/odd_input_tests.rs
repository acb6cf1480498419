//! Agents that do not say what they should: each line of the recorded transcripts with each of its
//! parts replaced by something else.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use worker_protocol::boot::BootAgent;
use worker_protocol::{AgentProtocol, AgentType};

use super::{Acp, Claude, Driver, Told};
use crate::frame::Line;

fn agent(protocol: AgentProtocol) -> BootAgent {
    BootAgent {
        agent_type: AgentType::Custom,
        version: None,
        protocol,
        command: vec!["agent".into()],
        env: BTreeMap::new(),
        system_prompt_file: None,
        model: None,
        mcp_file: None,
        uid: 1000,
        workspace: "/workspace".into(),
    }
}

/// The transcripts in a folder: their names, and their steps.
fn transcripts(folder: &str) -> Vec<(String, Vec<Value>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let steps = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            (path.display().to_string(), steps)
        })
        .collect()
}

/// A message with one of its parts replaced, for each part and each replacement.
fn variants(message: &Value) -> Vec<Value> {
    let mut all: Vec<Value> =
        [json!(null), json!(-1.5), json!("odd"), json!([[]]), json!({"odd": {}})].into();
    let parts: Vec<(String, &Value)> = match message {
        Value::Object(object) => {
            all.extend(object.keys().map(|key| {
                let mut without = object.clone();
                without.remove(key);
                Value::Object(without)
            }));
            object.iter().map(|(key, part)| (key.clone(), part)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(n, part)| (n.to_string(), part)).collect()
        }
        _ => Vec::new(),
    };
    for (key, part) in parts {
        for other in variants(part) {
            let mut whole = message.clone();
            let place = match &mut whole {
                Value::Object(object) => object.get_mut(&key),
                Value::Array(items) => items.get_mut(key.parse::<usize>().unwrap()),
                _ => None,
            };
            *place.unwrap() = other;
            all.push(whole);
        }
    }
    all
}

fn hear(driver: &mut dyn Driver, text: String) -> Vec<Told> {
    let mut told = Vec::new();
    driver.line(Line { full_bytes: text.len(), text, cut: false }, &mut told);
    driver.finish(&mut told);
    told
}

/// Plays a transcript; at one of its steps, what the agent said is said in all other ways first.
fn play(driver: &mut dyn Driver, steps: &[Value], odd: usize) {
    driver.begin(&mut Vec::new());
    for (n, step) in steps.iter().enumerate() {
        if n > 0 && step.get("stdin").is_some() {
            driver.prompt("x", &mut Vec::new());
        }
        let Some(said) = step.get("stdout") else { continue };
        for other in if n == odd { variants(said) } else { Vec::new() } {
            assert_ne!(hear(driver, other.to_string()), [], "{other} is lost");
        }
        hear(driver, said.to_string());
    }
}

/// The names of all parts, so that of messages of one kind one will do.
fn shape(message: &Value) -> String {
    match message {
        Value::Object(object) => {
            let parts = object.iter().map(|(key, part)| format!("{key}:{}", shape(part)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => items.first().map(shape).unwrap_or_default(),
        _ => String::new(),
    }
}

fn nothing_is_lost(folder: &str, driver: fn() -> Box<dyn Driver>) {
    let mut shapes = BTreeSet::new();
    for (name, steps) in transcripts(folder) {
        for odd in 0..steps.len() {
            if !shapes.insert(shape(&steps[odd])) {
                continue;
            }
            let mut driver = driver();
            play(&mut *driver, &steps, odd);
            let mut told = Vec::new();
            driver.prompt("still there?", &mut told);
            assert_ne!(told, [], "{name}: no answer to a prompt after odd messages for {odd}");
        }
    }
}

#[test]
fn acp_passes_on_whatever_it_does_not_expect() {
    nothing_is_lost("acp", || Box::new(Acp::new(&agent(AgentProtocol::Acp), None)));
}

#[test]
fn claude_passes_on_whatever_it_does_not_expect() {
    nothing_is_lost("claude", || Box::new(Claude::new(&agent(AgentProtocol::Claude), None)));
}
