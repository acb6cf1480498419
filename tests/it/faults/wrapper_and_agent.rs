//! A wrapper or an agent is killed in the middle of a turn.

use super::{COUNTER, assert_counted, counts_on};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use worker_tests::harness::{Installation, Worker};

/// The number of the last that a worker said.
fn last_number(worker: &Worker<'_>) -> u64 {
    let last = worker.it.redis.last_entry(&worker.key("output")).expect("an output");
    last.get("seq").parse().expect("a number")
}

/// Kills the first process of a container, as the kernel does for want of memory on the host.
fn kill_wrapper(worker: &Worker<'_>) {
    let format = ["inspect", "--format", "{{.State.Pid}}", &worker.name()];
    let pid: i32 = worker.it.engine.ask(&format).parse().expect("the number of a process");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a wrapper");
}

#[test]
fn the_end_of_a_killed_wrapper_is_told_and_it_goes_on_where_it_was() {
    let it = Installation::start();
    let worker = it.script("read go; echo took $go; read more; echo took $more; exec cat");
    let first = worker.turn("one");
    worker.prints("took one");
    kill_wrapper(&worker);
    let record = worker.becomes("FAILED");
    assert_eq!((&*record["exit_code"], &*record["reason"]), ("137", "exit 137"), "{record:?}");
    let exit = worker.comes_to("exit");
    assert_eq!((exit.get("source"), &exit.data()["code"]), ("manager", &137.into()), "{exit:?}");
    it.settles();

    let waits = worker.prompt("two");
    let reply = it.command(&[("command", "start"), ("worker_id", &worker.id)]);
    assert_eq!(reply.get("status"), "RUNNING", "{reply:?}");
    worker.prints("took two");
    assert_ne!(worker.turn_end(&waits).id, first.id);
    it.settles();
    worker.delete();
    it.settles();
}

#[test]
fn a_wrapper_that_is_killed_in_a_flood_leaves_no_hole() {
    let it = Installation::start();
    let worker = it.script("n=0; while :; do n=$((n + 1)); echo $n; done");
    it.soon("a flood", || (worker.output().len() > 2000).then_some(()));
    kill_wrapper(&worker);
    worker.becomes("FAILED");
    it.settles();
    let reply = it.command(&[("command", "start"), ("worker_id", &worker.id)]);
    assert!(reply.is_ok(), "{reply:?}");
    let told = last_number(&worker);
    it.soon("more of the flood", || (last_number(&worker) > told + 2000).then_some(()));
    worker.delete();
    it.settles();
}

#[test]
fn the_end_of_a_killed_agent_is_told_by_its_wrapper() {
    let it = Installation::start();
    let worker = it.script(COUNTER);
    counts_on(&worker);
    worker.root(
        "for p in /proc/[0-9]*; do
        [ \"$(stat -c %u $p)\" = 1000 ] && kill -KILL ${p#/proc/}; done",
    );
    let record = worker.becomes("FAILED");
    assert_eq!(record["exit_code"], "137", "{record:?}");
    let exit = worker.comes_to("exit");
    assert_eq!((exit.get("source"), &exit.data()["signal"]), ("wrapper", &"SIGKILL".into()));
    assert_counted(&worker);
    it.settles();
    worker.delete();
    it.settles();
}
