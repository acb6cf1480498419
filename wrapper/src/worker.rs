//! Runs a worker: connects the bridge with the agent's pipes, with Redis, with signals and time.

use jiff::Timestamp;
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use worker_protocol::Boot;
use worker_protocol::boot::{BootAgent, BootFile, BootPolicy, Gate};
use worker_protocol::create::Permissions;

use crate::agent::{self, Agent, StartError};
use crate::birth;
use crate::bridge::{Bridge, Effect, Event, LAST_WORDS_IN_HASTE, Now};
use crate::cgroup::{self, Shortage};
use crate::connection::Redis;
use crate::downlink::Downlink;
use crate::driver::{self, Process, RunEnd, Start};
use crate::fence::Fence;
use crate::frame::Framer;
use crate::gate::{self, Answers};
use crate::kept::{Kept, Past};
use crate::leftovers;
use crate::mask::Masks;
use crate::pipes::{Lines, watch, write};
use crate::reaper::{self, Ended, Ends, Reaper};
use crate::terminal::Terminal;
use crate::uplink::{self, Uplink};

/// Events that wait. The readers of the agent's pipes wait when it is full; each of theirs holds
/// the lines of a read.
const QUEUE: usize = 16;
/// The program that hooks are.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// Control and D, as a terminal knows it.
const END_OF_INPUT: &[u8] = b"\x04";
/// The pipes of a turn's process are closed by then: everybody who could hold them was killed.
const PIPES_WITHIN: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(500);
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
    if !reaper::is_init() {
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
    let fence = fence(&boot);

    let mut worker = Worker {
        uplink,
        masks: Arc::new(Masks::of(&boot)),
        spec: boot.agent.clone(),
        line_bytes: boot.bounds.line_bytes,
        ends,
        events: events.clone(),
        before,
        agent: None,
        terminal: None,
        stdin: None,
        kept,
        hooks,
        fence,
    };
    let started = match driver.process() {
        kind @ (Process::PerWorker | Process::OnTerminal) => {
            worker.start(kind, &driver.arguments())
        }
        Process::PerTurn => Ok(()),
    };
    let input = boot.keys.input.clone();
    let age = birth::age(&boot.bounds, Timestamp::now());
    let mut bridge = Bridge::new(boot, driver, age, now());
    bridge.fenced = worker.fence.is_some();
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
    Ok(worker.go_on(bridge, first, queue).await)
}

fn now() -> Now {
    Now { at: Timestamp::now(), clock: Instant::now() }
}

/// Files for the agent to read: root's, for everybody's eyes.
fn write_files(files: &[BootFile]) -> Result<(), String> {
    for file in files {
        let path = Path::new(&file.path);
        let folder = path.parent().unwrap_or(path);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(path, &file.text))
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

/// Signals and time.
fn listen(events: &mpsc::Sender<Event>) -> Result<(), String> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|error| format!("failed to listen for signals: {error}"))?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && events.send(Event::AskedToStop).await.is_ok() {}
        });
    }
    let events = events.clone();
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(TICK);
        while events.send(Event::Tick).await.is_ok() {
            beat.tick().await;
        }
    });
    Ok(())
}

/// Tells when memory or processes have run out; the kernel only counts.
async fn watch_shortage(before: Shortage, events: mpsc::Sender<Event>) {
    let mut beat = tokio::time::interval(TICK);
    let mut told = before;
    loop {
        beat.tick().await;
        let counted = Shortage::counted();
        if counted == told {
            continue;
        }
        told = counted;
        if events.send(Event::RanShort(counted.since(before))).await.is_err() {
            return;
        }
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
    spec: BootAgent,
    line_bytes: usize,
    ends: Ends,
    events: mpsc::Sender<Event>,
    /// What the kernel had counted when the worker started.
    before: Shortage,
    agent: Option<Agent>,
    terminal: Option<Terminal>,
    stdin: Option<mpsc::UnboundedSender<Vec<u8>>>,
    kept: Kept,
    hooks: Answers,
    fence: Option<Fence>,
}

impl Worker {
    /// Starts the agent's process, with one task for each pipe and one for its end.
    fn start(&mut self, kind: Process, arguments: &[String]) -> Result<(), StartError> {
        let (before, kills_before) = (self.before, cgroup::oom_kills());
        let (agent, pipes) = if kind == Process::OnTerminal {
            let (agent, pipes, terminal) =
                agent::start_on_terminal(&self.spec, arguments, self.fence.as_ref())?;
            self.terminal = Some(terminal);
            (agent, pipes)
        } else {
            agent::start(&self.spec, arguments, self.fence.as_ref())?
        };
        self.agent = Some(agent);
        let ended = self.ends.of(agent.pid);
        let (stdin, queue) = mpsc::unbounded_channel();
        self.stdin = Some(stdin);
        tokio::spawn(write(pipes.stdin, queue, self.events.clone()));
        let mut readers = self.read(pipes.stdout, pipes.stderr);
        let events = self.events.clone();
        tokio::spawn(async move {
            while readers.join_next().await.is_some() {}
            let _ = events.send(Event::PipesClosed).await;
        });
        let events = self.events.clone();
        tokio::spawn(async move {
            let Ok(ended) = ended.await else { return };
            let oom_killed = cgroup::oom_kills() > kills_before;
            let _ = events.send(Event::RanShort(Shortage::counted().since(before))).await;
            let _ = events.send(Event::AgentEnded { ended, oom_killed }).await;
        });
        Ok(())
    }

    /// In place of a process that has ended.
    fn begin_anew(&mut self, arguments: &[String]) {
        if let Err(error) = self.start(Process::PerWorker, arguments) {
            crate::log(format_args!("{error}"));
            let events = self.events.clone();
            let ended = Ended::Exited(error.code);
            tokio::spawn(async move {
                let _ = events.send(Event::PipesClosed).await;
                let _ = events.send(Event::AgentEnded { ended, oom_killed: false }).await;
            });
        }
    }

    fn note(&self, past: &Past) {
        if let Err(error) = self.kept.note(past) {
            crate::log(format_args!("failed to note down how far the agent has come: {error}"));
        }
    }

    /// Starts a process for a turn. Its end is told once, after all that it said.
    fn start_run(&mut self, start: Start) {
        let (before, kills_before) = (self.before, cgroup::oom_kills());
        let events = self.events.clone();
        let (agent, pipes) = match agent::start(&self.spec, &start.arguments, self.fence.as_ref()) {
            Ok(started) => started,
            Err(error) => {
                let (problem, code) = (error.to_string(), error.code);
                tokio::spawn(async move {
                    let _ = events.send(Event::RunNotStarted { problem, code }).await;
                });
                return;
            }
        };
        self.agent = Some(agent);
        let ended = self.ends.of(agent.pid);
        let mut readers = self.read(pipes.stdout, pipes.stderr);
        let mut stdin = pipes.stdin;
        tokio::spawn(async move {
            // A process that does not want all of it says so by how it ends.
            let _ = stdin.write_all(&start.stdin).await;
        });
        tokio::spawn(async move {
            let Ok(ended) = ended.await else { return };
            let oom_killed = cgroup::oom_kills() > kills_before;
            // What it left would work on in turns that are not its own.
            agent.signal(Signal::SIGKILL);
            reaper::kill_everything();
            let all_read = async { while readers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(PIPES_WITHIN, all_read).await;
            drop(readers);
            let _ = events.send(Event::RanShort(Shortage::counted().since(before))).await;
            let _ = events.send(Event::RunEnded(RunEnd { ended, oom_killed })).await;
        });
    }

    /// One task for each of the pipes by which the agent speaks.
    fn read(&self, stdout: pipe::Receiver, stderr: Option<pipe::Receiver>) -> JoinSet<()> {
        let reader = || Lines {
            framer: Framer::new(self.line_bytes),
            masks: Arc::clone(&self.masks),
            uplink: self.uplink.clone(),
            events: self.events.clone(),
        };
        let mut readers = JoinSet::new();
        match stderr {
            Some(stderr) => {
                readers.spawn(reader().read(stdout, Event::Said));
                readers.spawn(reader().read(stderr, Event::Complained));
            }
            None => {
                readers.spawn(watch(stdout, self.events.clone()));
            }
        }
        readers
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
                // Its number may be another's by now.
                self.agent = None;
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

    /// A terminal is not closed while something is read from it: control and D is its end.
    fn close_stdin(&mut self) {
        if let (Some(stdin), Some(_)) = (self.stdin.take(), &self.terminal) {
            let _ = stdin.send(END_OF_INPUT.to_vec());
        }
    }

    /// On a terminal an end is a hang-up too: shells at work there ignore SIGTERM.
    fn signal(&self, signal: Signal) {
        let Some(agent) = self.agent else { return };
        agent.signal(signal);
        if signal == Signal::SIGTERM && self.terminal.is_some() {
            agent.signal(Signal::SIGHUP);
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
                Effect::Begin(arguments) => self.begin_anew(&arguments),
                Effect::Start(start) => self.start_run(start),
                Effect::Write(bytes) => {
                    if let Some(stdin) = &self.stdin {
                        let _ = stdin.send(bytes);
                    }
                }
                Effect::AnswerHook { connection, verdict } => self.hooks.give(connection, verdict),
                Effect::Resize { rows, cols } => {
                    if let Some(terminal) = &self.terminal {
                        terminal.resize(rows, cols);
                    }
                }
                Effect::CloseStdin => self.close_stdin(),
                Effect::Signal(signal) => self.signal(signal),
                Effect::EndCommands { since } => {
                    if let Some(agent) = self.agent {
                        leftovers::end(agent.pid, since);
                    }
                }
                Effect::KillAll => reaper::kill_everything(),
                Effect::Beat(pulse) => self.uplink.beat(pulse),
                Effect::Finish { code, patience } => return Some((code, patience)),
            }
        }
        None
    }
}
