//! What an agent's tools leave running when their turn was ended before its time.
//!
//! Some agents end no more of a command than its shell, and some nothing. Every one of them gives a
//! command a session of its own, and keeps what it needs itself (servers of MCP, of languages) in
//! its own session. So a process of another session that began in the turn is such a command's, and
//! so is one whose parents the agent has killed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time that a command has to end in order.
const GRACE: Duration = Duration::from_secs(2);
/// By the kernel's `USER_HZ`, the same on every architecture that agents are built for.
const MILLISECONDS_PER_TICK: u128 = 10;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    pid: i32,
    parent: i32,
    session: i32,
    /// In ticks since the machine's start. With `pid`, never that of another process.
    began: u64,
}

/// Ends the commands of this agent, the leader of its session, that began since then: SIGTERM now,
/// SIGKILL later. Needs a runtime.
pub(crate) fn end(agent: Pid, since: Instant) {
    let Some(since) = ticks_now().map(|now| tick_after(now, since.elapsed())) else { return };
    let commands = commands(&all(), Pid::this().as_raw(), agent.as_raw(), since);
    if commands.is_empty() {
        return;
    }
    signal(&commands, Signal::SIGTERM);
    tokio::spawn(async move {
        tokio::time::sleep(GRACE).await;
        let there = all();
        let stubborn: Vec<_> = commands.into_iter().filter(|one| there.contains(one)).collect();
        signal(&stubborn, Signal::SIGKILL);
    });
}

/// A process that has ended meanwhile is no error.
fn signal(processes: &[Seen], signal: Signal) {
    for process in processes {
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// Descendants of the wrapper that began since then, and either are of another session than the
/// agent's or have lost it. What somebody runs in the container from outside is nobody's descendant
/// here.
fn commands(all: &[Seen], wrapper: i32, agent: i32, since: u64) -> Vec<Seen> {
    let parents: BTreeMap<_, _> = all.iter().map(|one| (one.pid, one.parent)).collect();
    let descends = |one: &Seen, from: i32| {
        let line = std::iter::successors(Some(one.pid), |pid| parents.get(pid).copied());
        // Numbers are used again, so what was read at several moments may go in a circle.
        line.take(all.len() + 1).skip(1).any(|pid| pid == from)
    };
    let is_command = |one: &&Seen| {
        one.pid != agent
            && one.began >= since
            && descends(one, wrapper)
            && (one.session != agent || !descends(one, agent))
    };
    all.iter().filter(is_command).copied().collect()
}

fn all() -> Vec<Seen> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let seen = |pid: i32| read(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    numbers.filter_map(seen).collect()
}

/// Fields 4, 6 and 22 of `proc_pid_stat(5)`. The second is a name that may hold anything.
fn read(pid: i32, stat: &str) -> Option<Seen> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = after_name.split(' ').collect();
    Some(Seen {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        began: fields.get(19)?.parse().ok()?,
    })
}

/// Since the machine's start, in hundredths of a second: `proc_uptime(5)` has two decimals.
fn ticks_now() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split(' ').next()?.replace('.', "").parse().ok()
}

/// The first tick that is certainly after what was so long ago: of now, the fraction is not known.
/// What begins in the first hundredths of a second of a turn is no command of a model's.
fn tick_after(now: u64, ago: Duration) -> u64 {
    let ago = ago.as_millis().div_ceil(MILLISECONDS_PER_TICK);
    (now + 2).saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pid: i32, parent: i32, session: i32, began: u64) -> Seen {
        Seen { pid, parent, session, began }
    }

    #[test]
    fn commands_of_the_turn_are_told_from_all_else() {
        let all = [
            seen(1, 0, 1, 5),
            seen(8, 1, 8, 10),
            seen(9, 8, 8, 150),
            seen(36, 8, 36, 150),
            seen(37, 36, 36, 151),
            seen(38, 1, 36, 152),
            seen(39, 1, 8, 152),
            seen(40, 8, 40, 99),
            seen(50, 0, 50, 150),
            seen(51, 50, 50, 150),
            seen(60, 61, 60, 150),
            seen(61, 60, 60, 150),
        ];
        let pids = commands(&all, 1, 8, 100).iter().map(|one| one.pid).collect::<Vec<_>>();
        assert_eq!(pids, [36, 37, 38, 39], "no server, no older command, nothing from outside");
    }

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name() {
        let stat = "7 (a) S 1 (b) S 1 7 6 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 3 0";
        assert_eq!(read(7, stat), Some(seen(7, 1, 6, 4711)));
        assert_eq!(read(7, "7 (a) S 1"), None);
        let me = Pid::this().as_raw();
        let own = all().into_iter().find(|one| one.pid == me).unwrap();
        assert_eq!(own.parent, Pid::parent().as_raw());
        assert!(own.began <= ticks_now().unwrap());
    }

    #[test]
    fn a_tick_that_may_be_older_does_not_count() {
        for (ago, tick) in [(0, 1002), (1, 1001), (10, 1001), (11, 1000), (500, 952)] {
            assert_eq!(tick_after(1000, Duration::from_millis(ago)), tick, "{ago}");
        }
        assert_eq!(tick_after(1000, Duration::MAX), 0);
    }
}
