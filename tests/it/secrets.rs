//! A secret is where the agent is, and nowhere else.

use worker_tests::harness::{Installation, Options, docker};

const KEY: &str = "sk-ant-hunter2-of-the-operator";
const TOKEN: &str = "hunter2-of-the-caller";

#[test]
fn secrets_are_in_no_label_record_event_reply_log_or_image() {
    let it = Installation::start_with(
        Options::default().set("ANTHROPIC_API_KEY", KEY).set("WORKER_LOG", "trace"),
    );
    let env = format!(r#"{{"TOKEN": "{TOKEN}"}}"#);
    let proof = r#"@model tool Bash {"command": "printf %s \"$TOKEN\" | sha256sum; env | grep -c ^ANTHROPIC_API_KEY="}
@model then
@model quote"#;
    let worker = it.worker(&[("agent_type", "CLAUDE"), ("env", &env), ("prompt", proof)]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert!(
        end.content().contains("  -\n1"),
        "the agent has what the caller gave, and a token: {end:?}"
    );
    worker.status();
    it.reply(&it.send(&[
        ("command", "create"),
        ("env", &env),
        ("agent_type", "CLAUDE"),
        ("tokn", TOKEN),
    ]));
    it.reply(&it.send(&[("data", &format!("{{\"env\": {env}"))]));

    let inspect = docker(&["inspect", &worker.name()]);
    assert_hidden("the container", &inspect);
    for image in it.images() {
        assert_hidden("the image", &docker(&["inspect", &image]));
        assert_hidden("the image's history", &docker(&["history", "--no-trunc", &image]));
    }
    assert_hidden("the container's log", &docker(&["logs", &worker.name()]));
    worker.delete();
    for key in it.redis.keys(&it.key("*")) {
        let commands = key == it.key("commands");
        let kind: String = it.redis.run(&["TYPE", &key]);
        let content = match kind.as_str() {
            // The command itself is its sender's, until it is trimmed.
            "stream" if commands => String::new(),
            "stream" => format!("{:?}", it.redis.stream(&key)),
            "hash" => format!("{:?}", it.redis.run::<Vec<String>>(&["HGETALL", &key])),
            "string" => it.redis.run::<String>(&["GET", &key]),
            _ => String::new(),
        };
        assert_hidden(&key, &content);
    }
    it.manager().stop();
    assert_hidden("the manager's log", &it.log());
    assert!(it.log().len() > 100, "the log says something");
}

fn assert_hidden(place: &str, text: &str) {
    for secret in [KEY, TOKEN] {
        if let Some(at) = text.find(secret) {
            let around = text[..at].chars().rev().take(200).collect::<String>();
            panic!("{place} shows a secret, after: {}", around.chars().rev().collect::<String>());
        }
    }
}
