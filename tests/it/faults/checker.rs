//! What is out of order is seen: a check that finds nothing would prove nothing.

use super::COUNTER;
use worker_tests::harness::{Installation, Memory};

#[test]
fn everything_that_is_out_of_order_is_told() {
    let it = Installation::start();
    let (worker, gone) = (it.script(COUNTER), it.script("exec cat"));
    gone.delete();
    it.settles();
    // Nobody is to put it right meanwhile, and nobody to go on writing.
    it.manager().kill();
    it.engine.ask(&["pause", &worker.name()]);
    assert_eq!(it.violations(Memory::Whole).len(), 1, "{:?}", it.violations(Memory::Whole));

    let stranger = uuid::Uuid::new_v4().to_string();
    let name = format!("{}-{stranger}", it.namespace);
    let asked = it.send(&[("command", "ping")]);
    it.redis.xadd(&it.key("responses"), &[("request_id", "nobody's"), ("ok", "true")]);
    it.redis.xadd(&it.key("responses"), &[("request_id", "nobody's"), ("ok", "true")]);
    it.redis.xadd(&worker.key("output"), &[("type", "stdout"), ("seq", "1000000")]);
    it.redis.xadd(&gone.key("output"), &[("type", "stdout"), ("seq", "3")]);
    worker.prompt("never read");
    let _: String = it.redis.run(&["ACL", "SETUSER", &name]);
    let _: String = it.redis.run(&["SET", &it.key(&format!("{stranger}:input")), "1"]);
    it.engine.ask(&["create", "--name", &name, &it.environment.base_image, "true"]);
    it.engine.ask(&["volume", "create", &format!("{name}-home")]);

    let found = it.violations(Memory::Whole).join("\n");
    let key = it.key(&format!("{stranger}:input"));
    let last = worker.id.as_str();
    for words in [
        format!("request {asked}: 1 of its replies are missing"),
        "request nobody's: 1 replies too many".to_owned(),
        "commands after".to_owned(),
        format!("worker {last} has output 1000000 after"),
        format!("worker {} is STOPPED, and said stdout last", gone.id),
        format!("worker {last} is RUNNING, and its container is Some(\"paused\")"),
        format!("a container of worker {stranger} is left over"),
        format!("a volume of worker {stranger} is left over"),
        format!("a Redis user of worker {stranger} is left over"),
        format!("key {key} is left over"),
        // Not read, or not acknowledged: its wrapper may have been waiting for it.
        format!("worker {last} has input that is not"),
    ] {
        assert!(found.contains(&words), "{words:?} is missing in:\n{found}");
    }
}
