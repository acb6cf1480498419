//! `worker-manager doctor` on installations that are well, and on ones that are not.

use serde_json::Value;
use std::time::Duration;
use worker_tests::harness::{Installation, Options, Persistence, Redis, RedisServer, Templates};

/// It asks three services, and runs a container for a moment.
const LIMIT: Duration = Duration::from_secs(180);

struct Told {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Told {
    fn by(options: Options) -> Self {
        let it = Installation::start_with(options.without_manager());
        let finished = it.program("doctor", &["doctor", "--json"]).finish(LIMIT);
        let findings = serde_json::from_str(&finished.stdout);
        let findings = findings
            .unwrap_or_else(|error| panic!("{error}: {}{}", finished.stdout, finished.stderr));
        let left = it.engine.ask(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("name={}", it.namespace),
        ]);
        assert_eq!(left, "", "a container is left");
        assert!(!finished.stdout.contains("scripted-key"), "a secret is shown");
        Self { code: finished.status.code(), findings }
    }

    /// The worst finding about something.
    fn worst(&self, check: &str) -> &Value {
        let levels = ["ok", "note", "warning", "problem"];
        let level = |finding: &&Value| levels.iter().position(|l| finding["level"] == *l);
        let about = self.findings.iter().filter(|finding| finding["check"] == check);
        about.max_by_key(level).unwrap_or_else(|| panic!("nothing about {check}: {self:?}"))
    }

    #[track_caller]
    fn assert_finds(&self, check: &str, level: &str, words: &[&str]) {
        let fits = |finding: &&Value| {
            finding["check"] == check
                && finding["level"] == level
                && words.iter().all(|word| finding.to_string().contains(word))
        };
        let found = self.findings.iter().find(fits);
        let found = found.unwrap_or_else(|| panic!("no {level} {words:?} in {self:?}"));
        assert_eq!(found["mend"].is_string(), ["warning", "problem"].contains(&level), "{found}");
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}", self.code)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
    }
}

#[test]
fn an_installation_that_is_well_has_no_problem_and_a_worker_reaches_redis() {
    let told = Told::by(Options::default());
    assert_eq!(told.code, Some(0), "{told:?}");
    told.assert_finds("worker", "ok", &["from inside a worker", "answers"]);
    told.assert_finds("redis", "ok", &["noeviction"]);
    told.assert_finds("redis", "ok", &["may do all that a manager does"]);
    told.assert_finds("engine", "ok", &["docker"]);
    told.assert_finds("wrapper", "ok", &["worker-wrapper"]);
    told.assert_finds("gateway", "ok", &["worker-gateway"]);
    told.assert_finds("commands", "note", &["whoever can write", "callers"]);
    told.assert_finds("egress", "ok", &["what their agent needs"]);
    told.assert_finds("credentials", "ok", &["CLAUDE has", "ANTHROPIC_API_KEY"]);
    let it = Installation::start();
    let beside = it.program("doctor", &["doctor"]).finish(LIMIT);
    assert!(beside.status.success(), "{beside:?}");
    assert!(beside.stdout.contains("0 problems"), "{}", beside.stdout);
    assert!(it.command(&[("command", "ping")]).is_ok(), "the manager goes on");
}

#[test]
fn a_redis_that_forgets_is_told_of_with_the_mend() {
    let server = RedisServer::start(Persistence::None);
    let redis = Redis::connect(&server.url());
    for (name, value) in [("maxmemory-policy", "allkeys-lru"), ("maxmemory", "64mb")] {
        redis.run::<String>(&["CONFIG", "SET", name, value]);
    }
    let rules = ["on", ">pw", "~*", "+@all", "-acl|setuser", "-xautoclaim"];
    redis.run::<String>(&[&["ACL", "SETUSER", "manager"], &rules[..]].concat());
    let url = server.url().replace("default:of-a-test", "manager:pw");
    let options = Options::default().set("REDIS_URL", &url);
    let told = Told::by(options.set("WORKER_REDIS_URL", &server.worker_url()));
    assert_eq!(told.code, Some(1), "{told:?}");
    told.assert_finds("redis", "problem", &["allkeys-lru", "noeviction"]);
    told.assert_finds("redis", "warning", &["saves nothing", "appendonly yes"]);
    told.assert_finds("redis", "problem", &["manager", "xautoclaim", "acl|setuser"]);
    told.assert_finds("worker", "ok", &["wants a password"]);
}

#[test]
fn services_that_do_not_answer_are_told_of() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = Told::by(
        Options::default()
            .set("REDIS_URL", &format!("redis://{closed}/0"))
            .set("DOCKER_HOST", "unix:///nonexistent/engine.sock"),
    );
    assert_eq!(told.code, Some(1), "{told:?}");
    told.assert_finds("redis", "problem", &["failed to connect", "REDIS_URL"]);
    told.assert_finds("engine", "problem", &["/nonexistent/engine.sock", "DOCKER_HOST"]);
}

#[test]
fn an_address_that_workers_cannot_reach_is_found_from_inside_one() {
    let told = Told::by(Options::default().set("WORKER_REDIS_URL", "redis://127.0.0.1:6379/0"));
    assert_eq!(told.code, Some(1), "{told:?}");
    told.assert_finds("worker", "problem", &["means the worker itself", "WORKER_REDIS_URL"]);
    told.assert_finds("worker", "problem", &["from inside a worker", "cannot connect"]);
    let told =
        Told::by(Options::default().set("WORKER_REDIS_URL", "redis://no-such-host.invalid/0"));
    told.assert_finds("worker", "problem", &["cannot look up the name", "no-such-host.invalid"]);
}

#[test]
fn what_the_operator_wrote_wrong_is_named() {
    let templates = Templates::empty().agent("claude", "+++\nsummary = \n+++\n");
    let options = Options::default().templates(&templates);
    let told = Told::by(options.file("[credentials]\nANTHROPIC_API_KAY = \"x\"\n"));
    assert_eq!(told.code, Some(1), "{told:?}");
    told.assert_finds("templates", "problem", &["claude"]);
    let told = Told::by(Options::default().file("[credentials]\nANTHROPIC_API_KAY = \"x\"\n"));
    assert_eq!(told.worst("credentials")["level"], "warning");
    told.assert_finds("configuration", "ok", &["worker-manager.toml"]);
    let told = Told::by(Options::default().set("WORKER_WRAPPER", "/nonexistent/wrapper"));
    told.assert_finds("wrapper", "problem", &["/nonexistent/wrapper"]);
}
