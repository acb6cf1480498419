//! Workers that fail by themselves and are started again.

use serde_json::{Value, json};
use worker_manager::engine::Verb;

use crate::stage::{Stage, until};
use crate::{CUSTOM, unavailable};

async fn running(stage: &Stage, restart: &str) -> Value {
    let more = [("wait", "running"), ("restart", restart)];
    let reply = stage.ask(&[&CUSTOM[..], &more].concat()).await;
    assert_eq!(reply["status"], "RUNNING", "{reply}");
    reply["worker_id"].clone()
}

async fn tell(stage: &Stage, command: &str, id: &Value) -> Value {
    stage.ask(&[("command", command), ("worker_id", id.as_str().unwrap())]).await
}

fn fail(stage: &Stage) {
    stage.engine.end(&stage.engine.instances()[0].name, 3);
}

fn starts(stage: &Stage) -> usize {
    stage.engine.starts(&stage.engine.instances()[0].name)
}

async fn runs_for_the(stage: &Stage, id: &Value, time: usize) {
    until(&format!("it runs for the time {time}"), async || {
        tell(stage, "status", id).await["status"] == "RUNNING" && starts(stage) == time
    })
    .await;
}

/// A worker fails, and then an engine that is away does: the fourth pause is eight seconds.
async fn lengthen_the_pause(stage: &Stage, id: &Value) {
    for _ in 0..3 {
        stage.engine.fail_next(Verb::Start, unavailable());
    }
    fail(stage);
    until("it waits for the fourth try", async || tell(stage, "status", id).await["restarts"] == 4)
        .await;
}

#[tokio::test]
async fn a_worker_is_started_again_as_often_as_it_may_and_then_has_failed() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, "on-failure:2").await;
    for time in [2, 3] {
        fail(&stage);
        runs_for_the(&stage, &id, time).await;
        let told = tell(&stage, "status", &id).await;
        assert_eq!((&told["restarts"], &told["next_start_at"]), (&json!(time - 1), &Value::Null));
        assert_eq!((&told["message"], &told["exit_code"]), (&Value::Null, &Value::Null));
    }
    fail(&stage);
    until("it has failed", async || tell(&stage, "status", &id).await["status"] == "FAILED").await;
    let told = tell(&stage, "status", &id).await;
    assert_eq!((&told["reason"], &told["restarts"]), (&json!("exit 3"), &json!(2)));
    manager.stop().await;
}

#[tokio::test]
async fn a_manager_that_dies_in_the_pause_leaves_the_start_to_the_next() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let id = running(&stage, "on-failure").await;
    lengthen_the_pause(&stage, &id).await;
    let before = tell(&stage, "status", &id).await;
    assert_eq!((&before["status"], &before["reason"]), (&json!("STARTING"), &json!("restarting")));
    assert!(before["message"].as_str().unwrap().contains("4 of 100"), "{before}");
    first.die().await;
    let second = stage.manager();
    let after = tell(&stage, "status", &id).await;
    assert_eq!(
        (&after["next_start_at"], &after["reason"]),
        (&before["next_start_at"], &json!("restarting"))
    );
    runs_for_the(&stage, &id, 2).await;
    assert_eq!(tell(&stage, "status", &id).await["restarts"], 4);
    second.stop().await;
}

#[tokio::test]
async fn a_stop_in_the_pause_holds() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, "on-failure").await;
    lengthen_the_pause(&stage, &id).await;
    let stopped = tell(&stage, "stop", &id).await;
    assert_eq!((&stopped["ok"], &stopped["reason"]), (&json!(true), &json!("stopped")));
    manager.stop().await;
    let second = stage.manager();
    let told = tell(&stage, "status", &id).await;
    assert_eq!((&told["status"], &told["next_start_at"]), (&json!("STOPPED"), &Value::Null));
    assert_eq!(starts(&stage), 1);
    assert_eq!(tell(&stage, "start", &id).await["status"], "RUNNING");
    second.stop().await;
}
