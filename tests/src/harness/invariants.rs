//! What must be so once all is quiet, whatever happened before.
//!
//! Everything is read anew from Redis and from the engine; what is not as it has to be is told in
//! words, so that a test, the soak and whoever reads its output see the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::{Entry, Installation};

const GROUP: &str = "worker-manager";

/// Whether Redis has kept all that it acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It has.
    Whole,
    /// It was emptied, or lost the last second: numbers may be missing in an output, none may come
    /// twice.
    Lossy,
}

/// A worker as its record has it.
struct Known {
    fields: BTreeMap<String, String>,
}

impl Known {
    fn get(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// All that is looked at, of one moment.
struct State {
    index: BTreeMap<String, Known>,
    /// State of each container, by worker.
    containers: BTreeMap<String, String>,
    /// Worker of each volume.
    volumes: BTreeSet<String>,
    /// Worker of each Redis user.
    users: BTreeSet<String>,
    keys: Vec<String>,
}

impl Installation {
    /// Everything that is not as it has to be once all is quiet.
    pub fn violations(&self, memory: Memory) -> Vec<String> {
        let state = self.state();
        let mut found = Vec::new();
        self.check_replies(&mut found);
        self.check_workers(&state, &mut found);
        self.check_leftovers(&state, &mut found);
        for key in state.keys.iter().filter(|key| key.ends_with(":output")) {
            let worker = key.rsplit(':').nth(1).unwrap_or_default();
            let output = self.redis.stream(key);
            check_numbers(worker, &output, memory, &mut found);
            self.check_ends(worker, &output, &mut found);
            if memory == Memory::Whole {
                self.check_end(worker, output.last(), &mut found);
            }
        }
        found
    }

    /// Waits until nothing is out of order.
    pub fn settles(&self) {
        self.settles_with(Memory::Whole);
    }

    /// Waits until nothing is out of order, as far as Redis has kept it.
    pub fn settles_with(&self, memory: Memory) {
        let mut last = Vec::new();
        let settled = super::until(super::installation::SOON, || {
            last = self.violations(memory);
            last.is_empty().then_some(())
        });
        assert!(settled.is_some(), "not in order: {last:#?}{}", self.explain());
    }

    fn state(&self) -> State {
        let redis = &self.redis;
        let ids: Vec<String> = redis.run(&["ZRANGE", &self.key("index"), "0", "-1"]);
        let known = |id: &String| {
            let fields = redis.run(&["HGETALL", &self.key(id)]);
            (id.clone(), Known { fields })
        };
        let prefix = format!("{}-", self.namespace);
        let worker = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
        let named = format!("name=^/?{prefix}");
        let format = ["--format", "{{.Names}} {{.State}}"];
        let listed = self
            .engine
            .ask(&[&["ps", "--all", "--no-trunc", "--filter", &named], &format[..]].concat());
        let split = |line: &str| {
            let (name, state) = line.split_once(' ')?;
            Some((worker(name), state.to_owned()))
        };
        let volumes = format!("name=^{prefix}");
        let volumes = self.engine.ask(&["volume", "ls", "--quiet", "--filter", &volumes]);
        let of_volume = |name: &str| {
            let name = worker(name);
            name.rsplit_once('-').map_or(name.as_str(), |(worker, _)| worker).to_owned()
        };
        State {
            index: ids.iter().map(known).collect(),
            containers: listed
                .lines()
                .filter_map(split)
                .filter(|(of, _)| !is_gateway(of))
                .collect(),
            volumes: volumes.lines().map(of_volume).collect(),
            users: self.users().iter().map(|name| worker(name)).collect(),
            keys: redis.keys(&self.key("*")),
        }
    }

    /// Each command has exactly one reply, and none is left unread or unacknowledged.
    fn check_replies(&self, found: &mut Vec<String>) {
        let commands = self.key("commands");
        let entries = self.redis.stream(&commands);
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for entry in &entries {
            *wanted.entry(request_of(entry)).or_default() += 1;
        }
        for reply in self.redis.stream(&self.key("responses")).iter().map(super::Reply::read) {
            // One whose command Redis has lost may be there, once.
            *wanted.entry(reply.get("request_id")).or_insert(1) -= 1;
        }
        for (request, missing) in wanted.into_iter().filter(|(_, missing)| *missing != 0) {
            found.push(match missing {
                1.. => format!("request {request}: {missing} of its replies are missing"),
                _ => format!("request {request}: {} replies too many", -missing),
            });
        }
        let last = entries.last().map(|entry| entry.id.clone());
        match self.redis.taken(&commands, GROUP) {
            None => found.push("the commands have no consumer group".to_owned()),
            taken if last.is_some() && taken != last => {
                found.push(format!("commands after {taken:?} were not read, up to {last:?}"));
            }
            Some(_) => {
                let pending = self.redis.pending(&commands, GROUP);
                if pending != 0 {
                    found.push(format!("{pending} commands are not acknowledged"));
                }
            }
        }
    }

    /// No worker without a record, and no record without a worker or an end.
    fn check_workers(&self, state: &State, found: &mut Vec<String>) {
        for (id, known) in &state.index {
            let status = known.get("status");
            let container = state.containers.get(id).map(String::as_str);
            let is_there = (container, state.users.contains(id), state.volumes.contains(id));
            match status {
                "RUNNING" => self.check_running(id, is_there, found),
                "STOPPED" | "FAILED" if container == Some("running") => {
                    found.push(format!("worker {id} is {status}, and its container runs"));
                }
                // One that could not be made, or whose container somebody removed, has none.
                "STOPPED" | "FAILED" => {
                    let lost =
                        !known.get("error").is_empty() || known.get("reason").contains("lost");
                    if container.is_none() && !lost {
                        found.push(format!("worker {id} is {status}, and has no container"));
                    }
                }
                _ => found.push(format!("worker {id} is {status:?} {:?}", known.get("reason"))),
            }
            if known.get("reason") == "stopping" {
                found.push(format!("worker {id} does not come to its end"));
            }
        }
    }

    fn check_running(
        &self,
        id: &str,
        is_there: (Option<&str>, bool, bool),
        found: &mut Vec<String>,
    ) {
        let (container, user, _) = is_there;
        if container != Some("running") {
            found.push(format!("worker {id} is RUNNING, and its container is {container:?}"));
        }
        if !user {
            found.push(format!("worker {id} is RUNNING, and has no Redis user"));
        }
        let beats: i64 = self.redis.run(&["EXISTS", &self.key(&format!("{id}:heartbeat"))]);
        if beats == 0 {
            found.push(format!("worker {id} is RUNNING, and has no heartbeat"));
        }
        let input = self.key(&format!("{id}:input"));
        let last = self.redis.last_id(&input);
        let taken = self.redis.taken(&input, "wrapper");
        if taken.as_deref().and_then(order) < order(&last) {
            found.push(format!(
                "worker {id} has input that is not read: after {taken:?}, up to {last}"
            ));
        } else if self.redis.pending(&input, "wrapper") != 0 {
            found.push(format!("worker {id} has input that is not acknowledged"));
        }
    }

    /// Of a worker that ran and has ended, the last that is said is its end, and of one that runs
    /// it is not; also of one that was deleted.
    fn check_end(&self, worker: &str, last: Option<&Entry>, found: &mut Vec<String>) {
        let known = Known { fields: self.redis.run(&["HGETALL", &self.key(worker)]) };
        let told = last.is_some_and(|entry| entry.kind() == "exit");
        let runs = known.get("status") == "RUNNING";
        if told == runs && !known.get("started_at").is_empty() {
            let (status, last) = (known.get("status"), last.map_or("nothing", Entry::kind));
            found.push(format!("worker {worker} is {status}, and said {last} last"));
        }
    }

    /// An end is told once. One that follows on another is of a run that ended without a word, and
    /// for each such run somebody has asked.
    fn check_ends(&self, worker: &str, output: &[Entry], found: &mut Vec<String>) {
        let is_exit = |entry: &&Entry| entry.kind() == "exit";
        let mut pairs = output.windows(2);
        let Some(pair) = pairs.find(|pair| pair.iter().all(|entry| entry.kind() == "exit")) else {
            return;
        };
        let commands = self.redis.stream(&self.key("commands"));
        let is_start =
            |entry: &&Entry| entry.get("command") == "start" && entry.get("worker_id") == worker;
        let runs = 1 + commands.iter().filter(is_start).count();
        if output.iter().filter(is_exit).count() > runs {
            found.push(format!("worker {worker} has told its end twice: {:?}", pair[1].fields));
        }
    }

    /// Nothing of a worker that is gone but what expires.
    fn check_leftovers(&self, state: &State, found: &mut Vec<String>) {
        let kinds = [
            ("container", state.containers.keys().cloned().collect::<BTreeSet<_>>()),
            ("volume", state.volumes.clone()),
            ("Redis user", state.users.clone()),
        ];
        for (kind, owners) in kinds {
            for owner in owners {
                let of = owner.strip_suffix("-companion").unwrap_or(&owner);
                if !state.index.contains_key(of) {
                    found.push(format!("a {kind} of worker {owner} is left over"));
                }
            }
        }
        for network in self.engine.networks(&self.namespace) {
            let of = network.strip_prefix(&format!("{}-", self.namespace)).unwrap_or(&network);
            let of = of.strip_suffix("-network").unwrap_or(of);
            if !state.index.contains_key(of) && !is_gateway(of) {
                found.push(format!("network {network} is left over"));
            }
        }
        for key in &state.keys {
            let rest = key.strip_prefix(&self.key("")).unwrap_or(key);
            let owner = rest.split(':').next().unwrap_or_default();
            let expires = owner == "request" || owner == "reply" || is_id(owner);
            if expires && !state.index.contains_key(owner) {
                let left: i64 = self.redis.run(&["TTL", key]);
                if left == -1 {
                    found.push(format!("key {key} is left over, and does not expire"));
                }
            }
        }
    }

    /// How much there is of everything that could leak.
    pub fn census(&self) -> Census {
        let lines = |arguments: &[&str]| self.engine.ask(arguments).lines().count();
        let of_manager = |name: &str| {
            let folder = format!("/proc/{}/{name}", self.manager().id());
            fs::read_dir(folder).map_or(0, Iterator::count)
        };
        let consumers: Vec<redis::Value> = self
            .redis
            .ask(&["XINFO", "CONSUMERS", &self.key("commands"), GROUP])
            .unwrap_or_default();
        Census {
            containers: lines(&["ps", "--all", "--quiet"]),
            networks: lines(&["network", "ls", "--quiet"]),
            volumes: lines(&["volume", "ls", "--quiet"]),
            users: self.redis.users("").len(),
            lasting_keys: self.lasting_keys(),
            consumers: consumers.len(),
            descriptors: of_manager("fd"),
            threads: of_manager("task"),
            memory_kb: resident(self.manager().id()),
        }
    }

    /// Keys that do not expire by themselves.
    fn lasting_keys(&self) -> usize {
        let keys = self.redis.keys(&self.key("*"));
        keys.iter().filter(|key| self.redis.run::<i64>(&["TTL", key]) == -1).count()
    }
}

/// The gateway, or what it is tried out with.
fn is_gateway(of: &str) -> bool {
    of == "gateway" || of == "gateway-trial"
}

/// How much there is of everything that could leak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// On the engine, of anybody.
    pub containers: usize,
    /// On the engine, of anybody.
    pub networks: usize,
    /// On the engine, of anybody.
    pub volumes: usize,
    /// Of Redis.
    pub users: usize,
    /// Of this installation.
    pub lasting_keys: usize,
    /// Of the commands.
    pub consumers: usize,
    /// Open files of the manager.
    pub descriptors: usize,
    /// Of the manager.
    pub threads: usize,
    /// Resident, of the manager.
    pub memory_kb: usize,
}

fn resident(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn is_id(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok()
}

/// The name of an entry's request: what the caller called it, else the entry's id.
fn request_of(entry: &Entry) -> String {
    let document: serde_json::Value = serde_json::from_str(entry.get("data")).unwrap_or_default();
    let in_document = document["request_id"].as_str().unwrap_or_default();
    let names = [entry.get("request_id"), in_document];
    names.into_iter().find(|name| !name.is_empty()).unwrap_or(&entry.id).to_owned()
}

/// No number is missing, and none comes twice.
fn check_numbers(worker: &str, output: &[Entry], memory: Memory, found: &mut Vec<String>) {
    let numbers: Vec<u64> = output.iter().filter_map(|e| e.get("seq").parse().ok()).collect();
    if numbers.len() != output.len() {
        found.push(format!("an output of worker {worker} has no number"));
    }
    // Redis trims an output from its beginning.
    for pair in numbers.windows(2) {
        let hole = memory == Memory::Whole && pair[1] > pair[0] + 1;
        if pair[1] <= pair[0] || hole {
            found.push(format!("worker {worker} has output {} after {}", pair[1], pair[0]));
        }
    }
}

/// The two numbers of an entry's id, which are in order where the texts are not.
fn order(id: &str) -> Option<(u64, u64)> {
    let (millis, count) = id.split_once('-')?;
    Some((millis.parse().ok()?, count.parse().ok()?))
}
