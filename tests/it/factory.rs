//! FACTORY: Droid runs once for each turn. Its service cannot be replaced, so a stand-in in its
//! place prints the messages that it would.

use std::time::Duration;
use worker_tests::harness::{Installation, Options, Templates, Worker};

const TEMPLATE: &str = r#"+++
summary = "a stand-in for Droid"
version = "1"
protocol = "droid"
command = ["/usr/local/bin/droid"]
instructions = "/etc/factory/AGENTS.md"
credentials = ["FACTORY_API_KEY"]
files = ["droid"]
+++
COPY files/droid /agent/usr/local/bin/droid
RUN chmod 0755 /agent/usr/local/bin/droid
"#;

const STAND_IN: &str = r#"#!/bin/sh
prompt=$(cat)
session=new
for word; do case $word in --session-id=*) session=${word#*=} ;; esac; done
echo '{"type":"system","subtype":"init","session_id":"s1","cwd":"/workspace","tools":[],"model":"m"}'
case $prompt in
    leave*) setsid sleep 86399 &
        until tr '\0' ' ' < /proc/$!/cmdline | grep -q '^sleep'; do :; done ;;
    wait*) printf '{"type":"message","role":"assistant","text":"waiting","session_id":"s1"}\n'; sleep 86398 ;;
esac
echo '{"type":"tool_call","id":"c1","messageId":"m1","toolId":"Execute","toolName":"Execute","parameters":{"command":"pgrep sleep"},"session_id":"s1"}'
printf '{"type":"tool_result","id":"c1","messageId":"m2","toolId":"Execute","isError":false,"value":"%s","session_id":"s1"}\n' \
    "$(for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline; echo; done 2>/dev/null | grep -c '^sleep 8639')"
printf '{"type":"completion","finalText":"%s in %s of %s","numTurns":1,"durationMs":5,"session_id":"s1"}\n' \
    "$prompt" "$(pwd)" "$session"
"#;

fn templates() -> Templates {
    Templates::quick().agent("factory", TEMPLATE).file("droid", STAND_IN)
}

#[test]
fn turns_of_one_session_leave_nothing_behind() {
    let it = Installation::start_with(Options::default().templates(&templates()));
    let worker = it.worker(&[("agent_type", "FACTORY"), ("prompt", "leave something")]);
    let first = worker.turn_end(&worker.first_prompt());
    assert_eq!(first.content(), "leave something in /workspace of new", "{first:?}");
    assert_eq!(first.data()["outcome"], "success", "{first:?}");
    let second = worker.turn("-p again");
    assert_eq!(second.content(), "-p again in /workspace of s1", "{second:?}");
    let results = worker.said("tool_result");
    assert_eq!(results.iter().map(|e| e.content()).collect::<Vec<_>>(), ["1", "0"]);
    assert_eq!(worker.said("tool_call")[0].data()["input"]["command"], "pgrep sleep");
}

#[test]
fn an_interrupt_ends_the_turn_and_not_the_worker() {
    let it = Installation::start_with(Options::default().templates(&templates()));
    let worker = it.worker(&[("agent_type", "FACTORY"), ("prompt", "wait")]);
    worker.comes_to("message");
    worker.input(&[("type", "interrupt")]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(end.data()["outcome"], "interrupted", "{end:?}");
    assert_eq!(worker.turn("more").data()["outcome"], "success");
}

#[test]
fn a_headless_task_gives_its_final_text() {
    let it = Installation::start_with(Options::default().templates(&templates()));
    let request = it.send(&[
        ("command", "create"),
        ("agent_type", "FACTORY"),
        ("headless", "true"),
        ("wait", "done"),
        ("prompt", "work"),
    ]);
    let replied = || it.replies(&request).into_iter().next();
    let reply = it.until("the reply", Duration::from_secs(120), replied);
    assert_eq!(reply.get("result"), "work in /workspace of new", "{reply:?}");
    assert_eq!((reply.get("status"), reply.get("exit_code")), ("STOPPED".into(), "0".into()));
    let worker = Worker::of(&it, &reply.get("worker_id"));
    assert_eq!(worker.output().last().map(|e| e.kind().to_owned()), Some("exit".to_owned()));
}
