//! Redis is killed, emptied, stopped and filled in the middle of creates, deletes and output.

use std::fs;
use std::thread::sleep;

use super::assert_works;
use super::{COUNTER, CREATE, PAUSE, assert_counted, assert_recovered, counts_on, delete, made};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use worker_tests::harness::{Installation, Memory, Options, Persistence, RedisServer, Worker};

/// Commands under way, beside a worker that counts.
struct Work<'a> {
    counter: Worker<'a>,
    creates: Vec<String>,
    deleted: Worker<'a>,
    delete: String,
}

/// The manager has read the commands and has finished none.
fn begin(it: &Installation) -> Work<'_> {
    let counter = it.script(COUNTER);
    let deleted = it.script("trap '' TERM; echo armed; while :; do sleep 0.1; done");
    deleted.prints("armed");
    let delete = delete(it, &deleted);
    let creates = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
    it.soon("all of them at work", || {
        let index: i64 = it.redis.run(&["ZCARD", &it.key("index")]);
        (index >= 5).then_some(())
    });
    Work { counter, creates, deleted, delete }
}

/// Each command has its reply, the counter has lost nothing, and all is in order.
fn assert_finished(it: &Installation, work: Work<'_>) {
    for request in &work.creates {
        if let Some(worker) = made(it, &it.reply(request)) {
            worker.prints("once");
            assert_works(&worker);
        }
    }
    if !it.reply(&work.delete).is_ok() {
        work.deleted.delete();
    }
    counts_on(&work.counter);
    assert_counted(&work.counter);
    work.counter.delete();
    it.settles();
    assert_recovered(it);
}

fn quick_to_kill() -> Options {
    Options::default().set("WORKER_STOP_GRACE", "2s")
}

fn what_redis_has_written_is_enough(persistence: Persistence) {
    let mut redis = RedisServer::start(persistence);
    let it = Installation::start_with(quick_to_kill().redis(&redis));
    let work = begin(&it);
    redis.kill();
    redis.restart();
    it.redis.reconnect();
    assert_finished(&it, work);
}

#[test]
fn redis_with_a_file_written_each_second_is_killed_in_the_middle_of_everything() {
    what_redis_has_written_is_enough(Persistence::EverySecond);
}

#[test]
fn redis_with_a_file_written_always_is_killed_in_the_middle_of_everything() {
    what_redis_has_written_is_enough(Persistence::Always);
}

/// What was decided is written, workers are let in again, and all can be asked as before.
fn assert_remade(it: &Installation, work: Work<'_>) {
    for request in &work.creates {
        let reply = it.reply(request);
        assert_eq!(it.replies(request).len(), 1, "{reply:?}");
        if let Some(worker) = made(it, &reply) {
            assert_works(&worker);
        }
    }
    assert!(it.reply(&work.delete).is_ok());
    work.counter.becomes("RUNNING");
    counts_on(&work.counter);
    work.counter.delete();
    it.settles_with(Memory::Lossy);
    assert_recovered(it);
}

#[test]
fn redis_without_a_file_is_killed_in_the_middle_of_everything() {
    let mut redis = RedisServer::start(Persistence::None);
    let it = Installation::start_with(quick_to_kill().redis(&redis));
    let work = begin(&it);
    redis.kill();
    redis.restart();
    it.redis.reconnect();
    assert_remade(&it, work);
}

#[test]
fn redis_is_emptied_in_the_middle_of_everything() {
    let redis = RedisServer::start(Persistence::EverySecond);
    let it = Installation::start_with(quick_to_kill().redis(&redis));
    let work = begin(&it);
    let _: String = it.redis.run(&["FLUSHALL"]);
    assert_remade(&it, work);
}

#[test]
fn redis_says_nothing_for_a_while_in_the_middle_of_everything() {
    let redis = RedisServer::start(Persistence::EverySecond);
    let it = Installation::start_with(quick_to_kill().redis(&redis));
    let work = begin(&it);
    redis.pause();
    sleep(PAUSE);
    redis.resume();
    it.redis.reconnect();
    assert_finished(&it, work);
}

/// Reads are answered, and writes are refused, until it is mended.
fn what_is_refused_is_written_later(refuse: impl Fn(&RedisServer, &Installation, bool)) {
    let redis = RedisServer::start(Persistence::EverySecond);
    let it = Installation::start_with(quick_to_kill().redis(&redis));
    let counter = it.script(COUNTER);
    let deleted = it.script("exec cat");
    it.manager().signal(SIGSTOP);
    let creates = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
    let delete = delete(&it, &deleted);
    counts_on(&counter);
    refuse(&redis, &it, true);
    it.manager().signal(SIGCONT);
    it.soon("complaints in the log", || it.log().contains("acting on nothing").then_some(()));
    refuse(&redis, &it, false);
    assert_finished(&it, Work { counter, creates, deleted, delete });
}

#[test]
fn redis_without_memory_refuses_writes_for_a_while() {
    what_is_refused_is_written_later(|_, it, refuses| {
        let most = if refuses { "1" } else { "0" };
        let _: String = it.redis.run(&["CONFIG", "SET", "maxmemory", most]);
    });
}

#[test]
fn redis_that_cannot_save_refuses_writes_for_a_while() {
    what_is_refused_is_written_later(|redis, it, refuses| {
        // A folder stands where its file is to be.
        let place = redis.folder().join("dump.rdb");
        if refuses {
            fs::create_dir(&place).expect("a folder");
            let _: String = it.redis.run(&["CONFIG", "SET", "save", "3600 1000000"]);
        } else {
            fs::remove_dir(&place).expect("the folder");
        }
        let status =
            if refuses { "rdb_last_bgsave_status:err" } else { "rdb_last_bgsave_status:ok" };
        it.soon(status, || {
            let _ = it.redis.ask::<String>(&["BGSAVE"]);
            let info: String = it.redis.run(&["INFO", "persistence"]);
            info.contains(status).then_some(())
        });
    });
}
