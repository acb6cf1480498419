//! Runs a worker: connects the bridge with the agent's pipes, with Redis, with signals and time.

use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use worker_protocol::Boot;
use worker_protocol::boot::{BootFile, BootPolicy, GATE_SOCKET, Gate};
use worker_protocol::create::Permissions;

use crate::agent;
use crate::bridge::{Bridge, Effect, Event, LAST_WORDS_IN_HASTE, Now};
use crate::cgroup::Shortage;
use crate::chain;
use crate::connection::Redis;
use crate::downlink::Downlink;
use crate::driver::{self, Process};
use crate::fence::Fence;
use crate::gate::{self, Answers};
use crate::ground;
use crate::kept::{Kept, Past};
use crate::mask::Masks;
use crate::reaper::{self, Reaper};
use crate::runner::{Runner, Running};
use crate::surroundings::{listen, watch_shortage};
use crate::uplink::{self, Uplink};

/// Events that wait. The readers of the agent's pipes wait when it is full; each of theirs holds
/// the lines of a read.
const QUEUE: usize = 16;
/// The program that hooks are.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// The wrapper itself could not begin: EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;

/// Runs the worker to its end, and gives the exit code.
pub async fn run(boot: Boot, kept: Kept) -> u8 {
    match begin(boot, kept).await {
        Ok(code) => code,
        Err(problem) => {
            crate::log(format_args!("{problem}"));
            CONFIG
        }
    }
}

async fn begin(boot: Boot, kept: Kept) -> Result<u8, String> {
    // Before the first child, so that no end is missed.
    let (reaper, ends) =
        Reaper::new().map_err(|error| format!("failed to wait for children: {error}"))?;
    if reaper::is_init() {
        check_ground(&boot, &kept)?;
    } else {
        Reaper::adopt_orphans();
    }
    write_files(&boot.files)?;
    if let Err(error) = kept.keep_boot(&boot) {
        let path = kept.boot_path();
        crate::log(format_args!(
            "failed to write {}, so this worker cannot be started again: {error}",
            path.display()
        ));
    }
    let past = kept.past();
    let mut driver = driver::for_agent(&boot);
    if let Some(past) = &past {
        driver.resume(past);
    }
    let redis = Redis::new(&boot.redis)
        .map_err(|error| format!("the address of redis cannot be used: {error}"))?;
    let (events, queue) = mpsc::channel(QUEUE);
    listen(&events)?;
    let before = Shortage::counted();
    tokio::spawn(watch_shortage(before, events.clone()));
    let (uplink, sender) = uplink::new(redis.clone(), &boot);
    tokio::spawn(pass_on_denial(sender.run(), events.clone()));
    tokio::spawn(reaper.run());
    let hooks = open_gate(boot.policy.as_ref(), &events)?;
    let masks = Arc::new(Masks::of(&boot));
    let mut runner = Runner {
        spec: boot.agent.clone(),
        fence: fence(&boot),
        line_bytes: boot.bounds.line_bytes,
        masks: Arc::clone(&masks),
        uplink: uplink.clone(),
        events: events.clone(),
        ends,
        before,
        running: Running::default(),
    };
    let started = match driver.process() {
        kind @ (Process::PerWorker | Process::OnTerminal) => {
            runner.start(kind, &driver.arguments())
        }
        Process::PerTurn => Ok(()),
    };
    let input = boot.keys.input.clone();
    // Nobody asks where its life has no limit.
    let limit = boot.bounds.max_lifetime;
    let age = limit.map_or(Duration::ZERO, |_| kept.age(Timestamp::now()));
    let mut bridge = Bridge::new(boot, driver, age, now());
    bridge.fenced = runner.fence.is_some();
    if let Some(past) = past {
        bridge.go_on_after(past);
    }
    let first = match started {
        Ok(()) => {
            let downlink = Downlink::new(redis, input, events.clone());
            tokio::spawn(pass_on_denial(downlink.run(), events));
            bridge.begin(now())
        }
        Err(error) => bridge.never_began(&error.to_string(), error.code, now()),
    };
    let worker = Worker { uplink, masks, runner, kept, hooks };
    Ok(worker.go_on(bridge, first, queue).await)
}

fn now() -> Now {
    Now { at: Timestamp::now(), clock: Instant::now() }
}

/// Where it writes, and where its own program lies.
fn check_ground(boot: &Boot, kept: &Kept) -> Result<(), String> {
    let program = std::env::current_exe().unwrap_or_default();
    let socket = boot.policy.as_ref().map_or(GATE_SOCKET, |policy| &policy.socket);
    let files = boot.files.iter().map(|file| Path::new(&file.path));
    let kept = kept.boot_path();
    let all = files.chain([program.as_path(), Path::new(socket), &kept]);
    let folders: BTreeSet<&Path> = all.filter_map(Path::parent).collect();
    folders.into_iter().try_for_each(ground::check).map_err(|error| chain(&error))
}

/// Files for the agent to read: root's, for everybody's eyes. Not by way of a link, which an image
/// may have there.
fn write_files(files: &[BootFile]) -> Result<(), String> {
    for file in files {
        let path = Path::new(&file.path);
        let folder = path.parent().unwrap_or(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).custom_flags(nix::libc::O_NOFOLLOW);
        std::fs::create_dir_all(folder)
            .and_then(|()| options.open(path)?.write_all(file.text.as_bytes()))
            .map_err(|error| format!("failed to write {} for the agent: {error}", file.path))?;
    }
    Ok(())
}

/// What a client may allow later on cannot be fenced off now.
fn fence(boot: &Boot) -> Option<Fence> {
    let policy = boot.policy.as_ref().filter(|policy| policy.permissions == Permissions::Auto)?;
    let allowed = policy.allowed.iter().map(|pattern| pattern.name().to_owned());
    let own = (policy.gate == Some(Gate::Hook)).then(|| OWN_PROGRAM.to_owned());
    let programs = policy.programs.iter().cloned().chain(allowed).chain(own).collect();
    Fence::around(&agent::needs(&boot.agent, programs))
}

/// Where an agent asks by a hook, it must be able to before it starts.
fn open_gate(policy: Option<&BootPolicy>, events: &mpsc::Sender<Event>) -> Result<Answers, String> {
    match policy {
        Some(BootPolicy { gate: Some(Gate::Hook), socket, .. }) => {
            gate::open(Path::new(socket), events.clone())
                .map_err(|error| format!("failed to open the socket {socket} for hooks: {error}"))
        }
        _ => Ok(Answers::default()),
    }
}

/// A connection's task ends with a reason when Redis does not accept this worker.
async fn pass_on_denial<R: Into<Option<String>>>(
    connection: impl Future<Output = R>,
    events: mpsc::Sender<Event>,
) {
    if let Some(reason) = connection.await.into() {
        let _ = events.send(Event::CutOff(reason)).await;
    }
}

/// What effects are carried out with.
struct Worker {
    uplink: Uplink,
    masks: Arc<Masks>,
    runner: Runner,
    kept: Kept,
    hooks: Answers,
}

impl Worker {
    fn note(&self, past: &Past) {
        if let Err(error) = self.kept.note(past) {
            crate::log(format_args!("failed to note down how far the agent has come: {error}"));
        }
    }

    async fn go_on(
        mut self,
        mut bridge: Bridge,
        first: Vec<Effect>,
        mut queue: mpsc::Receiver<Event>,
    ) -> u8 {
        let (mut effects, mut at) = (first, Timestamp::now());
        loop {
            if let Some((code, patience)) = self.carry_out(effects, at) {
                self.hand_over(patience, queue).await;
                return code;
            }
            let Some(event) = queue.recv().await else { return CONFIG };
            if matches!(event, Event::RunEnded(_)) {
                self.runner.forget();
            }
            let now = now();
            at = now.at;
            effects = bridge.handle(event, now);
        }
    }

    /// Waits until Redis has everything, or patience is at its end.
    async fn hand_over(&self, patience: Duration, mut queue: mpsc::Receiver<Event>) {
        let mut end = Instant::now() + patience;
        loop {
            tokio::select! {
                () = self.uplink.drained() => return,
                () = tokio::time::sleep_until(end.into()) => {
                    return crate::log(format_args!("redis has not taken the last entries"));
                }
                Some(event) = queue.recv() => match event {
                    Event::AskedToStop => end = end.min(Instant::now() + LAST_WORDS_IN_HASTE),
                    Event::CutOff(reason) => {
                        return crate::log(format_args!("redis took no last entries: {reason}"));
                    }
                    _ => {}
                },
            }
        }
    }

    /// Exit code and patience, when it is time to end.
    fn carry_out(&mut self, effects: Vec<Effect>, at: Timestamp) -> Option<(u8, Duration)> {
        for effect in effects {
            match effect {
                Effect::Say(mut output) => {
                    self.masks.output(&mut output);
                    self.uplink.say(output, at);
                }
                Effect::Acknowledge { id, trim_below } => {
                    self.uplink.acknowledge(id.to_string(), trim_below);
                }
                Effect::Note(past) => self.note(&past),
                Effect::Begin(arguments) => self.runner.begin_anew(&arguments),
                Effect::Start(start) => self.runner.start_run(start),
                Effect::Write(bytes) => self.runner.write(bytes),
                Effect::AnswerHook { connection, verdict } => self.hooks.give(connection, verdict),
                Effect::Resize { rows, cols } => self.runner.resize(rows, cols),
                Effect::CloseStdin => self.runner.close_stdin(),
                Effect::Signal(signal) => self.runner.signal(signal),
                Effect::EndCommands { since } => self.runner.end_commands(since),
                Effect::KillAll => reaper::kill_everything(),
                Effect::Beat(pulse) => self.uplink.beat(pulse),
                Effect::Finish { code, patience } => return Some((code, patience)),
            }
        }
        None
    }
}
