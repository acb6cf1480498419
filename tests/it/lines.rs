//! The `lines` protocol: any program that reads lines and prints lines.

use serde_json::json;

use worker_tests::harness::{Installation, Worker, assert_numbered};

const CAT: &[(&str, &str)] = &[("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

fn cat<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    it.worker(&[CAT, fields].concat())
}

#[test]
fn a_prompt_becomes_a_line_in_and_a_line_out() {
    let it = Installation::start();
    let worker = cat(&it, &[("prompt", "one")]);
    let one = worker.first_prompt();
    let two = worker.input(&[("type", "prompt"), ("content", "two")]);
    let three = worker.input(&[("data", r#"{"type": "prompt", "content": "three"}"#)]);
    worker.prints("three");
    for turn in [&one, &two, &three] {
        assert_eq!(worker.turn_end(turn).data()["outcome"], "success");
    }
    let output = worker.output();
    assert_numbered(&output);
    assert_eq!(output[0].kind(), "ready");
    assert_eq!(output[0].data()["protocol"], "lines", "{:?}", output[0]);
    assert_eq!(worker.stdout(), "one\ntwo\nthree");
    assert_eq!(worker.prints("one").get("source"), "agent");
    let started: Vec<_> = worker.said("turn_started");
    assert_eq!(started.iter().map(|e| e.get("turn")).collect::<Vec<_>>(), [&one, &two, &three]);
}

#[test]
fn environment_instructions_and_modules_are_in_the_worker() {
    let it = Installation::start();
    let script = "echo greeting=$GREETING; git --version; curl --version; cat /etc/worker/AGENTS.md; \
                  pwd; id -u; exec cat";
    let worker = it.worker(&[
        ("agent_type", "custom"),
        ("agent_command", script),
        ("modules", r#"["git", "curl"]"#),
        ("env", r#"{"GREETING": "servus"}"#),
        ("instructions", "Be brief."),
    ]);
    worker.prompt("end of the script");
    worker.prints("end of the script");
    let stdout = worker.stdout();
    for line in ["greeting=servus", "git version 2", "curl 7", "Be brief.", "/workspace", "1000"] {
        assert!(stdout.contains(line), "{line} is missing in:\n{stdout}");
    }
}

#[test]
fn stderr_is_told_apart_from_stdout() {
    let it = Installation::start();
    let worker = it.script("echo fine; echo oh dear >&2; exec cat");
    assert_eq!(worker.comes_to("stderr").content(), "oh dear");
    assert_eq!(worker.comes_to("stdout").content(), "fine");
}

#[test]
fn a_flood_arrives_whole_and_in_order() {
    let it = Installation::start();
    let worker = it.script("read go; seq 1 8000; exec cat");
    worker.prompt("go");
    worker.says("the last line", |e| e.kind() == "stdout" && e.content() == "8000");
    let numbers: Vec<_> = worker.said("stdout").iter().map(|e| e.content().to_owned()).collect();
    let right: Vec<_> = (1..=8000).map(|number| number.to_string()).collect();
    assert_eq!(numbers, right);
    assert_numbered(&worker.output());
}

#[test]
fn a_prompt_of_a_megabyte_arrives_whole_and_in_one_line() {
    let it = Installation::start();
    let worker = cat(&it, &[]);
    let long = "0123456789abcdef".repeat(1 << 16);
    worker.prompt(&long);
    assert!(worker.comes_to("stdout").content() == long, "it came back changed");
}

#[test]
fn a_line_that_is_no_text_and_a_line_without_an_end_arrive_too() {
    let it = Installation::start();
    let worker = it.script(r"read go; printf 'a\377b\n'; printf 'no end'; exit 0");
    worker.prompt("go");
    worker.comes_to("exit");
    let lines: Vec<_> = worker.said("stdout").iter().map(|e| e.content().to_owned()).collect();
    assert_eq!(lines, ["a\u{fffd}b", "no end"]);
}

#[test]
fn an_input_that_is_wrong_gives_an_error_and_the_next_prompt_works() {
    let it = Installation::start();
    let worker = cat(&it, &[]);
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("type", "promt"), ("content", "x")], "prompt"),
        (&[("type", "prompt")], "content"),
        (&[("data", "{no json")], "data"),
        (&[("prompt", "x"), ("colour", "red")], "colour"),
    ];
    for (index, (fields, names)) in cases.iter().enumerate() {
        worker.input(fields);
        let error = it.soon(&format!("the error about {names}"), || {
            worker.said("error").into_iter().nth(index)
        });
        assert!(error.content().contains(names), "{names} is not named: {error:?}");
    }
    worker.prompt("good");
    worker.prints("good");
    assert_eq!(worker.stdout(), "good", "nothing of the others went to the agent");
}

#[test]
fn the_heartbeat_lives_with_the_worker_and_expires() {
    let it = Installation::start();
    let worker = cat(&it, &[("prompt", "one")]);
    worker.prints("one");
    let ttl: i64 = it.redis.run(&["PTTL", &worker.key("heartbeat")]);
    assert!(ttl > 0, "the heartbeat has an expiry: {ttl}");
    let beat = it.soon("the turn in the heartbeat", || {
        let beat: Option<String> = it.redis.run(&["GET", &worker.key("heartbeat")]);
        let beat: serde_json::Value = serde_json::from_str(&beat?).expect("JSON");
        (beat["turns"] == 1).then_some(beat)
    });
    assert!(beat["last_activity_at"].is_string(), "{beat}");
    assert_eq!(worker.status().get("turns"), json!(1).to_string());
}
