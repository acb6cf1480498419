//! A worker's output on disk, while Redis is away for it.

use worker_tests::harness::{Environment, Installation, Options, Proxy, assert_numbered};

use crate::outage::{address, by_way_of};

#[test]
fn output_that_fills_memory_waits_on_disk_out_of_the_agents_reach() {
    let environment = Environment::read();
    let target = address(&environment.worker_redis_url);
    let proxy = Proxy::start(environment.host_address(), target);
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    let options = Options::default().set("WORKER_REDIS_URL", &url);
    let it = Installation::start_with(options.set("WORKER_OUTPUT_ENTRIES", "100000"));
    let worker = it.script(
        "read go; echo begin; until [ -e /tmp/away ]; do sleep 0.05; done
         seq -f %0999.0f 20000
         ls /var/lib/worker/spool && echo has entered
         ls /proc/1/fd && echo has seen the descriptors
         : > /tmp/done; exec cat",
    );
    worker.prompt("go");
    worker.prints("begin");
    proxy.cut();
    worker.root(": > /tmp/away");
    it.soon("the end of the agent's words", || {
        (worker.root("ls /tmp/done") == "/tmp/done").then_some(())
    });
    let descriptors = worker.from_host("ls -l $WRAPPER/fd");
    assert!(descriptors.contains("/var/lib/worker/spool/output (deleted)"), "{descriptors}");
    assert_eq!(worker.root("ls -A /var/lib/worker/spool"), "");
    assert_eq!(worker.root("stat -c '%U %a' /var/lib/worker/spool"), "root 700");
    proxy.mend();
    let asked = worker.prompt("asked meanwhile");
    worker.prints("asked meanwhile");
    worker.turn_end(&asked);
    let said = worker.said("stdout");
    let numbers: Vec<u64> = said.iter().filter_map(|e| e.content().parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=20_000), "{} numbers", numbers.len());
    assert!(!said.iter().any(|e| e.content().starts_with("has ")), "the agent reaches the spool");
    assert_numbered(&worker.output());
    it.soon("the disk given back", || {
        (!worker.from_host("ls -l $WRAPPER/fd").contains("(deleted)")).then_some(())
    });
}
