//! From create to delete, and every other end.

use std::time::Duration;

use worker_tests::harness::{Environment, Installation, Options, Redis, Reply, Worker, docker};

const CAT: &[(&str, &str)] =
    &[("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

#[test]
fn a_worker_goes_from_starting_to_running_to_deleted_and_leaves_nothing() {
    let it = Installation::start();
    let fields = [CAT, &[("correlation_id", "c-7"), ("prompt", "hello")]].concat();
    let accepted = it.command(&fields);
    assert!(accepted.is_ok(), "{accepted:?}");
    assert_eq!(accepted.get("status"), "STARTING", "accepted is told before the worker runs");
    let worker = Worker::of(&it, &accepted.get("worker_id"));
    let record = worker.becomes("RUNNING");
    worker.prints("hello");

    let status = worker.status();
    assert_eq!(status.get("status"), "RUNNING");
    assert_eq!(status.get("agent_type"), "CUSTOM");
    assert!(status.get("image").starts_with(&it.namespace), "{status:?}");
    assert!(!status.get("ip_address").is_empty(), "{status:?}");
    assert!(!status.get("host").is_empty(), "{status:?}");
    assert!(status.get("created_at") <= status.get("started_at"), "{status:?}");
    assert_eq!(record["correlation_id"], "c-7");
    let index: Option<f64> = it.redis.run(&["ZSCORE", &it.key("index"), &worker.id]);
    assert!(index.is_some(), "the worker is in the index");
    let hash = status.get("image").rsplit(':').next().unwrap_or_default().to_owned();
    let used: Option<f64> = it.redis.run(&["ZSCORE", &it.key("images"), &hash]);
    assert!(used.is_some(), "the image's last use is written down");
    let built: Option<String> = it.redis.run(&["HGET", &it.key(&format!("image:{hash}")), "size"]);
    assert!(built.is_some(), "what is known about the image is written down");

    let deleted = worker.delete();
    assert_eq!(deleted.get("status"), "STOPPED", "{deleted:?}");
    assert_eq!(it.containers(), Vec::<String>::new(), "the container is gone with the reply");
    assert_eq!(it.users(), Vec::<String>::new());
    let status = worker.status();
    assert_eq!((status.get("status"), status.get("reason")), ("STOPPED".into(), "deleted".into()));
    assert!(!status.get("finished_at").is_empty(), "{status:?}");
    for entry in it.events().iter().filter(|e| e.get("worker_id") == worker.id) {
        assert_eq!(entry.get("correlation_id"), "c-7", "{entry:?}");
    }
    assert_eq!(worker.comes_to("exit").get("source"), "wrapper");
    assert_only_memories(&it, &worker.id);
}

/// What is left of a deleted worker expires.
fn assert_only_memories(it: &Installation, id: &str) {
    for key in it.redis.keys(&it.key(&format!("{id}*"))) {
        let ttl: i64 = it.redis.run(&["TTL", &key]);
        assert!(ttl > 0, "{key} stays for ever");
    }
}

#[test]
fn a_create_may_wait_until_the_worker_runs() {
    let it = Installation::start();
    let reply = it.command(&[CAT, &[("wait", "RUNNING")]].concat());
    assert_eq!((reply.is_ok(), reply.get("status").as_str()), (true, "RUNNING"), "{reply:?}");
    assert_eq!(it.containers().len(), 1);
}

#[test]
fn a_reply_goes_to_the_list_that_the_command_named_and_the_list_expires() {
    let it = Installation::start();
    let list = it.key("reply:mine");
    let request = it.send(&[("command", "ping"), ("reply_to", &list), ("correlation_id", "c-8")]);
    let (_, json): (String, String) = it.redis.run(&["BLPOP", &list, "30"]);
    let reply = Reply::from_json(&json);
    assert_eq!(reply.get("request_id"), request);
    assert_eq!(reply.get("correlation_id"), "c-8");
    assert_eq!(
        it.reply(&request).timeless().len(),
        reply.timeless().len(),
        "the stream has it too"
    );

    it.send(&[("command", "ping"), ("reply_to", &list)]);
    let ttl = it.soon("a second reply", || {
        let ttl: i64 = it.redis.run(&["TTL", &list]);
        (ttl != -2).then_some(ttl)
    });
    assert!(ttl > 0, "the list has no expiry: {ttl}");
}

#[test]
fn a_ping_tells_version_hosts_and_load() {
    let it = Installation::start();
    let reply = it.command(&[("command", "PING"), ("version", "1"), ("context", "mine")]);
    assert!(reply.is_ok());
    for field in ["version", "hosts", "load", "timestamp"] {
        assert!(!reply.get(field).is_empty(), "{field} is missing: {reply:?}");
    }
    assert_eq!(reply.get("context"), "mine", "it is passed through");
}

#[test]
fn a_delete_lets_the_agent_end_in_order() {
    let it = Installation::start();
    let worker = it
        .script("trap 'echo handler ran; exit 3' TERM; echo armed; sleep 1000 & wait; echo never");
    worker.prints("armed");
    worker.delete();
    let exit = worker.comes_to("exit");
    assert_eq!(exit.data()["code"], 3, "{exit:?}");
    assert!(worker.stdout().contains("handler ran"), "{}", worker.stdout());
    assert!(!worker.stdout().contains("never"));
    assert_eq!(worker.record()["status"], "STOPPED");
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed_and_its_end_is_told() {
    let it = Installation::start_with(Options::default().set("WORKER_STOP_GRACE", "2s"));
    let worker = it.script("trap '' TERM; echo armed; while :; do sleep 1; done");
    worker.prints("armed");
    worker.delete();
    let exit = worker.comes_to("exit");
    assert_eq!(
        exit.data()["signal"].to_string().trim_matches('"').trim_start_matches("SIG"),
        "KILL",
        "{exit:?}"
    );
    assert_eq!(exit.get("source"), "wrapper", "{exit:?}");
    assert_eq!(it.containers(), Vec::<String>::new());
}

#[test]
fn a_forced_delete_does_not_wait_for_the_agent() {
    let it = Installation::start_with(Options::default().set("WORKER_STOP_GRACE", "10m"));
    let worker = it.script("trap '' TERM; echo armed; while :; do sleep 1; done");
    worker.prints("armed");
    let fields = [("command", "delete"), ("worker_id", worker.id.as_str()), ("force", "true")];
    let request = it.send(&fields);
    let reply =
        it.until("the reply, long before the grace is over", Duration::from_secs(120), || {
            it.replies(&request).pop()
        });
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(it.containers(), Vec::<String>::new());
    worker.comes_to("exit");
}

#[test]
fn a_stop_in_the_input_ends_the_agent_gracefully() {
    let it = Installation::start();
    let worker = it.script("echo armed; cat; echo end of input; exit 0");
    worker.prints("armed");
    worker.input(&[("type", "stop")]);
    let exit = worker.comes_to("exit");
    assert_eq!(exit.get("source"), "wrapper", "{exit:?}");
    let record = it.soon("an ended worker", || {
        let record = worker.record();
        matches!(record["status"].as_str(), "STOPPED" | "FAILED").then_some(record)
    });
    assert_eq!(record["status"], "STOPPED", "{record:?}");
}

#[test]
fn an_agent_that_ends_by_itself_has_its_exit_code_told() {
    let it = Installation::start();
    let worker = it.script("echo armed; read line; echo sorry >&2; exit 7");
    worker.prompt("go");
    let exit = worker.comes_to("exit");
    assert_eq!(exit.data()["code"], 7, "{exit:?}");
    let told = format!("{}{}", exit.content(), exit.get("data"));
    assert!(told.contains("sorry"), "the last lines of stderr are told: {exit:?}");
    let record = worker.becomes("FAILED");
    assert_eq!((record["reason"].as_str(), record["exit_code"].as_str()), ("exit 7", "7"));
    assert_eq!(worker.status().get("exit_code"), "7");
    let reply = worker.delete();
    assert_eq!(reply.get("status"), "FAILED", "its end stays what it was");
    assert_eq!(it.containers(), Vec::<String>::new());
}

#[test]
fn a_worker_whose_program_is_missing_says_so() {
    let it = Installation::start();
    let reply = it.command(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["no-such-program"]"#),
    ]);
    let worker = Worker::of(&it, &reply.get("worker_id"));
    let record = worker.becomes("FAILED");
    assert_eq!(record["exit_code"], "127", "{record:?}");
    let exit = worker.comes_to("exit");
    let told: String =
        worker.output().iter().map(|e| format!("{}{}", e.content(), e.get("data"))).collect();
    assert!(told.contains("no-such-program"), "{exit:?}");
}

#[test]
fn a_worker_that_somebody_else_kills_is_found_dead_and_its_readers_are_told() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    docker(&["kill", &worker.name()]);
    let record = worker.becomes("FAILED");
    assert_eq!(record["reason"], "exit 137", "{record:?}");
    assert_eq!(worker.comes_to("exit").get("source"), "manager");
    let other = it.script("exec cat");
    docker(&["rm", "--force", &other.name()]);
    let record = other.becomes("FAILED");
    // It is killed first: whoever looks then sees that.
    let reason = &record["reason"];
    assert!(reason.contains("lost") || reason == "exit 137", "{record:?}");
    assert_eq!(other.comes_to("exit").get("source"), "manager");
}

#[test]
fn limits_are_the_containers_and_a_worker_without_memory_says_so() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        // It keeps a whole line in memory, and this one has no end.
        ("agent_command", "read go; exec tail -n 1 /dev/zero"),
        ("limits", r#"{"memory": "64m", "cpus": 0.5, "pids": 100}"#),
    ]);
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
    let limits = docker(&["inspect", "--format", format, &worker.name()]);
    assert_eq!(limits, "67108864 500000000 100");
    worker.prompt("go");
    let exit = worker.comes_to("exit");
    assert_eq!(exit.data()["oom_killed"], true, "{exit:?}");
    let record = worker.becomes("FAILED");
    assert_eq!(record["reason"], "out of memory", "{record:?}");
    assert_eq!(worker.status().get("oom_killed"), "true");
}

#[test]
fn a_test_takes_away_all_that_it_made() {
    let environment = Environment::read();
    let redis = Redis::connect(&environment.redis_url);
    let it = Installation::start();
    it.script("exec cat");
    let namespace = it.namespace.clone();
    assert!(!redis.keys(&format!("{namespace}:*")).is_empty());
    drop(it);
    assert_eq!(redis.keys(&format!("{namespace}:*")), Vec::<String>::new());
    assert_eq!(redis.users(&namespace), Vec::<String>::new());
    let label = format!("label=io.worker-manager.namespace={namespace}");
    assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &label]), "");
    assert_eq!(docker(&["images", "--quiet", &namespace]), "");
}
