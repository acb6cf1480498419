//! What goes wrong, and how it is put right again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use worker_manager::failpoint::Failpoint;
use worker_tests::harness::{Installation, PrivateEngine, Proxy, RedisServer};

/// One thing that goes wrong in a round.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing does.
    None,
    /// The manager is killed.
    ManagerKilled,
    /// The manager dies at one of its steps, and so does the next one.
    ManagerDiesAt(Failpoint),
    /// The manager stands still.
    ManagerPaused,
    /// Redis is killed.
    RedisKilled,
    /// Redis stands still.
    RedisPaused,
    /// Redis has no memory for writes.
    RedisFull,
    /// The engine's daemon is killed.
    EngineKilled,
    /// The engine's daemon stands still.
    EnginePaused,
    /// The manager's way to Redis is cut.
    ManagerCut,
    /// The manager's way to Redis lets nothing through.
    ManagerBlocked,
    /// The workers' way to Redis is cut.
    WorkersCut,
    /// The workers' way to Redis lets nothing through.
    WorkersBlocked,
    /// Both ways are long.
    WayLong,
    /// The first process of a container is killed.
    WrapperKilled,
    /// An agent is killed.
    AgentKilled,
}

impl Fault {
    /// Its name in the table.
    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split('(').next().unwrap_or_default().to_owned()
    }
}

/// A fault, with when and for how long.
pub(crate) struct Chosen {
    pub(crate) fault: Fault,
    after: Duration,
    lasts: Duration,
    /// Which of the containers, where one is meant.
    victim: usize,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, after, lasts, .. } = self;
        write!(f, "{fault:?} after {after:?}, for {lasts:?}")
    }
}

/// All that can be broken.
pub(crate) struct Surroundings<'a> {
    pub(crate) it: &'a Installation,
    pub(crate) redis: &'a mut RedisServer,
    pub(crate) engine: &'a mut PrivateEngine,
    pub(crate) of_manager: Proxy,
    pub(crate) of_workers: Proxy,
}

impl Surroundings<'_> {
    /// What goes wrong next.
    pub(crate) fn choose(&self, rng: &mut fastrand::Rng) -> Chosen {
        let point = Failpoint::ALL[rng.usize(..Failpoint::ALL.len())];
        let all = [
            Fault::None,
            Fault::ManagerKilled,
            Fault::ManagerDiesAt(point),
            Fault::ManagerDiesAt(point),
            Fault::ManagerDiesAt(point),
            Fault::ManagerPaused,
            Fault::RedisKilled,
            Fault::RedisPaused,
            Fault::RedisFull,
            Fault::EngineKilled,
            Fault::EnginePaused,
            Fault::ManagerCut,
            Fault::ManagerBlocked,
            Fault::WorkersCut,
            Fault::WorkersBlocked,
            Fault::WayLong,
            Fault::WrapperKilled,
            Fault::AgentKilled,
        ];
        let fault = all[rng.usize(..all.len())].clone();
        let after = Duration::from_millis(rng.u64(0..1000));
        // Shorter and longer than programs wait for an answer.
        let lasts = Duration::from_millis([500, 2000, 12_000][rng.usize(..3)]);
        Chosen { fault, after, lasts, victim: rng.usize(..) }
    }

    /// Breaks it, and mends it after a while. A manager runs afterwards, and Redis answers.
    pub(crate) fn break_and_mend(&mut self, chosen: &Chosen) {
        sleep(chosen.after);
        match chosen.fault {
            Fault::None => {}
            Fault::ManagerKilled => self.it.manager().kill(),
            Fault::ManagerDiesAt(point) => self.die_at(point, chosen.lasts),
            Fault::ManagerPaused => {
                self.it.manager().signal(Signal::SIGSTOP);
                sleep(chosen.lasts);
                self.it.manager().signal(Signal::SIGCONT);
            }
            Fault::RedisKilled => {
                self.redis.kill();
                sleep(chosen.lasts);
                self.redis.restart();
            }
            Fault::RedisPaused => {
                self.redis.pause();
                sleep(chosen.lasts);
                self.redis.resume();
            }
            Fault::RedisFull => {
                let limit =
                    |most| self.it.redis.run::<String>(&["CONFIG", "SET", "maxmemory", most]);
                limit("1");
                sleep(chosen.lasts);
                limit("0");
            }
            Fault::EngineKilled => {
                self.engine.kill();
                sleep(chosen.lasts);
                self.engine.restart();
            }
            Fault::EnginePaused => {
                self.engine.pause();
                sleep(chosen.lasts);
                self.engine.resume();
            }
            Fault::ManagerCut => during(&self.of_manager, Proxy::cut, chosen.lasts),
            Fault::ManagerBlocked => during(&self.of_manager, Proxy::block, chosen.lasts),
            Fault::WorkersCut => during(&self.of_workers, Proxy::cut, chosen.lasts),
            Fault::WorkersBlocked => during(&self.of_workers, Proxy::block, chosen.lasts),
            Fault::WayLong => {
                let delay = Duration::from_millis(50);
                self.of_manager.delay(delay);
                during(&self.of_workers, |way| way.delay(delay), chosen.lasts);
                self.of_manager.mend();
            }
            Fault::WrapperKilled => self.kill_process(chosen.victim, 0),
            Fault::AgentKilled => self.kill_process(chosen.victim, 1),
        }
        self.it.redis.reconnect();
        if self.it.manager().has_ended() {
            self.it.start_manager();
        }
    }

    /// Two managers that die there one after the other, if they come to it.
    fn die_at(&self, point: Failpoint, lasts: Duration) {
        for _ in 0..2 {
            self.it.manager().kill();
            self.it.start_manager_that_dies_at(point, 1);
            worker_tests::harness::until(lasts, || self.it.manager().has_ended().then_some(()));
        }
        // One that has not come to it may yet do so, in the middle of something else.
        self.it.manager().kill();
    }

    /// Kills a process of a container; the first is its wrapper, the next its agent.
    fn kill_process(&self, victim: usize, number: usize) {
        let running = self.it.engine.ask(&["ps", "--quiet", "--no-trunc"]);
        let containers: Vec<_> = running.lines().collect();
        let Some(container) = containers.get(victim % containers.len().max(1)) else { return };
        let listed = self.it.engine.ask(&["top", container, "-eo", "pid"]);
        let process = listed.lines().skip(1).nth(number).and_then(|pid| pid.trim().parse().ok());
        if let Some(process) = process {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
    }
}

fn during(way: &Proxy, fault: impl Fn(&Proxy), lasts: Duration) {
    fault(way);
    sleep(lasts);
    way.mend();
}
