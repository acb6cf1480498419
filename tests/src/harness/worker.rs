//! One worker, as a client sees it.

use serde_json::Value;
use std::collections::BTreeMap;

use super::{Entry, Installation, Reply};

/// A command that does not end by itself. Claude Code takes no `sleep`.
pub const ALL_DAY: &str = "tail -f /dev/null";

/// A worker of an installation.
pub struct Worker<'a> {
    /// Whose.
    pub it: &'a Installation,
    /// Its id.
    pub id: String,
}

impl<'a> Worker<'a> {
    /// The worker with this id.
    pub fn of(it: &'a Installation, id: &str) -> Self {
        assert!(!id.is_empty(), "no worker id:{}", it.explain());
        Self { it, id: id.to_owned() }
    }

    /// A key of the worker: `input`, `output`, `heartbeat`.
    pub fn key(&self, name: &str) -> String {
        self.it.key(&format!("{}:{name}", self.id))
    }

    /// The name of its container and of its Redis user.
    pub fn name(&self) -> String {
        format!("{}-{}", self.it.namespace, self.id)
    }

    /// Its record.
    pub fn record(&self) -> BTreeMap<String, String> {
        self.it.redis.run(&["HGETALL", &self.it.key(&self.id)])
    }

    /// Waits until its record says this.
    pub fn becomes(&self, status: &str) -> BTreeMap<String, String> {
        self.it.soon(&format!("status {status}"), || {
            let record = self.record();
            (record.get("status").map(String::as_str) == Some(status)).then_some(record)
        })
    }

    /// Waits until it has ended, and gives its exit code as its record says it.
    pub fn ends(&self) -> String {
        self.it.soon("its exit code", || self.record().remove("exit_code"))
    }

    /// All that it said so far.
    pub fn output(&self) -> Vec<Entry> {
        self.it.redis.stream(&self.key("output"))
    }

    /// What it said so far of one type.
    pub fn said(&self, kind: &str) -> Vec<Entry> {
        self.output().into_iter().filter(|entry| entry.kind() == kind).collect()
    }

    /// The lines of its agent so far, joined.
    pub fn stdout(&self) -> String {
        let lines: Vec<_> = self.said("stdout").iter().map(|e| e.content().to_owned()).collect();
        lines.join("\n")
    }

    /// Sends a prompt, and gives the entry's id.
    pub fn prompt(&self, text: &str) -> String {
        self.input(&[("prompt", text)])
    }

    /// Writes to its input, and gives the entry's id.
    pub fn input(&self, fields: &[(&str, &str)]) -> String {
        self.it.redis.xadd(&self.key("input"), fields)
    }

    /// The entry that opened its first turn.
    pub fn first_prompt(&self) -> String {
        let entries = self.it.redis.stream(&self.key("input"));
        entries.first().expect("a first prompt in the input").id.clone()
    }

    /// Waits for an output.
    pub fn says(&self, what: &str, fits: impl Fn(&Entry) -> bool) -> Entry {
        self.it.soon(what, || self.output().into_iter().find(|entry| fits(entry)))
    }

    /// Waits for a line of its agent that contains this.
    pub fn prints(&self, text: &str) -> Entry {
        self.says(&format!("the line {text:?}"), |entry| {
            entry.kind() == "stdout" && entry.content().contains(text)
        })
    }

    /// Waits for an output of this type.
    pub fn comes_to(&self, kind: &str) -> Entry {
        self.says(kind, |entry| entry.kind() == kind)
    }

    /// Waits for the end of the turn that this input opened.
    pub fn turn_end(&self, input: &str) -> Entry {
        self.says(&format!("the end of turn {input}"), |entry| {
            entry.kind() == "turn_completed" && entry.get("turn") == input
        })
    }

    /// Sends a prompt, and waits for the end of its turn.
    pub fn turn(&self, prompt: &str) -> Entry {
        let input = self.prompt(prompt);
        self.turn_end(&input)
    }

    /// Has the agent call its shell with this input, which runs [`ALL_DAY`], and interrupts it: the
    /// turn ends so, and nothing is left of the command.
    pub fn assert_interrupts_its_shell(&self, tool: &str, input: &Value) {
        let turn = self.prompt(&format!("@model tool {tool} {input}"));
        self.it.soon("the command", || self.runs(ALL_DAY).then_some(()));
        self.input(&[("type", "interrupt")]);
        assert_eq!(self.turn_end(&turn).data()["outcome"], "interrupted");
        self.it.soon("the end of the command", || (!self.runs(ALL_DAY)).then_some(()));
    }

    /// Asks for its status.
    pub fn status(&self) -> Reply {
        self.it.command(&[("command", "status"), ("worker_id", &self.id)])
    }

    /// Deletes it.
    pub fn delete(&self) -> Reply {
        let reply = self.it.command(&[("command", "delete"), ("worker_id", &self.id)]);
        assert!(reply.is_ok(), "delete failed: {reply:?}{}", self.it.explain());
        reply
    }

    /// What a shell line prints that root runs in its container.
    pub fn root(&self, line: &str) -> String {
        self.it.engine.ask(&["exec", &self.name(), "/bin/sh", "-c", line])
    }

    /// What a shell line prints that root runs on the machine, with every right that there is. In
    /// `$WRAPPER` is the folder of the first process in `/proc`.
    pub fn from_host(&self, line: &str) -> String {
        let pid = self.it.engine.ask(&["inspect", "--format", "{{.State.Pid}}", &self.name()]);
        let shell = std::process::Command::new("/bin/sh")
            .args(["-c", line])
            .env("WRAPPER", format!("/proc/{pid}"))
            .output();
        let output = shell.unwrap_or_else(|error| panic!("failed to run /bin/sh: {error}"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What a shell line prints that the agent's user runs in its container.
    pub fn user(&self, line: &str) -> String {
        self.it.engine.ask(&["exec", "--user=1000", &self.name(), "/bin/sh", "-c", line])
    }

    /// Whether a process in its container has a command line that begins so.
    pub fn runs(&self, command: &str) -> bool {
        // One that ends while it is looked at is no failure.
        let look =
            "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done 2>/dev/null; true";
        self.root(look).lines().any(|line| line.starts_with(command))
    }
}

/// Asserts that entries are numbered from 1 without holes.
pub fn assert_numbered(output: &[Entry]) {
    let numbers: Vec<_> = output.iter().map(|entry| entry.get("seq").to_owned()).collect();
    let right: Vec<_> = (1..=output.len()).map(|number| number.to_string()).collect();
    assert_eq!(numbers, right, "the entries' seq has holes or does not begin at 1");
}
