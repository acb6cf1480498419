//! Redis goes away for a while, for the manager or for a worker, and comes back.

use worker_tests::harness::{Environment, Installation, Options, Proxy, assert_numbered};

/// An address with the proxy's host and port in place of its own.
pub(crate) fn by_way_of(proxy: &Proxy, url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let credentials = authority.rsplit_once('@').map_or(String::new(), |(c, _)| format!("{c}@"));
    format!("{scheme}://{credentials}{}/{path}", proxy.addr())
}

pub(crate) fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

#[test]
fn a_manager_that_loses_redis_takes_up_what_was_asked_meanwhile() {
    let environment = Environment::read();
    let proxy = Proxy::start("127.0.0.1", address(&environment.redis_url));
    let url = by_way_of(&proxy, &environment.redis_url);
    let it = Installation::start_with(Options::default().set("REDIS_URL", &url));
    let worker = it.script("exec cat");
    for _ in 0..3 {
        proxy.cut();
        let status = it.send(&[("command", "status"), ("worker_id", &worker.id)]);
        worker.prompt("meanwhile");
        it.soon("complaints in the log", || it.log().contains("redis").then_some(()));
        proxy.mend();
        assert_eq!(it.reply(&status).get("status"), "RUNNING");
        assert_eq!(it.replies(&status).len(), 1);
    }
    proxy.cut();
    let delete = it.send(&[("command", "delete"), ("worker_id", &worker.id)]);
    proxy.mend();
    assert!(it.reply(&delete).is_ok());
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}

#[test]
fn what_a_worker_says_while_redis_is_away_arrives_whole_and_in_order() {
    let environment = Environment::read();
    let target = address(&environment.worker_redis_url);
    let proxy = Proxy::start(environment.host_address(), target);
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    let it = Installation::start_with(Options::default().set("WORKER_REDIS_URL", &url));
    let worker = it.script(
        "read go; for n in $(seq 1 200); do echo $n; sleep 0.02; done; : > /tmp/done; exec cat",
    );
    worker.prompt("go");
    worker.says("the beginning", |e| e.kind() == "stdout" && e.content() == "5");
    proxy.cut();
    let asked = worker.prompt("asked meanwhile");
    it.soon("the end of the agent's words", || {
        (worker.root("ls /tmp/done") == "/tmp/done").then_some(())
    });
    let known = worker.said("stdout").len();
    assert!(known < 200, "Redis was away");
    proxy.mend();
    worker.prints("asked meanwhile");
    worker.turn_end(&asked);
    let lines: Vec<_> = worker.said("stdout").iter().map(|e| e.content().to_owned()).collect();
    let mut right: Vec<_> = (1..=200).map(|number| number.to_string()).collect();
    right.push("asked meanwhile".to_owned());
    assert_eq!(lines, right, "nothing is lost, nothing doubled");
    assert_numbered(&worker.output());
    assert_eq!(worker.status().get("status"), "RUNNING");
}

#[test]
fn an_agent_that_ends_while_redis_is_away_has_its_end_told_when_redis_is_back() {
    let environment = Environment::read();
    let target = address(&environment.worker_redis_url);
    let proxy = Proxy::start(environment.host_address(), target);
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    let it = Installation::start_with(Options::default().set("WORKER_REDIS_URL", &url));
    let worker =
        it.script("echo armed; until [ -e /tmp/go ]; do sleep 0.05; done; echo bye; exit 4");
    worker.prints("armed");
    proxy.cut();
    worker.root(": > /tmp/go");
    it.soon("an agent that is gone", || {
        (!worker.root("cat /proc/[0-9]*/cmdline").contains("until")).then_some(())
    });
    proxy.mend();
    let record = worker.becomes("FAILED");
    assert_eq!(record["exit_code"], "4", "{record:?}");
    let exits = worker.said("exit");
    assert_eq!((exits.len(), exits[0].get("source")), (1, "wrapper"), "{exits:?}");
    worker.prints("bye");
    assert_numbered(&worker.output());
}

#[test]
fn a_worker_that_cannot_reach_redis_can_be_deleted_and_its_end_is_told() {
    let environment = Environment::read();
    let target = address(&environment.worker_redis_url);
    let proxy = Proxy::start(environment.host_address(), target);
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    let it = Installation::start_with(Options::default().set("WORKER_REDIS_URL", &url));
    let worker = it.script("echo armed; exec cat");
    worker.prints("armed");
    proxy.cut();
    worker.delete();
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
    let exits = worker.said("exit");
    assert_eq!((exits.len(), exits[0].get("source")), (1, "manager"), "{exits:?}");
    assert_numbered(&worker.output());
}
