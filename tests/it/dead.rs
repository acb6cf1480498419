//! Commands that were put aside, as an operator sees them.

use std::time::Duration;
use worker_tests::harness::{Finished, Installation};

const SOON: Duration = Duration::from_secs(30);

fn dead(it: &Installation, name: &str, arguments: &[&str]) -> Finished {
    it.program(name, &[&["dead"], arguments].concat()).finish(SOON)
}

#[test]
fn an_operator_sees_tries_again_and_forgets_what_was_put_aside() {
    let it = Installation::start();
    let secret = [("command", "creat"), ("request_id", "r1"), ("env", r#"{"T": "hunter2"}"#)];
    it.send(&secret);
    assert_eq!(it.reply("r1").get("error"), "unknown_command");
    let listed = dead(&it, "list", &["list"]);
    assert!(listed.status.success(), "{listed:?}");
    let row = listed.stdout.lines().nth(1).expect("a row").to_owned();
    assert!(row.contains("creat") && row.contains("r1") && row.contains("did you mean"), "{row}");
    assert!(!listed.stdout.contains("hunter2"));
    let id = row.split(' ').next().expect("an id");

    let wrong = dead(&it, "wrong", &["retry", id, "1-1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("nothing dead has the id 1-1"), "{wrong:?}");
    assert_eq!(it.replies("r1").len(), 1, "then none is tried");

    assert!(dead(&it, "retry", &["retry", id]).status.success());
    it.soon("a second reply", || (it.replies("r1").len() == 2).then_some(()));
    let json = dead(&it, "json", &["list", "--json"]).stdout;
    let line: serde_json::Value = serde_json::from_str(json.trim()).expect("one line of JSON");
    assert_eq!((&line["request_id"], &line["command"]), (&"r1".into(), &"creat".into()));
    assert_ne!(line["id"], *id);

    let _: i64 = it.redis.run(&["XTRIM", &it.key("commands"), "MAXLEN", "0"]);
    let gone = dead(&it, "gone", &["retry", "--all"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(gone.stderr.contains("send the command again"), "{gone:?}");
    assert_eq!(dead(&it, "drop", &["drop", "--all"]).stdout.trim(), "1 dropped");
    assert_eq!(dead(&it, "empty", &["list"]).stdout.lines().count(), 1, "the heads alone");
}
