//! The README's example, typed into a shell with the real `redis-cli`.

use std::process::Command;
use std::time::Duration;

use worker_tests::harness::Installation;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// A first build fetches packages and an agent.
const FIRST: Duration = Duration::from_secs(600);

/// The example, one command a line.
const FLAT: [&str; 6] = [
    "redis-cli XADD worker:commands '*' command create agent_type CLAUDE modules GIT,CURL instructions 'Be brief.' prompt 'Say hello.' request_id r1",
    "redis-cli XREAD BLOCK 60000 STREAMS worker:responses 0",
    "redis-cli XREAD BLOCK 60000 STREAMS worker:<id>:output 0",
    "redis-cli XADD worker:<id>:input '*' prompt 'Now say goodbye.'",
    "redis-cli XADD worker:commands '*' command status worker_id <id>",
    "redis-cli XADD worker:commands '*' command delete worker_id <id>",
];

const DOCUMENT: [&str; 6] = [
    r#"redis-cli XADD worker:commands '*' data '{"command": "create", "request_id": "r1", "config": {"agent_type": "claude", "modules": ["git", "curl"], "instructions": "Be brief.", "prompt": "Say hello."}}'"#,
    "redis-cli XREAD BLOCK 60000 STREAMS worker:responses 0",
    "redis-cli XREAD BLOCK 60000 STREAMS worker:<id>:output 0",
    r#"redis-cli XADD worker:<id>:input '*' data '{"prompt": "Now say goodbye."}'"#,
    r#"redis-cli XADD worker:commands '*' data '{"command": "status", "worker_id": "<id>"}'"#,
    r#"redis-cli XADD worker:commands '*' data '{"command": "delete", "worker_id": "<id>"}'"#,
];

#[test]
fn the_example_works_as_typed_with_a_field_for_each_key() {
    play(&FLAT);
}

#[test]
fn the_example_works_with_a_document() {
    play(&DOCUMENT);
}

#[test]
fn the_readme_shows_the_example() {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = std::fs::read_to_string(README).expect("a README");
    let readme = one_line(&readme.replace("\\\n", " "));
    for line in FLAT {
        let words = one_line(line);
        assert!(readme.contains(&words), "the README lacks: {line}");
    }
}

fn play([create, responses, output, prompt, status, delete]: &[&str; 6]) {
    let it = Installation::start();
    type_in(&it, create, "");
    let reply =
        wait(&it, responses, "", |text| text.contains("\nr1\n") || text.contains(r#""r1""#));
    let id = after(&reply, "worker_id");

    let said = wait(&it, output, &id, |text| turns_in(text) == 1);
    assert!(said.contains("You said: Say hello."), "{said}");
    assert!(type_in(&it, prompt, &id).contains('-'), "an entry id");
    let said = wait(&it, output, &id, |text| turns_in(text) == 2);
    assert!(said.contains("You said: Now say goodbye."), "{said}");

    type_in(&it, status, &id);
    let replies = wait(&it, responses, "", |text| text.contains("RUNNING"));
    assert!(replies.contains("ip_address"), "{replies}");
    type_in(&it, delete, &id);
    wait(&it, responses, "", |text| text.contains("STOPPED"));
    assert_eq!(it.containers(), Vec::<String>::new());
}

fn turns_in(output: &str) -> usize {
    output.lines().filter(|line| *line == "turn_completed").count()
}

/// Types a line. Only what differs between machines is replaced: the port, and the namespace, so
/// that tests do not meet.
fn type_in(it: &Installation, line: &str, id: &str) -> String {
    let line = line.replace("worker:", &it.key("")).replace("<id>", id);
    let url = url_parts(&it.environment.redis_url);
    let shell =
        format!("redis-cli() {{ command redis-cli -h {} -p {} \"$@\"; }}; {line}", url.0, url.1);
    let output =
        Command::new("/bin/bash").args(["-c", &shell]).env("REDISCLI_AUTH", url.2).output();
    let output = output.expect("a shell");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Host, port and password.
fn url_parts(url: &str) -> (&str, &str, &str) {
    let rest = url.strip_prefix("redis://").expect("a redis URL");
    let (credentials, address) = rest.rsplit_once('@').unwrap_or(("", rest));
    let address = address.split('/').next().unwrap_or(address);
    let (host, port) = address.split_once(':').unwrap_or((address, "6379"));
    (host, port, credentials.split_once(':').map_or("", |(_, password)| password))
}

/// Types a reading line until it shows what is waited for.
fn wait(it: &Installation, line: &str, id: &str, seen: impl Fn(&str) -> bool) -> String {
    it.until(line, FIRST, || Some(type_in(it, line, id)).filter(|text| seen(text)))
}

/// The value of a name: on the next line in the one form, behind a colon in the other.
fn after(text: &str, name: &str) -> String {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    let hex = |c: char| c.is_ascii_hexdigit() || c == '-';
    let value = rest.trim_start_matches(|c: char| !hex(c));
    value.chars().take_while(|c| hex(*c)).collect()
}
