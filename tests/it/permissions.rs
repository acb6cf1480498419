//! `allowed_commands`: what is not in them does not run, however it is tried.

use serde_json::json;

use worker_tests::harness::{Entry, Installation, Worker};

use crate::codex::codex;
use crate::gemini::gemini;
use crate::opencode::{SONNET, opencode};

/// Ways to run `touch`, each of which would leave a file of its own.
const WAYS: [&str; 6] = [
    "touch by-name",
    "/usr/bin/touch by-path",
    "sh -c 'touch by-shell'",
    "cp /usr/bin/touch copy && ./copy by-copy",
    "ln -s /usr/bin/touch link; ./link by-link",
    "cp x y; $(touch by-substitution)",
];

/// A prompt with which the scripted model runs these lines, one after the other.
fn running(tool: &str, lines: &[&str]) -> String {
    let name = if tool == "exec_command" { "cmd" } else { "command" };
    let call = |line: &&str| {
        let input = json!({name: line, "description": "tries"});
        format!("@model tool {tool} {input}\n@model then\n")
    };
    lines.iter().map(call).collect::<String>() + "@model say Done."
}

fn decisions(worker: &Worker<'_>) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let one =
        |entry: &Entry| (text(&entry.data()["input"]["command"]), text(&entry.data()["decision"]));
    worker.said("permission").iter().map(one).collect()
}

fn pairs(lines: &[&str], decision: &str) -> Vec<(String, String)> {
    lines.iter().map(|line| ((*line).to_owned(), decision.to_owned())).collect()
}

#[test]
fn claude_code_runs_what_is_allowed_and_nothing_else_by_any_way() {
    let it = Installation::start();
    let fields = [("agent_type", "CLAUDE"), ("modules", "GIT"), ("allowed_commands", "git,cp,ln")];
    let worker = it.worker(&fields);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["hook", "landlock"]), "{ready:?}");

    let end = worker.turn(&running("Bash", &WAYS));
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Done."));
    assert_eq!(decisions(&worker), pairs(&WAYS, "deny"));
    let told = worker.said("tool_result");
    assert!(told.iter().all(|result| result.content().contains("not allowed")), "{told:?}");

    // What an allowed command starts is seen by nobody but the kernel.
    let allowed = [
        "git init -q . && git status --short",
        "cp /etc/hostname was-allowed",
        "git -c alias.x='!touch by-alias' x",
    ];
    worker.turn(&running("Bash", &allowed));
    let decided = decisions(&worker).split_off(WAYS.len());
    assert_eq!(decided, pairs(&allowed, "allow"));
    let files = worker.root("ls /workspace");
    assert!(files.contains("was-allowed") && !files.contains("by-"), "{files}");
}

#[test]
fn a_program_of_the_callers_own_is_held_by_the_kernel_alone() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["/bin/sh"]"#),
        ("allowed_commands", "cp,ln"),
    ]);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["landlock"]), "{ready:?}");
    for line in WAYS.iter().chain(&["cp /etc/hostname was-allowed", "echo all tried"]) {
        worker.prompt(line);
    }
    worker.prints("all tried");
    let files = worker.root("ls /workspace");
    assert!(files.contains("was-allowed") && !files.contains("by-"), "{files}");
}

#[test]
fn a_client_is_asked_where_it_wants_to_be() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "CLAUDE"),
        ("allowed_commands", "cp"),
        ("permissions", "ask"),
        ("prompt", &running("Bash", &["touch first", "touch second", "cp first third"])),
    ]);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["hook"]), "what may come cannot be fenced off");
    let turn = worker.first_prompt();
    for (command, decision) in [("touch first", "allow"), ("touch second", "deny")] {
        let asked = worker.says("a question", |entry| {
            entry.kind() == "permission" && entry.data()["input"]["command"] == command
        });
        assert!(asked.data()["decision"].is_null(), "{asked:?}");
        let id = asked.data()["permission_id"].as_str().unwrap_or_default().to_owned();
        let answer = [("type", "answer"), ("permission_id", &id), ("decision", decision)];
        worker.input(&[&answer[..], &[("message", "Rather not.")]].concat());
    }
    worker.turn_end(&turn);
    let files = worker.root("ls /workspace");
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["first", "third"]);
    let told = worker.said("tool_result");
    assert!(told.iter().any(|result| result.content().contains("Rather not.")), "{told:?}");
}

#[test]
fn opencode_asks_before_it_runs_a_command() {
    let it = Installation::start();
    let worker = opencode(&it, &[SONNET, ("allowed_commands", "cp")]);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["protocol", "landlock"]), "{ready:?}");
    for line in WAYS {
        worker.turn(&running("bash", &[line]));
    }
    worker.turn(&running("bash", &["echo x > made; cp made was-allowed"]));
    let decided = decisions(&worker);
    let allowed = pairs(&["echo x > made; cp made was-allowed"], "allow");
    assert_eq!(decided, [pairs(&WAYS, "deny"), allowed].concat());
    let files = worker.root("ls /workspace");
    assert!(files.contains("was-allowed") && !files.contains("by-"), "{files}");
}

#[test]
fn codex_runs_what_is_allowed_and_nothing_else_by_any_way() {
    let it = Installation::start();
    let worker = codex(&it, &[("allowed_commands", "cp,ln")]);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["hook", "landlock"]), "{ready:?}");
    let end = worker.turn(&running("exec_command", &WAYS));
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    worker.turn(&running("exec_command", &["cp /etc/hostname was-allowed"]));
    let allowed = pairs(&["cp /etc/hostname was-allowed"], "allow");
    assert_eq!(decisions(&worker), [pairs(&WAYS, "deny"), allowed].concat());
    let files = worker.root("ls /workspace");
    assert!(files.contains("was-allowed") && !files.contains("by-"), "{files}");
}

#[test]
fn gemini_cli_asks_before_it_runs_a_command() {
    let it = Installation::start();
    let fields = [("model", "gemini-2.5-flash"), ("allowed_commands", "cp")];
    let worker = gemini(&it, &fields);
    let ready = worker.comes_to("ready");
    assert_eq!(ready.data()["enforced"], json!(["protocol", "landlock"]), "{ready:?}");
    for line in WAYS {
        worker.turn(&running("run_shell_command", &[line]));
    }
    let allowed = ["echo x > made; cp made was-allowed"];
    worker.turn(&running("run_shell_command", &allowed));
    assert_eq!(decisions(&worker), [pairs(&WAYS, "deny"), pairs(&allowed, "allow")].concat());
    let files = worker.root("ls /workspace");
    assert!(files.contains("was-allowed") && !files.contains("by-"), "{files}");
}
