//! The same request never acts twice, and is always answered.

use worker_tests::harness::{Installation, Worker};

fn create<'a>(request: &'a str, id: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("request_id", request),
        ("wait", "running"),
        ("prompt", "once"),
    ];
    fields.extend(id.map(|id| ("worker_id", id)));
    fields
}

fn replies_become(
    it: &Installation,
    request: &str,
    count: usize,
) -> Vec<worker_tests::harness::Reply> {
    it.soon(&format!("{count} replies to {request}"), || {
        let replies = it.replies(request);
        (replies.len() >= count).then_some(replies)
    })
}

#[test]
fn a_request_that_comes_again_makes_one_worker_and_has_its_reply_again() {
    let it = Installation::start();
    // One worker beforehand, so that its image is there and the burst is about the request alone.
    it.script("exec cat").delete();
    it.redis.xadd_at_once(&it.key("commands"), &vec![create("r1", None); 3]);
    let replies = replies_become(&it, "r1", 3);
    assert!(replies[0].is_ok(), "{replies:?}");
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    assert_eq!(it.containers().len(), 1);
    let worker = Worker::of(&it, &replies[0].get("worker_id"));
    worker.prints("once");
    worker.delete();

    it.send(&create("r1", None));
    let replies = replies_become(&it, "r1", 4);
    assert!(replies.iter().all(|reply| *reply == replies[0]), "also after its end: {replies:?}");
    assert!(it.command(&[("command", "ping")]).is_ok());
    assert_eq!(it.containers(), Vec::<String>::new(), "and no new worker");
    let prompts = it.redis.stream(&worker.key("input")).len();
    assert_eq!(prompts, 1, "the first prompt was put in once");
}

#[test]
fn a_request_is_remembered_across_a_restart() {
    let it = Installation::start();
    it.send(&create("r1", None));
    let first = replies_become(&it, "r1", 1).remove(0);
    it.manager().stop();
    it.start_manager();
    it.send(&create("r1", None));
    let replies = replies_become(&it, "r1", 2);
    assert_eq!(replies[1], first);
    assert_eq!(it.containers().len(), 1);
}

#[test]
fn a_second_delete_is_already_so() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let first = worker.delete();
    assert_eq!(first.get("already"), "", "{first:?}");
    let second = worker.delete();
    assert_eq!(second.get("already"), "true", "{second:?}");
    assert_eq!(second.get("worker_id"), worker.id);
}

#[test]
fn two_deletes_at_once_both_succeed() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let delete = vec![("command", "delete"), ("worker_id", worker.id.as_str())];
    let requests = it.redis.xadd_at_once(&it.key("commands"), &vec![delete; 2]);
    for request in &requests {
        assert!(it.reply(request).is_ok());
    }
    assert_eq!(it.containers(), Vec::<String>::new());
}

#[test]
fn a_caller_may_choose_the_id_and_nobody_else_gets_it() {
    let it = Installation::start();
    let id = "0198F7D2-4C1E-7A55-9D0B-3C5F1E2A7B90";
    let reply = it.command(&create("", Some(id)));
    assert!(reply.is_ok(), "{reply:?}");
    let id = id.to_lowercase();
    assert_eq!(reply.get("worker_id"), id, "in lower case");
    let taken = it.command(&create("", Some(&id)));
    assert_eq!((taken.is_ok(), taken.get("error").as_str()), (false, "refused"), "{taken:?}");
    assert!(taken.get("message").contains("taken"), "{taken:?}");
    Worker::of(&it, &id).delete();
    let taken = it.command(&create("", Some(&id)));
    assert!(!taken.is_ok(), "also after its end, while its record is kept: {taken:?}");
}
