//! What cannot be handled is answered and put aside, and holds up nobody.

use serde_json::json;
use worker_manager::engine::Verb;
use worker_manager::store::{DeadEntry, Retried};

use crate::CUSTOM;
use crate::stage::{Stage, until};

async fn only_dead(stage: &Stage) -> DeadEntry {
    let mut dead = stage.store().dead().await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    dead.remove(0)
}

#[tokio::test]
async fn a_command_whose_data_is_of_the_wrong_kind_is_put_aside_and_can_be_tried_again() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.redis(&["SET", "t:request:r1", "mine"]).await;
    let secret = r#"{"TOKEN": "hunter2"}"#;
    let create = [&CUSTOM[..], &[("request_id", "r1"), ("env", secret)]].concat();
    let reply = stage.ask(&create).await;
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!("internal")), "{reply}");
    assert!(reply["message"].as_str().unwrap().contains("t:request:"), "{reply}");
    assert!(stage.nothing_is_pending().await);
    assert_eq!(stage.replies_to("r1").await, 1);
    let dead = only_dead(&stage).await;
    assert_eq!((dead.text("command"), dead.text("error")), ("create", "internal"));
    assert!(!format!("{dead:?}").contains("hunter2"));

    assert_eq!(stage.store().retry_dead(&dead).await.unwrap(), Retried::Blocked);
    assert_eq!(stage.redis(&["GET", "t:request:r1"]).await, "mine", "it is somebody's");
    stage.redis(&["DEL", "t:request:r1"]).await;
    let retried = stage.store().retry_dead(&dead).await.unwrap();
    assert!(matches!(retried, Retried::As(_)), "{retried:?}");
    until("the worker is made", async || stage.engine.count(Verb::Start) == 1).await;
    assert_eq!(stage.replies_to("r1").await, 2, "each entry has its reply");
    assert_eq!(stage.store().dead().await.unwrap(), []);
    // And the request is remembered by the second one.
    let again = stage.ask(&create).await;
    assert_eq!((&again["ok"], stage.engine.count(Verb::Create)), (&json!(true), 1));
    manager.stop().await;
}

#[tokio::test]
async fn a_malformed_command_that_is_tried_again_is_answered_anew() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.ask(&[("command", "pong"), ("request_id", "r1")]).await;
    let dead = only_dead(&stage).await;
    stage.store().retry_dead(&dead).await.unwrap();
    until("it is answered again", async || stage.replies_to("r1").await == 2).await;
    let again = only_dead(&stage).await;
    assert_ne!(again.text("entry_id"), dead.text("entry_id"));
    stage.redis(&["XTRIM", "t:commands", "MAXLEN", "0"]).await;
    assert_eq!(stage.store().retry_dead(&again).await.unwrap(), Retried::Gone);
    stage.store().drop_dead(&again).await.unwrap();
    assert_eq!(stage.store().dead().await.unwrap(), []);
    manager.stop().await;
}

#[tokio::test]
async fn a_command_that_no_manager_survives_is_given_up() {
    let stage = Stage::open().await;
    let add = ["XADD", "t:commands", "*", "command", "ping", "request_id"];
    let deadly = stage.redis(&[&add[..], &["r1"]].concat()).await;
    let tried = stage.redis(&[&add[..], &["r2"]].concat()).await;
    // As if a manager had taken both, and had been ended by the first again and again.
    stage.redis(&["XGROUP", "CREATE", "t:commands", "worker-manager", "0"]).await;
    stage
        .redis(&["XREADGROUP", "GROUP", "worker-manager", "gone", "STREAMS", "t:commands", ">"])
        .await;
    stage.redis(&["HSET", "t:commands:tries", &deadly, "2", &tried, "1"]).await;
    let manager = stage.manager_with(|raw| raw.tries = Some(2));
    until("both are answered", async || {
        stage.replies_to("r1").await == 1 && stage.replies_to("r2").await == 1
    })
    .await;
    let dead = only_dead(&stage).await;
    assert_eq!((dead.text("request_id"), dead.text("entry_id")), ("r1", deadly.as_str()));
    assert!(dead.text("message").contains("after 2 tries"), "{dead:?}");
    until("nobody is counted any more", async || {
        stage.redis(&["HLEN", "t:commands:tries"]).await == "0"
    })
    .await;
    manager.stop().await;
}

#[tokio::test]
async fn a_wait_over_many_managers_counts_as_no_try() {
    let stage = Stage::open().await;
    let headless = [("prompt", "x"), ("headless", "true"), ("wait", "done"), ("request_id", "r1")];
    let create = [
        &["XADD", "t:commands", "*"][..],
        &[&CUSTOM[..], &headless]
            .concat()
            .iter()
            .flat_map(|(name, value)| [*name, *value])
            .collect::<Vec<_>>(),
    ]
    .concat();
    stage.redis(&create).await;
    for _ in 0..4 {
        let manager = stage.manager_with(|raw| raw.tries = Some(1));
        stage.ask(&[("command", "ping")]).await;
        manager.stop().await;
        assert_eq!(stage.redis(&["HLEN", "t:commands:tries"]).await, "0");
    }
    let manager = stage.manager();
    until("it runs", async || stage.redis(&["KEYS", "t:*:heartbeat"]).await.contains("heartbeat"))
        .await;
    stage.engine.end(&stage.engine.instances()[0].name, 0);
    until("it is answered", async || stage.replies_to("r1").await == 1).await;
    assert_eq!(stage.store().dead().await.unwrap(), []);
    manager.stop().await;
}

#[tokio::test]
async fn what_redis_never_takes_holds_up_nothing_else() {
    let stage = Stage::open().await;
    stage.redis(&["SET", "t:events", "mine"]).await;
    let manager = stage.manager();
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!(created["status"], "RUNNING");
    let dead = stage.store().dead().await.unwrap();
    let told = |entry: &DeadEntry| entry.text("message").contains("did not take an event");
    assert!(!dead.is_empty() && dead.iter().all(told), "{dead:?}");
    assert_eq!(stage.store().retry_dead(&dead[0]).await.unwrap(), Retried::Gone);
    manager.stop().await;
}

#[tokio::test]
async fn a_record_of_the_wrong_kind_keeps_no_manager_from_the_others() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let create = [&CUSTOM[..], &[("wait", "running")]].concat();
    let (one, two) = (stage.ask(&create).await, stage.ask(&create).await);
    let [one, two] = [&one, &two].map(|created| created["worker_id"].as_str().unwrap());
    first.stop().await;
    let key = format!("t:{one}");
    stage.redis(&["DEL", &key]).await;
    stage.redis(&["SET", &key, "mine"]).await;
    let second = stage.manager();
    let status = stage.ask(&[("command", "status"), ("worker_id", two)]).await;
    assert_eq!(status["status"], "RUNNING");
    let status = stage.ask(&[("command", "status"), ("worker_id", one)]).await;
    assert_eq!(status["error"], "internal", "{status}");
    assert!(status["message"].as_str().unwrap().contains(&key), "{status}");
    second.stop().await;
}

#[tokio::test]
async fn a_step_that_panics_has_failed() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let create = [&CUSTOM[..], &[("wait", "running")]].concat();
    let created = stage.ask(&create).await;
    let id = created["worker_id"].as_str().unwrap();
    stage.engine.panic_next(Verb::Remove);
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["error"], "internal", "{deleted}");
    until("it is gone nevertheless", async || stage.engine.instances().is_empty()).await;
    for verb in [Verb::Image, Verb::Create, Verb::Start, Verb::Build] {
        stage.engine.lose_image(&stage.engine.tags().pop().unwrap_or_default());
        stage.engine.panic_next(verb);
        let reply = stage.ask(&create).await;
        assert_eq!(reply["ok"], false, "{verb:?}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains("defect"), "{verb:?}: {reply}");
        let id = reply["worker_id"].as_str().unwrap();
        let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
        assert_eq!(deleted["ok"], true, "{verb:?}: {deleted}");
    }
    manager.stop().await;
}
