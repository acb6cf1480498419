//! What callers may do by the operator's policy.

use serde_json::{Value, json};
use std::io::Write;
use tempfile::NamedTempFile;
use worker_manager::config::RawConfig;
use worker_manager::engine::Verb;

use crate::CUSTOM;
use crate::callers::{ask, signer, team_a, team_b, two_callers};
use crate::stage::{Manager, Stage, until};

const POLICY: &str = r#"
[callers.me]
operator = true

[callers.team-a]
commands = ["create", "delete", "status", "stop", "start", "list", "ping"]
agents = "CUSTOM"
modules = "GIT"
workers = 1
labels = { forced = { team = "a" } }
limits = { memory = "1g" }

[default]
commands = "*"
agents = "CUSTOM"
"#;

const KEY_OF_ME: &str = "the key of the operator, which is long";

fn with_policy(stage: &Stage, file: &NamedTempFile) -> Manager {
    stage.manager_with(|raw| {
        two_callers(raw);
        let me = format!("[callers]\nme.key = {KEY_OF_ME:?}");
        raw.callers.extend(toml::from_str::<RawConfig>(&me).unwrap().callers);
        raw.policy = Some(file.path().to_owned());
    })
}

fn policy() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(POLICY.as_bytes()).unwrap();
    file
}

fn running() -> Vec<(&'static str, &'static str)> {
    [&CUSTOM[..], &[("wait", "running")]].concat()
}

fn ids(list: &Value) -> Vec<&str> {
    let workers = list["workers"].as_array().unwrap();
    workers.iter().map(|worker| worker["worker_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_refusal_names_its_rule_and_nothing_is_made() {
    let (stage, file) = (Stage::open().await, policy());
    let manager = with_policy(&stage, &file);
    for (more, rule) in [
        (("modules", "GIT,CURL"), "callers.team-a.modules"),
        (("agent_type", "CLAUDE"), "callers.team-a.agents"),
        (("limits", r#"{"memory": "2g"}"#), "callers.team-a.limits.memory"),
        (("labels", r#"{"team": "b"}"#), "callers.team-a.labels.forced"),
        (("egress", "open"), "callers.team-a.egress"),
        (("credentials", "KEY"), "callers.team-a.credentials"),
        (("command", "gc"), "callers.team-a.commands"),
    ] {
        let kept = CUSTOM.iter().filter(|(name, _)| *name != more.0);
        let mut fields: Vec<_> = kept.copied().chain([more]).collect();
        if matches!(more.0, "command" | "agent_type") {
            fields.retain(|(name, _)| *name != "agent_command");
        }
        if more.0 == "command" {
            fields.retain(|(name, _)| *name == "command");
        }
        let reply = ask(&stage, &team_a(), &fields).await;
        assert_eq!((&reply["error"], &reply["rule"]), (&json!("refused"), &json!(rule)), "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(rule), "{reply}");
    }
    assert_eq!(stage.engine.count(Verb::Create), 0);
    assert_eq!(stage.redis(&["EXISTS", "t:commands:dead"]).await, "0");
    manager.stop().await;
}

#[tokio::test]
async fn a_worker_of_another_caller_is_not_there() {
    let (stage, file) = (Stage::open().await, policy());
    let manager = with_policy(&stage, &file);
    let of_a = ask(&stage, &team_a(), &running()).await;
    let of_b = ask(&stage, &team_b(), &running()).await;
    let [a, b] = [&of_a, &of_b].map(|created| created["worker_id"].as_str().unwrap());
    let never = "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90";
    for command in ["status", "stop", "start", "interrupt", "delete"] {
        let of_a = ask(&stage, &team_b(), &[("command", command), ("worker_id", a)]).await;
        let of_none = ask(&stage, &team_b(), &[("command", command), ("worker_id", never)]).await;
        assert_eq!(of_a["error"], "unknown_worker", "{command}: {of_a}");
        let told = |reply: &Value| reply["message"].as_str().unwrap().replace(a, never);
        assert_eq!((told(&of_a), &of_a["rule"]), (told(&of_none), &of_none["rule"]), "{command}");
    }
    let list = [("command", "list")];
    assert_eq!(ids(&ask(&stage, &team_a(), &list).await), [a]);
    assert_eq!(ids(&ask(&stage, &team_b(), &list).await), [b]);
    let me = signer("me", KEY_OF_ME);
    assert_eq!(ids(&ask(&stage, &me, &list).await), [a, b]);
    let status = ask(&stage, &me, &[("command", "status"), ("worker_id", a)]).await;
    assert_eq!(status["caller"], "team-a", "{status}");
    manager.stop().await;
    // Also for a manager that knows it by its record and label only, and when it is gone.
    let manager = with_policy(&stage, &file);
    let status = ask(&stage, &team_b(), &[("command", "status"), ("worker_id", a)]).await;
    assert_eq!(status["error"], "unknown_worker", "{status}");
    let deleted = ask(&stage, &team_a(), &[("command", "delete"), ("worker_id", a)]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    for command in ["status", "delete"] {
        let reply = ask(&stage, &team_b(), &[("command", command), ("worker_id", a)]).await;
        assert_eq!(reply["error"], "unknown_worker", "{reply}");
        let reply = ask(&stage, &team_a(), &[("command", command), ("worker_id", a)]).await;
        assert_eq!(reply["ok"], true, "{reply}");
    }
    manager.stop().await;
}

#[tokio::test]
async fn a_caller_has_as_many_workers_as_it_may_and_what_is_forced_is_there() {
    let (stage, file) = (Stage::open().await, policy());
    let manager = with_policy(&stage, &file);
    let first = ask(&stage, &team_a(), &running()).await;
    let id = first["worker_id"].as_str().unwrap();
    assert_eq!(stage.redis(&["HGET", &format!("t:{id}"), "labels"]).await, r#"{"team":"a"}"#);
    let second = ask(&stage, &team_a(), &running()).await;
    assert_eq!(
        (&second["error"], &second["rule"]),
        (&json!("exhausted"), &json!("callers.team-a.workers"))
    );
    let stopped = ask(&stage, &team_a(), &[("command", "stop"), ("worker_id", id)]).await;
    assert_eq!(stopped["ok"], true, "{stopped}");
    let third = ask(&stage, &team_a(), &running()).await;
    assert_eq!(third["ok"], true, "one that has ended does not count: {third}");
    let again = ask(&stage, &team_a(), &[("command", "start"), ("worker_id", id)]).await;
    assert_eq!(again["rule"], "callers.team-a.workers", "{again}");
    manager.stop().await;
}

#[tokio::test]
async fn a_create_that_was_taken_up_is_finished_whatever_the_policy_says_by_then() {
    let (stage, file) = (Stage::open().await, policy());
    let first = with_policy(&stage, &file);
    stage.engine.hold(Verb::Build);
    assert_eq!(ask(&stage, &team_a(), &CUSTOM).await["ok"], true);
    until("the build is asked for", async || stage.engine.count(Verb::Build) == 1).await;
    first.die().await;
    stage.engine.let_go(Verb::Build);
    std::fs::write(file.path(), "").unwrap();
    let second = with_policy(&stage, &file);
    until("the worker runs", async || stage.engine.count(Verb::Start) == 1).await;
    until("nothing is left to do", async || stage.nothing_is_pending().await).await;
    let reply = ask(&stage, &team_a(), &[("command", "ping")]).await;
    assert_eq!(reply["rule"], "callers.team-a", "{reply}");
    second.stop().await;
}
