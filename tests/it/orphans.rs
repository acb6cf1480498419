//! What is left of workers that nobody knows, and hosts that nobody sees.

use serde_json::Value;

use worker_tests::harness::{Installation, Options, PrivateEngine, Templates, Worker};

/// Rows of what `gc` tells of orphans.
fn orphans(it: &Installation, dry_run: &str) -> Vec<Value> {
    let reply = it.command(&[("command", "gc"), ("dry_run", dry_run)]);
    serde_json::from_str(&reply.get("orphans")).unwrap_or_else(|_| panic!("{reply:?}"))
}

fn forget(worker: &Worker<'_>) {
    let it = worker.it;
    let _: i64 = it.redis.run(&["DEL", &it.key(&worker.id)]);
    let _: i64 = it.redis.run(&["ZREM", &it.key("index"), &worker.id]);
}

#[test]
fn what_is_left_of_a_worker_goes_after_its_grace_and_one_that_runs_is_taken_up() {
    let it = Installation::start_with(Options::default().set("WORKER_ORPHAN_GRACE", "3s"));
    let (lost, runs) = (it.script("exec cat"), it.script("exec cat"));
    it.manager().kill();
    it.engine.ask(&["rm", "--force", &lost.name()]);
    forget(&lost);
    forget(&runs);
    let volumes =
        || it.engine.ask(&["volume", "ls", "--quiet", "--filter", &format!("name={}", lost.id)]);
    assert_ne!(volumes(), "");

    it.start_manager();
    let rows = orphans(&it, "true");
    assert_eq!((rows.len(), &rows[0]["worker_id"]), (1, &Value::from(&*lost.id)), "{rows:?}");
    it.soon("the end of the grace", || (it.users() == [runs.name()]).then_some(()));
    it.soon("the end of the volume", || volumes().is_empty().then_some(()));
    it.soon("keys that expire", || {
        let ttl: i64 = it.redis.run(&["TTL", &lost.key("output")]);
        (ttl > 0).then_some(())
    });
    it.soon("nothing to tell", || orphans(&it, "true").is_empty().then_some(()));
    runs.becomes("RUNNING");
    runs.turn("still here");
    runs.prints("still here");
    runs.delete();
}

/// As a later version would write them.
#[test]
fn an_instance_with_labels_that_cannot_be_read_is_left_alone() {
    let it = Installation::start_with(Options::default().set("WORKER_ORPHAN_GRACE", "1s"));
    let name = format!("{}-{}", it.namespace, uuid::Uuid::new_v4());
    let label = format!("io.worker-manager.namespace={}", it.namespace);
    let image = it.environment.base_image.clone();
    it.engine
        .ask(&["run", "--detach", "--name", &name, "--label", &label, &image, "sleep", "1000"]);
    let _: String = it.redis.run(&["ACL", "SETUSER", &name]);
    let event = it
        .soon("a word about it", || it.events().into_iter().find(|event| event.kind() == "orphan"));
    assert_eq!(event.get("instance"), name);
    it.soon("several surveys", || {
        let rows = orphans(&it, "false");
        assert!(rows.iter().all(|row| row["decision"] == "keep"), "{rows:?}");
        let since = rows.first()?["since"].as_str()?.parse::<jiff::Timestamp>().ok()?;
        (jiff::Timestamp::now().duration_since(since).as_secs() > 3).then_some(())
    });
    assert_eq!((it.containers().len(), it.users()), (1, vec![name]));
    let shown = it.program("gc", &["gc", "--dry-run"]).finish(std::time::Duration::from_secs(60));
    assert!(shown.stdout.contains("ORPHAN") && shown.stdout.contains("left alone"), "{shown:?}");
}

#[test]
fn an_engine_that_is_away_makes_its_workers_unknown_until_it_is_back() {
    let mut engine = PrivateEngine::start();
    let templates = Templates::quick();
    let options = Options::default().engine(&engine).templates(&templates);
    let it = Installation::start_with(options);
    let worker = it.script("exec cat");
    engine.kill();
    let record = worker.becomes("UNKNOWN");
    assert_eq!(record["reason"], "host lost");
    assert_eq!(worker.status().get("status"), "UNKNOWN");
    worker.turn("the worker itself goes on");
    let start = it.command(&[("command", "start"), ("worker_id", &worker.id)]);
    assert_eq!(start.get("error"), "engine_unavailable", "{start:?}");
    let delete = it.command(&[("command", "delete"), ("worker_id", &worker.id)]);
    assert_eq!(delete.get("error"), "engine_unavailable", "{delete:?}");
    assert!(delete.get("message").contains("tried again"), "{delete:?}");

    engine.restart();
    it.soon("the removal", || {
        let gone = it.events().into_iter().find(|event| event.kind() == "removal")?;
        (gone.get("worker_id") == worker.id).then_some(())
    });
    let log = it.log();
    let goes = |line: &&str| line.contains("cannot see the workers") && line.ends_with("seconds=0");
    assert_eq!(log.lines().filter(goes).count(), 1, "one line when it goes:\n{log}");
    let told = log.matches("cannot see the workers").count();
    assert!(told < 5, "and few while it is away:\n{log}");
    assert_eq!(log.matches("engine answers again").count(), 1, "one line when it is back:\n{log}");
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}
