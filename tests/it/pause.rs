//! Workers that stand still when they have nothing to do, and go on when something comes.

use worker_tests::harness::{Installation, Options, Worker, assert_numbered};

/// An interrupt would end it, as a program of lines.
const DEAF_CAT: &str = r#"["/bin/sh", "-c", "trap '' INT; exec cat"]"#;

fn installation() -> Installation {
    Installation::start_with(Options::default().set("WORKER_WHEN_IDLE", "pause"))
}

fn idler<'a>(it: &'a Installation, limits: &str) -> Worker<'a> {
    it.worker(&[("agent_type", "CUSTOM"), ("agent_command", DEAF_CAT), ("limits", limits)])
}

fn stands_still(worker: &Worker<'_>) -> bool {
    let state = ["inspect", "-f", "{{.State.Status}}", &worker.name()];
    worker.it.engine.ask(&state).trim() == "paused"
}

/// Its record is written when it stands still; its sign of life is kept a moment before.
fn is_paused_or_about_to(worker: &Worker<'_>) -> bool {
    let ttl: i64 = worker.it.redis.run(&["TTL", &worker.key("heartbeat")]);
    ttl == -1
}

/// Waits until it stands still, and everybody is told so. One that was just woken may have answered
/// before its record says that it was.
fn dozes_off(worker: &Worker<'_>) {
    worker.it.soon("the pause", || {
        (stands_still(worker) && worker.record()["reason"] == "paused").then_some(())
    });
    assert_eq!(worker.record()["status"], "RUNNING");
}

#[test]
fn an_idle_worker_is_paused_and_answers_the_next_prompt() {
    let it = installation();
    let worker = idler(&it, r#"{"idle_timeout": "1s"}"#);
    worker.turn("first");
    for round in 0..3 {
        dozes_off(&worker);
        let status = worker.status();
        let told = (status.get("status"), status.get("reason"), status.get("turns"));
        assert_eq!(told, ("RUNNING".into(), "paused".into(), (round + 1).to_string()));
        let ttl: i64 = it.redis.run(&["TTL", &worker.key("heartbeat")]);
        assert_eq!(ttl, -1, "what `status` tells stays while it stands still");
        let text = format!("round {round}");
        worker.turn(&text);
        worker.prints(&text);
    }
    it.soon("a sign of life that expires", || {
        let ttl: i64 = it.redis.run(&["TTL", &worker.key("heartbeat")]);
        (ttl > 0).then_some(())
    });
    assert_numbered(&worker.output());
    worker.delete();
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

/// All are paused at the same look, one after the other, and get a prompt as soon as the first of them
/// stands still: before, in and after their own pause.
#[test]
fn a_prompt_at_the_moment_of_the_pause_is_answered() {
    let it = installation();
    let workers: Vec<_> = (0..8).map(|_| idler(&it, r#"{"idle_timeout": "1s"}"#)).collect();
    for round in 0..4 {
        it.soon("the first pause", || workers.iter().any(is_paused_or_about_to).then_some(()));
        let inputs: Vec<_> =
            workers.iter().map(|worker| worker.prompt(&format!("prompt {round}"))).collect();
        for (worker, input) in workers.iter().zip(&inputs) {
            worker.turn_end(input);
        }
    }
    for worker in &workers {
        assert_numbered(&worker.output());
        assert_eq!(worker.said("turn_completed").len(), 4);
    }
}

#[test]
fn the_next_manager_wakes_what_an_earlier_one_paused() {
    let it = installation();
    let (told_now, told_later) =
        (idler(&it, r#"{"idle_timeout": "1s"}"#), idler(&it, r#"{"idle_timeout": "1s"}"#));
    dozes_off(&told_now);
    dozes_off(&told_later);
    it.manager().kill();
    let input = told_now.prompt("while nobody listens");
    assert!(stands_still(&told_now), "nobody can wake it");
    it.start_manager();
    told_now.turn_end(&input);
    dozes_off(&told_later);
    told_later.turn("somebody listens");
    assert_numbered(&told_later.output());
}

#[test]
fn a_paused_worker_is_stopped_interrupted_and_deleted_in_order() {
    let it = installation();
    let worker = idler(&it, r#"{"idle_timeout": "1s"}"#);
    dozes_off(&worker);
    assert!(it.command(&[("command", "interrupt"), ("worker_id", &worker.id)]).is_ok());
    it.soon("that it goes on", || (!stands_still(&worker)).then_some(()));
    dozes_off(&worker);
    let stopped = it.command(&[("command", "stop"), ("worker_id", &worker.id)]);
    let seen = (stopped.get("status"), stopped.get("reason"), stopped.get("exit_code"));
    assert_eq!(seen, ("STOPPED".into(), "stopped".into(), "0".into()), "{stopped:?}");
    assert_eq!(worker.comes_to("exit").get("source"), "wrapper", "it ended in order");

    let started = it.command(&[("command", "start"), ("worker_id", &worker.id)]);
    assert_eq!(started.get("status"), "RUNNING", "{started:?}");
    dozes_off(&worker);
    worker.delete();

    let worker = idler(&it, r#"{"idle_timeout": "1s"}"#);
    dozes_off(&worker);
    let force = [("command", "delete"), ("worker_id", &worker.id), ("force", "true")];
    assert!(it.command(&force).is_ok());
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

#[test]
fn a_paused_worker_has_its_longest_life() {
    let it = installation();
    let worker = idler(&it, r#"{"idle_timeout": "1s", "max_lifetime": "25s"}"#);
    dozes_off(&worker);
    let record = worker.becomes("STOPPED");
    assert_eq!((&*record["reason"], &*record["exit_code"]), ("lifetime limit", "0"), "{record:?}");
}
