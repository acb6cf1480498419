//! Images while they are built: others are served, builds are shared, ended, and fail cleanly.

use std::collections::BTreeSet;

use worker_tests::harness::{Installation, Options, Templates, Worker, docker, processes_with};

/// A build that outlasts the test.
const LONG: &str = "echo begun; sleep 600";

fn create<'a>(it: &'a Installation, module: &str) -> Worker<'a> {
    let id = uuid::Uuid::new_v4().to_string();
    it.send(&[
        ("command", "create"),
        ("worker_id", &id),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", module),
    ]);
    Worker::of(it, &id)
}

/// A shell line that no other build has, so that its layer is never in the cache, and its shell and
/// its container are known by it. At its end, lest the shell becomes the last of its commands.
pub(crate) fn unique(command: &str) -> (String, String) {
    let mark = format!("mark-{}", uuid::Uuid::new_v4().simple());
    (format!("{command} && : {mark}"), mark)
}

/// Waits until the step with this mark runs.
pub(crate) fn wait_for_step(it: &Installation, mark: &str) {
    it.soon("the build's step", || (!processes_with(mark).is_empty()).then_some(()));
}

/// Waits until the step with this mark has ended and has left no container.
pub(crate) fn wait_for_end_of_step(it: &Installation, mark: &str) {
    it.soon("the end of the build", || {
        let left = processes_with(mark).len() + it.engine.containers_with(mark);
        (left == 0).then_some(())
    });
}

#[test]
fn others_are_served_while_an_image_is_built_and_a_delete_ends_the_build() {
    let (command, mark) = unique(LONG);
    let templates = Templates::empty().module("LONG", &command);
    let it = Installation::start_with(Options::default().templates(&templates));
    // Its image is there: some engines build one at a time.
    it.script("exec cat").delete();
    let slow = create(&it, "LONG");
    wait_for_step(&it, &mark);

    let status = slow.status();
    assert_eq!(status.get("status"), "STARTING", "{status:?}");
    assert!(status.get("reason").starts_with("building"), "{status:?}");
    assert!(it.command(&[("command", "ping")]).is_ok());
    let quick = it.script("exec cat");
    quick.prompt("meanwhile");
    quick.prints("meanwhile");
    let line = it.soon("the build's own words in the events", || {
        it.events().into_iter().find(|e| e.kind() == "build" && e.get("line").contains("begun"))
    });
    assert!(!line.get("image").is_empty(), "{line:?}");
    assert!(!processes_with(&mark).is_empty(), "the build still runs");

    let reply = slow.delete();
    assert_eq!(reply.get("status"), "STOPPED", "{reply:?}");
    assert_eq!(slow.record()["reason"], "deleted");
    wait_for_end_of_step(&it, &mark);
    assert!(quick.status().is_ok());
}

#[test]
fn a_build_that_others_wait_for_goes_on_when_one_of_them_is_deleted() {
    let (command, mark) = unique("echo begun; sleep 5");
    let templates = Templates::empty().module("SHARED", &command);
    let it = Installation::start_with(Options::default().templates(&templates));
    let (stays, goes) = (create(&it, "SHARED"), create(&it, "SHARED"));
    wait_for_step(&it, &mark);
    for worker in [&stays, &goes] {
        it.soon("both in the build", || {
            worker.record()["reason"].starts_with("building").then_some(())
        });
    }
    goes.delete();
    stays.becomes("RUNNING");
    assert_eq!(builds(&it, "built"), 1);
}

pub(crate) fn builds(it: &Installation, status: &str) -> usize {
    it.events().iter().filter(|e| e.kind() == "build" && e.get("status") == status).count()
}

#[test]
fn twenty_who_want_the_same_new_image_share_one_build() {
    let (command, mark) = unique("echo begun");
    let templates = Templates::empty().module("NEW", &command);
    let it = Installation::start_with(Options::default().templates(&templates));
    let fields = vec![
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", "NEW"),
        ("wait", "running"),
    ];
    let requests = it.redis.xadd_at_once(&it.key("commands"), &vec![fields; 20]);
    let replies: Vec<_> = requests.iter().map(|request| it.reply(request)).collect();
    assert!(replies.iter().all(|reply| reply.get("status") == "RUNNING"), "{replies:?}");
    let ids: BTreeSet<_> = replies.iter().map(|reply| reply.get("worker_id")).collect();
    assert_eq!(ids.len(), 20, "twenty workers");
    assert_eq!(it.containers().len(), 20);
    assert_eq!(builds(&it, "built"), 1, "one build");
    assert_eq!(it.images().len(), 1, "one image");
    wait_for_end_of_step(&it, &mark);
}

#[test]
fn a_build_that_fails_gives_its_last_lines_and_leaves_nothing() {
    let (command, mark) = unique("echo the disk is on fire >&2; exit 7");
    let templates = Templates::empty().module("BROKEN", &command);
    let it = Installation::start_with(Options::default().templates(&templates));
    let fields = [
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", "BROKEN"),
    ];
    let reply = it.command(&[&fields[..], &[("wait", "running")]].concat());
    assert_eq!((reply.is_ok(), reply.get("error").as_str()), (false, "build_failed"), "{reply:?}");
    assert!(reply.get("message").contains("the disk is on fire"), "{reply:?}");
    let worker = Worker::of(&it, &reply.get("worker_id"));
    assert_eq!(reply.get("status"), "FAILED");
    let record = worker.becomes("FAILED");
    assert!(record["reason"].starts_with("build failed"), "{record:?}");

    // Who did not wait is told by the record and the events.
    let accepted = it.command(&fields);
    assert!(accepted.is_ok(), "{accepted:?}");
    Worker::of(&it, &accepted.get("worker_id")).becomes("FAILED");
    assert!(builds(&it, "failed") >= 1);
    it.soon("an empty engine", || {
        let left = it.containers().len() + it.images().len() + it.users().len();
        (left == 0).then_some(())
    });
    wait_for_end_of_step(&it, &mark);
    let deleted = worker.delete();
    assert_eq!(deleted.get("already"), "true", "{deleted:?}");
    let ping = it.command(&[("command", "ping")]);
    assert!(ping.is_ok());
}

#[test]
fn the_same_wish_is_built_once_and_found_again() {
    let it = Installation::start();
    let modules = |list: &'static str| {
        [("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#), ("modules", list)]
    };
    let first = it.worker(&modules("GIT,CURL"));
    let again = it.worker(&modules("curl, git"));
    assert_eq!(first.record()["image"], again.record()["image"], "the order does not matter");
    assert_eq!(builds(&it, "built"), 1);
    let other = it.worker(&modules("GIT"));
    assert_ne!(first.record()["image"], other.record()["image"]);
}

#[test]
fn an_image_that_somebody_removed_is_built_again() {
    let it = Installation::start();
    let first = it.script("exec cat");
    let image = first.record()["image"].clone();
    first.delete();
    docker(&["rmi", "--no-prune", &image]);
    assert_eq!(it.images(), Vec::<String>::new());
    let again = it.script("exec cat");
    assert_eq!(again.record()["image"], image);
    assert_eq!(builds(&it, "built"), 2);
}
