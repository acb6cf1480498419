//! Limits of time and cost: told to the wrapper, and read from what it said at its end.

use serde_json::json;
use std::time::Duration;
use worker_protocol::{Boot, Output, OutputKind, Reached, Source};

use crate::CUSTOM;
use crate::stage::{Stage, until};

#[tokio::test]
async fn a_wrapper_is_told_the_workers_own_limits_and_else_those_of_the_configuration() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| {
        raw.limits.idle_timeout = Some("1h".to_owned());
        raw.limits.max_lifetime = Some("2h".to_owned());
        raw.limits.max_cost_usd = Some(7.5);
    });
    let own = [("wait", "running"), ("limits", r#"{"max_lifetime": "3h", "turn_timeout": "5m"}"#)];
    stage.ask(&[&CUSTOM[..], &own].concat()).await;
    let input = stage.engine.input(&stage.engine.instances()[0].name).unwrap();
    let bounds = serde_json::from_slice::<Boot>(&input).unwrap().bounds;
    let minutes = |number: u64| Some(Duration::from_secs(60 * number));
    assert_eq!(bounds.turn_timeout, minutes(5));
    assert_eq!((bounds.idle_timeout, bounds.max_lifetime), (minutes(60), minutes(180)));
    assert_eq!(bounds.max_cost_usd, Some(7.5));
    manager.stop().await;
}

#[tokio::test]
async fn a_limit_that_ended_a_worker_while_no_manager_was_there_is_its_reason() {
    for (code, status) in [(0, "STOPPED"), (1, "FAILED")] {
        let stage = Stage::open().await;
        let first = stage.manager();
        let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
        let id = created["worker_id"].as_str().unwrap();
        first.die().await;
        let limit = Reached::MaxLifetime(Duration::from_secs(9)).to_data();
        let exit = Output::new(OutputKind::Exit, Source::Wrapper, "the agent ended")
            .with_data(json!({"code": 0, "oom_killed": false, "limit": limit}));
        let output = format!("t:{id}:output");
        let fields = exit.into_entry(1, jiff::Timestamp::now());
        let fields = fields.iter().flat_map(|(name, value)| [*name, &**value]);
        let command: Vec<_> = ["XADD", &output, "*"].into_iter().chain(fields).collect();
        stage.redis(&command).await;
        stage.engine.end(&stage.engine.instances()[0].name, code);
        let second = stage.manager();
        until("its end is recorded", async || {
            let told = stage.ask(&[("command", "status"), ("worker_id", id)]).await;
            told["reason"] == "lifetime limit" && told["status"] == status
        })
        .await;
        assert_eq!(stage.redis(&["XLEN", &output]).await, "1", "the manager had nothing to add");
        second.stop().await;
    }
}
