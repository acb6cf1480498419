//! Managers die, consumers vanish, streams are deleted; workers go on, and nothing happens twice.

use std::time::Duration;

use worker_tests::harness::{Installation, Options, Templates, Worker, assert_numbered};

#[test]
fn a_worker_goes_on_while_the_manager_is_dead_and_the_next_manager_adopts_it() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    it.manager().kill();
    worker.prompt("nobody watches");
    worker.prints("nobody watches");
    let request = it.send(&[("command", "status"), ("worker_id", &worker.id)]);

    it.start_manager();
    let status = it.reply(&request);
    assert_eq!(status.get("status"), "RUNNING", "what was asked meanwhile is answered: {status:?}");
    worker.prompt("somebody watches");
    worker.prints("somebody watches");
    assert_numbered(&worker.output());
    worker.delete();
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

#[test]
fn a_worker_that_ended_while_nobody_watched_is_found() {
    let it = Installation::start();
    let worker = it.script("read line; echo done; exit 5");
    it.manager().kill();
    worker.prompt("go");
    worker.comes_to("exit");
    it.start_manager();
    let record = worker.becomes("FAILED");
    assert_eq!(record["exit_code"], "5", "{record:?}");
}

#[test]
fn a_running_worker_survives_an_emptied_redis_record() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    it.manager().kill();
    for key in [it.key(&worker.id), it.key("index"), it.key("events")] {
        let _: i64 = it.redis.run(&["DEL", &key]);
    }
    it.start_manager();
    worker.becomes("RUNNING");
    assert_eq!(worker.status().get("agent_type"), "CUSTOM");
    worker.delete();
    assert_eq!(it.containers(), Vec::<String>::new());
}

#[test]
fn a_create_that_a_killed_manager_left_in_its_build_is_finished_by_the_next() {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let templates = Templates::empty().module("SLOW", &format!(": {mark}; sleep 5"));
    let it = Installation::start_with(Options::default().templates(&templates));
    let request = it.send(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", "SLOW"),
        ("wait", "running"),
        ("prompt", "once"),
    ]);
    it.soon("the build", || it.events().iter().any(|e| e.kind() == "build").then_some(()));
    it.manager().kill();
    it.start_manager();
    let reply = it.reply(&request);
    assert_eq!(reply.get("status"), "RUNNING", "{reply:?}");
    let worker = Worker::of(&it, &reply.get("worker_id"));
    worker.prints("once");
    assert_eq!(it.replies(&request).len(), 1, "one reply");
    assert_eq!(it.containers().len(), 1, "one container");
    assert_eq!(worker.stdout(), "once", "the first prompt was put in once");
}

/// Kills managers at many moments of a create: each kill hits another step.
#[test]
fn a_manager_that_is_killed_again_and_again_makes_one_worker_and_one_reply() {
    let it = Installation::start();
    it.script("exec cat").delete();
    for delay in [0, 5, 20, 40, 80, 120, 160, 220, 300, 450] {
        let request = it.send(&[
            ("command", "create"),
            ("agent_type", "CUSTOM"),
            ("agent_command", r#"["cat"]"#),
            ("prompt", "once"),
            ("wait", "running"),
        ]);
        // Not for something to be so: to be somewhere in the middle of it.
        std::thread::sleep(Duration::from_millis(delay));
        it.manager().kill();
        it.start_manager();
        let reply = it.reply(&request);
        assert!(reply.is_ok(), "killed after {delay} ms: {reply:?}{}", it.explain());
        let worker = Worker::of(&it, &reply.get("worker_id"));
        worker.prints("once");
        assert_eq!(it.replies(&request).len(), 1, "killed after {delay} ms");
        assert_eq!(it.containers().len(), 1, "killed after {delay} ms");
        assert_eq!(worker.stdout(), "once", "killed after {delay} ms");
        worker.delete();
        assert_eq!((it.containers(), it.users()), (vec![], vec![]), "killed after {delay} ms");
    }
}

#[test]
fn a_delete_that_a_killed_manager_left_is_finished_by_the_next() {
    let it = Installation::start();
    let worker = it.script("trap 'sleep 1; exit 0' TERM; echo armed; sleep 1000 & wait");
    worker.prints("armed");
    let request = it.send(&[("command", "delete"), ("worker_id", &worker.id)]);
    it.soon("the command in work", || (worker.record()["reason"] == "stopping").then_some(()));
    it.manager().kill();
    it.start_manager();
    let reply = it.reply(&request);
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(it.replies(&request).len(), 1);
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

#[test]
fn a_command_that_a_dead_consumer_took_is_claimed() {
    let it = Installation::start();
    it.manager().stop();
    let request = it.send(&[("command", "ping")]);
    let commands = it.key("commands");
    let group = ["XREADGROUP", "GROUP", "worker-manager", "gone", "STREAMS", &commands, ">"];
    let _: redis::Value = it.redis.run(&group);
    // As if it had happened two minutes ago.
    let idle = ["XCLAIM", &commands, "worker-manager", "gone", "0", &request, "IDLE", "120000"];
    let _: redis::Value = it.redis.run(&idle);
    it.start_manager();
    assert!(it.reply(&request).is_ok());
}

#[test]
fn a_manager_whose_group_or_stream_is_taken_away_takes_commands_again() {
    let it = Installation::start();
    let commands = it.key("commands");
    let _: i64 = it.redis.run(&["XGROUP", "DESTROY", &commands, "worker-manager"]);
    assert!(it.command(&[("command", "ping")]).is_ok(), "after the group went");
    let _: i64 = it.redis.run(&["DEL", &commands]);
    assert!(it.command(&[("command", "ping")]).is_ok(), "after the stream went");
}

#[test]
fn cut_connections_are_made_anew() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let clients: String = it.redis.run(&["CLIENT", "LIST"]);
    let of = |user: &str| {
        let ids = clients.lines().filter(|line| line.contains(&format!(" user={user} ")));
        ids.filter_map(|line| line.strip_prefix("id=")?.split(' ').next()).collect::<Vec<_>>()
    };
    let wrappers = of(&worker.name());
    assert!(!wrappers.is_empty(), "the wrapper uses the worker's own user");
    for id in wrappers {
        let _: i64 = it.redis.run(&["CLIENT", "KILL", "ID", id]);
    }
    worker.prompt("after the cut");
    worker.prints("after the cut");
    assert_numbered(&worker.output());
}
