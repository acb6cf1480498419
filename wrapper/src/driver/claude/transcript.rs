//! What the real Claude Code said, and what the driver makes of it.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{AgentProtocol, AgentType, OutputKind};

use super::{Claude, INITIALIZE};
use crate::driver::{Driver, Told, Verdict};
use crate::frame::Line;

fn claude() -> Claude {
    let agent = BootAgent {
        agent_type: AgentType::Claude,
        version: None,
        protocol: AgentProtocol::Claude,
        command: vec!["claude".into()],
        env: BTreeMap::new(),
        system_prompt_file: Some("--be-brief".into()),
        model: None,
        mcp_file: None,
        uid: 1000,
        workspace: "/workspace".into(),
    };
    Claude::new(&agent, Some(2.5))
}

/// Plays a transcript: what was written to stdin as a prompt is one here, and each line of stdout
/// goes to the driver. Gives a word for each thing that the driver told, and what it told.
fn play(name: &str) -> (String, Vec<Told>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/claude");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    let mut driver = claude();
    let mut told = Vec::new();
    for line in text.lines() {
        let step: Value = serde_json::from_str(line).unwrap();
        if let Some(prompt) = step.pointer("/stdin/message/content").and_then(Value::as_str) {
            driver.prompt(prompt, &mut told);
        }
        if let Some(frame) = step.get("stdout") {
            // The transcripts' first request is the one that makes the agent ready.
            let text = frame.to_string().replace("\"req_1\"", &format!("\"{INITIALIZE}\""));
            let before = told.len();
            driver.line(Line { full_bytes: text.len(), text, cut: false }, &mut told);
            assert!(told.len() > before, "{name}: a line gave nothing: {frame}");
        }
    }
    let words = told.iter().filter_map(word).collect::<Vec<_>>().join(" ");
    (words, told)
}

fn word(told: &Told) -> Option<String> {
    Some(match told {
        Told::Ready { .. } => "ready".to_owned(),
        Told::NeverReady(_) => "never".to_owned(),
        Told::Say(output) if output.kind == OutputKind::Stdout => return None,
        Told::Say(output) => output.kind.as_str().to_owned(),
        Told::Write(_) => return None,
        Told::Interrupt => "SIGINT".to_owned(),
        Told::Asked(_) => "asked".to_owned(),
        Told::Woke => "woke".to_owned(),
        Told::Resize { .. } => return None,
        Told::Start(start) => format!("start {:?}", start.arguments),
        Told::TurnEnded(end) => format!("{}.", end.outcome.as_str()),
    })
}

fn ends(told: &[Told]) -> Vec<&super::super::TurnEnd> {
    let ends = told.iter().filter_map(|one| match one {
        Told::TurnEnded(end) => Some(end),
        _ => None,
    });
    ends.collect()
}

#[test]
fn turns_are_told_as_they_were() {
    for (name, wanted) in [
        ("initialize", "ready"),
        ("hello", "ready message usage success."),
        ("tool", "ready message usage tool_call tool_result message usage success."),
        (
            "two-turns",
            "ready message usage success. message usage tool_call tool_result message usage success.",
        ),
        ("interrupt", "ready message usage interrupted. message usage success."),
        (
            "interrupt-tool",
            "ready message usage tool_call tool_result interrupted. message usage success.",
        ),
        ("api-error", "ready message error."),
        (
            "parallel-tools",
            "ready thinking usage message tool_call tool_call tool_result tool_result message usage \
             success.",
        ),
        ("sigterm", "ready message usage tool_call tool_result"),
    ] {
        assert_eq!(play(name).0, wanted, "{name}");
    }
}

#[test]
fn every_transcript_can_be_played() {
    for name in ["partial-messages", "broken-answer", "steered"] {
        let (words, told) = play(name);
        assert!(!ends(&told).is_empty(), "{name}: {words}");
    }
}

#[test]
fn work_in_the_background_ends_in_a_turn_of_its_own() {
    let (words, told) = play("background-task");
    assert!(words.ends_with("woke message usage success."), "{words}");
    let ends = ends(&told);
    assert_eq!(ends.iter().map(|end| end.background).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_call_and_its_result_belong_together() {
    let (_, told) = play("tool");
    let data = |kind| {
        told.iter().find_map(|one| match one {
            Told::Say(output) if output.kind == kind => output.data.clone(),
            _ => None,
        })
    };
    let (call, result) =
        (data(OutputKind::ToolCall).unwrap(), data(OutputKind::ToolResult).unwrap());
    assert_eq!((&call["tool"], &result["tool"]), (&"Bash".into(), &"Bash".into()));
    assert_eq!(call["id"], result["id"]);
    assert_eq!(result["is_error"], false);
    assert!(call["input"]["command"].is_string());
}

#[test]
fn an_end_tells_cost_tokens_and_the_final_text() {
    let (_, told) = play("two-turns");
    let ends = ends(&told);
    let cost = |n: usize, name: &str| ends[n].data[name].as_f64().unwrap();
    let sum = cost(0, "cost_usd") + cost(1, "cost_usd");
    assert!((sum - cost(1, "cost_usd_total")).abs() < 1e-9);
    assert!(ends[0].data["output_tokens"].as_u64().unwrap() > 0);
    assert_eq!(ends[0].outcome, Outcome::Success);
    assert!(!ends[0].text.is_empty() && ends[0].session_id == ends[1].session_id);
}

#[test]
fn each_answer_of_the_model_tells_once_what_it_read() {
    let (_, told) = play("parallel-tools");
    let usage = told.iter().filter_map(|one| match one {
        Told::Say(output) if output.kind == OutputKind::Usage => output.data.clone(),
        _ => None,
    });
    let read = |tokens: u64| {
        serde_json::json!({"input_tokens": tokens, "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0, "context_used": tokens})
    };
    assert_eq!(usage.collect::<Vec<_>>(), [read(1000), read(2000)]);
    let mut driver = claude();
    let mut answers_of = |parent: Option<&str>, id: &str, tokens: u64| {
        let frame = serde_json::json!({"type": "assistant", "parent_tool_use_id": parent,
            "message": {"id": id, "usage": {"input_tokens": tokens},
                "content": [{"type": "text", "text": "a"}]}});
        let mut told = Vec::new();
        driver.prompt("x", &mut told);
        told.clear();
        let text = frame.to_string();
        driver.line(Line { full_bytes: text.len(), text, cut: false }, &mut told);
        told.len() - 1
    };
    // Agents within the agent answer side by side; what the agent says itself has read nothing.
    assert_eq!([answers_of(None, "m1", 5), answers_of(Some("t"), "m2", 5)], [1, 1]);
    assert_eq!([answers_of(None, "m1", 5), answers_of(Some("t"), "m2", 5)], [0, 0]);
    assert_eq!([answers_of(None, "m3", 0), answers_of(None, "m4", 5)], [0, 1]);
}

#[test]
fn the_agents_own_line_is_kept_once() {
    let (_, told) = play("parallel-tools");
    for one in &told {
        if let Told::Say(output) = one
            && let Some(raw) = &output.raw
        {
            assert!(serde_json::from_str::<Value>(raw).is_ok());
        }
    }
    let raws = told.iter().filter(|one| matches!(one, Told::Say(o) if o.raw.is_some())).count();
    let lines = told.iter().filter(|one| matches!(one, Told::Say(_))).count();
    assert!(raws <= lines);
}

#[test]
fn what_is_no_frame_is_a_line() {
    let mut driver = claude();
    for text in ["[debug] hello", "[1,2]", "\"x\"", "{broken", ""] {
        let mut told = Vec::new();
        driver.line(Line { text: text.to_owned(), full_bytes: 9, cut: false }, &mut told);
        let [Told::Say(output)] = &told[..] else { panic!("{told:?}") };
        assert_eq!((output.kind, output.content.as_str()), (OutputKind::Stdout, text));
    }
}

#[test]
fn a_permission_request_is_a_question_and_gets_one_answer() {
    let mut driver = claude();
    let mut told = Vec::new();
    let text = r#"{"type":"control_request","request_id":"q1","request":{"subtype":"can_use_tool","tool_name":"Bash","input":{"command":"rm"}}}"#;
    driver.line(Line { text: text.to_owned(), full_bytes: text.len(), cut: false }, &mut told);
    let [Told::Asked(question)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((question.tool.as_str(), &question.input["command"]), ("Bash", &Value::from("rm")));
    for (verdict, right) in [(Verdict::Deny("no".into()), "deny"), (Verdict::Allow, "allow")] {
        driver.line(
            Line { text: text.to_owned(), full_bytes: text.len(), cut: false },
            &mut Vec::new(),
        );
        let mut told = Vec::new();
        driver.answer(&question.id, &verdict, &mut told);
        driver.answer(&question.id, &verdict, &mut told);
        let [Told::Write(bytes)] = &told[..] else { panic!("{told:?}") };
        let answer: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(answer["response"]["request_id"], "q1");
        assert_eq!(answer["response"]["response"]["behavior"], right);
    }
}

#[test]
fn a_callers_text_cannot_become_a_flag() {
    let arguments = claude().arguments();
    assert!(arguments.contains(&"--append-system-prompt-file=--be-brief".to_owned()));
    assert!(arguments.iter().all(|argument| argument.starts_with('-')));
}

#[test]
fn a_result_that_is_too_long_ends_its_turn_all_the_same() {
    let mut driver = claude();
    let mut told = Vec::new();
    driver.prompt("x", &mut told);
    told.clear();
    let text =
        r#"{"duration_api_ms":23,"is_error":false,"type":"result","result":"aaaa"#.to_owned();
    driver.line(Line { text, full_bytes: 9_000_000, cut: true }, &mut told);
    let [Told::Say(output), Told::TurnEnded(end)] = &told[..] else { panic!("{told:?}") };
    assert!(output.truncated);
    assert_eq!(end.outcome, Outcome::Success);
    // A tool's result that was cut is no end.
    driver.prompt("x", &mut told);
    told.clear();
    let text =
        r#"{"type":"user","message":{"content":[{"content":"\"duration_api_ms\":1"#.to_owned();
    driver.line(Line { text, full_bytes: 9_000_000, cut: true }, &mut told);
    assert!(matches!(told[..], [Told::Say(_)]));
}

#[test]
fn what_an_agent_within_the_agent_says_names_its_call() {
    let mut told = Vec::new();
    let text = r#"{"type":"assistant","parent_tool_use_id":"t1","message":{"content":[{"type":"text","text":"a"}]}}"#;
    let mut driver = claude();
    driver.prompt("x", &mut told);
    told.clear();
    driver.line(Line { text: text.to_owned(), full_bytes: text.len(), cut: false }, &mut told);
    let [Told::Say(output)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(output.data, Some(serde_json::json!({"parent_tool_use_id": "t1"})));
}
