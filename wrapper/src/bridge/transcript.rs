//! Transcripts: what happens in, what is to be done out. `wrapper/tests/transcripts/bridge/*.txt`
//! hold them, for people to read: `!` is the worker, `>` an event, `<` an effect, `#` a remark.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use worker_protocol::boot::{BootAgent, BootKeys, BootPolicy, Bounds, Gate, RedisAccess, WhenIdle};
use worker_protocol::create::{Life, Permissions, Restart};
use worker_protocol::{
    AgentProtocol, AgentType, Boot, CommandPattern, Input, Output, Secret, WorkerId,
};

use super::{Bridge, Delivery, Effect, Event, Now};
use crate::cgroup::Shortage;
use crate::driver::{Question, RunEnd, Start};
use crate::frame::Line;
use crate::kept::Past;
use crate::reaper::Ended;
use crate::uplink::backlog::StreamId;

#[test]
fn every_transcript_plays_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/bridge");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let written = std::fs::read_to_string(&path).unwrap();
        let actual = play(&written);
        let name = path.display();
        assert!(written == actual, "{name} plays otherwise, namely:\n{actual}");
        played += 1;
    }
    assert!(played >= 8, "only {played} transcripts were found");
}

#[test]
fn more_prompts_than_may_wait_are_refused_one_by_one() {
    let (mut scene, _) = Scene::new("claude");
    let many = (0..1002).map(|n| (n, "x".to_owned())).collect::<Vec<_>>();
    let large = [(0, "x".repeat(32 << 20)), (1, "x".to_owned())];
    for prompts in [&many[..], &large[..]] {
        let mut effects = Vec::new();
        for (n, text) in prompts {
            effects = scene.input(&format!("{n}-0"), Delivery::First, Input::Prompt(text.clone()));
        }
        let [refused, acknowledged] = [&effects[0], &effects[1]].map(shown);
        assert!(refused.contains("error: the prompt was not taken"), "{refused}");
        assert_eq!(acknowledged, format!("ack {}-0, trim below 0-0", prompts.len() - 1));
        scene = Scene::new("claude").0;
    }
}

#[test]
fn what_the_agent_does_not_read_has_a_bound() {
    let (mut scene, _) = Scene::new("lines");
    let mut send = || scene.input("1-0", Delivery::First, Input::Stdin("x".repeat(6 << 20)));
    assert!(matches!(send()[0], Effect::Write(_)));
    assert!(matches!(send()[0], Effect::Write(_)));
    let refused = shown(&send()[0]);
    assert!(refused.contains("has not read 12582912 bytes"), "{refused}");
    scene.bridge.handle(Event::Written, scene.now);
    let effects = scene.input("1-0", Delivery::First, Input::Stdin("x".repeat(6 << 20)));
    assert!(matches!(effects[0], Effect::Write(_)));
}

/// Plays the events of a transcript, and gives it back with the effects that they have.
fn play(written: &str) -> String {
    let mut scene = None;
    let mut actual = String::new();
    for line in written.lines().filter(|line| !line.starts_with('<')) {
        actual.push_str(line);
        actual.push('\n');
        let effects = match (line.split_at_checked(2), &mut scene) {
            (Some(("! ", worker)), _) => {
                let (begun, effects) = Scene::new(worker);
                scene = Some(begun);
                effects
            }
            (Some(("> ", event)), Some(scene)) => scene.happens(event),
            _ => Vec::new(),
        };
        let notes = scene.as_ref().is_some_and(|scene| scene.notes);
        for effect in effects.iter().filter(|one| notes || !matches!(one, Effect::Note(_))) {
            actual.push_str(&format!("< {}\n", shown(effect)));
        }
    }
    actual
}

struct Scene {
    bridge: Bridge,
    now: Now,
    /// Whether it is shown what is noted down.
    notes: bool,
}

impl Scene {
    /// `claude headless`: a worker that was just started, on a clock of its own.
    fn new(worker: &str) -> (Self, Vec<Effect>) {
        let boot = boot(worker);
        let mut driver = crate::driver::for_agent(&boot);
        let past = worker.contains("again").then(|| Past {
            session_id: Some("s1".into()),
            turns: 2,
            cost_usd: 0.5,
            counted_usd: if worker.contains("killed") { 0.0 } else { 0.5 },
            begun: Some("1-0".into()),
        });
        if let Some(past) = &past {
            driver.resume(past);
        }
        let now = Now { at: Timestamp::UNIX_EPOCH, clock: Instant::now() };
        let mut bridge = Bridge::new(boot, driver, Duration::ZERO, now);
        let notes = past.is_some();
        if let Some(past) = past {
            bridge.go_on_after(past);
        }
        let effects = match worker.strip_prefix("missing ") {
            Some(problem) => bridge.never_began(problem, 127, now),
            None => bridge.begin(now),
        };
        (Self { bridge, now, notes }, effects)
    }

    fn happens(&mut self, line: &str) -> Vec<Effect> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (id, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let event = match verb {
            "prompt" => return self.input(id, Delivery::First, Input::Prompt(text.into())),
            "again" => return self.input(id, Delivery::Again, Input::Prompt(text.into())),
            "repeated" => return self.input(id, Delivery::Repeated, Input::Prompt(text.into())),
            "interrupt" => return self.input(id, Delivery::First, Input::Interrupt),
            "stop" => return self.input(id, Delivery::First, Input::Stop),
            "stdin" => return self.input(id, Delivery::First, Input::Stdin(text.into())),
            "keys" => return self.input(id, Delivery::First, Input::Keys(text.into())),
            "resize" => {
                return self.input(id, Delivery::First, Input::Resize { cols: 20, rows: 2 });
            }
            "draws" => Event::Drew(rest.as_bytes().to_vec()),
            "entry" => Event::Input {
                id: StreamId::parse(id).unwrap(),
                delivery: Delivery::First,
                input: Input::parse(&fields(text)),
            },
            "wait" => {
                let seconds = rest.parse().unwrap();
                self.now.clock += Duration::from_secs(seconds);
                self.now.at += SignedDuration::from_secs(seconds.cast_signed());
                Event::Tick
            }
            "stdout" => Event::Said(vec![whole(rest)]),
            "stderr" => Event::Complained(vec![whole(rest)]),
            "ready" | "says" | "result" => {
                Event::Said(vec![whole(&claude(verb, rest).to_string())])
            }
            "written" => Event::Written,
            "asks" => Event::Said(vec![whole(&question(rest).to_string())]),
            "hook" => {
                let (tool, input) = ("Bash".to_owned(), json!({"command": text}));
                let question = Question { tool, input, ..Question::default() };
                Event::HookAsked { connection: id.parse().unwrap(), question }
            }
            "reads" => {
                let question = Question { tool: "Read".to_owned(), ..Question::default() };
                Event::HookAsked { connection: id.parse().unwrap(), question }
            }
            "hung-up" => Event::HookGone { connection: id.parse().unwrap() },
            "deaf" => Event::StdinClosed,
            "closed" => Event::PipesClosed,
            "exited" => self.ended(Ended::Exited(rest.parse().unwrap())),
            "killed" => self.ended(Ended::Killed(rest.parse().unwrap())),
            "SIGTERM" => Event::AskedToStop,
            "run-ended" => Event::RunEnded(RunEnd {
                ended: Ended::Exited(rest.parse().unwrap()),
                oom_killed: false,
            }),
            "run-killed" => Event::RunEnded(RunEnd {
                ended: Ended::Killed(rest.parse().unwrap()),
                oom_killed: false,
            }),
            "run-starved" => Event::RunEnded(RunEnd { ended: Ended::Killed(9), oom_killed: true }),
            "not-started" => Event::RunNotStarted { problem: rest.to_owned(), code: 127 },
            "denied" => Event::CutOff(rest.to_owned()),
            "short" => Event::RanShort(Shortage {
                oom_kills: id.parse().unwrap(),
                pids_refused: text.parse().unwrap(),
                memory_limit: Some(64 << 20),
                pids_limit: Some(64),
            }),
            other => panic!("no such event: {other}"),
        };
        self.bridge.handle(event, self.now)
    }

    fn ended(&self, ended: Ended) -> Event {
        Event::AgentEnded { ended, oom_killed: ended == Ended::Killed(9) }
    }

    fn input(&mut self, id: &str, delivery: Delivery, input: Input) -> Vec<Effect> {
        let id = StreamId::parse(id).unwrap();
        self.bridge.handle(Event::Input { id, delivery, input: Ok(input) }, self.now)
    }
}

fn boot(worker: &str) -> Boot {
    let (protocol, agent_type) = match worker.split(' ').next() {
        Some("claude") => (AgentProtocol::Claude, AgentType::Claude),
        Some("pty") => (AgentProtocol::Pty, AgentType::Custom),
        Some("acp") => (AgentProtocol::Acp, AgentType::Opencode),
        Some("droid") => (AgentProtocol::Droid, AgentType::Factory),
        _ => (AgentProtocol::Lines, AgentType::Custom),
    };
    Boot {
        worker_id: WorkerId::new(),
        redis: RedisAccess {
            url: "redis://redis".into(),
            username: "w".into(),
            password: Secret::new("pw"),
        },
        keys: BootKeys { input: "i".into(), output: "o".into(), heartbeat: "h".into() },
        agent: BootAgent {
            agent_type,
            version: None,
            protocol,
            command: vec!["agent".into()],
            env: BTreeMap::new(),
            system_prompt_file: None,
            model: None,
            mcp_file: None,
            uid: 1000,
            workspace: "/workspace".into(),
        },
        operators: BTreeSet::new(),
        token: None,
        restart: if worker.contains("restarted") { Restart::OnFailure(2) } else { Restart::Never },
        life: if worker.contains("headless") { Life::Headless } else { Life::Interactive },
        files: Vec::new(),
        policy: policy(worker),
        bounds: bounds(worker),
    }
}

/// `idle=60`, `lifetime=3600` and `cost=1.5` are limits; with `pause`, no idle worker ends.
fn bounds(worker: &str) -> Bounds {
    let limit = |name: &str| {
        let mut words = worker.split(' ').filter_map(|word| word.split_once('='));
        words.find(|(word, _)| *word == name).map(|(_, value)| value.parse().unwrap())
    };
    Bounds {
        turn_timeout: Some(Duration::from_secs(600)),
        when_idle: if worker.contains(" pause") { WhenIdle::Pause } else { WhenIdle::End },
        idle_timeout: limit("idle").map(Duration::from_secs_f64),
        max_lifetime: limit("lifetime").map(Duration::from_secs_f64),
        max_cost_usd: limit("cost"),
        ..Bounds::default()
    }
}

/// `strict` workers may run git alone; of one that is `asking`, a client may allow more.
fn policy(worker: &str) -> Option<BootPolicy> {
    let permissions = match worker.split_once(' ') {
        Some((_, "strict")) => Permissions::Auto,
        Some((_, "asking")) => Permissions::Ask,
        _ => return None,
    };
    Some(BootPolicy {
        allowed: vec![CommandPattern::parse("git").unwrap()],
        permissions,
        gate: Some(Gate::Hook),
        programs: Vec::new(),
        socket: "gate".into(),
    })
}

/// Claude Code's own question.
fn question(command: &str) -> Value {
    json!({"type": "control_request", "request_id": "q1", "request":
        {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": command}}})
}

/// What Claude Code would say, in short.
fn claude(verb: &str, rest: &str) -> Value {
    let failed = json!({"type": "result", "subtype": "error_during_execution", "is_error": true});
    let mut frame = match (verb, rest) {
        ("ready", _) => json!({"type": "control_response",
            "response": {"subtype": "success", "request_id": "wrapper-initialize"}}),
        ("says", text) => json!({"type": "assistant", "session_id": "s1",
            "message": {"content": [{"type": "text", "text": text}]}}),
        ("result", "error" | "aborted") => failed,
        ("result", "spent") => json!({"type": "result", "subtype": "error_max_budget_usd",
            "is_error": true, "session_id": "s1", "total_cost_usd": 0.6}),
        (_, text) => json!({"type": "result", "subtype": "success", "is_error": false,
            "session_id": "s1", "result": text, "total_cost_usd": 0.5}),
    };
    if rest == "aborted" {
        frame["terminal_reason"] = "aborted_tools".into();
    }
    if rest == "of a task" {
        frame["origin"] = json!({"kind": "task-notification"});
    }
    frame
}

fn whole(text: &str) -> Line {
    Line { text: text.to_owned(), full_bytes: text.len(), cut: false }
}

/// `type=prompt content=x`
fn fields(text: &str) -> Vec<(String, Vec<u8>)> {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect()
}

fn shown(effect: &Effect) -> String {
    match effect {
        Effect::Say(output) => shown_output(output),
        Effect::Acknowledge { id, trim_below } => format!("ack {id}, trim below {trim_below}"),
        Effect::Note(past) => format!("note {}", serde_json::to_string(past).unwrap()),
        Effect::Begin(arguments) => format!("begin … {}", arguments.last().map_or("", |it| it)),
        Effect::Start(Start { arguments, stdin }) => {
            let last = arguments.last().map_or("", String::as_str);
            format!("start … {last} with {}", shown_bytes(stdin))
        }
        Effect::Resize { rows, cols } => format!("resize to {cols} × {rows}"),
        Effect::Write(bytes) => format!("write {}", shown_bytes(bytes)),
        Effect::AnswerHook { connection, verdict } => format!("answer {connection}: {verdict:?}"),
        Effect::CloseStdin => "close stdin".to_owned(),
        Effect::Signal(signal) => format!("{signal} to the group"),
        Effect::EndCommands { .. } => "end the turn's commands".to_owned(),
        Effect::KillAll => "SIGKILL to everybody".to_owned(),
        Effect::Beat(pulse) => format!("beat {}", serde_json::to_string(pulse).unwrap()),
        Effect::Finish { code, patience } => {
            format!("finish with {code}, within {} s", patience.as_secs())
        }
    }
}

fn shown_output(output: &Output) -> String {
    let turn = output.turn.as_ref().map(|id| format!(" of {id}")).unwrap_or_default();
    let data = output.data.as_ref().map(|data| format!(" {data}")).unwrap_or_default();
    format!("{}{turn}: {}{data}", output.kind.as_str(), output.content)
}

/// Of a frame for an agent no more than what it is.
fn shown_bytes(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let Ok(frame) = serde_json::from_str::<Value>(&text) else { return format!("{text:?}") };
    let word = |pointer: &str| frame.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    ["/request/subtype", "/response/response/behavior", "/message/content", "/method"]
        .into_iter()
        .find_map(word)
        .unwrap_or_default()
}
