//! Two managers, of which one leads: it is killed, stands still, is cut off, or is upgraded.

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use worker_tests::harness::{Environment, Installation, Options, Program, Proxy, Worker};

use crate::outage::{address, by_way_of};

const CREATE: [(&str, &str); 5] = [
    ("command", "create"),
    ("agent_type", "CUSTOM"),
    ("agent_command", r#"["cat"]"#),
    ("prompt", "once"),
    ("wait", "running"),
];

/// An installation whose image is built, with a manager that leads and one that stands by.
fn two(options: Options, own: &[(&str, &str)]) -> (Installation, Program) {
    let it =
        Installation::start_with(options.set("WORKER_CONSUMER", "first").set("WORKER_LEASE", "6s"));
    it.script("exec cat").delete();
    assert_eq!(leader(&it), "first");
    let second = it.another_manager("second", own);
    it.soon("one that stands by", || second.said().contains("standing by").then_some(()));
    (it, second)
}

fn leader(it: &Installation) -> String {
    let ping = it.command(&[("command", "ping")]);
    ping.get("manager").split('-').next().unwrap_or_default().to_owned()
}

/// How long nobody leads is for the documentation; nothing depends on it.
fn taken_over(it: &Installation, since: Instant) {
    assert_eq!(leader(it), "second");
    println!("taken over after {:.1} s", since.elapsed().as_secs_f64());
}

/// Each of these creates was answered once, and made one worker that was told its prompt once.
fn each_made_one(it: &Installation, requests: &[String]) {
    for request in requests {
        let reply = it.reply(request);
        assert_eq!(reply.get("status"), "RUNNING", "{reply:?}{}", it.explain());
        let worker = Worker::of(it, &reply.get("worker_id"));
        worker.prints("once");
        assert_eq!((it.replies(request).len(), worker.stdout()), (1, "once".to_owned()));
    }
    assert_eq!(it.containers().len(), requests.len());
    let pending: Vec<redis::Value> =
        it.redis.run(&["XPENDING", &it.key("commands"), "worker-manager"]);
    assert_eq!(pending.first(), Some(&redis::Value::Int(0)), "all is acknowledged");
}

fn creates(it: &Installation, number: usize) -> Vec<String> {
    (0..number).map(|_| it.send(&CREATE)).collect()
}

#[test]
fn a_leader_that_is_killed_leaves_its_creates_to_the_second() {
    let (it, _second) = two(Options::default(), &[]);
    let requests = creates(&it, 6);
    it.soon("the first of them", || (!it.containers().is_empty()).then_some(()));
    it.manager().kill();
    taken_over(&it, Instant::now());
    each_made_one(&it, &requests);
}

#[test]
fn a_leader_that_stood_still_acts_no_more() {
    let (it, mut second) = two(Options::default(), &[]);
    let requests = creates(&it, 4);
    it.soon("the first of them", || (!it.containers().is_empty()).then_some(()));
    it.manager().signal(Signal::SIGSTOP);
    taken_over(&it, Instant::now());
    let deleted = it.reply(&requests[0]);
    Worker::of(&it, &deleted.get("worker_id")).delete();
    it.manager().signal(Signal::SIGCONT);
    it.soon("what it is told", || it.log().contains("has taken over").then_some(()));
    each_made_one(&it, &requests[1..]);
    assert_eq!(it.replies(&requests[0]).len(), 1);
    assert_eq!(leader(&it), "second");
    second.kill();
    assert_eq!(leader(&it), "first", "it leads again when it is its turn");
    each_made_one(&it, &requests[1..]);
}

#[test]
fn a_leader_that_is_cut_off_from_redis_is_replaced_and_then_stands_by() {
    let environment = Environment::read();
    let proxy = Proxy::start("127.0.0.1", address(&environment.redis_url));
    let url = by_way_of(&proxy, &environment.redis_url);
    let direct = [("REDIS_URL", environment.redis_url.as_str())];
    let (it, _second) = two(Options::default().set("REDIS_URL", &url), &direct);
    let requests = creates(&it, 4);
    it.soon("the first of them", || (!it.containers().is_empty()).then_some(()));
    proxy.cut();
    taken_over(&it, Instant::now());
    each_made_one(&it, &requests);
    it.soon("what it does", || it.log().contains("acting on nothing").then_some(()));
    proxy.mend();
    it.soon("what it is told", || it.log().contains("standing by").then_some(()));
    assert_eq!(leader(&it), "second");
    each_made_one(&it, &requests);
}

#[test]
fn an_upgrade_loses_no_command() {
    let (it, _second) = two(Options::default(), &[]);
    let worker = it.script("exec cat");
    let status = [("command", "status"), ("worker_id", worker.id.as_str())];
    let mut requests = Vec::new();
    let mut made = Vec::new();
    for number in 0..50 {
        if number == 20 {
            it.manager().signal(Signal::SIGTERM);
        }
        match number % 10 {
            5 => made.push(it.send(&CREATE)),
            _ => requests.push(it.send(&status)),
        }
        // So that they come while one manager ends and the other begins.
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = it.manager().finish(Duration::from_secs(60));
    assert!(ended.status.success(), "{ended:?}");
    for request in &requests {
        assert_eq!(it.reply(request).get("status"), "RUNNING");
    }
    worker.delete();
    each_made_one(&it, &made);
    assert!(requests.iter().all(|request| it.replies(request).len() == 1));
    assert_eq!(leader(&it), "second");
}
