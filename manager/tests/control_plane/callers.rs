//! Signed commands: who is believed, for how long, and how often.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use worker_manager::config::RawConfig;
use worker_manager::engine::Verb;
use worker_protocol::CallerName;
use worker_protocol::signature::{Key, Pair, Signer};

use crate::CUSTOM;
use crate::stage::{Stage, until};

pub(crate) const KEY_A: &str = "the key of team-a, which is a long text";
pub(crate) const KEY_B: &str = "the key of team-b, which is a long text";

/// Two callers; commands have to be signed.
pub(crate) fn two_callers(raw: &mut RawConfig) {
    let callers = format!("[callers]\nteam-a.key = {KEY_A:?}\nteam-b.key = {KEY_B:?}");
    raw.callers = toml::from_str::<RawConfig>(&callers).unwrap().callers;
}

pub(crate) fn signer(name: &str, key: &str) -> Signer {
    Signer { caller: CallerName::parse(name).unwrap(), key: Key::new(key).unwrap() }
}

pub(crate) fn team_a() -> Signer {
    signer("team-a", KEY_A)
}

pub(crate) fn team_b() -> Signer {
    signer("team-b", KEY_B)
}

/// A signed entry, with a list of its own for the reply.
fn signed_at(who: &Signer, fields: &[(&str, &str)], at: Timestamp) -> Vec<Pair> {
    let nonce = worker_protocol::WorkerId::new().to_string();
    let list = format!("t:reply:{nonce}");
    let all = fields.iter().copied().chain([("reply_to", list.as_str())]);
    let mut entry = all.map(|(name, value)| (name.to_owned(), value.into())).collect();
    who.sign(&mut entry, "t", at, &nonce);
    entry
}

fn signed(who: &Signer, fields: &[(&str, &str)]) -> Vec<Pair> {
    signed_at(who, fields, Timestamp::now())
}

/// Sends an entry as it is, and waits for its reply.
async fn ask_as_it_is(stage: &Stage, entry: &[Pair]) -> Value {
    let (_, list) = entry.iter().find(|(name, _)| name == "reply_to").unwrap();
    let list = String::from_utf8(list.clone()).unwrap();
    stage.store().send(entry).await.unwrap();
    let mut text = String::new();
    until("it is answered", async || {
        text = stage.redis(&["LPOP", &list]).await;
        !text.is_empty()
    })
    .await;
    serde_json::from_str(&text).unwrap()
}

pub(crate) async fn ask(stage: &Stage, who: &Signer, fields: &[(&str, &str)]) -> Value {
    ask_as_it_is(stage, &signed(who, fields)).await
}

fn rule(reply: &Value) -> &str {
    assert_eq!((&reply["ok"], &reply["error"]), (&json!(false), &json!("refused")), "{reply}");
    let rule = reply["rule"].as_str().unwrap();
    assert!(reply["message"].as_str().unwrap().contains(rule), "{reply}");
    rule
}

#[tokio::test]
async fn who_signs_is_obeyed_in_both_forms_and_the_worker_is_marked() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(two_callers);
    let create = [&CUSTOM[..], &[("wait", "running")]].concat();
    let created = ask(&stage, &team_a(), &create).await;
    assert_eq!(created["status"], "RUNNING", "{created}");
    let id = created["worker_id"].as_str().unwrap();
    assert_eq!(stage.redis(&["HGET", &format!("t:{id}"), "caller"]).await, "team-a");
    let labels = &stage.engine.instances()[0].labels;
    assert_eq!(labels["io.worker-manager.caller"], "team-a");

    let data = json!({"command": "ping", "request_id": "d1"}).to_string();
    let mut entry = vec![("data".to_owned(), data.into_bytes())];
    team_a().sign(&mut entry, "t", Timestamp::now(), "n");
    stage.store().send(&entry).await.unwrap();
    until("the document is answered", async || {
        let replies = stage.redis(&["XREVRANGE", "t:responses", "+", "-", "COUNT", "1"]).await;
        replies.contains(r#""request_id":"d1""#) && replies.contains(r#""ok":true"#)
    })
    .await;
    manager.stop().await;
}

#[tokio::test]
async fn a_signature_that_proves_nothing_is_told_which_rule_it_breaks() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(two_callers);
    let ping = [("command", "ping")];
    assert_eq!(rule(&stage.ask(&ping).await), "signature.missing");
    assert_eq!(rule(&ask(&stage, &signer("team-c", KEY_A), &ping).await), "signature.caller");
    assert_eq!(rule(&ask(&stage, &signer("team-a", KEY_B), &ping).await), "signature.wrong");
    for far in [-120, 120] {
        let at = Timestamp::now() + SignedDuration::from_secs(far);
        let reply = ask_as_it_is(&stage, &signed_at(&team_a(), &ping, at)).await;
        assert_eq!(rule(&reply), "signature.time");
    }
    let mut changed = signed(&team_a(), &[("command", "list")]);
    changed[0].1 = b"gc".to_vec();
    assert_eq!(rule(&ask_as_it_is(&stage, &changed).await), "signature.wrong");
    // Nothing of it is remembered, or put aside.
    assert_eq!(stage.redis(&["KEYS", "t:request*"]).await, "");
    assert_eq!(stage.redis(&["EXISTS", "t:commands:dead"]).await, "0");
    assert!(stage.nothing_is_pending().await);
    manager.stop().await;
}

#[tokio::test]
async fn an_entry_that_is_copied_acts_once() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(two_callers);
    let entry = signed(&team_a(), &[&CUSTOM[..], &[("wait", "running")]].concat());
    assert_eq!(ask_as_it_is(&stage, &entry).await["ok"], true);
    assert_eq!(rule(&ask_as_it_is(&stage, &entry).await), "signature.replay");
    let mut shouted = entry.clone();
    let (_, signature) = shouted.iter_mut().find(|(name, _)| name == "signature").unwrap();
    signature.make_ascii_uppercase();
    assert_eq!(rule(&ask_as_it_is(&stage, &shouted).await), "signature.replay");
    manager.stop().await;
    // And for a manager that has nothing in memory.
    let manager = stage.manager_with(two_callers);
    assert_eq!(rule(&ask_as_it_is(&stage, &entry).await), "signature.replay");
    assert_eq!(stage.engine.count(Verb::Create), 1);
    manager.stop().await;
}

#[tokio::test]
async fn an_entry_that_was_accepted_stays_so_for_the_next_manager_however_late() {
    let stage = Stage::open().await;
    let first = stage.manager_with(two_callers);
    stage.engine.hold(Verb::Build);
    let create = [&CUSTOM[..], &[("request_id", "r1")]].concat();
    assert_eq!(ask(&stage, &team_a(), &create).await["ok"], true);
    until("the build is asked for", async || stage.engine.count(Verb::Build) == 1).await;
    first.die().await;
    stage.engine.let_go(Verb::Build);
    let second = stage.manager_with(|raw| {
        two_callers(raw);
        raw.signature_window = Some("1ms".to_owned());
    });
    until("the worker runs", async || stage.engine.count(Verb::Start) == 1).await;
    until("nothing is left to do", async || stage.nothing_is_pending().await).await;
    assert_eq!(stage.replies_to("r1").await, 1);
    // What it has not seen yet is judged by its own clock.
    let late = ask(&stage, &team_a(), &[("command", "ping")]).await;
    assert_eq!(rule(&late), "signature.time");
    second.stop().await;
}

#[tokio::test]
async fn a_command_that_waits_while_one_manager_follows_another_is_carried_out_once() {
    let stage = Stage::open().await;
    let first = stage.manager_with(two_callers);
    assert_eq!(ask(&stage, &team_a(), &[("command", "ping")]).await["ok"], true);
    let second = stage.manager_with(two_callers);
    first.die().await;
    let entry = signed(&team_a(), &CUSTOM);
    assert_eq!(ask_as_it_is(&stage, &entry).await["ok"], true);
    assert_eq!(rule(&ask_as_it_is(&stage, &entry).await), "signature.replay");
    until("one is made", async || stage.engine.count(Verb::Start) == 1).await;
    second.stop().await;
}

#[tokio::test]
async fn nobody_reads_what_was_answered_to_another_caller() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(|raw| {
        two_callers(raw);
        raw.require_signatures = Some(false);
    });
    let create = [&CUSTOM[..], &[("request_id", "r1"), ("wait", "running")]].concat();
    let of_a = ask(&stage, &team_a(), &create).await;
    let of_b = ask(&stage, &team_b(), &[("command", "ping"), ("request_id", "r1")]).await;
    assert_eq!((&of_b["command"], &of_b["worker_id"]), (&json!("ping"), &Value::Null));
    // Nor by calling a request as a caller's request is called.
    for id in ["r1", "team-a:r1"] {
        let unsigned = stage.ask(&[("command", "ping"), ("request_id", id)]).await;
        assert_eq!((&unsigned["command"], &unsigned["ok"]), (&json!("ping"), &json!(true)));
    }
    let again = ask(&stage, &team_a(), &create).await;
    assert_eq!(again, of_a, "its own request is answered as before");
    assert_eq!(stage.engine.count(Verb::Create), 1);
    manager.stop().await;
}

#[tokio::test]
async fn five_thousand_unsigned_entries_are_each_answered_once_and_leave_nothing() {
    const ENTRIES: usize = 5_000;
    let stage = Stage::open().await;
    stage.flood(ENTRIES).await;
    let manager = stage.manager_with(two_callers);
    let ping = ask(&stage, &team_a(), &[("command", "ping")]).await;
    assert_eq!(ping["ok"], true);
    assert_eq!(stage.replies_to("flood").await, ENTRIES);
    assert!(stage.nothing_is_pending().await);
    assert_eq!(stage.redis(&["KEYS", "t:request:*"]).await, "");
    assert_eq!(stage.redis(&["EXISTS", "t:commands:dead"]).await, "0");
    manager.stop().await;
}

#[tokio::test]
async fn what_was_put_aside_can_be_tried_again_by_an_operator() {
    let stage = Stage::open().await;
    let manager = stage.manager_with(two_callers);
    let blocked = "t:requests:team-a:r1";
    stage.redis(&["SET", blocked, "mine"]).await;
    let create = [&CUSTOM[..], &[("request_id", "r1")]].concat();
    assert_eq!(ask(&stage, &team_a(), &create).await["error"], "internal");
    stage.redis(&["DEL", blocked]).await;
    let dead = stage.store().dead().await.unwrap();
    assert_eq!(dead[0].text("caller"), "team-a");
    stage.store().retry_dead(&dead[0]).await.unwrap();
    until("the worker is made", async || stage.engine.count(Verb::Start) == 1).await;
    manager.stop().await;
}
