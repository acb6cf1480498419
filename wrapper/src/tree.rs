//! The agent's process tree, as `/proc` tells it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;

/// A process: its number alone may be another's later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    /// In ticks since the machine's start.
    started: u64,
}

/// What descended from an agent at one moment.
pub struct Tree {
    agent: i32,
    members: Vec<Process>,
}

impl Tree {
    /// As it is now.
    #[must_use]
    pub fn of(agent: Pid) -> Self {
        let all = processes();
        let agent = agent.as_raw();
        let below = descendants(&all, &[agent]);
        let members = all.into_iter().filter(|process| below.contains(&process.pid)).collect();
        Self { agent, members }
    }

    /// Kills those that the agent has lost since, by killing the shell that it had started them
    /// with, and what they have started. Others that have no parent may have been left on purpose.
    pub fn kill_orphans(&self) {
        for pid in self.orphans(&processes()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    fn orphans(&self, all: &[Process]) -> BTreeSet<i32> {
        let kept = descendants(all, &[self.agent]);
        let is_member = |process: &Process| {
            let mut members = self.members.iter();
            members.any(|one| one.pid == process.pid && one.started == process.started)
        };
        let lost = all.iter().filter(|one| !kept.contains(&one.pid) && is_member(one));
        let lost: Vec<_> = lost.map(|process| process.pid).collect();
        let mut below = descendants(all, &lost);
        below.extend(lost);
        below
    }
}

/// Children, their children, and so on.
fn descendants(all: &[Process], roots: &[i32]) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut open = roots.to_vec();
    while let Some(parent) = open.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        open.extend(children.map(|process| process.pid).filter(|pid| found.insert(*pid)));
    }
    found
}

/// One that ends while it is looked at is left out.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pid = |name: std::ffi::OsString| name.to_str()?.parse::<i32>().ok();
    let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let pids = entries.filter_map(|entry| pid(entry.ok()?.file_name()));
    pids.filter_map(|pid| process(pid, &stat(pid)?)).collect()
}

/// The name in parentheses may hold anything; parent and start are the 4th and the 22nd field.
fn process(pid: i32, stat: &str) -> Option<Process> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pid: i32, parent: i32) -> Process {
        Process { pid, parent, started: 5 }
    }

    #[test]
    fn what_the_agent_has_lost_goes_and_what_it_keeps_or_left_before_stays() {
        // 1 is the wrapper, 2 the agent, 3 its shell; 9 was left before.
        let before = [one(2, 1), one(3, 2), one(4, 3), one(5, 4), one(6, 2), one(7, 6)];
        let tree = Tree { agent: 2, members: before[1..].to_vec() };
        assert!(tree.orphans(&before).is_empty());
        // The shell is gone; 4 has started 8; 7 has ended, and its number is another's.
        let reused = Process { started: 6, ..one(7, 1) };
        let after = [one(2, 1), one(4, 1), one(5, 4), one(6, 2), reused, one(8, 4), one(9, 1)];
        assert_eq!(tree.orphans(&after), BTreeSet::from([4, 5, 8]));
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) (b c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9";
        assert_eq!(process(7, stat), Some(Process { pid: 7, parent: 3, started: 4242 }));
        let own = Pid::this().as_raw();
        assert!(processes().iter().any(|process| process.pid == own));
    }
}
