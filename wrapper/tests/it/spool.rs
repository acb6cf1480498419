//! Output that waits on disk while Redis is away.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use worker_protocol::Boot;

use crate::redis_away::counted;
use crate::redis_server::{Entry, Redis, until, within};
use crate::worker::{WRAPPER, Worker, boot, prepare};

/// A worker whose agent says `begin`, and the rest once Redis is away.
struct Outage {
    redis: Redis,
    worker: Worker,
    folder: tempfile::TempDir,
}

impl Outage {
    /// Comes back when the agent has said all of it.
    fn with(words: &str, change: impl FnOnce(&mut Boot), command: Command) -> Self {
        let mut redis = Redis::start();
        prepare(&mut redis.connect());
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let wait = "echo begin; until [ -e go ]; do sleep 0.05; done";
        let mut boot = boot(&redis, &format!("{wait}; {words}; touch said; exec cat"));
        boot.agent.workspace = folder.path().to_str().unwrap().to_owned();
        boot.bounds.output_entries = 1_000_000;
        change(&mut boot);
        let mut worker = Worker::start_by(command, &redis, &boot);
        worker.heard("stdout", "begin");
        redis.kill();
        std::fs::write(folder.path().join("go"), "").unwrap();
        within(Duration::from_secs(120), "the agent's last word", || {
            folder.path().join("said").exists().then_some(())
        });
        Self { redis, worker, folder }
    }

    /// Brings Redis back, and waits for the agent's last number.
    fn end(&mut self, last: u64) {
        self.redis.restart();
        self.worker.redis = self.redis.connect();
        prepare(&mut self.worker.redis);
        within(Duration::from_secs(120), "the last line", || {
            counted(&mut self.worker).last().filter(|n| **n == last).copied()
        });
        drop(std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap()));
    }

    /// The numbers of all entries, and what all gaps counted.
    fn numbers_and_lost(&mut self) -> (Vec<u64>, u64) {
        let said = self.worker.said();
        let number = |entry: &Entry| entry["seq"].parse().unwrap();
        let lost = said.iter().filter(|entry| entry["type"] == "gap").map(|entry| {
            let data: serde_json::Value = serde_json::from_str(&entry["data"]).unwrap();
            assert_eq!(data["reason"], "backlog_full");
            data["entries"].as_u64().unwrap()
        });
        (said.iter().map(number).collect(), lost.sum())
    }
}

/// The wrapper's descriptors that lead to a file without a name.
fn nameless(worker: &Worker) -> Vec<PathBuf> {
    let folder = format!("/proc/{}/fd", worker.pid());
    let descriptors = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let deleted = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().ends_with("(deleted)"))
    };
    descriptors.filter(deleted).collect()
}

#[test]
fn all_that_fits_on_disk_comes_once_and_in_order() {
    // 30 MB of lines, and 1 MB of memory at most.
    let bounds = |boot: &mut Boot| boot.bounds.backlog_bytes = 1 << 20;
    let words = "seq -f %0999.0f 30000";
    let mut outage = Outage::with(words, bounds, Command::new(WRAPPER));
    let worker = &outage.worker;
    // Nobody but root can open it, and nobody finds it.
    until("a file on disk", || (nameless(worker).len() == 1).then_some(()));
    let file = std::fs::metadata(&nameless(worker)[0]).unwrap();
    assert_eq!((file.mode() & 0o777, file.nlink()), (0o600, 0));
    let folder = std::fs::metadata(worker.spool()).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(worker.spool()).unwrap().count(), 0);
    outage.end(30_000);
    let (numbers, lost) = outage.numbers_and_lost();
    // Redis came back empty, so the stream begins where it went away.
    assert_eq!(lost, 0);
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a hole, or one twice");
    let got = counted(&mut outage.worker);
    assert!(got.iter().copied().eq(30_001 - got.len() as u64..=30_000), "{} lines", got.len());
    assert!(got.len() >= 29_999, "{} lines", got.len());
    until("the disk given back", || nameless(&outage.worker).is_empty().then_some(()));
}

#[test]
fn a_flood_of_100_mb_without_redis_takes_neither_memory_nor_more_disk_than_it_may() {
    let bounds = |boot: &mut Boot| boot.bounds.spool_bytes = 16 << 20;
    let words = "seq -f %0999.0f 100000";
    let mut outage = Outage::with(words, bounds, Command::new(WRAPPER));
    let worker = &outage.worker;
    until("a file on disk", || (nameless(worker).len() == 1).then_some(()));
    let file = std::fs::metadata(&nameless(worker)[0]).unwrap();
    assert!(file.len() <= 16 << 20, "{} bytes", file.len());
    let peak = worker.memory_kb("VmHWM");
    assert!(peak < 32 << 10, "{peak} kB");
    outage.end(100_000);
    let (numbers, lost) = outage.numbers_and_lost();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a hole, or one twice");
    let got = counted(&mut outage.worker);
    assert!(got.is_sorted_by(|a, b| a < b));
    assert!(got.len() > 10_000, "{} lines", got.len());
    assert_eq!(got.len() as u64 + lost, 100_000);
    let peak = outage.worker.memory_kb("VmHWM");
    assert!(peak < 32 << 10, "{peak} kB");
}

#[test]
fn a_disk_that_is_full_holds_what_it_can_and_is_said_once() {
    // A file of this process may have 4000 blocks of 512 bytes; more fails as on a full disk.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$0\" \"$@\"", WRAPPER]);
    let mut outage = Outage::with("seq -f %0999.0f 10000", |_| {}, command);
    outage.end(10_000);
    let (numbers, lost) = outage.numbers_and_lost();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a hole, or one twice");
    let got = counted(&mut outage.worker);
    assert!(got.len() > 1000, "{} lines", got.len());
    assert_eq!(got.len() as u64 + lost, 10_000);
    let said = outage.worker.said();
    let errors: Vec<_> = said.iter().filter(|entry| entry["type"] == "error").collect();
    let [error] = errors[..] else { panic!("{errors:?}") };
    assert!(error["content"].contains("the disk is full"), "{error:?}");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_said_once_and_memory_does() {
    let mut command = Command::new("/bin/sh");
    // With files of no length, nothing can be written to disk at all.
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", WRAPPER]);
    let bounds = |boot: &mut Boot| boot.bounds.backlog_bytes = 6 << 20;
    let mut outage = Outage::with("seq -f %0999.0f 10000", bounds, command);
    outage.end(10_000);
    let (numbers, lost) = outage.numbers_and_lost();
    assert!(numbers.is_sorted_by(|a, b| a + 1 == *b), "a hole, or one twice");
    let got = counted(&mut outage.worker);
    assert!(got.len() > 2000, "{} lines", got.len());
    assert_eq!(got.len() as u64 + lost, 10_000);
    let said = outage.worker.said();
    let errors: Vec<_> = said.iter().filter(|entry| entry["type"] == "error").collect();
    let [error] = errors[..] else { panic!("{errors:?}") };
    assert!(error["content"].contains("cannot be kept on disk"), "{error:?}");
}
