//! Keys stay with the gateway: the model sees them, and no worker has them.

use crate::claude::claude;
use crate::opencode::SONNET;
use worker_tests::harness::{Installation, Options, Worker, docker};

const KEY: &str = "sk-ant-hunter2-of-the-operator";
const HELLO: (&str, &str) = ("prompt", "@model say Hello.");

/// The key that the model was shown last.
fn shown(it: &Installation) -> Option<String> {
    it.asked_of_model().pop().expect("a request").key
}

/// A program that asks a model by curl, with a credential that is for such programs.
fn curls<'a>(it: &'a Installation, script: &str) -> Worker<'a> {
    let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
    it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", &command),
        ("modules", "CURL"),
        ("credentials", "llm"),
    ])
}

/// `url` is of the model. Two are configured, and a worker names one.
fn llm(url: &str) -> String {
    let table = |name: &str, more: &str| {
        format!(
            "[credentials.{name}]\nas = \"LLM_KEY\"\nfor = [\"CUSTOM\"]\nvalue = \"{KEY}\"\n\
             url = \"{url}\"\nbase_url = \"LLM_URL\"\nheaders = {{ x-api-key = \"{{key}}\" }}\n{more}\n"
        )
    };
    table("llm", "max_requests = 2") + &table("other", "")
}

#[test]
fn the_model_sees_the_operators_key_and_the_worker_has_none_of_it() {
    let it = Installation::start_with(Options::default().set("ANTHROPIC_API_KEY", KEY));
    let tell = r#"@model tool Bash {"command": "echo key=$ANTHROPIC_API_KEY length=${#ANTHROPIC_API_KEY}; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c hunter2"}
@model then
@model quote"#;
    let worker = claude(&it, &[("prompt", tell)]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(shown(&it).as_deref(), Some(KEY), "{end:?}");
    assert!(end.content().contains("key=***ANTHROPIC_API_KEY*** length=64\n0"), "{end:?}");

    // Root of the worker finds it neither with its processes nor on its disk.
    let processes = "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c hunter2";
    assert_eq!(worker.root(processes).trim(), "0");
    assert!(worker.root("cat /var/lib/worker/boot.json").contains("\"token\""), "it can be read");
    let places = "/etc /home /opt /root /run /srv /tmp /usr/local /var /workspace";
    assert_eq!(worker.root(&format!("grep -rlF hunter2-of-the-operator {places} || true")), "");
    assert!(!docker(&["inspect", &worker.name()]).contains("hunter2"));
    let gateway = docker(&["inspect", &format!("{}-gateway", it.namespace)]);
    assert!(gateway.contains("worker-gateway") && !gateway.contains("hunter2"), "{gateway}");
}

#[test]
fn a_token_is_good_for_the_workers_own_models_and_so_often() {
    let it = Installation::start_with(Options::default().without_manager());
    let configuration = llm(&it.model_url());
    it.write_configuration(&configuration);
    it.start_manager();
    let script = r#"ask() { curl -s -o /dev/null -w "$1 %{http_code}\n" -H "x-api-key: $2" "$3/v1/models"; }
        ask wrong 0123 "$LLM_URL"
        ask none '' "$LLM_URL"
        ask other "$LLM_KEY" "${LLM_URL%llm}other"
        ask first "$LLM_KEY" "$LLM_URL"
        ask second "$LLM_KEY" "$LLM_URL"
        ask third "$LLM_KEY" "$LLM_URL"
        echo "length ${#LLM_KEY}"; cat"#;
    let worker = curls(&it, script);
    worker.prints("length 64");
    let said = worker.stdout();
    for line in ["wrong 401", "none 401", "other 403", "third 429"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    for good in ["first ", "second "] {
        let line = said.lines().find(|line| line.starts_with(good)).expect("an answer");
        let code = line.split(' ').nth(1).expect("a code");
        assert!(!["000", "401", "403", "429", "502"].contains(&code), "{said}");
    }
}

#[test]
fn a_worker_that_is_started_again_goes_on_with_its_token() {
    let it = Installation::start_with(Options::default().set("ANTHROPIC_API_KEY", KEY));
    let worker = claude(&it, &[HELLO]);
    worker.turn_end(&worker.first_prompt());
    let id = worker.record()["worker_id"].clone();
    assert!(it.command(&[("command", "stop"), ("worker_id", &id)]).is_ok());
    worker.becomes("STOPPED");
    assert!(it.command(&[("command", "start"), ("worker_id", &id)]).is_ok());
    worker.becomes("RUNNING");
    let end = worker.turn("@model say Again.");
    assert_eq!((end.content(), shown(&it).as_deref()), ("Again.", Some(KEY)), "{end:?}");
}

#[test]
fn a_create_chooses_one_of_several_credentials_for_the_same_variable() {
    let team = |name: &str| {
        format!("[credentials.{name}]\nas = \"ANTHROPIC_API_KEY\"\nvalue = \"sk-of-{name}\"\n")
    };
    let it = Installation::start_with(Options::default().file(&(team("team-a") + &team("team-b"))));
    for name in ["team-a", "team-b"] {
        let worker = claude(&it, &[("credentials", name), HELLO]);
        let end = worker.turn_end(&worker.first_prompt());
        assert_eq!(shown(&it), Some(format!("sk-of-{name}")), "{end:?}");
    }
}

#[test]
fn each_agent_that_can_be_told_reaches_its_model_by_the_gateway() {
    let it = Installation::start_with(
        Options::default()
            .set("ANTHROPIC_API_KEY", KEY)
            .set("OPENAI_API_KEY", "sk-of-openai")
            .set("GEMINI_API_KEY", "AIza-of-google"),
    );
    for (agent, model, key) in [
        ("CODEX", None, "sk-of-openai"),
        ("GEMINI", None, "AIza-of-google"),
        ("OPENCODE", Some(SONNET), KEY),
    ] {
        let mut fields = vec![("agent_type", agent), HELLO];
        fields.extend(model);
        let worker = it.worker(&fields);
        let end = worker.turn_end(&worker.first_prompt());
        assert_eq!((end.content(), shown(&it).as_deref()), ("Hello.", Some(key)), "{end:?}");
        let has =
            "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -cE 'hunter2|-of-(openai|google)'";
        assert_eq!(worker.root(has).trim(), "0", "{agent}");
    }
}
