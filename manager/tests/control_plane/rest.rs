//! Workers that are stopped and started again; lists; interrupts.

use serde_json::{Value, json};
use worker_manager::engine::{InstanceState, Verb};
use worker_protocol::boot::Again;

use crate::stage::{Stage, until};
use crate::{CUSTOM, refused};

async fn running(stage: &Stage, more: &[(&str, &str)]) -> String {
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")], more].concat()).await;
    created["worker_id"].as_str().unwrap().to_owned()
}

async fn tell(stage: &Stage, command: &str, id: &str) -> Value {
    stage.ask(&[("command", command), ("worker_id", id)]).await
}

#[tokio::test]
async fn a_worker_rests_without_a_user_and_runs_again_with_what_only_its_operator_gives() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, &[("env", r#"{"TOKEN": "hunter2"}"#)]).await;
    let stopped = tell(&stage, "stop", &id).await;
    assert_eq!((&stopped["status"], &stopped["reason"]), (&json!("STOPPED"), &json!("stopped")));
    assert_eq!((stage.engine.instances().len(), stage.workers_users().await), (1, 0));
    let again = tell(&stage, "stop", &id).await;
    assert_eq!((&again["ok"], &again["already"]), (&json!(true), &json!(true)));

    let started = tell(&stage, "start", &id).await;
    assert_eq!((&started["ok"], &started["status"]), (&json!(true), &json!("RUNNING")));
    assert_eq!(tell(&stage, "start", &id).await["already"], true);
    let name = &stage.engine.instances()[0].name;
    assert_eq!((stage.engine.starts(name), stage.workers_users().await), (2, 1));
    let again: Again = serde_json::from_slice(&stage.engine.input(name).unwrap()).unwrap();
    let others = again.env.keys().filter(|name| !name.to_uppercase().contains("PROXY"));
    assert_eq!(others.collect::<Vec<_>>(), ["X"; 0], "the manager knows nothing else of it");
    assert!(again.env.contains_key("HTTPS_PROXY") && again.tokens.is_empty());
    let status = tell(&stage, "status", &id).await;
    assert_eq!((&status["status"], &status["finished_at"]), (&json!("RUNNING"), &Value::Null));
    assert_eq!((&status["exit_code"], &status["intent"]), (&Value::Null, &Value::Null));
    assert_eq!(tell(&stage, "delete", &id).await["ok"], true);
    assert!(stage.engine.instances().is_empty());
    manager.stop().await;
}

#[tokio::test]
async fn a_manager_that_dies_in_a_stop_or_a_start_leaves_it_to_the_next() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let id = running(&stage, &[]).await;
    stage.engine.hold(Verb::Stop);
    let stop = [("command", "stop"), ("worker_id", &id), ("request_id", "stop-it")];
    let (stopped, second) = tokio::join!(stage.ask(&stop), async {
        until("the stop is begun", async || stage.engine.count(Verb::Stop) == 1).await;
        first.die().await;
        stage.engine.let_go(Verb::Stop);
        stage.manager()
    });
    assert_eq!((&stopped["ok"], &stopped["reason"]), (&json!(true), &json!("stopped")));
    assert_eq!(stage.replies_to("stop-it").await, 1);

    stage.engine.hold(Verb::Start);
    let begun = stage.engine.count(Verb::Start);
    let start = [("command", "start"), ("worker_id", &id), ("request_id", "start-it")];
    let (started, third) = tokio::join!(stage.ask(&start), async {
        until("the start is begun", async || stage.engine.count(Verb::Start) > begun).await;
        second.die().await;
        stage.engine.let_go(Verb::Start);
        stage.manager()
    });
    assert_eq!((&started["ok"], &started["status"]), (&json!(true), &json!("RUNNING")));
    assert_eq!(stage.replies_to("start-it").await, 1);
    assert_eq!(stage.engine.instances()[0].state, InstanceState::Running);
    third.stop().await;
}

#[tokio::test]
async fn each_run_whose_wrapper_says_nothing_has_its_exit() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, &[]).await;
    let output = format!("t:{id}:output");
    for runs in ["1", "2"] {
        assert_eq!(tell(&stage, "stop", &id).await["ok"], true);
        assert_eq!(stage.redis(&["XLEN", &output]).await, runs);
        assert_eq!(tell(&stage, "start", &id).await["ok"], true);
    }
    manager.stop().await;
}

#[tokio::test]
async fn a_start_that_fails_takes_nothing_away() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, &[]).await;
    stage.engine.end(&stage.engine.instances()[0].name, 3);
    until("its end is seen", async || tell(&stage, "status", &id).await["status"] == "FAILED")
        .await;
    stage.engine.fail_next(Verb::Start, refused());
    let failed = tell(&stage, "start", &id).await;
    assert_eq!((&failed["ok"], &failed["error"]), (&json!(false), &json!("start_failed")));
    let status = tell(&stage, "status", &id).await;
    assert_eq!((&status["status"], &status["reason"]), (&json!("FAILED"), &json!("start failed")));
    assert_eq!(tell(&stage, "start", &id).await["status"], "RUNNING");
    manager.stop().await;
}

#[tokio::test]
async fn a_worker_whose_instance_somebody_took_can_still_be_deleted_by_the_next_manager() {
    let stage = Stage::open().await;
    let first = stage.manager();
    let id = running(&stage, &[]).await;
    tell(&stage, "stop", &id).await;
    first.stop().await;
    stage.engine.lose_instance(&stage.engine.instances()[0].name);
    let second = stage.manager();
    let failed = tell(&stage, "start", &id).await;
    assert!(failed["message"].as_str().unwrap().contains("delete the worker"), "{failed}");
    assert_eq!(tell(&stage, "delete", &id).await["ok"], true);
    assert_eq!(stage.redis(&["ZCARD", "t:index"]).await, "0");
    assert_eq!(stage.engine.left(), []);
    let gone = tell(&stage, "start", &id).await;
    assert_eq!((&gone["ok"], &gone["error"]), (&json!(false), &json!("refused")));
    second.stop().await;
}

#[tokio::test]
async fn a_record_keeps_the_last_that_was_said_until_it_runs_again() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, &[]).await;
    let name = stage.engine.instances()[0].name.clone();
    let status = async || tell(&stage, "status", &id).await;
    let ended = async || status().await["status"] == "FAILED";

    stage.engine.print(&name, "worker-wrapper: redis is not there");
    stage.engine.end(&name, 78);
    until("its end is seen", ended).await;
    assert_eq!(status().await["last_output"], "worker-wrapper: redis is not there");
    let output = stage.redis(&["XREVRANGE", &format!("t:{id}:output"), "+", "-"]).await;
    assert!(output.contains(r#""stderr":["worker-wrapper: redis is not there"]"#), "{output}");

    assert_eq!(tell(&stage, "start", &id).await["status"], "RUNNING");
    assert_eq!(status().await["last_output"], Value::Null);
    let line = ["type", "stderr", "content", "it broke", "source", "agent", "seq", "2"];
    let at = ["timestamp", "2026-08-01T10:00:00Z"];
    let output = format!("t:{id}:output");
    stage.redis(&[&["XADD", &output, "*"], &line[..], &at].concat()).await;
    stage.engine.end(&name, 1);
    until("its end is seen", ended).await;
    assert_eq!(status().await["last_output"], "it broke");
    assert_eq!(tell(&stage, "delete", &id).await["ok"], true);
    assert_eq!(status().await["last_output"], "it broke", "a deleted worker's record has it");
    manager.stop().await;
}

#[tokio::test]
async fn what_a_deleted_worker_leaves_expires_whatever_comes_late() {
    let mut stage = Stage::open().await;
    let manager = stage.manager_with(|raw| raw.keep_records = Some("1h".to_owned()));
    let (gone, stays) = (running(&stage, &[]).await, running(&stage, &[]).await);
    let keys = ["", ":input", ":output"].map(|name| format!("t:{gone}{name}"));
    stage.engine.end(&stage.engine.instances()[0].name.clone(), 1);
    stage.engine.end(&stage.engine.instances()[1].name.clone(), 1);
    until("their ends are told", async || {
        tell(&stage, "status", &gone).await["status"] == "FAILED"
            && tell(&stage, "status", &stays).await["status"] == "FAILED"
    })
    .await;
    assert_eq!(tell(&stage, "delete", &gone).await["ok"], true);
    let expire = async |stage: &Stage| {
        for key in &keys {
            let ttl: i64 = stage.redis(&["TTL", key]).await.parse().unwrap();
            assert!((1..=3600).contains(&ttl), "{key}: {ttl}");
        }
    };
    expire(&stage).await;
    // A client that does not know, a manager that writes all records again, a second delete.
    stage.redis(&["XADD", &keys[1], "*", "prompt", "anybody?"]).await;
    stage.redis(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    assert_eq!(tell(&stage, "delete", &gone).await["already"], true);
    assert_eq!(tell(&stage, "status", &gone).await["status"], "FAILED");
    expire(&stage).await;
    assert_eq!(stage.redis(&["EXISTS", &format!("t:{gone}:heartbeat")]).await, "0");

    // An emptied Redis hears of the one that is kept, and of nothing else.
    stage.replace_redis().await;
    until("the record is written again", async || {
        stage.redis(&["EXISTS", &format!("t:{stays}")]).await == "1"
    })
    .await;
    for key in &keys {
        assert_eq!(stage.redis(&["EXISTS", key]).await, "0", "{key}");
    }
    manager.stop().await;
}

#[tokio::test]
async fn workers_are_listed_by_status_and_label() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let mut ids = Vec::new();
    for labels in [r#"{"team": "a", "urgent": "1"}"#, r#"{"team": "a"}"#, r#"{"team": "b"}"#] {
        ids.push(running(&stage, &[("labels", labels)]).await);
    }
    tell(&stage, "stop", &ids[1]).await;
    let listed = async |filters: &[(&str, &str)]| {
        let reply = stage.ask(&[&[("command", "list")], filters].concat()).await;
        assert_eq!(reply["more"], false);
        let workers = reply["workers"].as_array().unwrap().clone();
        workers.iter().map(|one| one["worker_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]).await, ids);
    assert_eq!(listed(&[("status", "stopped")]).await, ids[1..2]);
    assert_eq!(listed(&[("label", "team=a")]).await, ids[..2]);
    assert_eq!(listed(&[("label", "team=a,urgent"), ("status", "running")]).await, ids[..1]);
    assert_eq!(listed(&[("after", &ids[0])]).await, ids[1..]);
    assert_eq!(listed(&[("label", "colour")]).await, [""; 0]);
    manager.stop().await;
}

#[tokio::test]
async fn an_interrupt_is_put_into_the_input_once() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let id = running(&stage, &[]).await;
    let interrupt = [("command", "interrupt"), ("worker_id", &id), ("request_id", "i1")];
    let first = stage.ask(&interrupt).await;
    assert_eq!((&first["ok"], stage.ask(&interrupt).await), (&json!(true), first.clone()));
    let input = format!("t:{id}:input");
    assert!(stage.redis(&["XRANGE", &input, "-", "+"]).await.ends_with("type interrupt"));
    assert_eq!(stage.redis(&["XLEN", &input]).await, "1");
    tell(&stage, "stop", &id).await;
    assert_eq!(tell(&stage, "interrupt", &id).await["error"], "refused");
    manager.stop().await;
}
