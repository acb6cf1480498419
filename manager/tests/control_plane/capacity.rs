//! More is asked for than there is room for.

use serde_json::{Value, json};
use worker_manager::engine::{Memory, Verb};

use crate::CUSTOM;
use crate::stage::{Stage, until};

async fn create(stage: &Stage, more: &[(&str, &str)]) -> Value {
    let reply = stage.ask(&[&CUSTOM[..], more].concat()).await;
    assert_eq!(reply["ok"], true, "{reply}");
    reply
}

fn id(reply: &Value) -> &str {
    reply["worker_id"].as_str().unwrap()
}

async fn tell(stage: &Stage, command: &str, worker: &Value) -> Value {
    stage.ask(&[("command", command), ("worker_id", id(worker))]).await
}

async fn becomes(stage: &Stage, worker: &Value, status: &str) {
    let what = format!("{worker} is {status}");
    until(&what, async || tell(stage, "status", worker).await["status"] == status).await;
}

#[tokio::test]
async fn who_waits_is_told_its_place_and_keeps_it_when_the_manager_dies() {
    let stage = Stage::open().await;
    let one_place = || stage.manager_with(|raw| raw.capacity.workers = Some(1));
    let first = one_place();
    let runs = create(&stage, &[("wait", "running")]).await;
    let mut waiting = Vec::new();
    for place in 1..=3 {
        let reply = create(&stage, &[]).await;
        assert_eq!((&reply["status"], &reply["reason"]), (&json!("STARTING"), &json!("queued")));
        assert_eq!(reply["queue_place"], place);
        waiting.push(reply);
    }
    let ping = stage.ask(&[("command", "ping")]).await;
    assert_eq!(ping["load"]["queued"], 3, "{ping}");
    let listed = stage.ask(&[("command", "list"), ("status", "starting")]).await;
    let places: Vec<_> = listed["workers"].as_array().unwrap().iter().collect();
    assert_eq!(places.len(), 3);
    assert!(places.iter().all(|one| one["reason"] == "queued" && one["queue_place"].is_u64()));
    first.die().await;

    let second = one_place();
    for worker in &waiting {
        until("it waits again", async || {
            tell(&stage, "status", worker).await["queue_place"] != Value::Null
        })
        .await;
    }
    let mut occupies = &runs;
    for (index, next) in waiting.iter().enumerate() {
        let told = tell(&stage, "status", next).await;
        assert_eq!((&told["reason"], &told["queue_place"]), (&json!("queued"), &json!(1)));
        assert!(told["message"].as_str().unwrap().contains("`capacity.workers`"), "{told}");
        assert_eq!(stage.engine.instances().len(), 1, "{index} others have run");
        assert_eq!(tell(&stage, "delete", occupies).await["ok"], true);
        becomes(&stage, next, "RUNNING").await;
        occupies = next;
    }
    second.stop().await;
}

#[tokio::test]
async fn a_limit_that_was_lowered_ends_nobody() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(create(&stage, &[("wait", "running")]).await);
    }
    first.stop().await;
    let second = stage.manager_with(|raw| raw.capacity.workers = Some(2));
    let waits = create(&stage, &[]).await;
    assert_eq!(waits["reason"], "queued", "{waits}");
    assert_eq!(tell(&stage, "delete", &running[0]).await["ok"], true);
    assert_eq!(tell(&stage, "status", &waits).await["reason"], "queued");
    for worker in &running[1..] {
        assert_eq!(tell(&stage, "status", worker).await["status"], "RUNNING");
    }
    assert_eq!(tell(&stage, "delete", &running[1]).await["ok"], true);
    becomes(&stage, &waits, "RUNNING").await;
    second.stop().await;
}

#[tokio::test]
async fn no_more_are_started_at_once_than_may_be() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| raw.capacity.starts = Some(2));
    stage.engine.hold(Verb::Start);
    let mut workers = Vec::new();
    for _ in 0..5 {
        workers.push(create(&stage, &[]).await);
    }
    let last = &workers[4];
    until("the last waits for a start", async || {
        let told = tell(&stage, "status", last).await;
        told["queue_place"] == 3 && told["message"].as_str().unwrap().contains("`capacity.starts`")
    })
    .await;
    assert_eq!(stage.engine.count(Verb::Start), 2);
    stage.engine.let_go(Verb::Start);
    for worker in &workers {
        becomes(&stage, worker, "RUNNING").await;
    }
    manager.stop().await;
}

#[tokio::test]
async fn a_worker_waits_until_the_host_has_room_or_its_time_is_up() {
    let stage = Stage::open().await;
    let memory = |available| stage.engine.set_memory(Memory { available, total: 64 << 30 });
    memory(100 << 20);
    let manager = stage.manager_with(|raw| raw.capacity.min_free_memory = Some("1g".to_owned()));
    let waits = create(&stage, &[]).await;
    let message = waits["message"].as_str().unwrap();
    assert!(message.contains("100m of available memory"), "{message}");
    memory(2 << 30);
    becomes(&stage, &waits, "RUNNING").await;
    manager.stop().await;

    memory(100 << 20);
    let hasty = stage.manager_with(|raw| {
        raw.capacity.min_free_memory = Some("1g".to_owned());
        raw.capacity.queue_timeout = Some("1s".to_owned());
    });
    let failed = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!((&failed["ok"], &failed["error"]), (&json!(false), &json!("exhausted")));
    let message = failed["message"].as_str().unwrap();
    assert!(message.contains("`capacity.min_free_memory`"), "{message}");
    let told = tell(&stage, "status", &failed).await;
    assert_eq!((&told["status"], &told["reason"]), (&json!("FAILED"), &json!("queue timeout")));
    assert_eq!(tell(&stage, "status", &waits).await["status"], "RUNNING");
    hasty.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_the_next_and_the_same_request_is_told_the_same() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| {
        raw.capacity.workers = Some(1);
        raw.capacity.queue = Some(1);
    });
    create(&stage, &[("wait", "running")]).await;
    let waits = create(&stage, &[]).await;
    let third = [&CUSTOM[..], &[("request_id", "third")]].concat();
    let refused = stage.ask(&third).await;
    assert_eq!((&refused["ok"], &refused["error"]), (&json!(false), &json!("exhausted")));
    assert!(refused["message"].as_str().unwrap().contains("`capacity.queue`"), "{refused}");
    assert_eq!(tell(&stage, "delete", &waits).await["reason"], "deleted");
    assert_eq!(stage.ask(&third).await, refused);
    assert_eq!(create(&stage, &[]).await["queue_place"], 1);
    manager.stop().await;
}
