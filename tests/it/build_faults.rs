//! Builds that cannot succeed, and engines that go away: each client is told once and in words that
//! help, and the manager goes on.

use std::collections::BTreeSet;

use crate::build::{builds, unique, wait_for_end_of_step, wait_for_step};
use worker_tests::harness::{Installation, Options, PrivateEngine, Reply, Templates, Worker};

const CREATE: &[(&str, &str)] = &[
    ("command", "create"),
    ("agent_type", "CUSTOM"),
    ("agent_command", r#"["cat"]"#),
    ("wait", "running"),
];

fn wanting(module: &str) -> Vec<(&str, &str)> {
    [CREATE, &[("modules", module)]].concat()
}

/// The message of a reply that says that there is no worker, and why; and nothing else.
fn refusal(reply: &Reply, error: &str) -> String {
    let fields = reply.timeless();
    let names: BTreeSet<_> = fields.keys().map(String::as_str).collect();
    let expected = ["command", "error", "message", "ok", "request_id", "status", "worker_id"];
    assert_eq!(names, BTreeSet::from(expected), "{reply:?}");
    let values = ["command", "ok", "error", "status"].map(|name| reply.get(name));
    assert_eq!(values, ["create", "false", error, "FAILED"], "{reply:?}");
    reply.get("message")
}

/// What failed, and what the build printed last.
fn failure(reply: &Reply) -> (String, String) {
    let message = refusal(reply, "build_failed");
    let parts = message.split_once("; the build's last lines:\n");
    let (what, lines) = parts.unwrap_or_else(|| panic!("no lines of the build in {message:?}"));
    (what.to_owned(), lines.to_owned())
}

/// Nothing but the record is left of workers that could not be made, and others are served.
fn assert_nothing_left(it: &Installation) {
    it.soon("an empty engine", || {
        let left = it.containers().len() + it.images().len() + it.users().len();
        (left == 0).then_some(())
    });
    assert!(it.command(&[("command", "ping")]).is_ok());
}

#[test]
fn a_package_that_does_not_exist_is_named_with_what_apt_says() {
    let command = "apt-get update && apt-get install -y no-such-package-x";
    let templates = Templates::quick().module("ODD", command);
    let it = Installation::start_with(Options::default().templates(&templates));
    let (what, lines) = failure(&it.command(&wanting("ODD")));
    assert!(what.starts_with("step ") && what.contains("install -y no-such-package-x"), "{what}");
    let said = "E: Unable to locate package no-such-package-x";
    assert!(lines.lines().any(|line| line == said), "{lines}");
    assert_nothing_left(&it);
}

#[test]
fn without_a_network_a_build_fails_by_saying_so() {
    let engine = PrivateEngine::start();
    let it = Installation::start_with(Options::default().engine(&engine));
    let (what, lines) = failure(&it.command(CREATE));
    assert!(what.starts_with("step ") && what.contains("apt-get"), "{what}");
    assert!(lines.contains("Temporary failure resolving"), "{lines}");
    assert_nothing_left(&it);
    let left = engine.engine().ask(&["ps", "--all", "--format", "{{.Names}}"]);
    let gateway = format!("{}-gateway", it.namespace);
    assert!(left.lines().all(|name| name == gateway), "a container of the build: {left}");
}

#[test]
fn a_base_image_that_can_be_neither_found_nor_fetched_is_named() {
    let engine = PrivateEngine::empty();
    let it = Installation::start_with(Options::default().engine(&engine));
    let message = refusal(&it.command(CREATE), "build_failed");
    let expected = format!("image {}", it.environment.base_image);
    for part in [expected.as_str(), "is not on this host and could not be pulled"] {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
    assert_nothing_left(&it);
}

#[test]
fn a_full_disk_is_named_and_what_fits_is_built_after_it() {
    let engine = PrivateEngine::small("300m");
    let templates = Templates::quick()
        .module("LARGE", "head --bytes=1G /dev/zero >/large")
        .module("LITTLE", "head --bytes=1M /dev/zero >/little");
    let it = Installation::start_with(Options::default().engine(&engine).templates(&templates));
    let (what, lines) = failure(&it.command(&wanting("LARGE")));
    assert!(what.starts_with("step ") && what.contains("/large"), "{what}");
    assert!(lines.to_lowercase().contains("no space left on device"), "{lines}");
    assert_nothing_left(&it);
    let reply = it.command(&wanting("LITTLE"));
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
    let worker = Worker::of(&it, &reply.get("worker_id"));
    worker.prompt("room");
    worker.prints("room");
}

#[test]
fn a_build_is_made_again_when_the_engine_was_killed_in_the_middle_of_it() {
    let mut engine = PrivateEngine::start();
    let (command, mark) = unique("sleep 5");
    let templates = Templates::quick().module("SLOW", &command);
    let it = Installation::start_with(Options::default().engine(&engine).templates(&templates));
    let request = it.send(&wanting("SLOW"));
    wait_for_step(&it, &mark);
    engine.kill();
    assert!(it.command(&[("command", "ping")]).is_ok(), "others are served meanwhile");
    engine.restart();
    let reply = it.reply(&request);
    assert!(reply.is_ok() && reply.get("status") == "RUNNING", "{reply:?}{}", it.explain());
    assert_eq!(it.replies(&request).len(), 1);
    assert_eq!((builds(&it, "built"), builds(&it, "failed")), (1, 0));
}

#[test]
fn an_engine_that_does_not_come_back_during_a_build_is_named() {
    let mut engine = PrivateEngine::start();
    let (command, mark) = unique("sleep 600");
    let templates = Templates::quick().module("SLOW", &command);
    let options = Options::default().engine(&engine).templates(&templates);
    let it = Installation::start_with(options.set("WORKER_ENGINE_PATIENCE", "2s"));
    let request = it.send(&wanting("SLOW"));
    wait_for_step(&it, &mark);
    engine.kill();
    let reply = it.reply(&request);
    let message = refusal(&reply, "engine_unavailable");
    assert!(message.starts_with("the container engine does not answer"), "{message}");
    assert!(message.contains(&engine.host()), "{message}");
    assert_eq!(it.replies(&request).len(), 1);
    assert!(it.command(&[("command", "ping")]).is_ok());
}

#[test]
fn a_hundred_who_want_what_cannot_be_built_share_one_build_and_its_reason() {
    let (command, mark) = unique("echo the disk is on fire >&2; exit 7");
    let templates = Templates::quick().module("BROKEN", &command);
    let it = Installation::start_with(Options::default().templates(&templates));
    let requests = it.redis.xadd_at_once(&it.key("commands"), &vec![wanting("BROKEN"); 100]);
    for request in &requests {
        // Who comes late in the crowd is told that it was a moment ago.
        let (what, lines) = failure(&it.reply(request));
        assert!(what.contains("step ") && what.contains(&mark), "{what}");
        assert_eq!(lines.lines().last(), Some("the disk is on fire"), "{lines}");
        assert_eq!(it.replies(request).len(), 1);
    }
    assert_eq!(builds(&it, "failed"), 1, "one build for all");

    let (what, lines) = failure(&it.command(&wanting("BROKEN")));
    assert!(what.starts_with("this image failed to build ") && what.contains(&mark), "{what}");
    assert_eq!(lines.lines().last(), Some("the disk is on fire"), "{lines}");
    assert_eq!(builds(&it, "failed"), 1, "the reason is remembered");
    assert_nothing_left(&it);
}

#[test]
fn a_build_step_that_says_nothing_for_too_long_is_ended() {
    let (command, mark) = unique("echo begun; sleep 600");
    let templates = Templates::quick().module("SILENT", &command);
    let options = Options::default().templates(&templates);
    let it = Installation::start_with(options.set("WORKER_BUILD_SILENCE", "3s"));
    let (what, lines) = failure(&it.command(&wanting("SILENT")));
    assert!(what.starts_with("step ") && what.contains("no output for 3 s"), "{what}");
    assert_eq!(lines.lines().last(), Some("begun"), "{lines}");
    wait_for_end_of_step(&it, &mark);
    assert_nothing_left(&it);
}

#[test]
fn a_build_that_waits_its_turn_and_is_given_up_never_begins() {
    let (first, first_mark) = unique("sleep 600");
    let (second, second_mark) = unique("true");
    let templates = Templates::quick().module("FIRST", &first).module("SECOND", &second);
    let options = Options::default().templates(&templates).set("WORKER_BUILDS", "1");
    let it = Installation::start_with(options);
    let [holder, waiter] = ["FIRST", "SECOND"].map(|module| {
        let id = uuid::Uuid::new_v4().to_string();
        let fields = [&wanting(module)[..], &[("worker_id", &id)]].concat();
        let request = it.send(&fields);
        it.soon("its build, or the wait for it", || {
            let status = it.command(&[("command", "status"), ("worker_id", &id)]);
            status.get("reason").starts_with("building").then_some(())
        });
        (request, id)
    });
    wait_for_step(&it, &first_mark);
    for (request, id) in [waiter, holder] {
        assert!(it.command(&[("command", "delete"), ("worker_id", &id)]).is_ok());
        assert_eq!(it.reply(&request).get("error"), "refused");
    }
    wait_for_end_of_step(&it, &first_mark);
    wait_for_end_of_step(&it, &second_mark);
    let begun: BTreeSet<_> =
        it.events().iter().map(|event| event.get("image").to_owned()).collect();
    assert_eq!(begun.iter().filter(|image| !image.is_empty()).count(), 1, "one began: {begun:?}");
    assert_nothing_left(&it);
}
