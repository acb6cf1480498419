//! The engine, asked by its own command line.

use std::process::{Command, Output};

use super::Environment;

/// What `docker` printed; empty lines and a failure give nothing.
pub fn docker(arguments: &[&str]) -> String {
    let output = run(arguments);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs `docker`.
pub(super) fn run(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output();
    output.unwrap_or_else(|error| panic!("failed to run docker: {error}; run `make test`"))
}

/// The engine answers, or the test cannot be.
pub(super) fn require(environment: &Environment) {
    let output = run(&["version", "--format", "{{.Server.Version}}"]);
    let host = environment.docker_host.as_deref().unwrap_or("the usual socket");
    assert!(output.status.success(), "no Docker engine answers at {host}; run `make test`");
}

/// Ids of the containers of a namespace, running or not.
pub(super) fn containers(namespace: &str) -> Vec<String> {
    let label = format!("label=io.worker-manager.namespace={namespace}");
    lines(&docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]))
}

/// Tags of the images of a namespace.
pub(super) fn images(namespace: &str) -> Vec<String> {
    lines(&docker(&["images", namespace, "--format", "{{.Repository}}:{{.Tag}}"]))
}

/// Removes all that a namespace has. Layers stay: the next test builds on them.
pub(super) fn clean(namespace: &str) {
    for container in containers(namespace) {
        run(&["rm", "--force", "--volumes", &container]);
    }
    for image in images(namespace) {
        run(&["rmi", "--no-prune", &image]);
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
