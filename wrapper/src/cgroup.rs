//! What the kernel counts of this worker's control group: processes that it killed for want of
//! memory, and processes that it did not start, since there were as many as there may be.

/// Of version 2 and of version 1, as a container sees its own.
const OOM_KILLS: [&str; 2] =
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
const REFUSALS: [&str; 2] = ["/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"];
const MEMORY_LIMIT: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
const PIDS_LIMIT: [&str; 2] = ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"];
/// Version 1 writes a number of about this size where there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// What the worker was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Processes that were killed for want of memory.
    pub oom_kills: u64,
    /// How often a process or thread was not started.
    pub pids_refused: u64,
    /// The most bytes of memory; none: as much as the host has.
    pub memory_limit: Option<u64>,
    /// The most processes and threads.
    pub pids_limit: Option<u64>,
}

impl Shortage {
    /// All that was counted so far. Where there is no counter, nothing was.
    #[must_use]
    pub fn counted() -> Self {
        Self {
            oom_kills: oom_kills().unwrap_or_default(),
            pids_refused: read(&REFUSALS, |text| count(text, "max ")).unwrap_or_default(),
            memory_limit: read(&MEMORY_LIMIT, limit),
            pids_limit: read(&PIDS_LIMIT, limit),
        }
    }

    /// The later of two: counts only grow.
    #[must_use]
    pub fn or_later(self, other: Self) -> Self {
        Self {
            oom_kills: self.oom_kills.max(other.oom_kills),
            pids_refused: self.pids_refused.max(other.pids_refused),
            ..other
        }
    }

    /// What was counted after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            oom_kills: self.oom_kills.saturating_sub(before.oom_kills),
            pids_refused: self.pids_refused.saturating_sub(before.pids_refused),
            ..self
        }
    }
}

/// How many processes were killed so far; nothing where there is no such counter.
#[must_use]
pub fn oom_kills() -> Option<u64> {
    read(&OOM_KILLS, |text| count(text, "oom_kill "))
}

fn read(paths: &[&str], value: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    paths.iter().find_map(|path| value(&std::fs::read_to_string(path).ok()?))
}

fn count(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_counters_are_read() {
        let kills = |text| count(text, "oom_kill ");
        assert_eq!(kills("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(kills("oom_kill_disable 0\n"), None);
        assert_eq!(count("max 12\n", "max "), Some(12));
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(limit("67108864\n"), Some(64 << 20));
        assert_eq!((limit("max\n"), limit("9223372036854771712\n")), (None, None));
    }

    #[test]
    fn what_was_counted_before_does_not_count() {
        let before = Shortage { oom_kills: 2, pids_refused: 5, ..Shortage::default() };
        let now =
            Shortage { oom_kills: 3, pids_refused: 5, pids_limit: Some(9), memory_limit: None };
        let since = now.since(before);
        assert_eq!((since.oom_kills, since.pids_refused, since.pids_limit), (1, 0, Some(9)));
    }
}
