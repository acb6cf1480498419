//! What a worker may reach, and as whom: as it is asked for and as the configuration allows.

use super::CUSTOM;
use super::stage::{Stage, until};
use worker_manager::config::{RawConfig, RawEgress};
use worker_protocol::Secret;

fn configured(raw: &mut RawConfig) {
    raw.egress = RawEgress { allow: vec!["github.com".to_owned()], ..RawEgress::default() };
    let key = Secret::new("hunter2");
    raw.credentials.insert("ANTHROPIC_API_KEY".to_owned(), key.into());
}

#[tokio::test]
async fn more_than_the_operator_allows_is_refused_by_name_and_nothing_is_made() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(configured);
    for (field, value, error, part) in [
        ("egress", "github.com,gitlab.com", "refused", "gitlab.com"),
        ("egress", "github.com:22", "refused", "github.com:22"),
        ("egress", "open", "refused", "egress.allow (WORKER_EGRESS_ALLOW)"),
        ("egress", "169.254.169.254", "refused", "169.254.169.254"),
        ("egress", "https://github.com/", "malformed", "without https://"),
        ("egress", "github.com,open", "malformed", "stand alone"),
        ("credentials", "team-a", "refused", "credentials.team-a"),
        ("credentials", "ANTHROPIC_API_KEY", "refused", "not for CUSTOM"),
        ("credentials", "a b", "malformed", "must hold names"),
    ] {
        let reply = stage.ask(&[&CUSTOM[..], &[(field, value)]].concat()).await;
        assert_eq!(reply["error"], error, "{value}: {reply}");
        let message = reply["message"].as_str().unwrap();
        assert!(message.contains(part) && !message.contains("hunter2"), "{value}: {message}");
    }
    assert!(stage.engine.instances().is_empty());
    manager.stop().await;
}

#[tokio::test]
async fn what_the_operator_allows_is_had_and_stands_in_the_record() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(configured);
    let wish = [("egress", "GitHub.com"), ("credentials", "none"), ("wait", "running")];
    let created = stage.ask(&[&CUSTOM[..], &wish].concat()).await;
    assert_eq!(created["status"], "RUNNING", "{created}");
    let id = created["worker_id"].as_str().unwrap();
    let status = stage.ask(&[("command", "status"), ("worker_id", id)]).await;
    assert_eq!(status["egress"], serde_json::json!(["github.com"]), "{status}");
    manager.stop().await;
}

#[tokio::test]
async fn what_a_worker_has_used_is_forgotten_with_it() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(configured);
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    let spent = "t:gateway:spent";
    let (requests, usd) = (format!("{id}:requests"), format!("{id}:usd"));
    stage.redis(&["HSET", spent, &requests, "3", &usd, "0.5", "other:requests", "1"]).await;
    let stopped = stage.ask(&[("command", "stop"), ("worker_id", id)]).await;
    assert_eq!(stopped["ok"], true, "{stopped}");
    assert_eq!(stage.redis(&["HGET", spent, &requests]).await, "3");
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    until("it to be forgotten", async || stage.redis(&["HLEN", spent]).await == "1").await;
    manager.stop().await;
}
