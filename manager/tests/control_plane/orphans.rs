//! What is left of workers that nobody knows.

use serde_json::Value;
use worker_manager::config::RawConfig;

use crate::CUSTOM;
use crate::stage::{Stage, until};

fn soon(raw: &mut RawConfig) {
    raw.orphan_grace = Some("1s".to_owned());
}

async fn running(stage: &Stage) -> String {
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    created["worker_id"].as_str().unwrap().to_owned()
}

/// Everything of one worker but its instance: that is taken, and Redis forgets the record.
async fn abandoned(stage: &Stage) -> String {
    let first = stage.manager();
    let id = running(stage).await;
    first.stop().await;
    stage.engine.lose_instance(&stage.engine.instances()[0].name);
    stage.redis(&["DEL", &format!("t:{id}")]).await;
    stage.redis(&["ZREM", "t:index", &id]).await;
    id
}

async fn orphans(stage: &Stage, dry_run: &str) -> Vec<Value> {
    let reply = stage.ask(&[("command", "gc"), ("dry_run", dry_run)]).await;
    reply["orphans"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_nobody_knows_goes_after_its_grace_and_its_keys_expire() {
    let stage = Stage::open().await;
    let id = abandoned(&stage).await;
    stage.redis(&["XADD", &format!("t:{id}:output"), "*", "type", "message"]).await;
    let manager = stage.manager_with(soon);
    until("the user and the volume are gone", async || {
        stage.engine.left().is_empty() && stage.workers_users().await == 0
    })
    .await;
    let ttl = async |name: &str| {
        stage.redis(&["TTL", &format!("t:{id}:{name}")]).await.parse::<i64>().unwrap()
    };
    until("the keys expire", async || ttl("input").await > 0 && ttl("output").await > 0).await;
    assert_eq!(stage.redis(&["EXISTS", &format!("t:{id}:heartbeat")]).await, "0");
    until("nothing is left to tell", async || orphans(&stage, "true").await.is_empty()).await;
    let events = stage.redis(&["XRANGE", "t:events", "-", "+"]).await;
    assert!(
        events.contains("removal") && events.contains("nobody has known its worker"),
        "{events}"
    );
    manager.stop().await;
}

#[tokio::test]
async fn a_dry_run_shows_what_would_go_when_and_why_and_nothing_goes_before_its_time() {
    let stage = Stage::open().await;
    let id = abandoned(&stage).await;
    let manager = stage.manager();
    for dry_run in ["true", "false"] {
        let rows = orphans(&stage, dry_run).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        let row = &rows[0];
        assert_eq!((&row["worker_id"], &row["decision"]), (&id.clone().into(), &"keep".into()));
        assert!(row["reason"].as_str().unwrap().contains("within 10m"), "{row}");
        assert!(row["since"].is_string());
        let left = row["left"].to_string();
        for what in ["volume", "redis user", ":input"] {
            assert!(left.contains(what), "{left}");
        }
    }
    assert_eq!((stage.engine.left().len(), stage.workers_users().await), (1, 1));
    manager.stop().await;
}

#[tokio::test]
async fn what_runs_and_cannot_be_read_is_left_alone_with_all_that_belongs_to_it() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let id = running(&stage).await;
    first.stop().await;
    stage.redis(&["DEL", &format!("t:{id}")]).await;
    stage.redis(&["ZREM", "t:index", &id]).await;
    let name = stage.engine.instances()[0].name.clone();
    stage.engine.relabel(&name, "io.worker-manager.spec", "{\"of\": \"a later version\"}");
    let manager = stage.manager_with(soon);
    until("both are told of", async || orphans(&stage, "true").await.len() == 2).await;
    let seen = stage.redis(&["XRANGE", "t:events", "-", "+"]).await;
    assert!(seen.contains(&format!("orphan instance {name}")) || seen.contains(&name.0), "{seen}");
    // Longer than its grace, by the manager's own count.
    until("several surveys", async || {
        let since = orphans(&stage, "false").await[0]["since"].as_str().unwrap().to_owned();
        let since: jiff::Timestamp = since.parse().unwrap();
        jiff::Timestamp::now().duration_since(since).as_secs() >= 3
    })
    .await;
    for row in orphans(&stage, "false").await {
        assert_eq!(row["decision"], "keep", "{row}");
    }
    assert_eq!((stage.engine.instances().len(), stage.workers_users().await), (1, 1));
    manager.stop().await;
}

#[tokio::test]
async fn what_belongs_to_others_is_not_touched() {
    let stage = Stage::open().await;
    let id = abandoned(&stage).await;
    for key in [format!("tt:{id}:input"), format!("x:{id}:input"), "t:notes".to_owned()] {
        stage.redis(&["XADD", &key, "*", "a", "b"]).await;
    }
    stage.redis(&["ACL", "SETUSER", &format!("tt-{id}")]).await;
    stage.redis(&["ACL", "SETUSER", "t-operator"]).await;
    let manager = stage.manager_with(soon);
    until("its own goes", async || stage.workers_users().await == 1).await;
    for key in [format!("tt:{id}:input"), format!("x:{id}:input"), "t:notes".to_owned()] {
        assert_eq!(stage.redis(&["TTL", &key]).await, "-1", "{key}");
    }
    let users = stage.redis(&["ACL", "USERS"]).await;
    assert!(users.contains(&format!("tt-{id}")) && users.contains("t-operator"), "{users}");
    manager.stop().await;
}
