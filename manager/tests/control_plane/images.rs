//! Images come and go: built, lost, collected, and never missed by a worker.

use futures_util::future::join_all;
use serde_json::{Value, json};
use worker_manager::config::RawConfig;
use worker_manager::engine::{Disk, EngineError, Verb};

use crate::stage::{Stage, until};

/// Rules under which every image goes that nothing uses.
fn eager(raw: &mut RawConfig) {
    raw.gc.unused = Some("1ms".to_owned());
    raw.gc.min_age = Some("1ms".to_owned());
}

async fn create(stage: &Stage, modules: &str) -> Value {
    stage
        .ask(&[
            ("command", "create"),
            ("agent_type", "CUSTOM"),
            ("agent_command", "cat"),
            ("modules", modules),
            ("wait", "running"),
        ])
        .await
}

async fn delete(stage: &Stage, created: &Value) {
    let id = created["worker_id"].as_str().unwrap();
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id), ("force", "true")]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
}

fn rows(reply: &Value) -> Vec<Value> {
    serde_json::from_str(&reply["images"].to_string()).unwrap()
}

/// Creates and deletes in several lines at once, beside a collection that removes whatever it may.
#[tokio::test]
async fn no_create_fails_because_images_are_collected() {
    const LINES: usize = 6;
    const EACH: usize = 60;
    // More than there are lines, so that there is always one which nobody wants.
    const IMAGES: [&str; 8] =
        ["", "CURL", "GIT", "NODE", "PYTHON", "CURL,GIT", "CURL,NODE", "CURL,PYTHON"];
    let stage = Stage::open().await;
    let manager = stage.manager_with(eager);
    let line = |number: usize| {
        let stage = &stage;
        async move {
            for round in 0..EACH {
                let modules = IMAGES[(number + round) % IMAGES.len()];
                let created = create(stage, modules).await;
                assert_eq!(created["status"], "RUNNING", "{created}");
                delete(stage, &created).await;
            }
        }
    };
    let collect = async {
        let mut removed = 0;
        loop {
            let reply = stage.ask(&[("command", "gc")]).await;
            assert_eq!(reply["ok"], true, "{reply}");
            removed += reply["removed"].as_u64().unwrap();
            // Beside a start, the engine may be asked in vain; it says that it is in use.
            let mut refused =
                rows(&reply).into_iter().filter(|row| row["outcome"] == "not removed");
            let in_use = |row: Value| row["error"].to_string().contains("an instance uses it");
            assert!(refused.all(in_use), "{reply}");
            if stage.replies_to("last").await > 0 {
                break removed;
            }
        }
    };
    let lines = async {
        join_all((0..LINES).map(line)).await;
        stage.ask(&[("command", "ping"), ("request_id", "last")]).await;
    };
    let ((), removed) = tokio::join!(lines, collect);
    assert!(removed > 50, "only {removed} images were removed beside {} creates", LINES * EACH);
    manager.stop().await;
}

#[tokio::test]
async fn an_image_that_somebody_removes_before_the_start_is_built_again() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let first = create(&stage, "").await;
    delete(&stage, &first).await;
    stage.engine.hold(Verb::Create);
    let creates = stage.engine.count(Verb::Create);
    let (created, ()) = tokio::join!(create(&stage, ""), async {
        until("the image was found", async || stage.engine.count(Verb::Create) > creates).await;
        stage.engine.lose_image(&stage.engine.tags()[0]);
        stage.engine.let_go(Verb::Create);
    });
    assert_eq!(created["status"], "RUNNING", "{created}");
    assert_eq!(stage.engine.count(Verb::Build), 2);
    manager.stop().await;
}

#[tokio::test]
async fn an_engine_that_goes_in_the_middle_of_a_build_is_waited_for() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    for _ in 0..2 {
        let away = EngineError::Unavailable { reason: "it is restarted".to_owned() };
        stage.engine.fail_next(Verb::Build, away);
    }
    let created = create(&stage, "").await;
    assert_eq!(created["status"], "RUNNING", "{created}");
    assert_eq!(stage.engine.count(Verb::Build), 3);
    manager.stop().await;
}

#[tokio::test]
async fn a_dry_run_tells_each_image_with_its_reason_and_removes_none() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(eager);
    let stays = create(&stage, "GIT").await;
    assert_eq!(stays["status"], "RUNNING");
    let goes = create(&stage, "CURL").await;
    delete(&stage, &goes).await;
    stage.engine.set_cache(700);
    let mut told = stage.ask(&[("command", "gc"), ("dry_run", "true")]).await;
    let of = |rows: &[Value], holds: &str, name: &str| {
        let row = rows.iter().find(|row| row["holds"] == holds).unwrap();
        row[name].as_str().unwrap_or_default().to_owned()
    };
    let seen = rows(&told);
    assert_eq!(of(&seen, "CUSTOM+GIT", "reason"), "a worker uses it");
    assert_eq!(of(&seen, "CUSTOM+CURL", "outcome"), "would be removed");
    assert_eq!((&told["freed_bytes"], &told["cache_bytes"]), (&json!(50), &json!(700)));
    assert_eq!(stage.engine.tags().len(), 2);

    told = stage.ask(&[("command", "gc")]).await;
    assert_eq!(of(&rows(&told), "CUSTOM+CURL", "outcome"), "removed");
    assert_eq!((&told["freed_bytes"], &told["cache_bytes"]), (&json!(50), &json!(700)));
    assert_eq!(stage.engine.tags().len(), 1);
    assert_eq!(stage.redis(&["ZCARD", "t:images"]).await, "1");
    let again = stage.ask(&[("command", "gc")]).await;
    assert_eq!((&again["removed"], &again["cache_bytes"]), (&json!(0), &json!(0)));
    manager.stop().await;
}

#[tokio::test]
async fn an_image_that_cannot_be_removed_is_told_and_keeps_no_other() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(eager);
    for modules in ["GIT", "CURL"] {
        let created = create(&stage, modules).await;
        delete(&stage, &created).await;
    }
    let busy = EngineError::Refused {
        verb: "remove",
        thing: "image x".to_owned(),
        reason: "it is busy".to_owned(),
    };
    stage.engine.fail_next(Verb::RemoveImage, busy);
    let reply = stage.ask(&[("command", "gc")]).await;
    assert_eq!((&reply["removed"], &reply["not_removed"]), (&json!(1), &json!(1)), "{reply}");
    let failed = rows(&reply).into_iter().find(|row| row["outcome"] == "not removed").unwrap();
    assert!(failed["error"].as_str().unwrap().contains("it is busy"), "{failed}");
    manager.stop().await;
}

#[tokio::test]
async fn an_image_that_redis_does_not_know_counts_from_when_it_was_first_seen() {
    let mut stage = Stage::open().await;
    let manager = stage.manager();
    let created = create(&stage, "").await;
    delete(&stage, &created).await;
    manager.stop().await;
    stage.replace_redis().await;
    let manager = stage.manager_with(|raw| {
        eager(raw);
        raw.gc.unused = Some("1h".to_owned());
    });
    let reply = stage.ask(&[("command", "gc")]).await;
    let row = &rows(&reply)[0];
    assert!(row["reason"].as_str().unwrap().starts_with("last used"), "{row}");
    assert_eq!(stage.redis(&["ZCARD", "t:images"]).await, "1");
    manager.stop().await;
}

#[tokio::test]
async fn a_schedule_and_a_full_disk_are_reasons_to_collect() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let created = create(&stage, "").await;
    delete(&stage, &created).await;
    manager.stop().await;
    stage.engine.set_disk(Disk { free: 2 << 30, total: 100 << 30 });
    let manager = stage.manager_with(|raw| {
        eager(raw);
        raw.gc.unused = Some("1h".to_owned());
    });
    until("the disk is cleared", async || stage.engine.tags().is_empty()).await;
    manager.stop().await;

    stage.engine.set_disk(Disk { free: 50 << 30, total: 100 << 30 });
    let manager = stage.manager();
    let created = create(&stage, "").await;
    delete(&stage, &created).await;
    manager.stop().await;
    let manager = stage.manager_with(|raw| {
        eager(raw);
        raw.gc.schedule = Some("* * * * * *".to_owned());
    });
    until("it is time", async || stage.engine.tags().is_empty()).await;
    manager.stop().await;
}

#[tokio::test]
async fn what_is_listed_is_built_before_anybody_asks_and_stays() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| {
        eager(raw);
        raw.prebuild = vec!["CUSTOM+GIT".to_owned(), "custom".to_owned()];
    });
    until("both are built", async || stage.engine.tags().len() == 2).await;
    let created = create(&stage, "GIT").await;
    assert_eq!(created["status"], "RUNNING");
    assert_eq!(stage.engine.count(Verb::Build), 2);
    delete(&stage, &created).await;
    let reply = stage.ask(&[("command", "gc")]).await;
    assert_eq!(reply["removed"], json!(0), "{reply}");
    manager.stop().await;
}
