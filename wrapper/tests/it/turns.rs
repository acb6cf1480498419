use serde_json::Value;
use worker_protocol::Secret;
use worker_protocol::create::Life;

use crate::redis_server::{Redis, ask, entries, pending, until};
use crate::worker::{HEARTBEAT, INPUT, OUTPUT, Worker, boot, prepare};

#[test]
fn a_prompt_goes_in_and_its_echo_comes_out() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.heard("ready", "CUSTOM");
    let id = worker.send(&["prompt", "hello"]);
    worker.heard("stdout", "hello");
    let started = worker.heard("turn_started", "hello");
    assert_eq!(started["turn"], id);
    let ended = worker.heard("turn_completed", "");
    assert_eq!(ended["turn"], id);
    assert!(ended["data"].contains(r#""outcome":"success""#), "{ended:?}");
    until("the acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
    let seqs: Vec<_> = worker.said().iter().map(|e| e["seq"].parse::<u64>().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn the_sign_of_life_expires_and_tells_how_many_turns_ended() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.send(&["prompt", "a"]);
    worker.heard("turn_completed", "");
    until("a turn in the pulse", || {
        let pulse: Option<String> = ask(&mut worker.redis, &["GET", HEARTBEAT]);
        let pulse: Value = serde_json::from_str(&pulse?).unwrap();
        (pulse["turns"] == 1).then_some(())
    });
    let expires: i64 = ask(&mut worker.redis, &["TTL", HEARTBEAT]);
    assert!((1..=30).contains(&expires), "{expires}");
}

#[test]
fn an_entry_that_is_not_understood_is_answered_and_acknowledged() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.send(&["prmpt", "x"]);
    worker.heard("error", "did you mean `prompt`?");
    until("the acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
}

#[test]
fn a_prompt_that_was_not_done_is_delivered_again_and_says_so() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let group = ["XREADGROUP", "GROUP", "wrapper", "wrapper", "STREAMS", INPUT, ">"];
    let mut client = redis.connect();
    ask::<String>(&mut client, &["XADD", INPUT, "*", "prompt", "again"]);
    ask::<redis::Value>(&mut client, &group);
    let mut worker = Worker::start(&redis, &boot(&redis, "exec cat"));
    let started = worker.heard("turn_started", "again");
    assert!(started["data"].contains(r#""redelivered":true"#), "{started:?}");
    worker.send(&["prompt", "first time"]);
    let started = worker.heard("turn_started", "first time");
    assert!(!started.contains_key("data"), "{started:?}");
}

#[test]
fn a_prompt_that_was_worked_on_when_the_wrapper_was_killed_is_run_again_and_marked() {
    let redis = Redis::start();
    let mut first = Worker::with_script(&redis, "exec sleep 1000");
    // More than a pipe holds, so that its turn does not end.
    let id = first.send(&["prompt", &format!("work {}", "x".repeat(1 << 20))]);
    first.heard("turn_started", "work");
    let agent = first.children();
    first.signal("-KILL");
    assert_eq!(first.ended().code(), None);
    // Nobody is left who would end it; in a container, the kernel does.
    std::process::Command::new("kill").args(["-KILL", agent.trim()]).status().unwrap();
    let mut second = Worker::start(&redis, &boot(&redis, "exec cat >/dev/null"));
    let done = second.heard("turn_completed", "");
    assert_eq!(done["turn"], id);
    let begun: Vec<_> = second.said().into_iter().filter(|e| e["type"] == "turn_started").collect();
    assert_eq!(begun.len(), 2);
    assert!(begun[1]["data"].contains(r#""redelivered":true"#), "{:?}", begun[1]["data"]);
    until("the acknowledgement", || (pending(&mut second.redis, INPUT) == 0).then_some(()));
}

#[test]
fn a_second_wrapper_goes_on_counting() {
    let redis = Redis::start();
    let mut first = Worker::with_script(&redis, "exec cat");
    first.heard("ready", "");
    first.signal("-TERM");
    assert_eq!(first.code(), 0);
    let count = first.said().len() as u64;
    let mut second = Worker::start(&redis, &boot(&redis, "exec cat"));
    until("its first entry", || (second.said().len() as u64 > count).then_some(()));
    let last = second.said().pop().unwrap();
    assert_eq!(last["seq"], (count + 1).to_string());
}

#[test]
fn secrets_of_the_environment_do_not_come_out() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "echo \"key $MY_API_KEY\"; echo $MY_API_KEY >&2; exec cat");
    boot.agent.env.insert("MY_API_KEY".into(), Secret::new("hunter2hunter2"));
    let mut worker = Worker::start(&redis, &boot);
    worker.send(&["prompt", "is it hunter2hunter2?"]);
    worker.heard("stdout", "is it ***MY_API_KEY***?");
    worker.heard("stdout", "key ***MY_API_KEY***");
    worker.heard("stderr", "***MY_API_KEY***");
    let all = format!("{:?}", entries(&mut worker.redis, OUTPUT));
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn an_agent_sees_the_chosen_environment_and_no_more() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(
        &redis,
        "echo path=$PATH; env | cut -d= -f1 | sort | tr '\\n' ' '; echo; exec cat",
    );
    let names = worker.heard("stdout", "PATH ")["content"].clone();
    for name in names.split_whitespace() {
        let known = [
            "HOME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TERM", "USER", "_", "OLDPWD",
            "SHLVL",
        ];
        assert!(known.contains(&name), "{name} of {names}");
    }
}

#[test]
fn a_long_line_is_cut_and_told_with_its_length() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; echo after; exec cat";
    let mut boot = boot(&redis, script);
    boot.bounds.line_bytes = 1000;
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("stdout", "after");
    let cut = worker.heard("stdout", "xxx");
    assert_eq!((cut["content"].len(), cut["truncated"].as_str()), (1000, "true"));
    assert!(cut["data"].contains("100000"), "{:?}", cut["data"]);
}

#[test]
fn a_headless_program_ends_with_its_own_code() {
    for (script, code) in [("read x; echo got $x; cat; exit 0", 0), ("read x; exit 3", 3)] {
        let redis = Redis::start();
        prepare(&mut redis.connect());
        let mut boot = boot(&redis, script);
        boot.life = Life::Headless;
        let mut worker = Worker::start(&redis, &boot);
        worker.send(&["prompt", "task"]);
        assert_eq!(worker.code(), code);
        let exit = worker.heard("exit", "");
        assert!(exit["data"].contains(&format!(r#""code":{code}"#)), "{exit:?}");
    }
}
