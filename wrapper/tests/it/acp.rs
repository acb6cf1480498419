//! A program that speaks the Agent Client Protocol, as a line of shell.

use worker_protocol::AgentProtocol;

use crate::redis_server::Redis;
use crate::worker::{Worker, boot, prepare};

/// Answers what it is asked, in order, without looking at it.
const AGENT: &str = r#"
piece() { echo '{"method":"session/update","params":{"update":{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"'"$1"'"}}}}'; }
read -r hello; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}'
read -r new; echo '{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s1"}}'
read -r prompt; piece Hel; piece lo; echo '{"id":3,"result":{"stopReason":"end_turn"}}'
read -r prompt; piece Working; read -r cancel; echo "$cancel" >&2
echo '{"id":4,"result":{"stopReason":"cancelled"}}'
read -r prompt; piece "My last"; piece " words"; exit 3
"#;

#[test]
fn turns_an_interrupt_and_last_words() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, AGENT);
    boot.agent.protocol = AgentProtocol::Acp;
    let mut worker = Worker::start(&redis, &boot);

    worker.send(&["prompt", "one"]);
    let message = worker.heard("message", "Hello");
    assert_eq!(message["content"], "Hello");
    let end = worker.heard("turn_completed", "Hello");
    assert_eq!((end["session_id"].as_str(), message["session_id"].as_str()), ("s1", "s1"));

    worker.send(&["prompt", "two"]);
    worker.heard("turn_started", "two");
    worker.send(&["type", "interrupt"]);
    worker.heard("stderr", "session/cancel");
    let end = worker.heard("turn_completed", "Working");
    assert!(end["data"].contains(r#""outcome":"interrupted""#), "{end:?}");

    worker.send(&["prompt", "three"]);
    worker.heard("message", "My last words");
    assert_eq!(worker.code(), 3);
}

#[test]
fn a_program_that_opens_no_session_fails_its_prompt_at_once_with_the_reason() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let agent = r#"read -r hello; echo '{"id":1,"error":{"code":-32603,"message":"no disk left"}}'
                   cat >/dev/null"#;
    let mut boot = boot(&redis, agent);
    boot.agent.protocol = AgentProtocol::Acp;
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("error", "no disk left");
    worker.send(&["prompt", "one"]);
    let end = worker.heard("turn_completed", "no disk left");
    assert!(end["data"].contains(r#""outcome":"error""#), "{end:?}");
}
