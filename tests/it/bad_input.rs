//! Whatever is written into the commands: one reply, that names the mistake, and the service goes on.

use serde_json::json;

use worker_tests::harness::{Installation, Reply};

const CREATE: [(&str, &str); 3] =
    [("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

/// Fields; the word of the error; what its message names.
type Case<'a> = (Vec<(&'a str, &'a str)>, &'a str, &'a [&'a str]);

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&CREATE, more].concat()
}

fn mistakes(ten_megabytes: &str) -> Vec<Case<'_>> {
    vec![
        (vec![("nonsense", "yes")], "malformed", &["command"]),
        (vec![("command", "craete")], "unknown_command", &["craete", "create"]),
        (vec![("command", "create")], "malformed", &["agent_type", "CLAUDE"]),
        (
            vec![("command", "create"), ("agent_type", "CLADE")],
            "malformed",
            &["agent_type", "CLAUDE"],
        ),
        (vec![("command", "create"), ("agent_type", "CUSTOM")], "malformed", &["agent_command"]),
        (with(&[("promt", "x")]), "malformed", &["promt", "prompt"]),
        (with(&[("modules", "GTI")]), "malformed", &["modules", "GIT"]),
        (with(&[("modules", "GIT;rm -rf /")]), "malformed", &["modules"]),
        (with(&[("worker_id", "seven")]), "malformed", &["worker_id", "UUID"]),
        (with(&[("worker_id", "*")]), "malformed", &["worker_id", "UUID"]),
        (
            with(&[("limits", r#"{"memory": "99999999t"}"#)]),
            "malformed",
            &["limits.memory", "512m"],
        ),
        (with(&[("limits", r#"{"memory": "1k"}"#)]), "malformed", &["limits.memory"]),
        (with(&[("limits", r#"{"cpus": -4}"#)]), "malformed", &["limits.cpus"]),
        (with(&[("limits", r#"{"pids": 1e30}"#)]), "malformed", &["limits.pids"]),
        (with(&[("limits", r#"{"memry": "1g"}"#)]), "malformed", &["memry", "memory"]),
        (with(&[("limits", "lots")]), "malformed", &["limits"]),
        (with(&[("env", r#"{"A B": "x"}"#)]), "malformed", &["env"]),
        (with(&[("headless", "perhaps")]), "malformed", &["headless", "true"]),
        (with(&[("headless", "true")]), "malformed", &["headless", "prompt"]),
        (with(&[("wait", "forever")]), "malformed", &["wait", "running"]),
        (with(&[("wait", "done")]), "malformed", &["wait", "headless"]),
        (with(&[("protocol", "morse")]), "malformed", &["protocol", "lines"]),
        (with(&[("instructions", ten_megabytes)]), "malformed", &["instructions", "10485760"]),
        (with(&[("reply_to", "elsewhere")]), "malformed", &["reply_to", "reply:"]),
        (with(&[("host", "mars")]), "refused", &["host"]),
        (vec![("data", "{no json")], "malformed", &["data"]),
        (vec![("data", "[1, 2]")], "malformed", &["data", "object"]),
        (vec![("data", r#"{"command": "create", "config": 7}"#)], "malformed", &["config"]),
        (vec![("command", "status")], "malformed", &["worker_id"]),
        (vec![("command", "status"), ("worker_id", "seven")], "malformed", &["worker_id", "UUID"]),
        (vec![("command", "delete"), ("worker_id", "")], "malformed", &["worker_id"]),
        (
            vec![("command", "status"), ("worker_id", "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90")],
            "unknown_worker",
            &["0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90"],
        ),
        (
            vec![("command", "delete"), ("worker_id", "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90")],
            "unknown_worker",
            &["0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90"],
        ),
    ]
}

#[test]
fn each_mistake_has_one_reply_that_names_it_and_what_would_be_right() {
    let it = Installation::start();
    let ten_megabytes = "x".repeat(10 << 20);
    let cases = mistakes(&ten_megabytes);
    let entries: Vec<_> = cases.iter().map(|(fields, _, _)| it.send(fields)).collect();
    let last = it.command(&[("command", "ping")]);
    assert!(last.is_ok(), "the service goes on");
    for (entry, (fields, error, names)) in entries.iter().zip(&cases) {
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n, &v[..v.len().min(60)])).collect();
        let reply = it.reply(entry);
        assert!(!reply.is_ok(), "{fields:?}: {reply:?}");
        assert_eq!(reply.get("error"), *error, "{fields:?}: {reply:?}");
        for name in *names {
            assert!(
                reply.get("message").contains(name),
                "{name} is not named: {fields:?}: {reply:?}"
            );
        }
        assert!(reply.get("message").len() < 1000, "{fields:?}: {reply:?}");
        assert_eq!(it.replies(entry).len(), 1, "{fields:?}");
    }
    assert_eq!(it.containers(), Vec::<String>::new(), "nothing was made");
    let pending = it.redis.pending(&it.key("commands"), "worker-manager");
    assert_eq!(pending, 0, "all of them are acknowledged");
}

#[test]
fn what_could_not_be_understood_lies_among_the_dead_without_what_it_held() {
    let it = Installation::start();
    let secret = "hunter2-hunter2";
    let malformed = [
        it.send(&with(&[("enviroment", secret), ("env", r#"{"TOKEN": "hunter2-hunter2"}"#)])),
        it.send(&[(
            "data",
            &format!("{{\"command\": \"create\", \"env\": {{\"TOKEN\": \"{secret}\""),
        )]),
        it.send(&[("command", "do"), ("prompt", secret)]),
    ];
    let understood = it.send(&[("command", "ping")]);
    for entry in malformed.iter().chain([&understood]) {
        it.reply(entry);
    }
    let dead = it.redis.stream(&it.key("commands:dead"));
    assert_eq!(dead.len(), 3, "{dead:?}");
    for (dead, entry) in dead.iter().zip(&malformed) {
        let text = format!("{dead:?}");
        assert!(text.contains(entry), "the entry is named: {text}");
        assert!(!dead.get("error").is_empty() && !dead.get("message").is_empty(), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!it.log().contains("hunter2"), "{}", it.log());
}

#[test]
fn a_document_is_answered_with_a_document() {
    let it = Installation::start();
    let bad =
        it.send_document(&json!({"command": "create", "agent_typ": "CUSTOM", "request_id": "r"}));
    let entry = it.soon("a reply", || {
        it.redis
            .stream(&it.key("responses"))
            .pop()
            .filter(|e| Reply::read(e).get("request_id") == "r")
    });
    assert_eq!(entry.fields.keys().collect::<Vec<_>>(), ["data"]);
    let reply = entry.data();
    assert_eq!(reply["ok"], false);
    assert!(reply["message"].as_str().is_some_and(|m| m.contains("`agent_type`")), "{reply}");
    assert_eq!(it.replies(&bad).len(), 0, "it goes by its own name");
}

#[test]
fn bytes_that_are_no_text_are_refused_by_the_name_of_their_field() {
    let it = Installation::start();
    let entry: String = {
        let script = r"return redis.call('XADD', KEYS[1], '*', 'command', 'create', 'agent_type', '\255\254')";
        it.redis.run(&["EVAL", script, "1", &it.key("commands")])
    };
    let reply = it.reply(&entry);
    assert_eq!(reply.get("error"), "malformed");
    assert!(reply.get("message").contains("agent_type"), "{reply:?}");
}
