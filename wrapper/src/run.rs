//! Puts the parts together: tasks that turn the outside into events, the bridge, and its effects.

use jiff::Timestamp;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use worker_protocol::Boot;

use crate::agent::{self, Agent, Pipes};
use crate::bridge::{Bridge, EXIT_DENIED, Effect, Event, Now, Stream};
use crate::connection::Redis;
use crate::downlink::Downlink;
use crate::driver;
use crate::frame::Framer;
use crate::memory;
use crate::reaper::{self, Reaper};
use crate::uplink::{self, Uplink};

/// Bytes of one read of a pipe: what the kernel holds of it.
const READ_BYTES: usize = 64 << 10;
/// Reads that wait for the bridge. Each holds what was read, and at most one long line.
const READS_WAITING: usize = 2;
const EVENTS_WAITING: usize = 16;
/// At the end, Redis is given so long to take what is left.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);
/// The worker cannot be set up: `EX_CONFIG` of sysexits.h.
pub const EXIT_CONFIG: u8 = 78;

/// Runs a worker to its end; gives the exit code.
///
/// # Errors
/// When the process itself cannot be set up.
pub async fn run(boot: Boot) -> io::Result<u8> {
    let (events, control) = mpsc::channel(EVENTS_WAITING);
    watch_signals(&events)?;
    let redis = match Redis::new(&boot.redis) {
        Ok(redis) => redis,
        Err(error) => {
            crate::log(format_args!("the address of redis in the boot file is wrong: {error}"));
            return Ok(EXIT_CONFIG);
        }
    };
    let (uplink, sender) = uplink::new(redis.clone(), &boot);
    let denied = events.clone();
    tokio::spawn(async move {
        let reason = sender.run().await;
        let _ = denied.send(Event::Denied(reason)).await;
    });
    let (read, output) = mpsc::channel(READS_WAITING);
    let mut worker = Worker { uplink, control, output, agent: None, stdin: None };
    worker.live(boot, redis, events, read).await
}

struct Worker {
    uplink: Uplink,
    control: mpsc::Receiver<Event>,
    output: mpsc::Receiver<Event>,
    agent: Option<Agent>,
    stdin: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl Worker {
    async fn live(
        &mut self,
        boot: Boot,
        redis: Redis,
        events: mpsc::Sender<Event>,
        read: mpsc::Sender<Event>,
    ) -> io::Result<u8> {
        let first = self.start_agent(&boot, &events, read)?;
        let driver = driver::for_agent(&boot.agent).unwrap_or_else(|_| Box::new(driver::Lines));
        let downlink = Downlink::new(redis, boot.keys.input.clone(), events.clone());
        let mut bridge = Bridge::new(boot, driver, now());
        self.handle(&mut bridge, first);
        tokio::spawn(async move {
            if let Some(reason) = downlink.run().await {
                let _ = events.send(Event::Denied(reason)).await;
            }
        });
        let code = loop {
            if let Some(code) = bridge.finished() {
                break code;
            }
            let event = self.next(bridge.deadline()).await;
            self.handle(&mut bridge, event);
        };
        if code != EXIT_DENIED {
            self.flush().await;
        }
        Ok(code)
    }

    /// The next event. Output of the agent is left in its pipe while Redis is behind, which makes
    /// the agent wait; everything else always gets through.
    async fn next(&mut self, deadline: Instant) -> Event {
        loop {
            let room = self.uplink.has_room();
            tokio::select! {
                Some(event) = self.control.recv() => return event,
                Some(event) = self.output.recv(), if room => return event,
                () = self.uplink.room(), if !room => {}
                () = tokio::time::sleep_until(deadline.into()) => return Event::Tick,
            }
        }
    }

    fn handle(&mut self, bridge: &mut Bridge, event: Event) {
        let now = now();
        for effect in bridge.handle(event, now) {
            self.enact(effect, now);
        }
    }

    fn enact(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Say(output) => self.uplink.say(output, now.wall),
            Effect::Acknowledge { id, trim_below } => {
                self.uplink.acknowledge(id.to_string(), trim_below);
            }
            Effect::Write(bytes) => {
                // When the task is gone, it has said that stdin is broken.
                let _ = self.stdin.as_ref().map(|stdin| stdin.send(bytes));
            }
            Effect::CloseStdin => self.stdin = None,
            Effect::Signal(signal) => {
                if let Some(agent) = self.agent {
                    agent.signal(signal);
                }
            }
            Effect::KillEverything => reaper::kill_everything(),
            Effect::Beat(pulse) => match serde_json::to_string(&pulse) {
                Ok(pulse) => self.uplink.beat(pulse),
                Err(error) => crate::log(format_args!("the sign of life has no JSON: {error}")),
            },
        }
    }

    async fn flush(&self) {
        if tokio::time::timeout(FLUSH_WITHIN, self.uplink.drained()).await.is_err() {
            crate::log(format_args!("redis did not take the last output in time; it is lost"));
        }
    }

    fn start_agent(
        &mut self,
        boot: &Boot,
        events: &mpsc::Sender<Event>,
        read: mpsc::Sender<Event>,
    ) -> io::Result<Event> {
        Reaper::adopt_orphans();
        let reaper = Reaper::new()?;
        let kills_before = memory::oom_kills();
        let started = driver::for_agent(&boot.agent)
            .map_err(|message| (message, 126))
            .and_then(|driver| {
                agent::start(&boot.agent, &driver.arguments())
                    .map_err(|error| (error.to_string(), error.code))
            });
        let (agent, pipes) = match started {
            Ok(started) => started,
            Err((message, code)) => return Ok(Event::NotStarted { message, code }),
        };
        self.agent = Some(agent);
        self.stdin = Some(watch_pipes(pipes, boot.bounds.line_bytes, events, read));
        tokio::spawn(watch_exit(reaper, agent, kills_before, events.clone()));
        Ok(Event::Started { pid: agent.pid.as_raw() })
    }
}

fn now() -> Now {
    Now { at: Instant::now(), wall: Timestamp::now() }
}

fn watch_signals(events: &mpsc::Sender<Event>) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, events) = (signal(kind)?, events.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() && events.send(Event::Signalled).await.is_ok() {}
        });
    }
    Ok(())
}

async fn watch_exit(
    mut reaper: Reaper,
    agent: Agent,
    kills_before: Option<u64>,
    events: mpsc::Sender<Event>,
) {
    let ended = reaper.until(agent.pid).await;
    let out_of_memory = memory::oom_kills() > kills_before;
    let _ = events.send(Event::Exited { ended, out_of_memory }).await;
    reaper.go_on().await;
}

fn watch_pipes(
    pipes: Pipes,
    line_bytes: usize,
    events: &mpsc::Sender<Event>,
    read: mpsc::Sender<Event>,
) -> mpsc::UnboundedSender<Vec<u8>> {
    tokio::spawn(read_lines(pipes.stderr, Stream::Stderr, line_bytes, read.clone()));
    tokio::spawn(read_lines(pipes.stdout, Stream::Stdout, line_bytes, read));
    // The bridge bounds what it sends: one prompt, and so many bytes for stdin.
    let (stdin, bytes) = mpsc::unbounded_channel();
    tokio::spawn(write_stdin(pipes.stdin, bytes, events.clone()));
    stdin
}

/// Never stops while the agent has something to say, but for the bridge being behind.
async fn read_lines(
    mut pipe: pipe::Receiver,
    stream: Stream,
    line_bytes: usize,
    events: mpsc::Sender<Event>,
) {
    let mut framer = Framer::new(line_bytes);
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let lines = framer.feed(&buffer[..count]);
        if !lines.is_empty() && events.send(Event::Lines(stream, lines)).await.is_err() {
            return;
        }
    }
    if let Some(last) = framer.finish() {
        let _ = events.send(Event::Lines(stream, vec![last])).await;
    }
    let _ = events.send(Event::Eof(stream)).await;
}

/// Writes until the bridge closes the agent's stdin, or the agent does.
async fn write_stdin(
    mut pipe: pipe::Sender,
    mut bytes: mpsc::UnboundedReceiver<Vec<u8>>,
    events: mpsc::Sender<Event>,
) {
    while let Some(bytes) = bytes.recv().await {
        let event = match pipe.write_all(&bytes).await {
            Ok(()) => Event::Written(bytes.len()),
            Err(_) => Event::StdinBroken,
        };
        let broken = matches!(event, Event::StdinBroken);
        if events.send(event).await.is_err() || broken {
            return;
        }
    }
}
