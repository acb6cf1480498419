//! The document that the manager hands to the wrapper.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use worker_protocol::boot::BootFile;

use crate::redis_server::Redis;
use crate::worker::{Worker, boot, prepare};

fn run_with(document: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut wrapper = Command::new(env!("CARGO_BIN_EXE_worker-wrapper"))
        .arg("--state")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wrapper.stdin.take().unwrap().write_all(document).unwrap();
    wrapper.wait_with_output().unwrap()
}

#[test]
fn a_wrong_document_is_refused_and_not_shown() {
    let wrong = [
        "",
        "hunter2",
        r#"{"worker_id": "hunter2"}"#,
        r#"{"redis": {"url": "", "username": "", "password": "hunter2", "more": "#,
    ];
    for document in wrong {
        let output = run_with(document.as_bytes());
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{document}: {log}");
        assert!(log.contains("/dev/stdin") && log.contains("same version"), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[test]
fn a_worker_that_kept_nothing_cannot_be_started_again() {
    let output = run_with(br#"{"again": {}}"#);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert!(log.contains("cannot be started again") && log.contains("boot.json"), "{log}");
}

#[test]
fn a_document_without_a_program_or_with_a_wrong_address_says_what_is_missing() {
    let redis = Redis::start();
    let mut no_program = boot(&redis, "");
    no_program.agent.command.clear();
    let mut no_address = boot(&redis, "");
    no_address.redis.url = "redis".to_owned();
    for (document, part) in [(no_program, "agent.command"), (no_address, "address of redis")] {
        let output = run_with(&serde_json::to_vec(&document).unwrap());
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{log}");
        assert!(log.contains(part), "{log}");
    }
}

#[test]
fn files_are_there_before_the_agent_is() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = folder.path().join("of/its/own/NOTES.md").to_str().unwrap().to_owned();
    let mut boot = boot(&redis, &format!("cat {path}; exec cat"));
    boot.files = vec![BootFile { path, text: "be brief\n".to_owned() }];
    Worker::start(&redis, &boot).heard("stdout", "be brief");
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let path = file.join("below").to_str().unwrap().to_owned();
    let mut boot = boot(&redis, "exec cat");
    boot.files = vec![BootFile { path: path.clone(), text: String::new() }];
    let output = run_with(&serde_json::to_vec(&boot).unwrap());
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{log}");
    assert!(log.contains(&path), "{log}");
}
