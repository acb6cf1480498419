//! Whether the kernel killed something of this worker for want of memory.

/// Of cgroup v2 and v1, as a container sees its own.
const COUNTERS: [&str; 2] =
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// How many processes were killed so far; nothing where there is no such counter.
#[must_use]
pub fn oom_kills() -> Option<u64> {
    COUNTERS.iter().find_map(|path| count(&std::fs::read_to_string(path).ok()?))
}

fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_counter_are_read() {
        assert_eq!(count("low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count("oom_kill_disable 0\n"), None);
    }
}
