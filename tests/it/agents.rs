//! Agents' images: each has the vendor's own program in the pinned version, for user 1000.

use std::path::Path;

use worker_tests::harness::{Installation, Options, docker};

/// A first build of all of them fetches a gigabyte.
const BUILD: std::time::Duration = std::time::Duration::from_secs(900);

struct Agent {
    name: &'static str,
    program: &'static str,
    /// What it is told to speak ACP, if it does.
    acp: Option<&'static str>,
    /// Where it looks for instructions, below the user's home.
    in_home: Option<&'static str>,
}

const AGENTS: [Agent; 4] = [
    Agent { name: "FACTORY", program: "droid", acp: None, in_home: Some(".factory/AGENTS.md") },
    Agent {
        name: "CODEX",
        program: "codex",
        acp: Some("codex-acp"),
        in_home: Some(".codex/AGENTS.md"),
    },
    Agent {
        name: "GEMINI",
        program: "gemini",
        acp: Some("gemini --acp"),
        in_home: Some(".gemini/GEMINI.md"),
    },
    Agent { name: "OPENCODE", program: "opencode", acp: Some("opencode acp"), in_home: None },
];

/// A value of the front matter of the agent's file.
fn declared(agent: &Agent, key: &str) -> String {
    let file = format!("../dockerfile-templates/agents/{}.hbs", agent.name.to_lowercase());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).expect("the agent's file");
    let start = format!("{key} = \"");
    let value = text.lines().find_map(|line| line.strip_prefix(&start)).expect("the key");
    value.trim_end_matches('"').to_owned()
}

/// The agent's image, once it is built.
fn image(it: &Installation, agent: &str) -> String {
    it.until(&format!("the image of {agent}"), BUILD, || {
        let label = format!("label=io.worker-manager.holds={agent}");
        let format = "--format={{.Repository}}:{{.Tag}}";
        let images = docker(&["images", "--filter", &label, format, &it.namespace]);
        images.lines().next().map(str::to_owned)
    })
}

/// What a shell line prints in a container of the image, as the agent's user and with nothing to
/// write to but its home and /tmp; without network, so that nothing is fetched.
fn user(image: &str, line: &str) -> String {
    docker(&[
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "--tmpfs=/tmp:exec",
        "--user=1000:1000",
        "--env=HOME=/tmp/home",
        "--env=CODEX_PATH=/usr/local/bin/codex",
        "--workdir=/workspace",
        "--entrypoint=/bin/sh",
        image,
        "-c",
        &format!("mkdir /tmp/home && {line}"),
    ])
}

/// Begins to talk with a program in ACP, and shows its answer.
fn handshake(command: &str) -> String {
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1,"clientCapabilities":{}}}"#;
    format!(
        "mkfifo /tmp/in && (timeout 60 {command} </tmp/in >/tmp/out 2>/tmp/err &) \
         && exec 3>/tmp/in && echo '{hello}' >&3 \
         && timeout 60 sh -c 'until grep -q protocolVersion /tmp/out; do sleep 0.1; done'; \
         cat /tmp/out /tmp/err"
    )
}

#[test]
fn every_agent_has_its_pinned_program_which_it_cannot_change() {
    let wanted = AGENTS.map(|agent| agent.name).join(" ");
    let it = Installation::start_with(Options::default().set("WORKER_PREBUILD", &wanted));
    for agent in &AGENTS {
        let image = image(&it, agent.name);
        let version = user(&image, &format!("{} --version", agent.program));
        let pinned = declared(agent, "version");
        assert!(version.split_whitespace().any(|word| word == pinned), "{pinned}: {version}");

        let ours = format!(
            "program=$(readlink -f \"$(command -v {})\"); stat --format='%u %a' \"$program\"",
            agent.program
        );
        assert_eq!(user(&image, &ours), "0 755", "{}", agent.name);

        if let Some(link) = agent.in_home {
            let instructions = declared(agent, "instructions");
            assert_eq!(user(&image, &format!("readlink ~worker/{link}")), instructions);
            let folder = Path::new(link).parent().expect("a folder").display();
            assert_eq!(user(&image, &format!("stat --format=%u ~worker/{folder}")), "1000");
        }
        if let Some(command) = agent.acp {
            let answer = user(&image, &handshake(command));
            assert!(answer.contains("\"protocolVersion\":1"), "{}: {answer}", agent.name);
        }
    }
}

#[test]
fn another_version_by_configuration_is_what_runs_and_is_compared_with_its_digest() {
    let version = |text: &str| format!("[agents.GEMINI]\nversion = \"{text}\"\n");
    let options = Options::default().file(&version("0.60.0"));
    let it = Installation::start_with(options.set("WORKER_PREBUILD", "GEMINI"));
    assert_eq!(user(&image(&it, "GEMINI"), "gemini --version"), "0.60.0");

    let digest = "ab".repeat(64);
    let wrong = format!("{}sha512 = {{ all = \"{digest}\" }}\n", version("0.60.0"));
    for (configuration, says) in [
        (wrong, "npm-package: @google/gemini-cli@0.60.0 has the digest "),
        (version("999.0.0"), "npm-package: failed to fetch @google/gemini-cli@999.0.0"),
    ] {
        it.manager().stop();
        it.write_configuration(&configuration);
        it.start_manager();
        let create = [("command", "create"), ("agent_type", "GEMINI"), ("wait", "running")];
        let reply = it.command(&create);
        assert_eq!(reply.get("error"), "build_failed", "{reply:?}");
        assert!(reply.get("message").contains(says), "{reply:?}");
    }
    assert_eq!(it.images().len(), 1);
}
