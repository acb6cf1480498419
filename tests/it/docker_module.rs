//! An engine of the worker's own, by the operator's policy: it knows nothing of the host's. That it
//! is refused without one, `modules` shows.

use std::time::Duration;

use crate::modules::assert_sizes;
use worker_tests::harness::{Installation, Options, Worker, docker};

/// The engine's packages are fetched the first time.
const LONG: Duration = Duration::from_secs(600);

fn prints_within<'a>(it: &'a Installation, worker: &Worker<'a>, text: &str) -> String {
    it.until(&format!("the line {text:?}"), LONG, || {
        let output = worker.output();
        let line = output.iter().find(|entry| entry.content().contains(text));
        line.map(|entry| entry.content().to_owned())
    })
}

#[test]
fn a_runtime_that_the_engine_has_not_got_is_named() {
    let it = Installation::start_with(Options::default().set("WORKER_DOCKER", "sysbox"));
    let reply = it.command(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["cat"]"#),
        ("modules", "DOCKER"),
        ("wait", "running"),
    ]);
    assert_eq!(reply.get("error"), "refused", "{reply:?}");
    for part in ["sysbox-runc", "WORKER_DOCKER", "runc"] {
        assert!(reply.get("message").contains(part), "{part} is missing: {reply:?}");
    }
    it.soon("nothing left", || it.containers().is_empty().then_some(()));
}

/// What an agent might do: makes an image of what it finds in its own root, runs it, publishes a
/// port, and looks for the host.
const BUILD_AND_RUN: &str = r#"
set -e
docker info --format 'engine {{.ServerVersion}} containers {{.Containers}} images {{.Images}}'
mkdir -p /workspace/image/bin
cp -L /bin/dash /workspace/image/bin/sh
for file in $(ldd /bin/dash | grep -o '/[^ ]*'); do
  mkdir -p /workspace/image$(dirname $file); cp -L $file /workspace/image$file
done
printf 'FROM scratch\nCOPY . /\nCMD ["/bin/sh", "-c", "echo from within"]\n' >/workspace/image/Dockerfile
docker build -q -t mine /workspace/image
docker run --rm mine
docker run --rm --privileged mine && echo "more rights" || echo "no more rights than it has"
echo "seen: $(docker ps --all --quiet | wc -l) containers, $(docker images --quiet | wc -l) images"
echo "user $(id -u), capabilities $(grep CapEff /proc/self/status | cut -f2)"
exec cat
"#;

#[test]
fn an_agent_builds_and_runs_an_image_and_sees_nothing_of_the_host() {
    let it = Installation::start_with(Options::default().set("WORKER_DOCKER", "privileged"));
    let command = serde_json::json!(["/bin/sh", "-c", BUILD_AND_RUN]).to_string();
    let worker =
        it.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command), ("modules", "DOCKER")]);
    assert!(prints_within(&it, &worker, "engine ").ends_with("containers 0 images 0"));
    prints_within(&it, &worker, "from within");
    prints_within(&it, &worker, "no more rights than it has");
    // Its own image and no other; what it ran is gone.
    prints_within(&it, &worker, "seen: 0 containers, 1 images");
    // The worker is as confined as any other.
    prints_within(&it, &worker, "user 1000, capabilities 0000000000000000");
    let others = docker(&["ps", "--all", "--format", "{{.Image}}"]);
    assert!(!others.lines().any(|image| image == "mine"), "{others}");
    assert!(!worker.status().get("ip_address").is_empty());
    assert_sizes(&worker.record()["image"], "DOCKER");

    let volumes =
        || docker(&["volume", "ls", "--quiet"]).lines().filter(|v| v.contains(&worker.id)).count();
    assert!(volumes() > 0);
    worker.delete();
    assert_eq!((it.containers().len(), volumes()), (0, 0), "{}", it.explain());
}
