//! The whole manager on a real Redis, with an engine that plays what a test tells it: what goes
//! wrong while acting, and what a manager leaves to the next one.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod acl;
mod admission;
mod callers;
mod capacity;
mod dead;
mod images;
mod lease;
mod limits;
mod orphans;
mod passage;
mod pause;
mod policy;
mod reach;
mod rest;
mod restart;
mod servers;
mod stage;

use serde_json::json;
use stage::{Stage, until};
use worker_manager::engine::{EngineError, InstanceState, Verb};

fn unavailable() -> EngineError {
    EngineError::Unavailable { reason: "it is away".to_owned() }
}

fn refused() -> EngineError {
    EngineError::Refused { verb: "start", thing: "x".to_owned(), reason: "no".to_owned() }
}

const CUSTOM: [(&str, &str); 3] =
    [("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", "cat")];

#[tokio::test]
async fn a_worker_is_made_and_goes_with_everything_that_was_made_for_it() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let created =
        stage.ask(&[&CUSTOM[..], &[("wait", "running"), ("prompt", "hi")]].concat()).await;
    assert_eq!(created["status"], "RUNNING");
    let id = created["worker_id"].as_str().unwrap().to_owned();
    let status = stage.ask(&[("command", "status"), ("worker_id", &id)]).await;
    assert_eq!((&status["turns"], &status["ip_address"]), (&json!(3), &json!("10.0.0.2")));
    assert_eq!(stage.redis(&["XLEN", &format!("t:{id}:input")]).await, "1");
    assert_eq!(stage.workers_users().await, 1);
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", &id)]).await;
    assert_eq!(deleted["ok"], true);
    assert!(stage.engine.instances().is_empty());
    assert_eq!(stage.workers_users().await, 0);
    assert_eq!(stage.redis(&["ZCARD", "t:index"]).await, "0");
    let again = stage.ask(&[("command", "delete"), ("worker_id", &id)]).await;
    assert_eq!((&again["ok"], &again["already"]), (&json!(true), &json!(true)));
    let status = stage.ask(&[("command", "status"), ("worker_id", &id)]).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("STOPPED"), &json!("deleted")));
    manager.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_is_told_and_leaves_nothing() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    for verb in [Verb::Create, Verb::Start] {
        stage.engine.fail_next(verb, refused());
        let reply = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
        assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!("start_failed")));
        until("the rest is cleaned up", async || {
            stage.engine.instances().is_empty() && stage.workers_users().await == 0
        })
        .await;
    }
    manager.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_named_and_a_removal_is_tried_again() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.fail_next(Verb::Base, unavailable());
    let reply = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!(reply["error"], "engine_unavailable");

    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    stage.engine.fail_next(Verb::Remove, unavailable());
    let reply = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(reply["error"], "engine_unavailable");
    assert!(reply["message"].as_str().unwrap().contains("tried again"), "{reply}");
    until("it is gone nevertheless", async || stage.engine.instances().is_empty()).await;
    manager.stop().await;
}

#[tokio::test]
async fn twenty_creates_of_one_new_image_make_one_build_and_status_does_not_wait() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.hold(Verb::Build);
    let mut ids = Vec::new();
    for _ in 0..20 {
        let created = stage.ask(&CUSTOM).await;
        ids.push(created["worker_id"].as_str().unwrap().to_owned());
    }
    until("the build is asked for", async || stage.engine.count(Verb::Build) > 0).await;
    let status = stage.ask(&[("command", "status"), ("worker_id", &ids[0])]).await;
    assert_eq!(status["status"], "STARTING");
    assert!(status["reason"].as_str().unwrap().starts_with("building"), "{status}");
    stage.engine.let_go(Verb::Build);
    until("all run", async || {
        let running = |found: &_| found == &InstanceState::Running;
        stage.engine.instances().iter().filter(|found| running(&found.state)).count() == 20
    })
    .await;
    assert_eq!(stage.engine.count(Verb::Build), 1);
    manager.stop().await;
}

#[tokio::test]
async fn a_delete_ends_the_build_that_only_its_worker_waits_for() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.hold(Verb::Build);
    let created = stage.ask(&CUSTOM).await;
    let id = created["worker_id"].as_str().unwrap();
    until("the build is asked for", async || stage.engine.count(Verb::Build) == 1).await;
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["ok"], true);
    // The next one builds anew: the first build is not there any more to wait for.
    stage.ask(&CUSTOM).await;
    until("a second build is asked for", async || stage.engine.count(Verb::Build) == 2).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_manager_that_dies_in_a_build_leaves_the_worker_to_the_next() {
    let stage = Stage::open().await;
    let first = stage.manager();
    stage.engine.hold(Verb::Build);
    let secret = r#"{"TOKEN": "hunter2"}"#;
    let created =
        stage.ask(&[&CUSTOM[..], &[("request_id", "r1"), ("env", secret)]].concat()).await;
    until("the build is asked for", async || stage.engine.count(Verb::Build) == 1).await;
    first.die().await;
    stage.engine.let_go(Verb::Build);
    let second = stage.manager();
    until("the worker runs", async || {
        matches!(stage.engine.instances()[..], [ref one] if one.state == InstanceState::Running)
    })
    .await;
    // It got what only the command held, and its command was answered once.
    let name = &stage.engine.instances()[0].name;
    let input = String::from_utf8(stage.engine.input(name).unwrap()).unwrap();
    assert!(input.contains("hunter2"));
    assert!(name.0.ends_with(created["worker_id"].as_str().unwrap()));
    until("the command is done with", async || {
        stage.redis(&["XPENDING", "t:commands", "worker-manager"]).await.starts_with("0")
    })
    .await;
    assert_eq!(stage.replies_to("r1").await, 1);
    second.stop().await;
}

#[tokio::test]
async fn a_worker_that_runs_is_adopted_and_its_end_is_seen() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let headless =
        [("prompt", "x"), ("headless", "true"), ("wait", "running"), ("request_id", "r1")];
    let created = stage.ask(&[&CUSTOM[..], &headless].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    first.die().await;
    stage.engine.end(&stage.engine.instances()[0].name, 0);
    let second = stage.manager();
    until("its end is recorded", async || {
        let status = stage.ask(&[("command", "status"), ("worker_id", id)]).await;
        status["reason"] == "completed" && status["exit_code"] == 0
    })
    .await;
    // Its wrapper said nothing, so the manager did.
    let output = stage.redis(&["XREVRANGE", &format!("t:{id}:output"), "+", "-"]).await;
    assert!(output.contains("exit") && output.contains("manager"), "{output}");
    second.stop().await;
}

#[tokio::test]
async fn a_request_that_comes_again_is_answered_the_same_and_acts_once() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let create = [&CUSTOM[..], &[("request_id", "r1"), ("wait", "running")]].concat();
    let first = stage.ask(&create).await;
    let second = stage.ask(&create).await;
    assert_eq!(first, second);
    manager.stop().await;
    // And by a manager that has nothing in memory.
    let manager = stage.manager();
    assert_eq!(stage.ask(&create).await, first);
    assert_eq!(stage.engine.count(Verb::Start), 1);
    assert_eq!(stage.replies_to("r1").await, 3);
    manager.stop().await;
}

#[tokio::test]
async fn a_status_that_is_asked_for_under_one_name_is_answered_each_time() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    let status = [("command", "status"), ("worker_id", id), ("request_id", "s1")];
    let (first, second) = tokio::join!(stage.ask(&status), stage.ask(&status));
    assert_eq!((&first["status"], &second["status"]), (&json!("RUNNING"), &json!("RUNNING")));
    // Whichever of the two was taken first is what the request is remembered by.
    let third = stage.ask(&status).await;
    assert!(third == first || third == second, "{third} is neither {first} nor {second}");
    assert_eq!(stage.replies_to("s1").await, 3);
    manager.stop().await;
}

#[tokio::test]
async fn five_thousand_malformed_entries_are_each_answered_once() {
    const ENTRIES: usize = 5_000;
    let stage = Stage::open().await;
    stage.flood(ENTRIES).await;
    let manager = stage.manager();
    let ping = stage.ask(&[("command", "ping")]).await;
    assert_eq!(ping["ok"], true);
    assert_eq!(stage.replies_to("flood").await, ENTRIES);
    assert!(stage.redis(&["XPENDING", "t:commands", "worker-manager"]).await.starts_with("0"));
    let dead: usize = stage.redis(&["XLEN", "t:commands:dead"]).await.parse().unwrap();
    assert!(dead >= ENTRIES - 200, "{dead}");
    manager.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_under_the_manager_is_read_again() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.ask(&[("command", "ping")]).await;
    stage.redis(&["DEL", "t:commands"]).await;
    let ping = stage.ask(&[("command", "ping")]).await;
    assert_eq!(ping["ok"], true);
    manager.stop().await;
}

#[tokio::test]
async fn a_redis_that_forgot_everything_learns_of_running_workers_again() {
    let mut stage = Stage::open().await;
    let manager = stage.manager();
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    stage.replace_redis().await;
    until("the worker's user is there again", async || stage.workers_users().await == 1).await;
    until("its record is there again", async || {
        stage.redis(&["HGET", &format!("t:{id}"), "status"]).await == "RUNNING"
    })
    .await;
    // The password that the worker has is still the right one.
    let input = stage.engine.input(&stage.engine.instances()[0].name).unwrap();
    let boot: worker_protocol::Boot = serde_json::from_slice(&input).unwrap();
    let password = boot.redis.password.reveal();
    assert_eq!(stage.redis(&["AUTH", &boot.redis.username, password]).await, "OK");
    assert_eq!(stage.ask(&[("command", "delete"), ("worker_id", id)]).await["ok"], true);
    manager.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_being_made_while_redis_forgets_everything_is_let_in() {
    let mut stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.hold(Verb::Create);
    let create = [&CUSTOM[..], &[("wait", "running")]].concat();
    stage.send(&create).await;
    until("it is being made", async || stage.engine.count(Verb::Create) == 1).await;
    stage.replace_redis().await;
    assert_eq!(stage.ask(&[("command", "ping")]).await["ok"], true);
    stage.engine.let_go(Verb::Create);
    until("it runs", async || stage.replies_to("RUNNING").await == 1).await;
    assert_eq!(stage.workers_users().await, 1);
    assert_eq!(stage.engine.count(Verb::Create), 1, "at the first try");
    manager.stop().await;
}

#[tokio::test]
async fn what_is_written_to_a_worker_that_could_not_be_made_expires_with_it() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.fail_next(Verb::Base, unavailable());
    let failed = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    let input = format!("t:{}:input", failed["worker_id"].as_str().unwrap());
    until("it is gone", async || stage.redis(&["ZCARD", "t:index"]).await == "0").await;
    stage.redis(&["XADD", &input, "*", "prompt", "too late"]).await;
    let left: i64 = stage.redis(&["TTL", &input]).await.parse().unwrap();
    assert!(left > 0, "{left}");
    manager.stop().await;
}
