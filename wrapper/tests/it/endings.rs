use std::path::Path;
use worker_protocol::{AgentProtocol, Secret};

use crate::redis_server::{Redis, pending, until};
use crate::worker::{INPUT, Worker, boot, prepare};

#[test]
fn sigterm_reaches_the_agent_and_the_end_is_told_last() {
    let redis = Redis::start();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let mut worker = Worker::with_script(&redis, script);
    worker.heard("stdout", "up");
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    let said = worker.said();
    let kinds: Vec<_> = said.iter().map(|entry| entry["content"].as_str()).collect();
    assert_eq!(kinds[kinds.len() - 2], "bye", "{kinds:?}");
    assert_eq!(said.last().unwrap()["type"], "exit");
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed_after_the_grace() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "trap '' TERM; echo up; while :; do sleep 0.1; done");
    boot.bounds.stop_grace = std::time::Duration::from_millis(200);
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("stdout", "up");
    worker.send(&["type", "stop"]);
    assert_eq!(worker.code(), 0);
    let exit = worker.heard("exit", "");
    assert!(exit["data"].contains("SIGKILL") && exit["data"].contains(r#""code":137"#), "{exit:?}");
}

#[test]
fn an_agent_that_ends_by_itself_takes_the_worker_with_it() {
    for (script, code, part) in
        [("echo oops >&2; exit 7", 7, "oops"), ("kill -SEGV $$", 139, "SIGSEGV")]
    {
        let redis = Redis::start();
        let mut worker = Worker::with_script(&redis, script);
        assert_eq!(worker.code(), code);
        let exit = worker.heard("exit", "");
        assert!(exit["data"].contains(part), "{exit:?}");
    }
}

#[test]
fn an_agent_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("not-executable");
    std::fs::write(&file, "x").unwrap();
    for (program, code) in [("/no/such/agent", 127), (file.to_str().unwrap(), 126)] {
        let redis = Redis::start();
        prepare(&mut redis.connect());
        let mut boot = boot(&redis, "");
        boot.agent.command = vec![program.to_owned()];
        let mut worker = Worker::start(&redis, &boot);
        assert_eq!(worker.code(), code);
        worker.heard("error", program);
        worker.heard("exit", "");
    }
}

#[test]
fn an_orphan_that_holds_the_pipe_does_not_hold_the_end() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "setsid sleep 1000 & echo $!; exit 0");
    assert_eq!(worker.code(), 0);
    let orphan = worker.heard("stdout", "")["content"].clone();
    worker.heard("exit", "");
    // Outside of a container it may live on, for nobody but PID 1 can find it safely.
    let _ = std::process::Command::new("kill").args(["-KILL", &orphan]).status();
}

#[test]
fn zombies_are_reaped() {
    let redis = Redis::start();
    let script = "for i in 1 2 3 4 5; do (sh -c 'sleep 0.05 & exit 0'); done; echo done; exec cat";
    let mut worker = Worker::with_script(&redis, script);
    worker.heard("stdout", "done");
    until("no children but the agent", || {
        (worker.children().split_whitespace().count() == 1).then_some(())
    });
}

#[test]
fn an_interrupt_reaches_the_program_and_it_stays() {
    let redis = Redis::start();
    let script = "trap 'echo interrupted' INT; echo up; while :; do sleep 0.05; done";
    let mut worker = Worker::with_script(&redis, script);
    worker.heard("stdout", "up");
    worker.send(&["type", "interrupt"]);
    worker.heard("stdout", "interrupted");
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
}

#[test]
fn an_interrupt_reaches_the_tool_that_the_program_waits_for() {
    let redis = Redis::start();
    let tool = "trap 'echo the tool ends; exit 0' INT; echo up; while :; do sleep 0.05; done";
    let script =
        format!("trap ': goes on' INT; sh -c \"{tool}\"; echo the program goes on; exec cat");
    let mut worker = Worker::with_script(&redis, &script);
    worker.heard("stdout", "up");
    worker.send(&["type", "interrupt"]);
    worker.heard("stdout", "the tool ends");
    worker.heard("stdout", "the program goes on");
    worker.send(&["prompt", "still here"]);
    worker.heard("stdout", "still here");
    assert_eq!(worker.children().split_whitespace().count(), 1);
}

/// Speaks as Claude Code does, gives its tool a session as that does, and kills no more of it than
/// the shell. Before the tool it rests as long as a model takes at least.
const CARELESS: &str = r#"while read -r line; do case $line in
  *initialize*) echo '{"type":"control_response","response":{"request_id":"wrapper-initialize"}}' ;;
  *interrupt*) kill -9 $tool
    echo '{"type":"result","is_error":true,"terminal_reason":"aborted_tools"}' ;;
  *'"content":"work"'*) sleep 0.1; setsid sh -c 'sleep 1000 & echo tool $!; wait' & tool=$! ;;
  *'"content":"leave"'*) sh -c 'sleep 1000 & echo left $!'
    echo '{"type":"result","is_error":false}' ;;
esac; done"#;

#[test]
fn what_an_interrupted_tool_has_started_is_ended_and_what_was_left_before_stays() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, CARELESS);
    boot.agent.protocol = AgentProtocol::Claude;
    let mut worker = Worker::start(&redis, &boot);
    let started = |worker: &mut Worker, prompt: &str, word: &str| {
        worker.send(&["prompt", prompt]);
        let line = worker.heard("stdout", word)["content"].clone();
        format!("/proc/{}", line.rsplit_once(' ').unwrap().1)
    };
    let left = started(&mut worker, "leave", "left ");
    let tool = started(&mut worker, "work", "tool ");
    worker.send(&["type", "interrupt"]);
    until("the end of what the tool had started", || (!Path::new(&tool).exists()).then_some(()));
    assert!(Path::new(&left).exists());
    let pid = left.trim_start_matches("/proc/");
    std::process::Command::new("kill").args(["-KILL", pid]).status().unwrap();
}

#[test]
fn an_agent_that_closed_its_stdin_does_not_hang_its_turn() {
    let redis = Redis::start();
    let script = "exec 0<&-; echo up; while :; do sleep 0.1; done";
    let mut worker = Worker::with_script(&redis, script);
    worker.heard("stdout", "up");
    worker.send(&["prompt", "anybody?"]);
    let end = worker.heard("turn_completed", "");
    assert!(end["data"].contains(r#""outcome":"error""#), "{end:?}");
}

#[test]
fn an_environment_with_the_agents_own_words_is_passed_on() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "echo home=$HOME greeting=$GREETING; exec cat");
    boot.agent.env.insert("GREETING".into(), Secret::new("hello"));
    boot.agent.env.insert("HOME".into(), Secret::new("/tmp"));
    Worker::start(&redis, &boot).heard("stdout", "home=/tmp greeting=hello");
}

#[test]
fn prompts_that_were_not_begun_are_named_and_stay() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec sleep 1000");
    // More than a pipe holds, so that the first turn does not end.
    worker.send(&["prompt", &"x".repeat(1 << 20)]);
    worker.heard("turn_started", "x");
    let id = worker.send(&["prompt", "too late"]);
    until("both prompts", || (pending(&mut worker.redis, INPUT) == 2).then_some(()));
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    assert!(worker.heard("turn_completed", "")["data"].contains("interrupted"));
    assert!(worker.heard("error", "not begun")["data"].contains(&id));
    assert_eq!(pending(&mut worker.redis, INPUT), 1);
}
