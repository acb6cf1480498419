//! When something around the manager is missing or wrong, it says what to do.

use std::time::Duration;

use worker_tests::harness::{Installation, Options};

const CAT: &[(&str, &str)] = &[
    ("command", "create"),
    ("agent_type", "CUSTOM"),
    ("agent_command", r#"["cat"]"#),
    ("wait", "running"),
];

#[test]
fn a_worker_that_cannot_reach_redis_says_which_setting_to_mend() {
    let it = Installation::start_with(
        Options::default().set("WORKER_REDIS_URL", "redis://127.0.0.1:1/0"),
    );
    let reply = it.command(CAT);
    assert_eq!((reply.is_ok(), reply.get("error").as_str()), (false, "start_failed"), "{reply:?}");
    for word in ["redis://127.0.0.1:1/0", "WORKER_REDIS_URL", "WORKER_NETWORK"] {
        assert!(reply.get("message").contains(word), "{word} is missing: {reply:?}");
    }
    assert_eq!(reply.get("status"), "FAILED");
    it.soon("an empty engine", || {
        (it.containers().is_empty() && it.users().is_empty()).then_some(())
    });
}

#[test]
fn an_engine_that_is_away_is_named_and_the_service_goes_on() {
    let it =
        Installation::start_with(Options::default().set("DOCKER_HOST", "unix:///nowhere.sock"));
    let reply = it.command(CAT);
    assert_eq!(reply.get("error"), "engine_unavailable", "{reply:?}");
    assert!(reply.get("message").contains("nowhere.sock"), "{reply:?}");
    assert!(it.command(&[("command", "ping")]).is_ok());
}

#[test]
fn a_manager_without_redis_or_with_a_wrong_setting_says_so_and_fails() {
    let cases = [
        ("REDIS_URL", "redis://127.0.0.1:1/0", "127.0.0.1:1"),
        ("REDIS_URL", "nonsense", "REDIS_URL"),
        ("WORKER_NAMESPACE", "a b", "WORKER_NAMESPACE"),
        ("WORKER_WRAPPER", "/nowhere/worker-wrapper", "/nowhere/worker-wrapper"),
        ("WORKER_STOP_GRACE", "soon", "WORKER_STOP_GRACE"),
        ("WORKER_TEMPLATES", "/nowhere/templates", "/nowhere/templates"),
    ];
    for (name, value, word) in cases {
        let it = Installation::start_with(Options::default().without_manager().set(name, value));
        let finished = it.program("serve", &["serve"]).finish(Duration::from_secs(60));
        assert!(!finished.status.success(), "{name}={value}: {finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains(word), "{name}={value}: {word} is missing: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_manager_that_is_asked_to_end_ends_in_order() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let finished = it.manager().stop();
    assert!(finished.status.success(), "{finished:?}");
    worker.prompt("still here");
    worker.prints("still here");
}
