//! What a manager shows of itself to supervisors and to Prometheus.

use worker_tests::harness::{Environment, Installation, Options, Page, Proxy};

use crate::outage::{address, by_way_of};

fn seen() -> Options {
    Options::default().set("WORKER_LISTEN", "127.0.0.1:0")
}

/// Where the manager of an installation serves, as its log says.
fn served_at(it: &Installation) -> String {
    it.soon("the address in the log", || {
        let log = it.log();
        let line = log.lines().rfind(|line| line.contains("health and metrics are served"))?;
        Some(line.split_once("address=")?.1.trim().to_owned())
    })
}

fn get(it: &Installation, path: &str) -> Page {
    let address = served_at(it);
    it.soon("a page", || Page::get(&address, path))
}

#[test]
fn a_manager_is_healthy_while_redis_and_the_engine_answer() {
    let environment = Environment::read();
    let proxy = Proxy::start("127.0.0.1", address(&environment.redis_url));
    let url = by_way_of(&proxy, &environment.redis_url);
    let it = Installation::start_with(seen().set("REDIS_URL", &url));
    let health = get(&it, "/healthz");
    assert_eq!(health.status, 200, "{health:?}");
    assert_eq!(
        (health.json()["ready"].clone(), health.json()["role"].clone()),
        (true.into(), "leader".into())
    );
    proxy.cut();
    let ill = it.soon("doubts", || Some(get(&it, "/healthz")).filter(|page| page.status == 503));
    let (live, ready) = (ill.json()["live"].clone(), ill.json()["ready"].clone());
    assert_eq!((live, ready), (true.into(), false.into()), "{ill:?}");
    let reasons = ill.json()["reasons"].to_string();
    assert!(reasons.contains("redis") && !reasons.contains("engine"), "{reasons}");
    assert_eq!(get(&it, "/livez").status, 200, "it need not be restarted for that");
    proxy.mend();
    it.soon("health", || Some(get(&it, "/healthz")).filter(|page| page.status == 200));
    let metrics = get(&it, "/metrics");
    assert!(metrics.sum("worker_manager_redis_errors_total", &[]) > 0.0, "{}", metrics.body);
}

#[test]
fn a_manager_whose_engine_is_away_is_live_and_not_ready() {
    let it = Installation::start_with(seen().set("DOCKER_HOST", "unix:///nonexistent/engine"));
    let health = get(&it, "/healthz");
    assert_eq!(health.status, 503, "{health:?}");
    let reasons = health.json()["reasons"].to_string();
    assert!(reasons.contains("engine: the container engine does not answer"), "{reasons}");
    assert_eq!(get(&it, "/livez").status, 200);
    let metrics = get(&it, "/metrics");
    let away = ["error=\"unavailable\""];
    assert!(metrics.sum("worker_manager_engine_errors_total", &away) > 0.0, "{}", metrics.body);
}

#[test]
fn what_was_done_is_counted() {
    let it = Installation::start_with(seen());
    let worker = it.script("exec cat");
    let running = ["status=\"RUNNING\"", "reason=\"running\""];
    it.soon("a worker that is counted", || {
        (get(&it, "/metrics").sum("worker_manager_workers", &running) == 1.0).then_some(())
    });
    worker.delete();
    let metrics = it.soon("no worker any more", || {
        Some(get(&it, "/metrics"))
            .filter(|page| page.sum("worker_manager_workers", &["status=\"RUNNING\""]) == 0.0)
    });
    let count =
        |name: &str, labels: &[&str]| metrics.sum(&format!("worker_manager_{name}"), labels);
    assert_eq!(count("commands_total", &["command=\"create\""]), 1.0, "{}", metrics.body);
    assert_eq!(count("replies_total", &["command=\"create\"", "result=\"ok\""]), 1.0);
    assert_eq!(count("replies_total", &["command=\"delete\"", "result=\"ok\""]), 1.0);
    assert_eq!(count("time_to_running_seconds_count", &[]), 1.0);
    assert!(count("time_to_running_seconds_sum", &[]) > 0.0);
    assert_eq!(count("worker_ends_total", &["status=\"STOPPED\""]), 1.0);
    let looked_for = count("image_lookups_total", &["result=\"hit\""])
        + count("image_lookups_total", &["result=\"miss\""]);
    assert!(looked_for >= 1.0, "{}", metrics.body);
    assert_eq!(
        count("builds_total", &["result=\"succeeded\""]),
        count("image_lookups_total", &["result=\"miss\""])
    );
    assert!(count("engine_seconds_count", &["operation=\"create\""]) >= 1.0);
    assert!(count("redis_seconds_count", &["operation=\"batch\""]) >= 1.0);
    assert!(metrics.body.ends_with("# EOF\n"), "the format of OpenMetrics");
    assert!(!metrics.body.contains(&worker.id), "no label has so many values");
}

#[test]
fn output_that_waited_on_disk_is_told() {
    let environment = Environment::read();
    let proxy = Proxy::start(environment.host_address(), address(&environment.worker_redis_url));
    let url = by_way_of(&proxy, &environment.worker_redis_url);
    let it = Installation::start_with(seen().set("WORKER_REDIS_URL", &url));
    let worker = it.script(
        "read go; echo begin; until [ -e /tmp/away ]; do sleep 0.05; done
         seq -f %0999.0f 10000; : > /tmp/done; exec cat",
    );
    worker.prompt("go");
    worker.prints("begin");
    proxy.cut();
    worker.root(": > /tmp/away");
    it.soon("the end of the agent's words", || {
        (worker.root("ls /tmp/done") == "/tmp/done").then_some(())
    });
    proxy.mend();
    let metrics = it.soon("a toll", || {
        let page = get(&it, "/metrics");
        Some(page).filter(|page| page.sum("worker_manager_output_spooled_bytes_total", &[]) > 0.0)
    });
    assert_eq!(metrics.sum("worker_manager_output_dropped_entries_total", &[]), 0.0);
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_its_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let options = Options::default().set("WORKER_LISTEN", &address).without_manager();
    let it = Installation::start_with(options);
    let finished = it.program("manager", &["serve"]).finish(std::time::Duration::from_secs(30));
    assert!(!finished.status.success());
    let said = finished.stderr;
    assert!(said.contains(&address) && said.contains("WORKER_LISTEN"), "{said}");
}

#[test]
fn a_line_about_a_worker_names_it_and_the_request_in_both_formats() {
    for format in ["text", "json"] {
        let it = Installation::start_with(Options::default().set("WORKER_LOG_FORMAT", format));
        let create = [
            ("command", "create"),
            ("request_id", "of-this-test"),
            ("agent_type", "CUSTOM"),
            ("agent_command", "no-such-program"),
            ("wait", "running"),
        ];
        it.send(&create);
        let worker = it.reply("of-this-test").get("worker_id");
        it.soon("lines about the worker", || {
            let log = it.log();
            let lines: Vec<_> = log.lines().filter(|line| line.contains(&worker)).collect();
            assert!(lines.iter().all(|line| line.contains("of-this-test")), "{lines:?}");
            (!lines.is_empty()).then_some(())
        });
    }
}
