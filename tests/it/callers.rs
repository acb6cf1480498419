//! Signed commands, as a shell and this program make them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use worker_tests::harness::{Finished, Installation, Options};

const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md");
const KEY: &str = "5a17c0de5a17c0de5a17c0de5a17c0de";
/// A first build fetches packages.
const RUN: Duration = Duration::from_secs(600);

/// A manager that obeys `team-a` only, with the key in a file.
fn start(folder: &TempDir) -> Installation {
    let key = folder.path().join("team-a.key");
    std::fs::write(&key, format!("{KEY}\n")).expect("a key");
    let file = format!("[callers.team-a]\nkey_file = {key:?}\n");
    let it = Installation::start_with(Options::default().file(&file).without_manager());
    it.start_manager_quietly();
    it.until("a signed ping is answered", RUN, || {
        Some(signing(&it, folder, &["ping"])).filter(|ping| ping.status.success())
    });
    it
}

/// Runs `worker-manager` as `team-a`.
fn signing(it: &Installation, folder: &TempDir, arguments: &[&str]) -> Finished {
    let key = folder.path().join("team-a.key");
    let caller = ["--caller", "team-a", "--caller-key-file", &key.to_string_lossy()];
    it.program("signing", &[&caller, arguments].concat()).finish(RUN)
}

/// The example of docs/wire.md, but for what differs between machines: where Redis is, and the
/// namespace, so that tests do not meet.
fn type_example(it: &Installation, folder: &Path) {
    let wire = std::fs::read_to_string(WIRE).expect("docs/wire.md");
    let example = wire.split("```").find(|block| block.contains("openssl dgst"));
    let example = example.and_then(|block| block.strip_prefix("sh\n")).expect("an example");
    assert!(example.contains("team-a.key") && example.trim_end().lines().count() <= 5);
    let typed = example
        .replace("worker:commands", &it.key("commands"))
        .replace("/1 worker ", &format!("/1 {} ", it.namespace));
    let url = &it.environment.redis_url;
    let shell = format!("redis-cli() {{ command redis-cli --no-auth-warning -u {url} \"$@\"; }}\n");
    let output =
        Command::new("/bin/bash").args(["-c", &(shell + &typed)]).current_dir(folder).output();
    let output = output.expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains('-'), "{typed}: {output:?}");
}

#[test]
fn the_example_works_as_typed_and_not_with_another_key() {
    let folder = TempDir::new().expect("a folder");
    let it = start(&folder);
    type_example(&it, folder.path());
    let reply = it.reply("hello");
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(reply.get("command"), "ping");

    let elsewhere = TempDir::new().expect("a folder");
    std::fs::write(elsewhere.path().join("team-a.key"), KEY.replace('5', "6")).expect("a key");
    type_example(&it, elsewhere.path());
    let rules = || it.replies("hello").iter().map(|reply| reply.get("rule")).collect::<Vec<_>>();
    it.soon("the other key is refused", || {
        rules().contains(&"signature.wrong".to_owned()).then_some(())
    });
    assert!(!it.log().contains(KEY), "the key is in the log");
}

#[test]
fn the_program_itself_signs_what_it_sends() {
    let folder = TempDir::new().expect("a folder");
    let it = start(&folder);
    let task = ["run", "--agent", "CUSTOM", "--agent-command", "cat", "over to you"];
    let refused = it.program("unsigned", &task).finish(RUN);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(it.containers(), Vec::<String>::new());

    let done = signing(&it, &folder, &task);
    assert!(done.status.success(), "{done:?}{}", it.explain());
    assert!(done.stdout.contains("over to you"), "{done:?}");
    let workers = it.events().into_iter().filter(|event| event.get("type") == "worker");
    let callers: Vec<_> = workers.map(|event| event.get("caller").to_owned()).collect();
    assert!(!callers.is_empty() && callers.iter().all(|caller| caller == "team-a"), "{callers:?}");
    assert!(signing(&it, &folder, &["gc", "--dry-run"]).status.success());
}
