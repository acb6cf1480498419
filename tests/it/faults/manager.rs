//! A manager is killed at every step of its work, and the next one finishes it.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::CREATE;
use nix::sys::signal::Signal;
use worker_manager::failpoint::Failpoint::{self, *};
use worker_tests::harness::{Installation, Options, Reply, Templates, Worker};

/// Of every command.
const OF_COMMANDS: [Failpoint; 2] = [EntryRead, EntryLookedUp];
/// Passed several times by a command: each time is tried.
const OF_WRITES: [Failpoint; 2] = [WriteBegins, Written];
const OF_CREATE: [Failpoint; 8] = [
    ResolveBegins,
    ImageResolved,
    LaunchBegins,
    NetworkMade,
    InstanceCreated,
    WorkerAdmitted,
    InstanceStarted,
    FirstPulse,
];
const OF_BUILD: [Failpoint; 2] = [BuildBegins, BuildEnded];
const OF_STOP: [Failpoint; 4] = [StopBegins, InstanceStopped, EvidenceTaken, WorkerClosed];
const OF_START: [Failpoint; 3] = [WorkerAdmitted, InstanceStarted, FirstPulse];
const OF_DELETE: [Failpoint; 6] =
    [RemoveBegins, InstanceStopped, EvidenceTaken, ContainerRemoved, InstanceRemoved, WorkerClosed];
/// More than a command writes.
const MOST_WRITES: u32 = 8;

fn installation() -> Installation {
    let it = Installation::start_with(Options::default().failpoints());
    // So that its image is there.
    it.script("exec cat").delete();
    it
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Died,
    /// It has finished, and had not passed there so often.
    Outlived,
}

/// Has a manager carry out what was asked, up to the place where it dies.
fn fate_of_manager(it: &Installation, point: Failpoint, time: u32, request: &str) -> Fate {
    it.manager().kill();
    it.start_manager_that_dies_at(point, time);
    it.soon(&format!("a death at {point:?}, or a reply"), || {
        if it.manager().has_ended() {
            let status = it.manager().finish(Duration::ZERO).status;
            assert_eq!(status.signal(), Some(9), "{point:?}: {status}{}", it.explain());
            return Some(Fate::Died);
        }
        let is_done = it.redis.pending(&it.key("commands"), "worker-manager") == 0
            && !it.replies(request).is_empty();
        is_done.then_some(Fate::Outlived)
    })
}

/// Sends a command whose managers are killed at a place, two of them; the third one finishes it.
fn reply_after_deaths(
    it: &Installation,
    point: Failpoint,
    time: u32,
    command: &[(&str, &str)],
) -> (Fate, Reply) {
    it.manager().kill();
    let request = it.send(command);
    let fate = fate_of_manager(it, point, time, &request);
    if fate == Fate::Died {
        fate_of_manager(it, point, time, &request);
    }
    it.manager().kill();
    it.start_manager();
    let reply = it.reply(&request);
    assert!(reply.is_ok(), "{point:?}:{time}: {reply:?}{}", it.explain());
    (fate, reply)
}

/// Each of these places once, and those of writes as often as they are passed.
fn deaths(points: &[Failpoint], mut die: impl FnMut(Failpoint, u32) -> Fate) {
    for &point in points {
        assert_eq!(die(point, 1), Fate::Died, "{point:?} is not passed any more");
    }
    for point in OF_WRITES {
        assert_eq!(die(point, 1), Fate::Died, "{point:?} is not passed any more");
        let last = (2..=MOST_WRITES).find(|time| die(point, *time) == Fate::Outlived);
        assert!(last.is_some(), "a command writes more than {MOST_WRITES} times");
    }
}

fn tell<'a>(command: &'a str, worker: &'a Worker<'_>) -> [(&'a str, &'a str); 2] {
    [("command", command), ("worker_id", &worker.id)]
}

fn assert_made_once(it: &Installation, reply: &Reply) {
    assert_eq!(reply.get("status"), "RUNNING", "{reply:?}{}", it.explain());
    let worker = Worker::of(it, &reply.get("worker_id"));
    worker.prints("once");
    it.settles();
    assert_eq!(worker.stdout(), "once", "the first prompt was put in once");
    assert_eq!(it.containers().len(), 1, "one container");
    worker.delete();
    it.settles();
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

#[test]
fn a_create_is_finished_wherever_its_manager_is_killed() {
    let it = installation();
    deaths(&[&OF_COMMANDS[..], &OF_CREATE].concat(), |point, time| {
        let (fate, reply) = reply_after_deaths(&it, point, time, &CREATE);
        assert_made_once(&it, &reply);
        fate
    });
}

#[test]
fn a_build_is_finished_wherever_its_manager_is_killed() {
    for point in OF_BUILD {
        let (command, _) = crate::build::unique("true");
        let templates = Templates::quick().module("NEW", &command);
        let it = Installation::start_with(Options::default().templates(&templates).failpoints());
        let create = [&CREATE[..], &[("modules", "NEW")]].concat();
        let (fate, reply) = reply_after_deaths(&it, point, 1, &create);
        assert_eq!(fate, Fate::Died, "{point:?} is not passed any more");
        assert_made_once(&it, &reply);
        assert_eq!(it.images().len(), 1, "one image");
    }
}

#[test]
fn a_delete_is_finished_wherever_its_manager_is_killed() {
    let it = installation();
    deaths(&[&OF_COMMANDS[..], &OF_DELETE].concat(), |point, time| {
        let worker = it.script("exec cat");
        let (fate, reply) = reply_after_deaths(&it, point, time, &tell("delete", &worker));
        assert_eq!(reply.get("status"), "STOPPED", "{reply:?}");
        it.settles();
        assert_eq!((it.containers(), it.users()), (vec![], vec![]), "{point:?}");
        fate
    });
}

#[test]
fn a_stop_and_a_start_are_finished_wherever_their_manager_is_killed() {
    let it = installation();
    let worker = it.script("exec cat");
    let go = |command: &str, point: Failpoint, status: &str| {
        let (fate, reply) = reply_after_deaths(&it, point, 1, &tell(command, &worker));
        assert_eq!(fate, Fate::Died, "{point:?} is not passed any more");
        assert_eq!(reply.get("status"), status, "{point:?}: {reply:?}");
        it.settles();
    };
    let places = OF_STOP.len().max(OF_START.len());
    let pairs = OF_STOP.iter().cycle().zip(OF_START.iter().cycle()).take(places);
    for (stop, start) in pairs {
        go("stop", *stop, "STOPPED");
        go("start", *start, "RUNNING");
        worker.turn("still here");
    }
    worker.delete();
    it.settles();
}

#[test]
fn a_manager_that_stands_still_for_a_while_goes_on() {
    let it = installation();
    let deleted = it.script("exec cat");
    let create = it.send(&CREATE);
    let delete = it.send(&tell("delete", &deleted));
    it.soon("both at work", || {
        (it.redis.pending(&it.key("commands"), "worker-manager") > 0).then_some(())
    });
    it.manager().signal(Signal::SIGSTOP);
    std::thread::sleep(super::PAUSE);
    it.manager().signal(Signal::SIGCONT);
    assert!(it.reply(&delete).is_ok());
    assert_made_once(&it, &it.reply(&create));
}

#[test]
fn every_failpoint_is_one_of_those_where_managers_are_killed() {
    let places = [&OF_COMMANDS[..], &OF_WRITES, &OF_CREATE, &OF_BUILD, &OF_STOP, &OF_START];
    let tried: BTreeSet<_> = places.into_iter().flatten().chain(&OF_DELETE).copied().collect();
    assert_eq!(tried, Failpoint::ALL.into_iter().collect());
}
