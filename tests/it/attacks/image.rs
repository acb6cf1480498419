//! An image of a caller's own that was made to harm: it gets the place of a base image, and no other.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use worker_tests::harness::{Installation, Reply, docker};

/// An image of a caller; dropping it removes it.
struct Hostile(String);

impl Hostile {
    /// On the base image, made without network.
    fn build(it: &Installation, lines: &str) -> Self {
        let name = format!("hostile-{}:1", uuid::Uuid::new_v4().simple());
        let mut build = Command::new("docker")
            .args(["build", "--quiet", "--network=none", "--tag", &name, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker");
        let text = format!("FROM {}\n{lines}\n", it.environment.base_image);
        build.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("a pipe");
        assert!(build.wait().is_ok_and(|status| status.success()), "docker build failed:\n{text}");
        Self(name)
    }

    fn create(&self, it: &Installation, script: &str) -> Reply {
        let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
        it.command(&[
            ("command", "create"),
            ("agent_type", "CUSTOM"),
            ("agent_command", &command),
            ("base_image", &self.0),
            ("instructions", "as the caller wrote them"),
            ("wait", "running"),
        ])
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        docker(&["rmi", "--no-prune", &self.0]);
    }
}

#[test]
fn what_an_image_says_of_itself_makes_no_other_worker_of_it() {
    let it = Installation::start();
    let image = Hostile::build(
        &it,
        "ENV LD_PRELOAD=/evil.so PATH=/evil BASH_ENV=/evil.sh GIT_SSH_COMMAND=evil\n\
         LABEL io.worker-manager.namespace=another io.worker-manager.worker=1 \
           io.worker-manager.companion=x io.worker-manager.spec='{}' io.worker-manager.holds=CLAUDE\n\
         VOLUME [\"/opt\", \"/srv\"]\n\
         USER 4242\nWORKDIR /root\nSTOPSIGNAL SIGKILL\n\
         HEALTHCHECK --interval=1s CMD echo evil >/tmp/health\n\
         ENTRYPOINT [\"/bin/sh\", \"-c\", \"echo evil\"]\nCMD [\"evil\"]",
    );
    let reply = image.create(&it, "echo as $(id -u) in $(pwd); env; exec cat");
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
    let worker = worker_tests::harness::Worker::of(&it, &reply.get("worker_id"));
    worker.prompt("all said");
    worker.prints("all said");
    let stdout = worker.stdout();
    assert!(stdout.contains("as 1000 in /workspace"), "{stdout}");
    assert!(!stdout.contains("evil"), "{stdout}");
    let container: Value = serde_json::from_str::<Value>(&docker(&["inspect", &worker.name()]))
        .expect("JSON")[0]
        .clone();
    let config = &container["Config"];
    assert_eq!(config["Labels"]["io.worker-manager.namespace"], it.namespace.as_str());
    assert_eq!(config["Labels"]["io.worker-manager.worker"], worker.id.as_str());
    assert_eq!((&config["User"], &config["StopSignal"]), (&"0:0".into(), &"SIGTERM".into()));
    assert_eq!(container["State"].get("Health"), None);
    assert_eq!(container["HostConfig"]["ReadonlyRootfs"], true);
    worker.delete();
    drop(it);
}

#[test]
fn an_image_in_which_the_agent_could_reach_what_root_writes_is_not_started() {
    for (lines, step) in [
        ("RUN rm -rf /var/lib/worker && ln -s /workspace /var/lib/worker", "/var/lib/worker"),
        ("RUN mkdir -p /etc/worker && chown 1000 /etc/worker", "/etc/worker"),
        ("RUN chmod 777 /var/lib", "/var/lib"),
        (
            "RUN mkdir -p /usr/libexec && chown 1000 /usr/libexec\nVOLUME /usr/libexec",
            "/usr/libexec",
        ),
    ] {
        let it = Installation::start();
        let image = Hostile::build(&it, lines);
        let reply = image.create(&it, "echo got started; exec cat");
        assert_eq!(reply.get("error"), "start_failed", "{lines}: {reply:?}");
        assert!(reply.get("message").contains(step), "{lines}: {reply:?}");
        drop(it);
    }
}

#[test]
fn what_an_image_brings_is_not_taken_for_what_a_wrapper_kept() {
    let it = Installation::start();
    let past =
        r#"{"session_id":"s","turns":700,"cost_usd":-1000.0,"counted_usd":0.0,"begun":null}"#;
    let image = Hostile::build(
        &it,
        &format!(
            "RUN mkdir -p /var/lib/worker && echo '{past}' >/var/lib/worker/past.json \
             && echo 2999-01-01T00:00:00Z >/var/lib/worker/first-start"
        ),
    );
    let reply = image.create(&it, "exec cat");
    let worker = worker_tests::harness::Worker::of(&it, &reply.get("worker_id"));
    worker.prompt("a turn");
    worker.prints("a turn");
    let kept = worker.root("ls /var/lib/worker");
    assert!(!kept.contains("first-start"), "{kept}");
    assert!(!worker.root("cat /var/lib/worker/past.json").contains("-1000"));
    worker.delete();
    drop(it);
}

#[test]
fn steps_that_an_image_adds_to_builds_are_refused() {
    let it = Installation::start();
    let image = Hostile::build(&it, "ONBUILD RUN echo evil >/evil");
    let reply = image.create(&it, "exec cat");
    assert_eq!(reply.get("error"), "build_failed", "{reply:?}");
    for part in ["ONBUILD", &image.0] {
        assert!(reply.get("message").contains(part), "{reply:?}");
    }
    assert!(it.images().is_empty());
    drop(it);
}
