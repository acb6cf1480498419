//! Prompts and agents that nobody hoped for: each is answered, and nothing hangs.

use std::time::Duration;
use worker_protocol::AgentProtocol;
use worker_wrapper::driver::{Told, for_agent};

use crate::redis_server::{Entry, Redis, pending, until, within};
use crate::worker::{INPUT, Worker, boot, prepare};

const PROTOCOLS: [AgentProtocol; 6] = [
    AgentProtocol::Claude,
    AgentProtocol::Droid,
    AgentProtocol::Acp,
    AgentProtocol::StreamJson,
    AgentProtocol::Lines,
    AgentProtocol::Pty,
];

#[test]
fn a_prompt_of_50_mb_is_refused_by_its_length_and_the_next_one_works() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    let id = worker.send(&["prompt", &"x".repeat(50 << 20)]);
    let refused = worker.heard("error", "");
    assert!(refused["content"].contains("52428800"), "{}", refused["content"]);
    assert!(refused["content"].len() < 1000 && refused["data"].contains(&id), "{refused:?}");
    worker.send(&["prompt", "a short one"]);
    worker.heard("stdout", "a short one");
    until("every acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
}

#[test]
fn a_prompt_that_looks_like_a_flag_stands_on_no_command_line() {
    let redis = Redis::start();
    for protocol in PROTOCOLS {
        let mut boot = boot(&redis, "");
        boot.agent.protocol = protocol;
        let mut driver = for_agent(&boot);
        let mut told = Vec::new();
        driver.begin(&mut told);
        driver.prompt("--version", &mut told);
        let mut arguments = driver.arguments();
        arguments.extend(told.into_iter().flat_map(|one| match one {
            Told::Start(start) => start.arguments,
            _ => Vec::new(),
        }));
        assert!(!arguments.contains(&"--version".to_owned()), "{protocol:?}: {arguments:?}");
    }
}

#[test]
fn an_agent_that_prints_garbage_and_ends_fails_its_worker() {
    for protocol in PROTOCOLS {
        let redis = Redis::start();
        prepare(&mut redis.connect());
        let garbage = "head -c 50000 /dev/urandom; echo; echo '{\"type\":7}'; exit 5";
        let mut boot = boot(&redis, garbage);
        boot.agent.protocol = protocol;
        let mut worker = Worker::start(&redis, &boot);
        worker.send(&["prompt", "are you well?"]);
        if protocol == AgentProtocol::Droid {
            // Its process is the turn's, and the worker stays for the next.
            let end = worker.heard("turn_completed", "");
            assert!(end["data"].contains(r#""outcome":"error""#), "{end:?}");
            worker.signal("-TERM");
        } else {
            assert_eq!(worker.code(), 5, "{protocol:?}");
        }
        let exit = worker.heard("exit", "");
        assert!(exit["data"].contains(r#""code":5"#), "{protocol:?}: {exit:?}");
    }
}

#[test]
fn an_agent_that_ends_before_it_is_ready_says_so_and_names_what_it_left_undone() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let mut boot = boot(&redis, &format!("{wait}; echo no licence >&2; exit 4"));
    boot.agent.protocol = AgentProtocol::Claude;
    let mut worker = Worker::start(&redis, &boot);
    let id = worker.send(&["prompt", "hello"]);
    until("the prompt", || (pending(&mut worker.redis, INPUT) == 1).then_some(()));
    // An answer to what comes after it shows that the wrapper has it too.
    worker.send(&["type", "resize", "cols", "1", "rows", "1"]);
    worker.heard("error", "terminal");
    std::fs::write(go, "").unwrap();
    assert_eq!(worker.code(), 4);
    worker.heard("error", "before it could take prompts");
    assert!(worker.heard("error", "not begun")["data"].contains(&id));
    assert!(worker.heard("exit", "")["data"].contains("no licence"));
}

#[test]
fn a_flood_of_100_mb_takes_no_more_memory_than_any_other() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let flood = "yes $(head -c 1000 /dev/zero | tr '\\0' x) | head -n 100000";
    let mut boot = boot(&redis, &format!("{flood}; echo done; exec cat"));
    boot.bounds.output_entries = 100;
    let mut worker = Worker::start(&redis, &boot);
    // Without optimisation, on a machine with other work, it takes its time.
    let mut last = Entry::default();
    within(Duration::from_secs(180), "the flood's end", || {
        last = worker.said().pop()?;
        (last["content"] == "done").then_some(())
    });
    // `ready` is the first, and `done` comes after all of the flood.
    assert_eq!(last["seq"], "100002", "{last:?}");
    let peak = worker.memory_kb("VmHWM");
    assert!(peak < 64 << 10, "{peak} kB");
}
