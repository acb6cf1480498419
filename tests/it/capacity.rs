//! More workers are asked for than there is room for.

use worker_tests::harness::{Installation, Options, Reply, Worker};

const CAT: [(&str, &str); 2] = [("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

fn capacity(rules: &str) -> Installation {
    Installation::start_with(Options::default().file(&format!("[capacity]\n{rules}\n")))
}

fn create(it: &Installation, more: &[(&str, &str)]) -> Reply {
    it.command(&[&[("command", "create")], &CAT[..], more].concat())
}

/// One for which there is no room yet.
fn queued<'a>(it: &'a Installation, more: &[(&str, &str)]) -> Worker<'a> {
    let reply = create(it, more);
    let told = (reply.is_ok(), reply.get("status"), reply.get("reason"));
    assert_eq!(told, (true, "STARTING".into(), "queued".into()), "{reply:?}{}", it.explain());
    Worker::of(it, &reply.get("worker_id"))
}

fn place(worker: &Worker<'_>) -> String {
    worker.status().get("queue_place")
}

fn running(it: &Installation) -> Vec<String> {
    let listed = it.command(&[("command", "list"), ("status", "running")]);
    let workers: Vec<serde_json::Value> =
        serde_json::from_str(&listed.get("workers")).expect("a list");
    workers.iter().map(|one| one["worker_id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn two_run_three_wait_and_a_sixth_is_refused() {
    let it = capacity("workers = 2\nqueue = 3");
    let first = it.worker(&CAT);
    let second = it.worker(&CAT);
    let [third, fourth, fifth] = [1, 2, 3].map(|_| queued(&it, &[]));
    assert_eq!([&third, &fourth, &fifth].map(place), ["1", "2", "3"]);
    let refused = create(&it, &[]);
    assert_eq!((refused.is_ok(), refused.get("error")), (false, "exhausted".into()));
    assert!(refused.get("message").contains("`capacity.queue`"), "{refused:?}");

    assert_eq!(fourth.delete().get("reason"), "deleted", "nothing is made of it");
    assert_eq!([&third, &fifth].map(place), ["1", "2"]);
    first.delete();
    third.becomes("RUNNING");
    assert_eq!((place(&third), place(&fifth)), (String::new(), "1".to_owned()));
    assert_eq!(running(&it), [second.id, third.id]);
    assert_eq!(it.containers().len(), 2);
    let events = it.events();
    let of_fifth = events.iter().filter(|event| event.get("worker_id") == fifth.id);
    let reasons: Vec<_> = of_fifth.map(|event| event.get("reason")).collect();
    assert_eq!(reasons, ["queued"], "told once, however the queue moves");
}

#[test]
fn one_that_was_stopped_needs_a_place_to_run_again() {
    let it = capacity("workers = 1\nqueue_timeout = \"2s\"");
    let first = it.worker(&CAT);
    let stop = |worker: &Worker<'_>| it.command(&[("command", "stop"), ("worker_id", &worker.id)]);
    assert_eq!(stop(&first).get("status"), "STOPPED");
    let second = it.worker(&CAT);
    let start = [("command", "start"), ("worker_id", first.id.as_str())];
    let late = it.command(&start);
    assert_eq!((late.is_ok(), late.get("error")), (false, "exhausted".into()), "{late:?}");
    assert!(late.get("message").contains("`capacity.queue_timeout`"), "{late:?}");
    let told = first.status();
    assert_eq!((told.get("status"), told.get("reason")), ("FAILED".into(), "queue timeout".into()));
    assert_eq!(stop(&second).get("status"), "STOPPED");
    assert_eq!(it.command(&start).get("status"), "RUNNING", "it is what it was");
    assert_eq!(first.turn("hello").data()["outcome"], "success");
}

#[test]
fn callers_take_turns() {
    let it = capacity("workers = 1\nfair_by = \"team\"");
    let of = |team: &str| format!(r#"{{"team": "{team}"}}"#);
    let mut runs = it.worker(&[&CAT[..], &[("labels", &of("a"))]].concat());
    let [a1, a2, b] = ["a", "a", "b"].map(|team| queued(&it, &[("labels", &of(team))]));
    assert_eq!([&a1, &b, &a2].map(place), ["1", "2", "3"]);
    for next in [a1, b, a2] {
        runs.delete();
        next.becomes("RUNNING");
        assert_eq!(running(&it), std::slice::from_ref(&next.id));
        runs = next;
    }
}

#[test]
fn nothing_is_begun_on_a_full_host_and_the_key_to_change_is_named() {
    for (key, what) in [("min_free_memory", "available memory"), ("min_free_disk", "free disk")] {
        let it = capacity(&format!("{key} = \"900t\"\nqueue_timeout = \"3s\""));
        let worker = queued(&it, &[]);
        let told = worker.status().get("message");
        assert!(told.contains(what) && told.contains(key), "{told}");
        let record = worker.becomes("FAILED");
        assert_eq!((&*record["reason"], &*record["error"]), ("queue timeout", "exhausted"));
        assert!(record["message"].contains(what) && record["message"].contains(key), "{record:?}");
        assert_eq!((it.images(), it.containers()), (vec![], vec![]));
    }
}

#[test]
fn those_who_wait_run_in_their_order_though_the_manager_is_killed() {
    let it = capacity("workers = 1");
    let mut runs = it.worker(&CAT);
    let waiting = [1, 2, 3].map(|_| queued(&it, &[]));
    it.manager().kill();
    it.start_manager();
    for next in waiting {
        it.soon("it is the next", || (place(&next) == "1").then_some(()));
        runs.delete();
        next.becomes("RUNNING");
        assert_eq!(running(&it), std::slice::from_ref(&next.id));
        assert_eq!(next.turn("hello").data()["outcome"], "success");
        runs = next;
    }
}
