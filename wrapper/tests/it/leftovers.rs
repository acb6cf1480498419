//! What a turn's commands leave behind when the turn is interrupted.

use worker_protocol::AgentProtocol;

use crate::redis_server::{Redis, until};
use crate::worker::{Worker, boot, prepare};

/// Begins one command before its first turn and four in it, and tells their numbers: one that is its
/// own child, one that has lost its parent, one in another session, and there one that does not end
/// on SIGTERM.
const AGENT: &str = r#"
    trap 'echo "{\"type\":\"result\",\"is_error\":true}"' INT
    setsid sleep 1000 & echo "before $!"
    while read -r line; do
        sleep 0.1 # As long as a model takes at least.
        sleep 1000 & echo "own $!"
        sh -c 'sleep 1000 & echo "lost $!"'
        setsid sleep 1000 & echo "other $!"
        setsid sh -c 'trap "" TERM; echo "stubborn $$"; while :; do sleep 0.1; done' &
        wait
    done"#;

/// A process that has ended and was not waited for has no command line either.
fn runs(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn commands_of_an_interrupted_turn_are_ended_and_nothing_else_is() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, AGENT);
    boot.agent.protocol = AgentProtocol::StreamJson;
    let mut worker = Worker::start(&redis, &boot);
    let pid = |worker: &mut Worker, name: &str| {
        let said = worker.heard("stdout", name)["content"].clone();
        said.rsplit(' ').next().unwrap().to_owned()
    };
    let before = pid(&mut worker, "before");
    worker.send(&["prompt", "work"]);
    let [own, lost, other, stubborn] =
        ["own", "lost", "other", "stubborn"].map(|name| pid(&mut worker, name));
    assert!([&before, &own, &lost, &other, &stubborn].iter().all(|pid| runs(pid)));

    worker.send(&["type", "interrupt"]);
    let end = worker.heard("turn_completed", "");
    assert!(end["data"].contains(r#""outcome":"interrupted""#), "{end:?}");
    let leftovers = [lost, other, stubborn];
    until("the end of the turn's commands", || {
        leftovers.iter().all(|pid| !runs(pid)).then_some(())
    });
    assert!(runs(&before), "an older command goes on");
    assert!(runs(&own), "what the agent itself needs goes on");
    for pid in [before, own] {
        let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}
