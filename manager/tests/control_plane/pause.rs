//! Workers that stand still; hosts that do not answer.

use serde_json::{Value, json};
use worker_manager::engine::{InstanceState, Verb};

use crate::stage::{Stage, until};
use crate::{CUSTOM, unavailable};

const IDLE: &str = r#"{"turns":3,"cost_usd":0.5,"idle":true}"#;

async fn running(stage: &Stage) -> String {
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    created["worker_id"].as_str().unwrap().to_owned()
}

async fn status(stage: &Stage, id: &str) -> Value {
    stage.ask(&[("command", "status"), ("worker_id", id)]).await
}

async fn is(stage: &Stage, id: &str, status_and_reason: (&str, &str)) {
    until(&format!("{id} is {status_and_reason:?}"), async || {
        let told = status(stage, id).await;
        (told["status"].as_str(), told["reason"].as_str())
            == (Some(status_and_reason.0), Some(status_and_reason.1))
    })
    .await;
}

/// What its wrapper says of itself.
async fn says(stage: &Stage, id: &str, pulse: &str) {
    stage.redis(&["SET", &format!("t:{id}:heartbeat"), pulse]).await;
}

fn state(stage: &Stage) -> InstanceState {
    stage.engine.instances()[0].state.clone()
}

#[tokio::test]
async fn an_idle_worker_stands_still_until_something_comes() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| raw.when_idle = Some("pause".to_owned()));
    let id = running(&stage).await;
    says(&stage, &id, IDLE).await;
    stage.redis(&["EXPIRE", &format!("t:{id}:heartbeat"), "3600"]).await;
    is(&stage, &id, ("RUNNING", "paused")).await;
    assert_eq!(state(&stage), InstanceState::Paused);
    let told = status(&stage, &id).await;
    assert_eq!((&told["turns"], &told["cost_usd"]), (&json!(3), &json!(0.5)));
    assert_eq!(stage.redis(&["TTL", &format!("t:{id}:heartbeat")]).await, "-1");

    // The engine does not do it at first.
    stage.engine.fail_next(Verb::Resume, unavailable());
    stage.redis(&["XADD", &format!("t:{id}:input"), "*", "prompt", "go on"]).await;
    until("it goes on", async || state(&stage) == InstanceState::Running).await;
    is(&stage, &id, ("RUNNING", "running")).await;
    let group = stage.redis(&["XINFO", "GROUPS", &format!("t:{id}:input")]).await;
    assert!(group.contains("consumers 0"), "the manager takes nothing of it: {group}");
    manager.stop().await;
}

#[tokio::test]
async fn a_worker_with_something_to_do_is_not_paused_whatever_it_says() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| raw.when_idle = Some("pause".to_owned()));
    let (busy, idle) = (running(&stage).await, running(&stage).await);
    stage.redis(&["XADD", &format!("t:{busy}:input"), "*", "prompt", "not taken yet"]).await;
    says(&stage, &busy, IDLE).await;
    says(&stage, &idle, IDLE).await;
    is(&stage, &idle, ("RUNNING", "paused")).await;
    assert_eq!(status(&stage, &busy).await["reason"], "running");
    assert_eq!(stage.engine.count(Verb::Pause), 1);
    manager.stop().await;
}

#[tokio::test]
async fn the_next_manager_hears_what_comes_for_one_that_stands_still() {
    let stage = Stage::open().await;
    let pausing = || stage.manager_with(|raw| raw.when_idle = Some("pause".to_owned()));
    let first = pausing();
    let id = running(&stage).await;
    says(&stage, &id, IDLE).await;
    is(&stage, &id, ("RUNNING", "paused")).await;
    first.die().await;
    // One that pauses nobody wakes all the same.
    let second = stage.manager();
    is(&stage, &id, ("RUNNING", "paused")).await;
    stage.redis(&["XADD", &format!("t:{id}:input"), "*", "prompt", "go on"]).await;
    until("it goes on", async || state(&stage) == InstanceState::Running).await;
    second.die().await;

    // What came while nobody listened is found.
    let third = pausing();
    stage
        .redis(&["XREADGROUP", "GROUP", "wrapper", "w", "STREAMS", &format!("t:{id}:input"), ">"])
        .await;
    let taken = stage.redis(&["XREVRANGE", &format!("t:{id}:input"), "+", "-", "COUNT", "1"]).await;
    let entry = taken.split(' ').next().unwrap();
    stage.redis(&["XACK", &format!("t:{id}:input"), "wrapper", entry]).await;
    is(&stage, &id, ("RUNNING", "paused")).await;
    third.die().await;
    stage.redis(&["XADD", &format!("t:{id}:input"), "*", "prompt", "anybody?"]).await;
    assert_eq!(state(&stage), InstanceState::Paused);
    let fourth = pausing();
    until("it goes on", async || state(&stage) == InstanceState::Running).await;
    assert_eq!(stage.ask(&[("command", "delete"), ("worker_id", &id)]).await["ok"], true);
    fourth.stop().await;
}

#[tokio::test]
async fn a_host_that_is_lost_is_told_of_and_so_is_its_return() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage).await;
    // Whoever looks, and however often.
    for _ in 0..1000 {
        stage.engine.fail_next(Verb::List, unavailable());
    }
    is(&stage, &id, ("UNKNOWN", "host lost")).await;
    let start = stage.ask(&[("command", "start"), ("worker_id", &id)]).await;
    assert_eq!(start["error"], "engine_unavailable");
    stage.engine.works_again(Verb::List);
    is(&stage, &id, ("RUNNING", "running")).await;
    let events = stage.redis(&["XRANGE", "t:events", "-", "+"]).await;
    assert_eq!(events.matches("host lost").count(), 1, "{events}");
    manager.stop().await;
}
