use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use worker_protocol::boot::{BootAgent, BootKeys, Bounds, RedisAccess};
use worker_protocol::create::Life;
use worker_protocol::{AgentProtocol, AgentType, Boot, Input, OutputKind, Secret, WorkerId};

use super::{Bridge, Delivery, Effect, Event, Now};
use crate::frame::Line;
use crate::uplink::backlog::StreamId;

/// A bridge to Claude Code, with a clock of its own.
struct Scene {
    bridge: Bridge,
    now: Now,
    effects: Vec<Effect>,
}

impl Scene {
    fn new(life: Life) -> Self {
        let agent = BootAgent {
            agent_type: AgentType::Claude,
            version: Some("2.1.329".into()),
            protocol: AgentProtocol::Claude,
            command: vec!["claude".into()],
            env: BTreeMap::new(),
            system_prompt: None,
            model: None,
            mcp: None,
            uid: 1000,
            workspace: "/workspace".into(),
        };
        let boot = Boot {
            worker_id: WorkerId::new(),
            redis: RedisAccess {
                url: "redis://redis".into(),
                username: "w".into(),
                password: Secret::new("pw"),
            },
            keys: BootKeys { input: "i".into(), output: "o".into(), heartbeat: "h".into() },
            agent,
            life,
            files: Vec::new(),
            bounds: Bounds { turn_timeout: Some(Duration::from_secs(600)), ..Bounds::default() },
        };
        let driver = crate::driver::for_agent(&boot.agent).unwrap();
        let now = Now { at: Timestamp::UNIX_EPOCH, clock: Instant::now() };
        let mut scene = Self { bridge: Bridge::new(boot, driver, now), now, effects: Vec::new() };
        let begun = scene.bridge.begin(now);
        let asked = begun.iter().find_map(|effect| match effect {
            Effect::Write(bytes) => serde_json::from_slice::<Value>(bytes).ok(),
            _ => None,
        });
        let id = asked.unwrap()["request_id"].clone();
        scene.says(&format!(
            r#"{{"type":"control_response","response":{{"subtype":"success","request_id":{id}}}}}"#
        ));
        scene
    }

    fn event(&mut self, event: Event) {
        self.effects.extend(self.bridge.handle(event, self.now));
    }

    fn says(&mut self, line: &str) {
        let line = Line { text: line.to_owned(), full_bytes: line.len(), cut: false };
        self.event(Event::Said(line));
    }

    fn result(&mut self, fields: &str) {
        self.says(&format!(r#"{{"type":"result","subtype":"success","is_error":false{fields}}}"#));
    }

    fn prompt(&mut self, ms: u64) {
        let input = Ok(Input::Prompt("do".into()));
        self.event(Event::Input { id: StreamId { ms, n: 0 }, delivery: Delivery::First, input });
    }

    fn after(&mut self, seconds: u64) {
        self.now.clock += Duration::from_secs(seconds);
        self.event(Event::Tick);
    }

    /// What has happened since the last look, for what matters here.
    fn seen(&mut self) -> Vec<String> {
        let show = |effect: Effect| match effect {
            Effect::Say(output) if output.kind == OutputKind::TurnCompleted => {
                let outcome = output.data.unwrap()["outcome"].as_str().unwrap().to_owned();
                Some(format!("{outcome} {}", output.turn.unwrap_or_else(|| "alone".into())))
            }
            Effect::Acknowledge { id, trim_below } => Some(format!("ack {id} trim {trim_below}")),
            Effect::Signal(signal) => Some(signal.to_string()),
            Effect::CloseStdin => Some("close stdin".into()),
            _ => None,
        };
        self.effects.drain(..).filter_map(show).collect()
    }
}

const OF_A_TASK: &str = r#","origin":{"kind":"task-notification"}"#;

#[test]
fn the_end_of_background_work_does_not_end_a_prompts_turn() {
    let mut scene = Scene::new(Life::Interactive);
    scene.prompt(1);
    scene.result(OF_A_TASK);
    assert_eq!(scene.seen(), ["success alone"]);
    scene.result("");
    assert_eq!(scene.seen(), ["success 1-0", "ack 1-0 trim 1-0"]);
}

#[test]
fn prompts_wait_for_their_turn_and_keep_the_input_from_being_trimmed() {
    let mut scene = Scene::new(Life::Interactive);
    scene.prompt(1);
    scene.prompt(2);
    let id = StreamId { ms: 3, n: 0 };
    let input = Ok(Input::Interrupt);
    scene.event(Event::Input { id, delivery: Delivery::First, input });
    assert_eq!(scene.seen(), ["ack 3-0 trim 1-0"]);
    scene.says(r#"{"type":"result","subtype":"error_during_execution","is_error":true,"terminal_reason":"aborted_tools"}"#);
    assert_eq!(scene.seen(), ["interrupted 1-0", "ack 1-0 trim 1-0"]);
    scene.result("");
    assert_eq!(scene.seen()[0], "success 2-0");
}

#[test]
fn a_turn_that_takes_too_long_is_asked_then_pressed_then_ended() {
    let mut scene = Scene::new(Life::Interactive);
    scene.prompt(1);
    scene.after(601);
    assert!(scene.seen().is_empty(), "it is asked in its own protocol first");
    scene.after(11);
    assert_eq!(scene.seen(), ["SIGINT"]);
    scene.after(11);
    assert_eq!(scene.seen(), ["close stdin", "SIGTERM"]);
}

#[test]
fn a_headless_agent_that_does_not_end_is_ended() {
    let mut scene = Scene::new(Life::Headless);
    scene.prompt(1);
    scene.result("");
    assert_eq!(scene.seen(), ["success 1-0", "ack 1-0 trim 1-0", "close stdin"]);
    scene.after(30);
    assert!(scene.seen().is_empty());
    scene.after(30);
    assert_eq!(scene.seen(), ["SIGKILL"]);
}
