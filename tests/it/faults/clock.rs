//! Somebody sets the manager's clock, in the middle of work.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use super::{COUNTER, CREATE, assert_counted, assert_recovered, assert_works, counts_on, delete};
use worker_tests::harness::{Installation, Options, Worker};

/// A clock that only the manager sees, by way of libfaketime. Its steady clock goes on as ever.
struct Clock {
    folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self { folder: TempDir::new().expect("a folder") };
        clock.set("+0");
        clock
    }

    /// How far it is off, as in `+1h`.
    fn set(&self, off: &str) {
        // Never half written.
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{off}\n")).expect("a file");
        fs::rename(new, self.file()).expect("a file");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    fn options(&self) -> Options {
        let usual = Options::default().failpoints();
        usual
            .set("LD_PRELOAD", &library().to_string_lossy())
            .set("FAKETIME_TIMESTAMP_FILE", &self.file().to_string_lossy())
            .set("FAKETIME_NO_CACHE", "1")
            .set("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let file = |folder: &Path| folder.join("faketime/libfaketimeMT.so.1");
    let found = folders.map(|folder| file(&folder.path())).find(|file| file.is_file());
    found.expect("libfaketime, of Debian's package faketime; run `make test`, which installs it")
}

fn a_clock_that_is_set_changes_nothing(off: &str, back: &str) {
    let clock = Clock::new();
    let it = Installation::start_with(clock.options());
    let counter = it.script(COUNTER);
    let deleted = it.script("trap 'sleep 2; exit 0' TERM; echo armed; sleep 1000 & wait");
    deleted.prints("armed");
    for off in [off, back] {
        let creates = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
        clock.set(off);
        for request in &creates {
            let reply = it.reply(request);
            assert!(reply.is_ok(), "{off}: {reply:?}{}", it.explain());
            let worker = Worker::of(&it, &reply.get("worker_id"));
            worker.prints("once");
            assert_works(&worker);
        }
        counts_on(&counter);
        assert_eq!(counter.status().get("status"), "RUNNING", "{off}");
        it.settles();
    }
    let asked = delete(&it, &deleted);
    clock.set(off);
    assert!(it.reply(&asked).is_ok());

    // An end is seen, and told once, whatever the clock says.
    it.engine.ask(&["kill", &counter.name()]);
    assert_eq!(counter.becomes("FAILED")["reason"], "exit 137");
    assert_counted(&counter);
    it.settles();
    counter.delete();
    it.settles();
    assert_recovered(&it);
}

#[test]
fn a_clock_that_is_set_an_hour_forward_and_back_changes_nothing() {
    a_clock_that_is_set_changes_nothing("+1h", "+0");
}

#[test]
fn a_clock_that_is_set_an_hour_back_and_forward_changes_nothing() {
    a_clock_that_is_set_changes_nothing("-1h", "+0");
}
