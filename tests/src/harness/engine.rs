//! An engine, asked by its own command line.

use std::process::{Command, Output};

use super::Environment;

/// The machine's engine, or one of a test's own.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    host: Option<String>,
}

/// What `docker` printed about the machine's engine; empty lines and a failure give nothing.
pub fn docker(arguments: &[&str]) -> String {
    Engine::default().ask(arguments)
}

impl Engine {
    /// The one at an address such as `unix:///run/engine.sock`.
    pub fn at(host: &str) -> Self {
        Self { host: Some(host.to_owned()) }
    }

    /// What `docker` printed; empty lines and a failure give nothing.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs `docker`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.unwrap_or_else(|error| panic!("failed to run docker: {error}; run `make test`"))
    }

    /// `docker`, to be run.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.host {
            command.args(["--host", host]);
        }
        command.args(arguments);
        command
    }

    /// Whether it answers.
    pub fn answers(&self) -> bool {
        self.run(&["version", "--format", "{{.Server.Version}}"]).status.success()
    }

    /// The machine's engine answers, or the test cannot be.
    pub(super) fn require(&self, environment: &Environment) {
        let host = environment.docker_host.as_deref().unwrap_or("the usual socket");
        assert!(self.answers(), "no Docker engine answers at {host}; run `make test`");
    }

    /// Ids of the containers of a namespace, running or not.
    pub(super) fn containers(&self, namespace: &str) -> Vec<String> {
        let label = format!("label=io.worker-manager.namespace={namespace}");
        lines(&self.ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]))
    }

    /// Tags of the images of a namespace.
    pub(super) fn images(&self, namespace: &str) -> Vec<String> {
        lines(&self.ask(&["images", namespace, "--format", "{{.Repository}}:{{.Tag}}"]))
    }

    /// Names of the networks of a namespace.
    pub fn networks(&self, namespace: &str) -> Vec<String> {
        let label = format!("label=io.worker-manager.namespace={namespace}");
        lines(&self.ask(&["network", "ls", "--format", "{{.Name}}", "--filter", &label]))
    }

    /// How many containers run this command, or ran it.
    pub fn containers_with(&self, command: &str) -> usize {
        let commands = self.ask(&["ps", "--all", "--no-trunc", "--format", "{{.Command}}"]);
        commands.lines().filter(|line| line.contains(command)).count()
    }

    /// Removes all that a namespace has. The build cache stays: the next test builds on it.
    pub(super) fn clean(&self, namespace: &str) {
        // What runs beside a worker is known by its name only, and so are their volumes.
        let named = format!("name=^/?{namespace}-");
        let beside = self.ask(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &named]);
        for container in self.containers(namespace).into_iter().chain(lines(&beside)) {
            self.run(&["rm", "--force", "--volumes", &container]);
        }
        let volumes = format!("name=^{namespace}-");
        for volume in lines(&self.ask(&["volume", "ls", "--quiet", "--filter", &volumes])) {
            self.run(&["volume", "rm", "--force", &volume]);
        }
        for network in self.networks(namespace) {
            self.run(&["network", "rm", &network]);
        }
        let gateways = self.images(&format!("{namespace}-gateway"));
        for image in self.images(namespace).into_iter().chain(gateways) {
            self.run(&["rmi", &image]);
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
