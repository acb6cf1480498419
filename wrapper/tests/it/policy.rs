//! What holds an agent to the commands that it may run.

use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use worker_protocol::boot::{BootPolicy, Gate};
use worker_protocol::create::Permissions;
use worker_protocol::{Boot, CommandPattern};

use crate::redis_server::{Entry, Redis, until};
use crate::worker::{WRAPPER, Worker, boot, prepare};

fn policy(allowed: &[&str], gate: Option<Gate>, folder: &Path) -> BootPolicy {
    BootPolicy {
        allowed: allowed.iter().map(|text| CommandPattern::parse(text).unwrap()).collect(),
        permissions: Permissions::Auto,
        gate,
        programs: Vec::new(),
        socket: folder.join("run/gate").to_str().unwrap().to_owned(),
    }
}

/// A folder in which everybody may write.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// A worker whose agent is a shell: each prompt is a line for it.
fn shell(redis: &Redis, policy: BootPolicy) -> (Worker, Boot) {
    shell_by(Path::new(WRAPPER), redis, policy)
}

fn shell_by(wrapper: &Path, redis: &Redis, policy: BootPolicy) -> (Worker, Boot) {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, "");
    boot.agent.command = vec!["/bin/sh".into()];
    boot.policy = Some(policy);
    (Worker::start_by(Command::new(wrapper), redis, &boot), boot)
}

fn data(entry: &Entry) -> Value {
    serde_json::from_str(&entry["data"]).unwrap()
}

#[test]
fn the_kernel_keeps_an_agent_from_what_is_not_allowed() {
    let redis = Redis::start();
    let folder = open_folder();
    let at = folder.path().to_str().unwrap().to_owned();
    let (mut worker, _) = shell(&redis, policy(&["cp", "ln", "cat", "chmod"], None, folder.path()));
    let ready = worker.heard("ready", "");
    assert_eq!(data(&ready)["enforced"], json!(["landlock"]), "{ready:?}");
    for line in [
        format!("touch {at}/by-name"),
        format!("/usr/bin/touch {at}/by-path"),
        format!("sh -c 'touch {at}/by-shell'"),
        format!("eval 'touch {at}/by-eval'"),
        format!("PATH=/usr/bin touch {at}/by-path-variable"),
        format!("cp /usr/bin/touch {at}/copy; {at}/copy {at}/by-copy"),
        format!(
            "cat /usr/bin/touch > {at}/written; chmod 755 {at}/written; {at}/written {at}/by-written"
        ),
        format!(
            "ln -s /usr/bin/touch {at}/cat; {at}/cat {at}/by-link; PATH={at} cat {at}/by-named-link"
        ),
        format!(
            "printf '#!/bin/sh\\n: > {at}/by-script\\n' > {at}/script; chmod 755 {at}/script; {at}/script"
        ),
        format!("cp /etc/passwd {at}/allowed"),
        "echo 'all tried'".to_owned(),
    ] {
        worker.send(&["prompt", &line]);
    }
    worker.heard("stdout", "all tried");
    let made = |prefix: &str| {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with(prefix)).count()
    };
    let said = worker.said();
    assert_eq!((made("by-"), made("allowed")), (0, 1), "{said:?}");
    let refused = said.iter().filter(|entry| entry["content"].ends_with("Permission denied"));
    assert!(refused.count() >= 9, "{said:?}");
}

#[test]
fn a_hook_asks_the_wrapper_and_is_refused_when_nobody_answers() {
    let redis = Redis::start();
    let folder = open_folder();
    let rules = policy(&["git log*"], Some(Gate::Hook), folder.path());
    // Where the agent's user finds it, also when the checkout is in a home that is closed to others.
    let wrapper = folder.path().join("wrapper");
    fs::copy(WRAPPER, &wrapper).unwrap();
    let (mut worker, boot) = shell_by(&wrapper, &redis, rules);
    let (socket, wrapper) = (boot.policy.unwrap().socket, wrapper.display());
    let mut asks = |used: Value, socket: &str| {
        worker.send(&[
            "prompt",
            &format!("{wrapper} hook pretooluse {socket} 2>&1 <<'X'; echo \"code $?\"\n{used}\nX"),
        ]);
        worker.send(&["prompt", "echo"]);
    };
    let bash = |command: &str| json!({"tool_name": "Bash", "tool_input": {"command": command}, "tool_use_id": command});
    asks(bash("git log -1"), &socket);
    asks(bash("git push"), &socket);
    asks(json!({"tool_name": "Read", "tool_input": {"file_path": "x"}}), &socket);
    asks(bash("git log -2"), "/nonexistent");
    asks(json!("nonsense"), &socket);
    let codes: Vec<_> = until("five answers", || {
        let said = worker.said();
        let codes = said.iter().filter_map(|entry| entry["content"].strip_prefix("code "));
        let codes: Vec<_> = codes.map(str::to_owned).collect();
        (codes.len() == 5).then_some(codes)
    });
    assert_eq!(codes, ["0", "2", "0", "2", "2"]);
    let said = worker.said();
    let permissions: Vec<_> = said.iter().filter(|entry| entry["type"] == "permission").collect();
    let [allowed, denied] = permissions[..] else { panic!("{permissions:?}") };
    assert_eq!(data(allowed)["decision"], "allow");
    assert_eq!(
        (&data(denied)["decision"], &data(denied)["id"]),
        (&json!("deny"), &json!("git push"))
    );
    assert!(denied["content"].starts_with("Bash git push: denied"), "{denied:?}");
    assert!(
        said.iter().any(|entry| entry["content"].contains("are: git log*")),
        "the agent is told"
    );

    // Its folder is root's: the agent can connect, and not put another socket in its place.
    let folder = fs::metadata(Path::new(&socket).parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o755);
    UnixStream::connect(&socket).unwrap();
}
