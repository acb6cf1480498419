//! Walls besides the usual ones, where the operator's engine has them: users of its own for
//! containers, and other runtimes.

use std::time::Duration;
use worker_tests::harness::{Installation, Options, PrivateEngine, Templates};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn where_root_in_containers_is_nobody_workers_do_all_that_they_do_elsewhere() {
    let engine = PrivateEngine::with_user_namespaces();
    let templates = Templates::quick();
    let it = Installation::start_with(Options::default().engine(&engine).templates(&templates));
    let command = serde_json::json!([
        "/bin/sh",
        "-c",
        "
        cat /proc/self/uid_map | sed 's/^ */users /; s/  */ /g'
        id -u | sed 's/^/as /'
        for folder in /tmp /var/tmp /workspace ~; do
          echo text >>$folder/file && echo may write $folder
        done
        cat /etc/worker/AGENTS.md; echo
        exec cat"
    ])
    .to_string();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", &command),
        ("instructions", "as the caller wrote them"),
    ]);
    let check = |run: usize| {
        worker.prompt("all said");
        it.soon("what it may", || {
            let stdout = worker.stdout();
            let times = |line: &str| stdout.lines().filter(|said| *said == line).count() == run;
            let said = [
                "users 0 300000 65536",
                "as 1000",
                "may write /tmp",
                "may write /var/tmp",
                "may write /workspace",
                "may write /home/worker",
                "as the caller wrote them",
                "all said",
            ];
            said.iter().all(|line| times(line)).then_some(())
        });
    };
    check(1);
    let send = |command: &str| it.command(&[("command", command), ("worker_id", &worker.id)]);
    assert!(send("stop").is_ok());
    worker.becomes("STOPPED");
    assert!(send("start").is_ok());
    check(2);
    assert_eq!(worker.user("wc -l </workspace/file"), "2", "what it wrote outlives a stop");

    let doctor = it.program("doctor", &["doctor"]).finish(LIMIT);
    assert!(doctor.stdout.contains("kept from root by userns"), "{}", doctor.stdout);
    worker.delete();
    drop(it);
}

#[test]
fn workers_are_run_by_the_runtime_that_the_operator_names() {
    let engine = PrivateEngine::with("--add-runtime=another=runc");
    let templates = Templates::quick();
    let options = Options::default().engine(&engine).templates(&templates);
    let options = options.set("WORKER_RUNTIME", "another");
    let it = Installation::start_with(options);
    let worker = it.script("exec cat");
    let runtime = ["inspect", "--format", "{{.HostConfig.Runtime}}", &worker.name()];
    assert_eq!(it.engine.ask(&runtime), "another");
    drop(it);
}

#[test]
fn a_runtime_that_the_engine_has_not_got_is_told_at_the_start() {
    let options = Options::default().set("WORKER_RUNTIME", "runsc").without_manager();
    let it = Installation::start_with(options);
    let refused = it.program("refused", &["serve"]).finish(LIMIT);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    for part in ["WORKER_RUNTIME", "runsc", "has only", "runc"] {
        assert!(refused.stderr.contains(part), "{part} is missing: {refused:?}");
    }
}
