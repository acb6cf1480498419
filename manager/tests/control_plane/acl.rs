//! The Redis user that docs/operations.md gives to the manager.

use worker_manager::store::Retried;

use crate::CUSTOM;
use crate::stage::{Stage, until};

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// The rules as they stand there, for the namespace of these tests.
fn rules() -> Vec<String> {
    let (_, rest) = OPERATIONS.split_once("ACL SETUSER manager").unwrap();
    let (rules, _) = rest.split_once("```").unwrap();
    rules.split_whitespace().map(|rule| rule.replace("~worker:", "~t:")).collect()
}

#[tokio::test]
async fn the_user_that_the_manual_gives_may_do_all_that_the_manager_does() {
    let stage = Stage::open().await;
    let rules = rules();
    let user = ["ACL", "SETUSER", "manager"].into_iter().chain(rules.iter().map(String::as_str));
    assert_eq!(stage.redis(&user.collect::<Vec<_>>()).await, "OK");
    let url = stage.url().replace("://", "://manager:a-password@");
    let manager = stage.manager_with(|raw| raw.redis_url = Some(url.clone()));
    let created =
        stage.ask(&[&CUSTOM[..], &[("wait", "running"), ("prompt", "hi")]].concat()).await;
    let id = created["worker_id"].as_str().unwrap();
    for command in ["status", "interrupt", "stop", "start", "delete"] {
        let reply = stage.ask(&[("command", command), ("worker_id", id)]).await;
        assert_eq!(reply["ok"], true, "{reply}");
    }
    for command in ["list", "gc", "ping"] {
        assert_eq!(stage.ask(&[("command", command)]).await["ok"], true);
    }
    stage.swallow("s1").await;
    until("it is taken over", async || stage.nothing_is_pending().await).await;
    manager.stop().await;

    let store = stage.store_at(&url);
    for fate in ["retry", "drop"] {
        stage.redis(&["XADD", "t:commands", "*", "command", fate]).await;
    }
    let manager = stage.manager_with(|raw| raw.redis_url = Some(url.clone()));
    until("both are put aside", async || store.dead().await.unwrap().len() == 2).await;
    let dead = store.dead().await.unwrap();
    assert!(matches!(store.retry_dead(&dead[0]).await.unwrap(), Retried::As(_)));
    store.drop_dead(&dead[1]).await.unwrap();
    manager.stop().await;
    let refused = stage.redis(&["ACL", "LOG"]).await;
    assert_eq!(refused, "", "nothing was refused");
}
