//! The way to Redis is blocked or long.

use std::thread::sleep;
use std::time::Duration;

use super::{COUNTER, CREATE, PAUSE, assert_counted, assert_recovered, assert_works, counts_on};
use super::{delete, made};
use crate::outage::{address, by_way_of};
use worker_tests::harness::{Environment, Installation, Options, Proxy};

/// A proxy before Redis for the manager.
fn of_manager() -> (Proxy, Options) {
    let environment = Environment::read();
    let proxy = Proxy::start("127.0.0.1", address(&environment.redis_url));
    let url = by_way_of(&proxy, &environment.redis_url);
    (proxy, Options::default().set("REDIS_URL", &url))
}

/// A proxy before Redis for workers.
fn of_workers() -> (Proxy, Options) {
    let environment = Environment::read();
    let proxy = Proxy::start(environment.host_address(), address(&environment.worker_redis_url));
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    (proxy, Options::default().set("WORKER_REDIS_URL", &url))
}

#[test]
fn a_manager_that_hears_nothing_of_redis_for_a_while_finishes_what_it_began() {
    let (proxy, options) = of_manager();
    let it = Installation::start_with(options);
    let (counter, deleted) = (it.script(COUNTER), it.script("exec cat"));
    let creates = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
    let asked = delete(&it, &deleted);
    it.soon("some of them at work", || {
        (it.redis.pending(&it.key("commands"), "worker-manager") > 0).then_some(())
    });
    proxy.block();
    sleep(PAUSE);
    let meanwhile = it.send(&[("command", "ping")]);
    proxy.mend();
    for request in &creates {
        if let Some(worker) = made(&it, &it.reply(request)) {
            worker.prints("once");
            assert_works(&worker);
        }
    }
    if !it.reply(&asked).is_ok() {
        deleted.delete();
    }
    assert!(it.reply(&meanwhile).is_ok());
    assert_counted(&counter);
    counter.delete();
    it.settles();
    assert_recovered(&it);
}

#[test]
fn a_worker_that_hears_nothing_of_redis_for_a_while_loses_nothing() {
    let (proxy, options) = of_workers();
    let it = Installation::start_with(options);
    let worker = it.script(COUNTER);
    counts_on(&worker);
    proxy.block();
    sleep(PAUSE);
    let asked = worker.prompt("asked meanwhile");
    assert_eq!(worker.status().get("status"), "RUNNING");
    proxy.mend();
    worker.turn_end(&asked);
    counts_on(&worker);
    assert_counted(&worker);
    it.settles();
    worker.delete();
    it.settles();
}

#[test]
fn a_long_way_to_redis_costs_time_and_nothing_else() {
    let (of_manager, options) = of_manager();
    let (of_workers, _) = of_workers();
    let url = by_way_of(&of_workers, &Environment::read().worker_redis_url);
    let it = Installation::start_with(options.set("WORKER_REDIS_URL", &url));
    let worker = it.script(COUNTER);
    for way in [&of_manager, &of_workers] {
        way.delay(Duration::from_millis(200));
    }
    let creates = it.redis.xadd_at_once(&it.key("commands"), &vec![CREATE.to_vec(); 3]);
    for request in &creates {
        let worker = made(&it, &it.reply(request)).expect("a worker");
        worker.prints("once");
        assert_works(&worker);
    }
    counts_on(&worker);
    assert_counted(&worker);
    worker.delete();
    it.settles();
}
