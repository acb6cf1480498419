//! The engine is killed and stopped in the middle of creates, deletes and work.

use std::thread::sleep;

use super::{COUNTER, CREATE, PAUSE, assert_counted, assert_recovered, assert_works, counts_on};
use super::{delete, made};
use worker_tests::harness::{Installation, Options, PrivateEngine, Templates};

fn installation(engine: &PrivateEngine, templates: &Templates) -> Installation {
    Installation::start_with(Options::default().engine(engine).templates(templates))
}

/// Creates under way: the manager has read them, and has not made them.
fn begin(it: &Installation) -> Vec<String> {
    let requests = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
    it.soon("the creates at work", || {
        let index: i64 = it.redis.run(&["ZCARD", &it.key("index")]);
        (index >= 3).then_some(())
    });
    requests
}

/// Each was answered once; what could not be made is said to be so, and what was made works.
fn assert_answered(it: &Installation, requests: &[String]) {
    for request in requests {
        if let Some(worker) = made(it, &it.reply(request)) {
            assert_works(&worker);
        }
    }
}

#[test]
fn an_engine_that_is_killed_ends_its_workers_and_each_end_is_told() {
    let (mut engine, templates) = (PrivateEngine::start(), Templates::quick());
    let it = installation(&engine, &templates);
    let counter = it.script(COUNTER);
    counts_on(&counter);
    let requests = begin(&it);
    engine.kill();
    assert!(it.command(&[("command", "ping")]).is_ok(), "others are served meanwhile");
    engine.restart();
    // The daemon ends what it finds running when it starts again.
    counter.ends();
    assert_ne!(counter.status().get("status"), "RUNNING");
    assert_answered(&it, &requests);
    it.settles();
    assert_counted(&counter);
    let reply = it.command(&[("command", "start"), ("worker_id", &counter.id)]);
    assert_eq!(reply.get("status"), "RUNNING", "{reply:?}{}", it.explain());
    counter.delete();
    it.settles();
    assert_recovered(&it);
}

#[test]
fn workers_go_on_while_an_engine_with_live_restore_is_killed() {
    let (mut engine, templates) = (PrivateEngine::live_restoring(), Templates::quick());
    let it = installation(&engine, &templates);
    let counter = it.script(COUNTER);
    counts_on(&counter);
    let requests = begin(&it);
    engine.kill();
    counts_on(&counter);
    let asked = delete(&it, &counter);
    engine.restart();
    let reply = it.reply(&asked);
    if !reply.is_ok() {
        assert_eq!(reply.get("error"), "engine_unavailable", "{reply:?}");
    }
    assert_answered(&it, &requests);
    counter.delete();
    assert_counted(&counter);
    it.settles();
    let stays = it.script(COUNTER);
    engine.kill();
    engine.restart();
    counts_on(&stays);
    assert_eq!(stays.status().get("status"), "RUNNING");
    assert_counted(&stays);
    stays.delete();
    it.settles();
}

#[test]
fn an_engine_that_says_nothing_for_a_while_is_waited_for() {
    let (mut engine, templates) = (PrivateEngine::start(), Templates::quick());
    let it = installation(&engine, &templates);
    let counter = it.script(COUNTER);
    let deleted = it.script("exec cat");
    let requests = begin(&it);
    let asked = delete(&it, &deleted);
    engine.pause();
    sleep(PAUSE);
    assert!(it.command(&[("command", "ping")]).is_ok(), "others are served meanwhile");
    engine.resume();
    assert_answered(&it, &requests);
    assert!(it.reply(&asked).is_ok());
    counts_on(&counter);
    assert_counted(&counter);
    counter.delete();
    it.settles();
    assert_recovered(&it);
}
