//! What Redis lets a worker's user do: every command that it has is sent.

use redis::Value;
use redis::aio::MultiplexedConnection;
use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::Boot;
use worker_protocol::boot::BootKeys;

use crate::CUSTOM;
use crate::stage::Stage;

/// What a wrapper needs, each on keys of its own.
const ALLOWED: [&str; 8] =
    ["ping", "set", "xack", "xadd", "xpending", "xreadgroup", "xrevrange", "xtrim"];
/// What Redis lets everybody do, let in or not: come, go, and begin anew.
const FOR_ALL: [&str; 4] = ["auth", "hello", "quit", "reset"];

/// Every command, subcommands as `acl|setuser`, with the least number of words that it has.
fn commands(table: &Value, found: &mut BTreeMap<String, usize>) {
    let Value::Array(rows) = table else { return };
    for command in rows {
        let Value::Array(fields) = command else { continue };
        let subcommands = fields.get(9);
        if matches!(subcommands, Some(Value::Array(some)) if !some.is_empty()) {
            subcommands.into_iter().for_each(|table| commands(table, found));
            continue;
        }
        let name: String = redis::from_redis_value_ref(&fields[0]).unwrap();
        let words: i64 = redis::from_redis_value_ref(&fields[1]).unwrap();
        found.insert(name, usize::try_from(words.unsigned_abs()).unwrap());
    }
}

/// Whether Redis takes it, and be it to say that it makes no sense. It refuses `EXEC` in the words
/// of an aborted transaction, and `DEBUG` and `MODULE` to everybody.
async fn is_let_through(connection: &mut MultiplexedConnection, words: &[&str]) -> bool {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    match command.query_async::<Value>(connection).await {
        Err(error) => {
            let said = error.to_string();
            !["no permissions", "command not allowed"].iter().any(|refusal| said.contains(refusal))
        }
        Ok(_) => true,
    }
}

/// What a wrapper's commands look like with this key.
fn lines(key: &str) -> [String; 7] {
    [
        format!("XREADGROUP GROUP wrapper w STREAMS {key} >"),
        format!("XACK {key} wrapper 0-1"),
        format!("XTRIM {key} MINID 0-1"),
        format!("XPENDING {key} wrapper"),
        format!("XADD {key} * a b"),
        format!("XREVRANGE {key} + -"),
        format!("SET {key} a"),
    ]
}

/// Those of them that the user may send.
async fn may_on(stage: &Stage, user: &str, key: &str) -> Vec<String> {
    let mut may = Vec::new();
    for line in lines(key) {
        let words: Vec<_> = ["ACL", "DRYRUN", user].into_iter().chain(line.split(' ')).collect();
        if stage.redis(&words).await == "OK" {
            may.push(words[3].to_owned());
        }
    }
    may
}

async fn boots(stage: &Stage) -> Vec<Boot> {
    for _ in 0..2 {
        let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
        assert_eq!(created["status"], "RUNNING", "{created}");
    }
    let instances = stage.engine.instances();
    let boot = |name| serde_json::from_slice(&stage.engine.input(name).unwrap()).unwrap();
    instances.iter().map(|found| boot(&found.name)).collect()
}

#[tokio::test]
async fn of_all_commands_a_workers_user_may_send_those_that_its_wrapper_needs_and_no_other() {
    let stage = Stage::open().await;
    let manager = stage.manager();
    let own = boots(&stage).await.swap_remove(0);
    let mut connection = stage.connect_as(&own.redis.username, own.redis.password.reveal()).await;
    let mut all = BTreeMap::new();
    commands(&stage.redis_value(&["COMMAND"]).await, &mut all);
    assert!(all.len() > 300, "{} commands are known, with subcommands", all.len());
    let BootKeys { input, output, heartbeat } = &own.keys;
    let mut may = BTreeSet::new();
    for (name, count) in all.iter().filter(|(name, _)| !FOR_ALL.contains(&name.as_str())) {
        for key in [input, output, heartbeat] {
            let mut words: Vec<_> = name.split('|').collect();
            words.resize(words.len().max(*count), key);
            if is_let_through(&mut connection, &words).await {
                may.insert(name.as_str());
            }
        }
    }
    assert_eq!(may, BTreeSet::from(ALLOWED));
    manager.stop().await;
}

#[tokio::test]
async fn a_workers_user_reaches_its_own_keys_and_each_in_one_way() {
    let stage = Stage::open().await;
    // A Redis whose users may listen to all channels, unless it is told otherwise.
    stage.redis(&["CONFIG", "SET", "acl-pubsub-default", "allchannels"]).await;
    let manager = stage.manager();
    let both = boots(&stage).await;
    let (own, other) = (&both[0], &both[1]);
    let user = own.redis.username.as_str();
    let input = may_on(&stage, user, &own.keys.input).await;
    assert_eq!(input, ["XREADGROUP", "XACK", "XTRIM", "XPENDING"]);
    assert_eq!(may_on(&stage, user, &own.keys.output).await, ["XADD", "XREVRANGE"]);
    assert_eq!(may_on(&stage, user, &own.keys.heartbeat).await, ["SET"]);
    let others = [&other.keys.input, &other.keys.output, &other.keys.heartbeat];
    let words = [
        "commands",
        "responses",
        "events",
        "index",
        "images",
        "gateway",
        "gateway:spent",
        "fence:local",
        "lease:local",
        "request:x",
        "reply:x",
    ];
    let shared = words.map(|word| format!("t:{word}"));
    let records = [own.worker_id, other.worker_id].map(|id| format!("t:{id}"));
    for key in others.into_iter().chain(&shared).chain(&records) {
        assert_eq!(may_on(&stage, user, key).await, [""; 0], "{key}");
    }
    let told = stage.redis(&["ACL", "GETUSER", user]).await;
    assert!(told.contains("channels") && !told.contains("&*"), "{told}");
    manager.stop().await;
}
