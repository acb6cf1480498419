//! What real agents said, and what the driver makes of it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{AgentProtocol, AgentType, Output, OutputKind};

use super::{Acp, Titles};
use crate::driver::{Driver, Question, Told, TurnEnd, Verdict};
use crate::frame::Line;
use crate::kept::Past;

fn acp(model: Option<&str>) -> Acp {
    Acp::new(&agent(model), None)
}

fn agent(model: Option<&str>) -> BootAgent {
    BootAgent {
        agent_type: AgentType::Custom,
        version: None,
        protocol: AgentProtocol::Acp,
        command: vec!["agent".into()],
        env: BTreeMap::new(),
        system_prompt_file: None,
        model: model.map(str::to_owned),
        mcp_file: None,
        uid: 1000,
        workspace: "/workspace".into(),
    }
}

fn line(text: &str) -> Line {
    Line { full_bytes: text.len(), text: text.to_owned(), cut: false }
}

fn hear(driver: &mut Acp, message: &Value) -> Vec<Told> {
    let mut told = Vec::new();
    driver.line(line(&message.to_string()), &mut told);
    told
}

/// What the driver wrote, as JSON.
fn written(told: &[Told]) -> Vec<Value> {
    let bytes = told.iter().filter_map(|one| match one {
        Told::Write(bytes) => Some(bytes),
        _ => None,
    });
    bytes.map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
}

/// Plays a transcript. Prompts and interrupts are given to the driver, lines of stdout too; what
/// went to stdin is what the driver must have written, word for word.
fn play(name: &str, model: Option<&str>) -> (String, Vec<Told>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/acp");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    let mut driver = acp(model);
    let mut told = Vec::new();
    let mut right = Vec::new();
    driver.begin(&mut told);
    for step in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        if let Some(sent) = step.get("stdin") {
            right.push(sent.clone());
            match sent.get("method").and_then(Value::as_str) {
                Some("session/prompt") => {
                    let prompt = sent.pointer("/params/prompt/0/text").and_then(Value::as_str);
                    driver.prompt(prompt.unwrap(), &mut told);
                }
                Some("session/cancel") => driver.interrupt(&mut told),
                _ => {}
            }
        }
        if let Some(said) = step.get("stdout") {
            driver.line(line(&said.to_string()), &mut told);
        }
    }
    driver.finish(&mut told);
    assert_eq!(written(&told), right, "{name}");
    (told.iter().filter_map(word).collect::<Vec<_>>().join(" "), told)
}

fn word(told: &Told) -> Option<String> {
    Some(match told {
        Told::Ready { .. } => "ready".to_owned(),
        Told::NeverReady(_) => "never".to_owned(),
        Told::Say(output) if output.kind == OutputKind::Stdout => return None,
        Told::Say(output) => output.kind.as_str().to_owned(),
        Told::Write(_) | Told::Resize { .. } | Told::Start(_) => return None,
        Told::Interrupt => "SIGINT".to_owned(),
        Told::Asked(_) => "asked".to_owned(),
        Told::Woke => "woke".to_owned(),
        Told::TurnEnded(end) => format!("{}.", end.outcome.as_str()),
    })
}

fn ends(told: &[Told]) -> Vec<&TurnEnd> {
    let ends = told.iter().filter_map(|one| match one {
        Told::TurnEnded(end) => Some(end),
        _ => None,
    });
    ends.collect()
}

fn said(told: &[Told], kind: OutputKind) -> Vec<&Output> {
    let said = told.iter().filter_map(|one| match one {
        Told::Say(output) if output.kind == kind => Some(output),
        _ => None,
    });
    said.collect()
}

/// A driver with a session, ready.
fn ready() -> Acp {
    let mut driver = acp(None);
    driver.begin(&mut Vec::new());
    hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 1}}));
    let told = hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 2, "result": {"sessionId": "s"}}));
    assert!(matches!(told[..], [Told::Ready { .. }]), "{told:?}");
    driver
}

fn update(update: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "session/update",
           "params": {"sessionId": "s", "update": update}})
}

fn piece(text: &str) -> Value {
    update(&json!({"sessionUpdate": "agent_message_chunk",
                   "content": {"type": "text", "text": text}}))
}

const SONNET: Option<&str> = Some("anthropic/claude-sonnet-4-5");

#[test]
fn turns_of_opencode_are_told_as_they_were() {
    for (name, wanted) in [
        (
            "opencode-tool",
            "ready thinking message tool_call tool_result usage message success. \
             tool_call tool_result usage message success.",
        ),
        (
            "opencode-interrupt",
            "ready tool_call tool_result usage interrupted. usage message success.",
        ),
        ("opencode-error", "ready usage error. usage message success."),
    ] {
        assert_eq!(play(name, SONNET).0, wanted, "{name}");
    }
}

#[test]
fn turns_of_codex_are_told_as_they_were() {
    let (words, told) = play("codex-tool", None);
    let wanted = "ready message message tool_call tool_result usage usage message success. \
                  message message error. message usage message success.";
    assert_eq!(words, wanted);
    let result = said(&told, OutputKind::ToolResult)[0];
    assert_eq!(result.content, "from-42\n");
    assert!(ends(&told)[1].text.contains("out of order"), "{}", ends(&told)[1].text);
    let (words, _) = play("codex-interrupt", None);
    assert_eq!(words, "ready message tool_call usage interrupted. message usage message success.");
}

#[test]
fn turns_of_gemini_are_told_as_they_were() {
    let (words, told) = play("gemini-tool", Some("gemini-2.5-pro"));
    let wanted = "ready message tool_call tool_result message success. error. \
                  message success.";
    assert_eq!(words, wanted);
    assert!(
        said(&told, OutputKind::ToolResult)[0].content.contains("Blocked: command substitution")
    );
    assert!(ends(&told)[1].text.contains("out of order"), "{}", ends(&told)[1].text);
}

#[test]
fn an_end_tells_cost_tokens_and_the_final_text() {
    let (_, told) = play("opencode-tool", SONNET);
    let ends = ends(&told);
    assert_eq!(
        ends.iter().map(|end| end.text.as_str()).collect::<Vec<_>>(),
        ["from-42", "Second."]
    );
    let cost = |n: usize, name: &str| ends[n].data[name].as_f64().unwrap();
    assert!((cost(0, "cost_usd") + cost(1, "cost_usd") - cost(1, "cost_usd_total")).abs() < 1e-9);
    assert!(cost(1, "cost_usd") > 0.0);
    assert!(ends[0].data["output_tokens"].as_u64().unwrap() > 0);
    assert!(ends[0].session_id.is_some() && ends[0].session_id == ends[1].session_id);
}

#[test]
fn a_call_is_told_once_with_its_whole_input_and_belongs_to_its_result() {
    let (_, told) = play("opencode-tool", SONNET);
    let (calls, results) = (said(&told, OutputKind::ToolCall), said(&told, OutputKind::ToolResult));
    assert_eq!(calls[0].content, "execute echo from-$((40+2))");
    let (call, result) = (calls[0].data.clone().unwrap(), results[0].data.clone().unwrap());
    assert_eq!(call["input"]["command"], "echo from-$((40+2))");
    assert_eq!((&call["id"], &call["tool"]), (&result["id"], &result["tool"]));
    assert_eq!((results[0].content.as_str(), &result["is_error"]), ("from-42\n", &json!(false)));
}

#[test]
fn an_error_of_the_model_is_told() {
    let (_, told) = play("opencode-error", SONNET);
    let first = ends(&told)[0];
    assert!(first.text.contains("out of order"), "{}", first.text);
    assert_eq!(first.data["error_code"], -32603);
}

#[test]
fn pieces_of_a_text_are_one_entry_and_nothing_of_it_is_lost_at_the_end() {
    let mut driver = ready();
    driver.prompt("x", &mut Vec::new());
    for text in ["Hel", "lo ", "there"] {
        assert_eq!(hear(&mut driver, &piece(text)), []);
    }
    let plan = hear(&mut driver, &update(&json!({"sessionUpdate": "plan", "entries": []})));
    assert_eq!(said(&plan, OutputKind::Message)[0].content, "Hello there");
    assert_eq!(said(&plan, OutputKind::Stdout)[0].content, "session/update plan");
    hear(&mut driver, &piece("bye"));
    let mut told = Vec::new();
    driver.finish(&mut told);
    assert_eq!(said(&told, OutputKind::Message)[0].content, "bye");
}

#[test]
fn a_text_without_end_becomes_several_entries() {
    let mut driver = ready();
    driver.prompt("x", &mut Vec::new());
    let told: Vec<_> =
        (0..40).flat_map(|_| hear(&mut driver, &piece(&"a".repeat(60_000)))).collect();
    let lengths: Vec<_> =
        said(&told, OutputKind::Message).iter().map(|output| output.content.len()).collect();
    assert_eq!(lengths, [1_080_000, 1_080_000]);
}

#[test]
fn a_question_is_answered_with_the_narrowest_option_but_in_a_turn_that_is_being_cancelled() {
    let mut driver = ready();
    driver.prompt("x", &mut Vec::new());
    let ask = json!({"jsonrpc": "2.0", "id": "q", "method": "session/request_permission", "params": {
        "sessionId": "s",
        "toolCall": {"toolCallId": "t", "kind": "execute", "title": "rm", "rawInput": {"command": "rm x"}},
        "options": [{"optionId": "a", "kind": "allow_always"}, {"optionId": "o", "kind": "allow_once"},
                    {"optionId": "r", "kind": "reject_once"}]}});
    let answered = |driver: &mut Acp, verdict: &Verdict| {
        let told = hear(driver, &ask);
        let [Told::Asked(Question { id, tool, input, .. })] = &told[..] else { panic!("{told:?}") };
        assert_eq!((tool.as_str(), &input["command"]), ("execute", &json!("rm x")));
        let mut told = Vec::new();
        driver.answer(id, verdict, &mut told);
        driver.answer(id, verdict, &mut told);
        let [answer] = &written(&told)[..] else { panic!("{told:?}") };
        assert_eq!(answer["id"], "q");
        answer["result"]["outcome"].clone()
    };
    let no = Verdict::Deny("no".into());
    assert_eq!(answered(&mut driver, &Verdict::Allow)["optionId"], "o");
    assert_eq!(answered(&mut driver, &no)["optionId"], "r");
    driver.interrupt(&mut Vec::new());
    for verdict in [&Verdict::Allow, &no] {
        assert_eq!(answered(&mut driver, verdict), json!({"outcome": "cancelled"}));
    }
}

#[test]
fn only_where_titles_are_commands_does_one_stand_for_the_command() {
    let ask = json!({"id": 0, "method": "session/request_permission", "params": {
        "toolCall": {"toolCallId": "t", "kind": "execute", "title": "git log"}}});
    for (titles, input) in
        [(Titles::Commands, json!({"command": "git log"})), (Titles::Words, Value::Null)]
    {
        let mut driver = Acp { titles, ..ready() };
        let told = hear(&mut driver, &ask);
        let [Told::Asked(question)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(question.input, input);
    }
}

#[test]
fn stop_reasons_are_outcomes() {
    for (reason, outcome) in [
        ("end_turn", Outcome::Success),
        ("cancelled", Outcome::Interrupted),
        ("max_tokens", Outcome::Limit),
        ("max_turn_requests", Outcome::Limit),
        ("refusal", Outcome::Error),
        ("something_new", Outcome::Error),
    ] {
        let mut driver = ready();
        driver.prompt("x", &mut Vec::new());
        let told = hear(&mut driver, &json!({"id": 3, "result": {"stopReason": reason}}));
        assert_eq!(ends(&told)[0].outcome, outcome, "{reason}");
        assert_eq!(ends(&told)[0].data["stop_reason"], reason);
    }
}

#[test]
fn what_is_not_offered_is_refused_and_what_is_not_known_is_kept() {
    let mut driver = ready();
    for method in ["fs/read_text_file", "terminal/create", "elicitation/create"] {
        let told = hear(&mut driver, &json!({"id": 7, "method": method, "params": {}}));
        assert_eq!(written(&told)[0]["error"]["code"], -32601, "{method}");
        assert_eq!(said(&told, OutputKind::Stdout)[0].content, method);
    }
    for message in [
        json!({"method": "_vendor/news", "params": {}}),
        json!({"id": 99, "result": {}}),
        update(&json!({"sessionUpdate": "something_new"})),
        json!({}),
    ] {
        let told = hear(&mut driver, &message);
        assert_eq!(said(&told, OutputKind::Stdout)[0].raw, Some(message.to_string()));
    }
    for text in ["[debug] hello", "[1,2]", "{broken", ""] {
        let mut told = Vec::new();
        driver.line(line(text), &mut told);
        assert_eq!(said(&told, OutputKind::Stdout)[0].content, text);
    }
}

#[test]
fn an_agent_that_wants_a_login_gets_the_key_of_its_environment() {
    let mut driver = acp(None);
    driver.begin(&mut Vec::new());
    let login = json!({"id": "api-key", "_meta": {"api-key": {"provider": "openai"}}});
    let told = hear(
        &mut driver,
        &json!({"id": 1, "result": {
        "protocolVersion": 1, "authMethods": [{"id": "browser"}, login]}}),
    );
    assert_eq!(written(&told)[0]["method"], "session/new");
    let refusal = json!({"code": -32000, "message": "Authentication required"});
    let told = hear(&mut driver, &json!({"id": 2, "error": refusal}));
    assert_eq!(written(&told)[0]["params"], json!({"methodId": "api-key"}));
    let told = hear(&mut driver, &json!({"id": 3, "result": {}}));
    assert_eq!(written(&told)[0]["method"], "session/new");
    // A second refusal is the end of it.
    let told = hear(&mut driver, &json!({"id": 4, "error": refusal}));
    assert!(matches!(&told[1], Told::NeverReady(why) if why.contains("Authentication required")));
}

#[test]
fn an_agent_that_opens_no_session_says_why_to_each_prompt() {
    for (answer, why) in [
        (json!({"id": 1, "result": {"protocolVersion": 2}}), "speaks version 1"),
        (
            json!({"id": 1, "error": {"code": -32603, "message": "Internal error",
            "data": {"details": "no disk"}}}),
            "Internal error: no disk",
        ),
    ] {
        let mut driver = acp(None);
        driver.begin(&mut Vec::new());
        let told = hear(&mut driver, &answer);
        assert!(matches!(&told[1], Told::NeverReady(told) if told.contains(why)), "{told:?}");
        let mut told = Vec::new();
        driver.prompt("x", &mut told);
        assert!(ends(&told)[0].text.contains(why), "{told:?}");
    }
}

#[test]
fn a_model_is_chosen_in_the_agents_own_way() {
    for (opened, method) in [
        (
            json!({"sessionId": "s", "models": {"availableModels": [{"modelId": "a[low]"}]}}),
            "session/set_model",
        ),
        (
            json!({"sessionId": "s", "configOptions": [
                {"id": "model", "category": "model", "options": [{"value": "a[low]"}]}]}),
            "session/set_config_option",
        ),
    ] {
        let mut driver = acp(Some("m-1"));
        driver.begin(&mut Vec::new());
        hear(&mut driver, &json!({"id": 1, "result": {"protocolVersion": 1}}));
        let told = hear(&mut driver, &json!({"id": 2, "result": opened}));
        assert_eq!(written(&told)[0]["method"], method);
        let no = json!({"id": 3, "error": {"code": -32602, "message": "no such model"}});
        let told = hear(&mut driver, &no);
        let right = "m-1: no such model; it has a[low]";
        assert!(matches!(&told[1], Told::NeverReady(why) if why.contains(right)), "{told:?}");
    }
}

/// A driver whose worker ran before, and what it asks of an agent that can do so much.
fn resuming(capabilities: &Value) -> (Acp, Vec<Told>) {
    let mut driver = acp(None);
    let past = Past { session_id: Some("old".into()), cost_usd: 0.5, ..Past::default() };
    driver.resume(&past);
    driver.begin(&mut Vec::new());
    let result = json!({"protocolVersion": 1, "agentCapabilities": capabilities});
    let told = hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 1, "result": result}));
    (driver, told)
}

#[test]
fn a_session_goes_on_by_the_shortest_way_that_the_agent_offers() {
    for (capabilities, method) in [
        (json!({"loadSession": true, "sessionCapabilities": {"resume": {}}}), "session/resume"),
        (json!({"loadSession": true, "sessionCapabilities": {}}), "session/load"),
    ] {
        let (mut driver, told) = resuming(&capabilities);
        let asked = &written(&told)[0];
        assert_eq!(
            (&asked["method"], &asked["params"]["sessionId"]),
            (&method.into(), &"old".into())
        );
        let told = hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 2, "result": null}));
        assert!(matches!(told[..], [Told::Ready { .. }]), "{told:?}");
        let mut told = Vec::new();
        driver.prompt("x", &mut told);
        assert_eq!(written(&told)[0]["params"]["sessionId"], "old");
    }
}

#[test]
fn what_was_said_before_is_counted_and_not_said_again() {
    let (mut driver, _) = resuming(&json!({"loadSession": true}));
    for text in ["an old message", "another"] {
        assert_eq!(hear(&mut driver, &piece(text)), []);
    }
    let told = hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 2, "result": {}}));
    assert_eq!(said(&told, OutputKind::Stdout)[0].data, Some(json!({"replayed": 2})));
    assert!(matches!(told.last(), Some(Told::Ready { .. })), "{told:?}");
    driver.prompt("x", &mut Vec::new());
    let mut told = hear(&mut driver, &piece("new"));
    driver.finish(&mut told);
    assert_eq!(said(&told, OutputKind::Message)[0].content, "new");
}

#[test]
fn a_session_that_cannot_go_on_is_told_and_a_new_one_opened() {
    let refusal =
        json!({"jsonrpc": "2.0", "id": 2, "error": {"code": -32602, "message": "no such"}});
    let (mut driver, _) = resuming(&json!({"loadSession": true}));
    let lost = hear(&mut driver, &refusal);
    let (_, never_asked) = resuming(&json!({}));
    for (told, why) in [(lost, "no such"), (never_asked, "neither")] {
        let error = said(&told, OutputKind::Error)[0];
        assert!(error.content.contains(why), "{error:?}");
        assert_eq!(error.data, Some(json!({"lost_session_id": "old"})));
        assert_eq!(written(&told)[0]["method"], "session/new");
    }
    hear(&mut driver, &json!({"jsonrpc": "2.0", "id": 3, "result": {"sessionId": "new"}}));
    driver.prompt("x", &mut Vec::new());
    let cost = json!({"sessionUpdate": "usage_update", "used": 1, "size": 2,
        "cost": {"amount": 0.25, "currency": "USD"}});
    hear(&mut driver, &update(&cost));
    let end = json!({"jsonrpc": "2.0", "id": 4, "result": {"stopReason": "end_turn"}});
    let told = hear(&mut driver, &end);
    assert_eq!(ends(&told)[0].cost_usd_total, Some(0.75), "what it cost before is not lost");
}

#[test]
fn servers_are_offered_with_the_session_and_one_that_cannot_be_is_told() {
    let mcp = json!({"mcpServers": {
        "near": {"command": "node", "args": ["near.js"], "env": {"TOKEN": "t"}},
        "far": {"type": "http", "url": "http://far/"},
    }});
    let mut driver = Acp::new(&agent(None), Some(&mcp.to_string()));
    driver.begin(&mut Vec::new());
    let told = hear(&mut driver, &json!({"id": 1, "result": {"protocolVersion": 1}}));
    let near = json!({"name": "near", "command": "node", "args": ["near.js"],
        "env": [{"name": "TOKEN", "value": "t"}]});
    assert_eq!(written(&told)[0]["params"], json!({"cwd": "/workspace", "mcpServers": [near]}));
    let errors = said(&told, OutputKind::Error);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].content.contains("MCP server far"), "{errors:?}");
    let told = hear(&mut driver, &json!({"id": 2, "result": {"sessionId": "s"}}));
    assert!(matches!(told[..], [Told::Ready { .. }]), "{told:?}");
}
