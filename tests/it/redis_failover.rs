//! A Redis whose master is lost: a worker goes on at the new one, which sentinels have chosen.

use std::time::Duration;
use worker_tests::harness::{
    Installation, Options, Persistence, Redis, RedisServer, Sentinels, Worker, assert_numbered,
    until,
};

/// Sentinels agree within some seconds on an idle machine.
const FAILOVER: Duration = Duration::from_secs(120);
/// How many lines an agent says while there is no master.
const MEANWHILE: usize = 300;

#[test]
fn a_worker_goes_on_at_the_new_master_and_no_entry_is_missing() {
    let mut lost = RedisServer::start(Persistence::None);
    let next = lost.start_replica();
    let sentinels = Sentinels::watch(&lost);
    let password = next.folder().join("password");
    std::fs::write(&password, next.password()).expect("a file");
    let mut it = Installation::start_with(
        Options::default()
            .redis(&lost)
            .set("REDIS_URL", &sentinels.url())
            .set("WORKER_REDIS_URL", &sentinels.url())
            .set("WORKER_REDIS_PASSWORD_FILE", &password.to_string_lossy()),
    );
    let agent = format!("(until [ -e /tmp/go ]; do sleep 0.1; done; seq {MEANWHILE}) & exec cat");
    let worker = it.script(&agent);
    worker.prompt("before");
    let said = worker.prints("before");
    let replica = Redis::connect(&next.url());
    let output = worker.key("output");
    it.soon("the copy", || replica.stream(&output).iter().any(|e| e.id == said.id).then_some(()));

    lost.kill();
    worker.root("touch /tmp/go");
    // Whoever is connected is cut off when it becomes the master.
    let as_master = || {
        let redis = Redis::try_connect(&next.url()).ok()?;
        let role: String = redis.ask(&["INFO", "replication"]).ok()?;
        role.contains("role:master").then_some(redis)
    };
    let id = worker.id.clone();
    it.redis = until(FAILOVER, as_master).expect("the replica becomes the master");
    let worker = Worker::of(&it, &id);
    worker.prompt("after");
    worker.prints("after");
    let expected: Vec<_> = (1..=MEANWHILE).map(|number| number.to_string()).collect();
    it.soon("all that it said meanwhile", || {
        let lines = worker.stdout();
        expected.iter().all(|number| lines.lines().any(|line| line == number)).then_some(())
    });
    assert_numbered(&worker.output());
    worker.delete();
    assert!(!it.users().contains(&worker.name()), "its user goes with it");
}
