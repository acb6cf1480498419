//! Two managers, of which one leads.

use worker_manager::engine::{InstanceState, Verb};
use worker_manager::store::StoreError;
use worker_protocol::WorkerId;

use crate::CUSTOM;
use crate::stage::{Stage, until};

const PING: [(&str, &str); 1] = [("command", "ping")];

async fn leader(stage: &Stage) -> String {
    let ping = stage.ask(&PING).await;
    ping["manager"].as_str().unwrap().split('-').next().unwrap().to_owned()
}

/// Connections that wait for commands: one for each manager that leads.
async fn readers(stage: &Stage) -> usize {
    let clients = stage.redis(&["CLIENT", "LIST"]).await;
    clients.lines().filter(|line| line.contains("cmd=xreadgroup")).count()
}

/// As if another manager had found the lease free.
async fn take_over(stage: &Stage) {
    for key in ["t:lease:local", "t:fence:local"] {
        stage.redis(&["SET", key, "thief"]).await;
    }
}

#[tokio::test]
async fn the_second_manager_stands_by_and_follows_one_that_stops_or_dies() {
    let stage = Stage::open().await;
    let a = stage.manager_named("a");
    assert_eq!(leader(&stage).await, "a");
    let b = stage.manager_named("b");
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!((leader(&stage).await.as_str(), readers(&stage).await), ("a", 1));
    a.stop().await;
    assert_eq!(leader(&stage).await, "b");
    let c = stage.manager_named("c");
    b.die().await;
    assert_eq!(leader(&stage).await, "c");
    let id = created["worker_id"].as_str().unwrap();
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!((&deleted["ok"], stage.engine.count(Verb::Create)), (&true.into(), 1));
    until("readers that are gone are forgotten", async || {
        let readers = stage.redis(&["XINFO", "CONSUMERS", "t:commands", "worker-manager"]).await;
        readers.matches("pending").count() == 1 && readers.contains("c-")
    })
    .await;
    c.stop().await;
}

#[tokio::test]
async fn a_manager_that_lost_its_lease_acts_and_answers_no_more() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.engine.hold(Verb::Create);
    stage.ask(&[&CUSTOM[..], &[("request_id", "r1")]].concat()).await;
    until("the engine is asked for an instance", async || stage.engine.count(Verb::Create) == 1)
        .await;
    take_over(&stage).await;
    let ping = stage.redis(&["XADD", "t:commands", "*", "command", "ping"]).await;
    until("it drops what it does", async || stage.engine.dropped(Verb::Create) == 1).await;
    stage.engine.let_go(Verb::Create);
    assert_eq!(stage.replies_to(&ping).await, 0);
    assert_eq!((stage.engine.count(Verb::Start), stage.engine.instances().len()), (0, 0));
    // The other one ends without a word, and this one goes on with everything.
    stage.redis(&["DEL", "t:lease:local"]).await;
    until("the worker runs", async || {
        matches!(stage.engine.instances()[..], [ref one] if one.state == InstanceState::Running)
    })
    .await;
    until("the ping is answered", async || stage.replies_to(&ping).await == 1).await;
    assert_eq!((stage.replies_to("r1").await, stage.engine.count(Verb::Start)), (1, 1));
    manager.stop().await;
}

#[tokio::test]
async fn the_fence_refuses_what_a_former_leader_writes() {
    let stage = Stage::open().await;
    let (old, id) = (stage.store().fenced("old"), WorkerId::new());
    let url = "redis://redis:6379/0";
    let admission = old.prepare_worker(id, url).admission;
    assert!(old.admit_worker(id, url, &admission).await.is_ok(), "nobody else leads");
    old.close_worker(id).await.unwrap();
    take_over(&stage).await;
    let refused = old.admit_worker(id, url, &admission).await.err().unwrap();
    assert!(
        matches!(&refused, StoreError::Fenced { holder, .. } if holder == "thief"),
        "{refused}"
    );
    assert_eq!(stage.workers_users().await, 0);
}

#[tokio::test]
async fn a_fence_that_is_set_anew_to_the_same_refuses_nothing() {
    let stage = Stage::open().await;
    let store = stage.store().fenced("own");
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        writes.spawn(async move { store.close_worker(WorkerId::new()).await });
    }
    while let Some(written) = writes.join_next().await {
        stage.redis(&["SET", "t:fence:local", "own"]).await;
        written.unwrap().unwrap();
    }
}

#[tokio::test]
async fn an_emptied_redis_is_taken_up_by_the_manager_that_led() {
    let stage = Stage::open().await;
    let manager = stage.manager_named("a");
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    stage.redis(&["FLUSHALL"]).await;
    let id = created["worker_id"].as_str().unwrap();
    until("its record is there again", async || {
        stage.redis(&["HGET", &format!("t:{id}"), "status"]).await == "RUNNING"
    })
    .await;
    until("it holds the lease", async || {
        stage.redis(&["GET", "t:lease:local"]).await.starts_with("a-")
    })
    .await;
    assert_eq!(leader(&stage).await, "a");
    manager.stop().await;
}

#[tokio::test]
async fn an_entry_that_another_reader_swallowed_is_taken_over() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    stage.ask(&PING).await;
    stage.swallow("s1").await;
    until("nothing is pending", async || stage.nothing_is_pending().await).await;
    let sent: usize = stage.redis(&["XLEN", "t:commands"]).await.parse().unwrap();
    assert_eq!(stage.replies_to("s1").await, sent - 1);
    manager.stop().await;
}
