//! What clients do: they make workers, talk to them, stop, start and delete them, and make mistakes.

use std::collections::BTreeMap;
use uuid::Uuid;

use worker_tests::harness::{Entry, Installation, Worker};

use crate::tally::Tally;

/// Numbers, so that a line that is lost or doubled is seen.
const COUNTER: &str = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.05; done";
/// Says each prompt again.
const ECHO: &str = "exec cat";
/// Ends by itself.
const SHORT: &str = "for n in 1 2 3; do echo $n; sleep 0.3; done; exit 3";
/// Deaf to SIGTERM, so that a stop takes its time.
const DEAF: &str = "trap '' TERM; n=0; while :; do n=$((n + 1)); echo $n; sleep 0.2; done";
const AGENTS: [&str; 5] = [COUNTER, COUNTER, ECHO, SHORT, DEAF];
/// More would only make the machine slower.
const MOST_WORKERS: usize = 6;

/// All that clients have asked for.
pub(crate) struct Load<'a> {
    it: &'a Installation,
    /// Workers that were not deleted, and what their agents are.
    workers: BTreeMap<String, &'static str>,
    /// All that there ever were.
    agents: BTreeMap<String, &'static str>,
    /// What was sent to each echo.
    prompts: usize,
}

impl<'a> Load<'a> {
    pub(crate) fn new(it: &'a Installation) -> Self {
        Self { it, workers: BTreeMap::new(), agents: BTreeMap::new(), prompts: 0 }
    }

    /// Sends some commands, and says which.
    pub(crate) fn work(&mut self, rng: &mut fastrand::Rng, tally: &mut Tally) -> String {
        let mut done = Vec::new();
        for _ in 0..rng.usize(3..9) {
            let word = match rng.u32(..100) {
                _ if self.workers.is_empty() => self.create(rng),
                0..30 if self.workers.len() < MOST_WORKERS => self.create(rng),
                0..45 => self.delete(rng),
                45..65 => self.prompt(rng),
                65..75 => self.tell(rng, "stop"),
                75..85 => self.tell(rng, "start"),
                85..90 => self.tell(rng, "status"),
                90..95 => self.same_twice(rng),
                _ => self.mistake(rng),
            };
            tally.command(word);
            done.push(word);
        }
        done.join(", ")
    }

    /// Deletes all.
    pub(crate) fn end(&mut self, tally: &mut Tally) {
        for id in std::mem::take(&mut self.workers).into_keys() {
            tally.command("delete");
            self.it.command(&[("command", "delete"), ("worker_id", &id)]);
        }
        // What a failed `delete` left.
        let left: Vec<String> = self.it.redis.run(&["ZRANGE", &self.it.key("index"), "0", "-1"]);
        for id in left {
            tally.command("delete");
            self.it.command(&[("command", "delete"), ("worker_id", &id), ("force", "true")]);
        }
    }

    fn any(&self, rng: &mut fastrand::Rng) -> String {
        let number = rng.usize(..self.workers.len().max(1));
        self.workers.keys().nth(number).cloned().unwrap_or_default()
    }

    fn id(rng: &mut fastrand::Rng) -> String {
        uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string()
    }

    fn create(&mut self, rng: &mut fastrand::Rng) -> &'static str {
        let (id, agent) = (Self::id(rng), AGENTS[rng.usize(..AGENTS.len())]);
        let command = serde_json::json!(["/bin/sh", "-c", agent]).to_string();
        let wait = if rng.bool() { "running" } else { "accepted" };
        self.it.send(&[
            ("command", "create"),
            ("worker_id", &id),
            ("agent_type", "CUSTOM"),
            ("agent_command", &command),
            ("wait", wait),
        ]);
        self.workers.insert(id.clone(), agent);
        self.agents.insert(id, agent);
        "create"
    }

    fn delete(&mut self, rng: &mut fastrand::Rng) -> &'static str {
        let id = self.any(rng);
        let force = if rng.bool() { "true" } else { "false" };
        self.it.send(&[("command", "delete"), ("worker_id", &id), ("force", force)]);
        self.workers.remove(&id);
        "delete"
    }

    fn prompt(&mut self, rng: &mut fastrand::Rng) -> &'static str {
        let id = self.any(rng);
        // A worker that is gone would get an input of its own again, and nobody would remove it.
        let known: i64 = self.it.redis.run(&["EXISTS", &self.it.key(&id)]);
        if known == 1 {
            self.prompts += 1;
            Worker::of(self.it, &id).prompt(&format!("prompt {}", self.prompts));
        }
        "prompt"
    }

    fn tell(&self, rng: &mut fastrand::Rng, command: &'static str) -> &'static str {
        let id = self.any(rng);
        self.it.send(&[("command", command), ("worker_id", &id)]);
        command
    }

    /// A client that does not know whether its command has arrived.
    fn same_twice(&self, rng: &mut fastrand::Rng) -> &'static str {
        let (id, request) = (self.any(rng), Self::id(rng));
        let fields = [("command", "status"), ("worker_id", &id), ("request_id", &*request)];
        self.it.send(&fields);
        self.it.send(&fields);
        "the same twice"
    }

    fn mistake(&self, rng: &mut fastrand::Rng) -> &'static str {
        let unknown = Uuid::nil().to_string();
        let mistakes: [&[(&str, &str)]; 4] = [
            &[("command", "dance")],
            &[("nonsense", "1")],
            &[("data", "{")],
            &[("command", "delete"), ("worker_id", &unknown)],
        ];
        self.it.send(mistakes[rng.usize(..mistakes.len())]);
        "a mistake"
    }

    /// What is wrong with what agents have said.
    pub(crate) fn check(&self) -> Vec<String> {
        let counters = self.agents.iter().filter(|(_, agent)| **agent != ECHO);
        counters.filter_map(|(id, _)| wrong_count(id, &Worker::of(self.it, id).output())).collect()
    }
}

/// In each run of an agent its numbers count from 1.
fn wrong_count(id: &str, output: &[Entry]) -> Option<String> {
    let mut last = 0;
    for entry in output {
        match entry.kind() {
            "ready" => last = 0,
            "stdout" => {
                let number = entry.content().parse::<u64>().unwrap_or_default();
                if number != last + 1 {
                    return Some(format!("worker {id} said {number} after {last}: {entry:?}"));
                }
                last = number;
            }
            _ => {}
        }
    }
    None
}
