//! The agent and its wrapper share a container, and nothing that matters.

use worker_tests::harness::{Installation, Redis, Worker};

/// The address with the worker's own Redis user. Its password is known to its wrapper alone, so
/// the user is given a second one.
fn own_address(it: &Installation, worker: &Worker<'_>) -> String {
    let password = uuid::Uuid::new_v4().simple().to_string();
    let _: String = it.redis.run(&["ACL", "SETUSER", &worker.name(), &format!(">{password}")]);
    let credentials = format!("//{}:{password}@", worker.name());
    it.environment.worker_redis_url.replace("//", &credentials)
}

#[test]
fn the_agent_is_user_1000_and_can_neither_read_nor_kill_the_wrapper() {
    let it = Installation::start();
    let worker = it.script(
        "echo uid $(id -u) gid $(id -g) groups $(id -G)
         cat /proc/1/environ && echo has read the environment
         cat /run/worker/* && echo has read the boot document
         ls /proc/1/fd >/dev/null && echo has seen the descriptors
         kill -9 1 && echo has killed
         kill -TERM 1 && echo has terminated
         (: > /usr/libexec/worker-wrapper) && echo has overwritten
         grep -i -E '^(Cap(Eff|Prm|Bnd)|NoNewPrivs)' /proc/self/status
         env
         exec cat",
    );
    worker.prompt("still alive");
    worker.prints("still alive");
    let stdout = worker.stdout();
    assert!(stdout.contains("uid 1000 gid 1000 groups 1000"), "{stdout}");
    assert!(!stdout.contains("has "), "{stdout}");
    assert!(stdout.contains("CapEff:\t0000000000000000"), "{stdout}");
    assert!(stdout.contains("NoNewPrivs:\t1"), "{stdout}");
    let everything = format!("{:?}", worker.output());
    for secret in ["redis://", "REDIS", "WORKER_", &worker.name()] {
        assert!(!everything.contains(secret), "the agent sees {secret}: {everything}");
    }
}

#[test]
fn the_wrapper_keeps_only_the_capabilities_it_needs() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let status = worker.root("grep CapBnd /proc/1/status");
    let bound = u64::from_str_radix(status.trim_start_matches("CapBnd:").trim(), 16).expect("hex");
    const KILL: u64 = 1 << 5;
    const SETGID: u64 = 1 << 6;
    const SETUID: u64 = 1 << 7;
    assert_eq!(bound & !(KILL | SETGID | SETUID), 0, "{status}");
}

#[test]
fn a_workers_redis_user_reaches_its_own_keys_and_no_more_and_goes_with_it() {
    let it = Installation::start();
    let (worker, other) = (it.script("exec cat"), it.script("exec cat"));
    let url = own_address(&it, &worker);
    let own = Redis::try_connect(&url).expect("the worker's own access");

    let (input, output) = (worker.key("input"), worker.key("output"));
    let (others_input, others_output) = (other.key("input"), other.key("output"));
    let (record, commands) = (it.key(&worker.id), it.key("commands"));
    let refused: &[&[&str]] = &[
        &["XADD", &input, "*", "prompt", "to myself"],
        &["XADD", &others_input, "*", "prompt", "to the neighbour"],
        &["XADD", &commands, "*", "command", "ping"],
        &["XRANGE", &others_output, "-", "+"],
        &["XREVRANGE", &others_output, "+", "-"],
        &["XADD", &others_output, "*", "type", "message"],
        &["GET", &other.key("heartbeat")],
        &["DEL", &output],
        &["HGETALL", &record],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["ACL", "WHOAMI"],
        &["CONFIG", "GET", "*"],
        &["EVAL", "return 1", "0"],
        &["FLUSHALL"],
        &["CLIENT", "LIST"],
        &["PUBLISH", "anything", "x"],
    ];
    for words in refused {
        let error = own.ask::<redis::Value>(words).expect_err("a refusal");
        assert_eq!(error.code(), Some("NOPERM"), "{words:?}: {error}");
    }
    own.ask::<String>(&["PING"]).expect("what it may");

    worker.delete();
    assert_eq!(it.users(), [other.name()], "the user goes with its worker");
    assert!(own.ask::<String>(&["PING"]).is_err(), "its connections are cut");
    assert!(Redis::try_connect(&url).is_err(), "its password opens nothing");
}

#[test]
fn orphans_are_reaped() {
    let it = Installation::start();
    // The inner shell ends at once, so that its children have nobody but the first process.
    let worker = it.script(
        r#"for i in 1 2 3 4 5; do sh -c 'sh -c "exit 0" & sleep 0.2 & echo orphan $!'; done; exec cat"#,
    );
    worker.prompt("all made");
    worker.prints("all made");
    let orphans: Vec<_> = worker.said("stdout").iter().map(|e| e.content().to_owned()).collect();
    let orphans: Vec<_> = orphans.iter().filter_map(|line| line.strip_prefix("orphan ")).collect();
    assert_eq!(orphans.len(), 5);
    it.soon("the end of every orphan", || {
        let there = worker.root("ls /proc");
        let there: Vec<_> = there.lines().collect();
        orphans.iter().all(|pid| !there.contains(pid)).then_some(())
    });
    let states = worker.root("cat /proc/[0-9]*/stat");
    assert!(!states.lines().any(|line| line.contains(") Z ")), "zombies are left:\n{states}");
}
