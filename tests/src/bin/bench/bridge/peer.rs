//! The same agent and the same lines through another bridge: the sandbox-agent CLI, which offers
//! agents over HTTP. The agent speaks ACP and answers a prompt with as many updates as it says.
//!
//! Each: from the prompt until a reader has all that came of it; here a reader of the stream, there
//! one of the server's events.

use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use worker_protocol::AgentProtocol;
use worker_tests::harness::{Installation, Redis};

use super::median;
use super::wrapped::Wrapped;
use crate::process::{megabytes, seconds};

/// The argument that makes this program the agent.
pub(crate) const AGENT: &str = "acp-flood";
const UPDATES: usize = 100_000;
const ROUNDS: usize = 3;
/// An event that does not come for so long was lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// What one run came to.
struct Run {
    lost: usize,
    per_second: f64,
    processor_seconds: f64,
    peak: f64,
}

pub(crate) fn measure(it: &Installation) -> String {
    let Some(program) = it.environment.sandbox_agent.as_deref() else {
        return "The sandbox-agent CLI was not measured: npm could not bring it.\n".to_owned();
    };
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(through_the_peer(program));
        ours.push(through_the_wrapper(it));
    }
    let row = |runs: &[Run]| {
        let of = |pick: fn(&Run) -> f64| median(runs.iter().map(pick).collect());
        let per_million = of(|run| run.processor_seconds) * 1e6 / UPDATES as f64;
        let (rate, peak) = (of(|run| run.per_second), of(|run| run.peak));
        let lost = of(|run| run.lost as f64);
        format!("{rate:.0} | {lost:.0} | {per_million:.2} | {peak:.1} |")
    };
    format!(
        "| {UPDATES} updates over ACP, median of {ROUNDS} | in a second | never read | processor \
         seconds for a million | MB, most |\n| --- | --- | --- | --- | --- |\n| sandbox-agent | {}\n| worker-wrapper | {}\n",
        row(&theirs),
        row(&ours)
    )
}

/// Speaks just enough of the protocol to be given prompts.
pub(crate) fn be_an_agent_that_floods() {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(id) = message.get("id") else { continue };
        let result = match message.get("method").and_then(Value::as_str) {
            Some("initialize") => json!({"protocolVersion": 1, "agentCapabilities": {}}),
            Some("session/new") => json!({"sessionId": "one"}),
            Some("session/prompt") => {
                let update = update();
                (0..UPDATES).try_for_each(|_| out.write_all(&update)).expect("a reader");
                json!({"stopReason": "end_turn"})
            }
            _ => json!({}),
        };
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
        writeln!(out, "{answer}").and_then(|()| out.flush()).expect("a reader");
    }
}

/// A plan: what is not text is handed on by itself, and not put together with its neighbours.
fn update() -> Vec<u8> {
    let entry = json!({"content": "find out how the fox jumps", "priority": "medium",
        "status": "pending"});
    let update = json!({"sessionUpdate": "plan", "entries": [entry]});
    let params = json!({"sessionId": "one", "update": update});
    let mut line =
        json!({"jsonrpc": "2.0", "method": "session/update", "params": params}).to_string();
    line.push('\n');
    line.into_bytes()
}

fn myself() -> String {
    std::env::current_exe().expect("this program").to_string_lossy().into_owned()
}

fn through_the_wrapper(it: &Installation) -> Run {
    let wrapped = Wrapped::start_with(it, AgentProtocol::Acp, &[&myself(), AGENT], |boot| {
        boot.bounds.output_entries = 2 * UPDATES;
    });
    wrapped.comes_to(|entry| entry.kind() == "ready");
    let redis = Redis::connect(&it.environment.redis_url);
    let (stream, mut last) = (wrapped.output().to_owned(), redis.last_id(wrapped.output()));
    let before = wrapped.seconds();
    let begin = Instant::now();
    wrapped.send(&[("prompt", "go")]);
    let mut seen = 0;
    loop {
        let entries = redis.follow(&stream, &last, Duration::from_secs(60));
        last = entries.last().expect("an entry in time").id.clone();
        seen += entries.iter().filter(|entry| entry.content().ends_with(" plan")).count();
        if entries.iter().any(|entry| entry.kind() == "turn_completed") {
            break;
        }
    }
    Run {
        lost: UPDATES - seen,
        per_second: UPDATES as f64 / begin.elapsed().as_secs_f64(),
        processor_seconds: wrapped.seconds() - before,
        peak: wrapped.megabytes("VmHWM"),
    }
}

fn through_the_peer(program: &Path) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Peer::start(program, folder.path());
    peer.ask(
        "?agent=opencode",
        &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": 1, "clientCapabilities": {}}}),
    );
    peer.ask(
        "",
        &json!({"jsonrpc": "2.0", "id": 2, "method": "session/new",
        "params": {"cwd": "/", "mcpServers": []}}),
    );
    let reader = peer.read_updates();
    let before = seconds(peer.process.id());
    let begin = Instant::now();
    peer.ask(
        "",
        &json!({"jsonrpc": "2.0", "id": 3, "method": "session/prompt",
        "params": {"sessionId": "one", "prompt": [{"type": "text", "text": "go"}]}}),
    );
    let (seen, at) = reader.join().expect("a reader");
    Run {
        lost: UPDATES - seen,
        per_second: seen as f64 / (at - begin).as_secs_f64(),
        processor_seconds: seconds(peer.process.id()) - before,
        peak: megabytes(peer.process.id(), "VmHWM"),
    }
}

/// A server that finds our agent under the name of one that it knows.
struct Peer {
    process: Child,
    port: u16,
}

impl Peer {
    fn start(program: &Path, folder: &Path) -> Self {
        let agent = folder.join("opencode");
        let script = format!("#!/bin/sh\nexec '{}' {AGENT}\n", myself());
        fs::write(&agent, script).expect("the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("its mode");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        drop(listener);
        let process = Command::new(program)
            .args(["server", "--no-token", "--no-telemetry", "--port", &port.to_string()])
            .env("HOME", folder)
            .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sandbox-agent");
        let peer = Self { process, port };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        peer
    }

    fn request(&self, head: &str, body: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server");
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .expect("a server that reads");
        BufReader::new(stream)
    }

    /// Waits for the answer.
    fn ask(&self, query: &str, message: &Value) {
        let mut answer = self.request(&format!("POST /v1/acp/one{query}"), &message.to_string());
        let mut status = String::new();
        answer.read_line(&mut status).expect("an answer");
        assert!(status.contains(" 200 "), "{status}");
        io::copy(&mut answer, &mut io::sink()).expect("the whole answer");
    }

    /// A thread that ends when it has all updates of one prompt, or no more come: how many there
    /// were, and when the last one came.
    fn read_updates(&self) -> JoinHandle<(usize, Instant)> {
        let mut events = self.request("GET /v1/acp/one", "");
        events.get_ref().set_read_timeout(Some(PATIENCE)).expect("a timeout");
        thread::spawn(move || {
            let (mut seen, mut at, mut line) = (0, Instant::now(), Vec::new());
            while seen < UPDATES && events.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if line.windows(16).any(|part| part == b"\"session/update\"") {
                    (seen, at) = (seen + 1, Instant::now());
                }
                line.clear();
            }
            (seen, at)
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
