//! Modules in workers: each brings its tool for the agent's user, an operator's own are as good as
//! the built-in ones, and a caller's own image gets nothing but the wrapper.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use worker_tests::harness::{Installation, Options, Templates, Worker, docker};

/// Every module that needs no leave of the operator: one image for all tests that use them.
const MODULES: &str = "GIT,PYTHON,GITHUB_CLI,CURL,NODE,COPIER";

/// Prints `== NAME` and what the tool says, for each tool.
const TOOLS: &str = r#"
set -e
cd "$(mktemp -d)"
say() { echo "== $1"; shift; "$@"; }
say USER id -u
say CURL curl --version
say GIT git --version
git init --quiet repository
git -C repository -c user.name=a -c user.email=a@b commit --quiet --allow-empty --message first
say COMMITS git -C repository rev-list --count HEAD
say GITHUB_CLI gh --version
say NODE node --eval 'console.log(process.version, 6 * 7)'
say NPM npm --version
mkdir own
printf '{ "name": "own", "version": "1.0.0", "bin": "own.js" }' >own/package.json
printf '#!/usr/bin/env node\nconsole.log("packed and installed")\n' >own/own.js
(cd own && npm pack --silent >/dev/null)
npm install --silent --offline ./own/own-1.0.0.tgz >/dev/null
say NPX npx --offline own
say PYTHON python -c 'print(6 * 7)'
python3 -m venv venv
say VENV venv/bin/pip --version
mkdir tool
printf '[project]\nname = "tool"\nversion = "1"\n' >tool/pyproject.toml
printf 'def main(): print("installed with pip")\n' >tool/tool.py
pip install --quiet --no-index --no-build-isolation ./tool 2>&1
say PIP python3 -c 'import tool; tool.main()'
mkdir template
printf 'who:\n  type: str\n' >template/copier.yml
printf 'Hello, {{ who }}!\n' >template/greeting.txt.jinja
copier copy --quiet --defaults --data who=world template project
say COPIER cat project/greeting.txt
say REFUSED sh -c 'touch /usr/local/bin/x 2>/dev/null || echo no'
echo == END
exec cat
"#;

fn worker<'a>(it: &'a Installation, modules: &str, script: &str) -> Worker<'a> {
    let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
    it.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command), ("modules", modules)])
}

/// What was printed under each heading.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    let parts = text.split("== ").filter_map(|part| part.split_once('\n'));
    parts.map(|(name, said)| (name, said.trim())).collect()
}

#[test]
fn the_agents_user_has_the_tool_of_every_module() {
    let it = Installation::start();
    let worker = worker(&it, MODULES, TOOLS);
    worker.prints("== END");
    let text = worker.stdout();
    let said = sections(&text);
    for (name, expected) in [
        ("USER", "1000"),
        ("CURL", "curl 7."),
        ("GIT", "git version 2."),
        ("COMMITS", "1"),
        ("GITHUB_CLI", "gh version 2."),
        ("NODE", "v24."),
        ("NPM", "11."),
        ("NPX", "packed and installed"),
        ("PYTHON", "42"),
        ("VENV", "pip 2"),
        ("PIP", "installed with pip"),
        ("COPIER", "Hello, world!"),
        ("REFUSED", "no"),
    ] {
        assert!(said.get(name).is_some_and(|said| said.starts_with(expected)), "{name}: {text}");
    }
    assert!(said["CURL"].contains("https"), "{text}");
    assert!(said["NODE"].ends_with(" 42"), "{text}");
}

/// Bytes of each layer with what made it, the lowest first.
fn layers(image: &str) -> Vec<(u64, String)> {
    let format = "{{.Size}}|{{.CreatedBy}}";
    let history = docker(&["history", "--no-trunc", "--human=false", "--format", format, image]);
    let mut layers: Vec<_> = history
        .lines()
        .map(|line| {
            let (size, made_by) = line.split_once('|').expect("a size and a command");
            (size.parse().expect("a size in bytes"), made_by.to_owned())
        })
        .collect();
    layers.reverse();
    layers
}

/// Whether a layer is the first of a module. Those of one module follow each other.
fn begins(module: &str, made_by: &str) -> bool {
    match module {
        "NODE" => made_by.contains("COPY dir:") || made_by.contains("COPY /opt/node"),
        "COPIER" => made_by.contains("COPY file:") || made_by.contains("COPY files/copier.txt"),
        "GITHUB_CLI" => made_by.contains("recommends gh "),
        "PYTHON" => made_by.contains("recommends python3 "),
        "DOCKER" => made_by.contains("recommends docker.io "),
        other => made_by.contains(&format!("recommends {} ", other.to_lowercase())),
    }
}

/// What the module's file says about its size: from and below which number of bytes.
fn declared_size(module: &str) -> (u64, u64) {
    let file = format!("../dockerfile-templates/modules/{}.hbs", module.to_lowercase());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).expect("the module's file");
    let size = text.lines().find_map(|line| line.strip_prefix("size = ")).expect("its size");
    match size {
        "\"small\"" => (0, 20_000_000),
        "\"medium\"" => (20_000_000, 100_000_000),
        "\"large\"" => (100_000_000, u64::MAX),
        other => panic!("{module} has no size but {other}"),
    }
}

#[test]
fn each_module_is_as_large_as_its_file_says_and_the_wrapper_comes_last() {
    let it = Installation::start();
    let worker = worker(&it, MODULES, "exec cat");
    let image = worker.record()["image"].clone();
    let layers = layers(&image);
    let (_, last) = layers.iter().rfind(|(size, _)| *size > 0).expect("a layer");
    assert!(last.contains("/usr/libexec/worker-wrapper"), "{last}");
    assert_sizes(&image, MODULES);
}

/// Each of the modules, which are named in the order of their positions, has layers in this order,
/// of as many bytes as its file says.
pub(crate) fn assert_sizes(image: &str, modules: &str) {
    // From below: after the agent's layer.
    let mut sizes: Vec<(&str, u64)> = Vec::new();
    let mut left = modules.split(',').peekable();
    let layers = layers(image);
    for (size, made_by) in &layers {
        if let Some(module) = left.next_if(|module| begins(module, made_by)) {
            sizes.push((module, 0));
        }
        if made_by.contains("/usr/libexec/worker-wrapper") {
            break;
        }
        if let Some((_, sum)) = sizes.last_mut() {
            *sum += size;
        }
    }
    assert_eq!(left.next(), None, "each has its layers, in this order: {layers:?}");
    for (module, size) in sizes {
        let (from, below) = declared_size(module);
        assert!((from..below).contains(&size), "{module} has {size} bytes, not {from} to {below}");
    }
}

#[test]
fn an_operators_own_module_works_by_name_counts_for_the_image_and_is_listed() {
    let greet = |text: &str| {
        let line = format!("printf '#!/bin/sh\\necho {text}\\n' >/usr/local/bin/greet");
        Templates::empty().module("GREET", &format!("{line} && chmod 0755 /usr/local/bin/greet"))
    };
    let mut images = Vec::new();
    for text in ["hello", "good day"] {
        let templates = greet(text);
        let it = Installation::start_with(Options::default().templates(&templates));
        let worker = worker(&it, "greet", "greet; exec cat");
        worker.prints(text);
        images.push(image_hash(&worker));

        let request = [
            ("command", "create"),
            ("agent_type", "CUSTOM"),
            ("agent_command", "cat"),
            ("modules", "GREAT"),
        ];
        let reply = it.command(&request);
        assert_eq!(reply.get("error"), "malformed", "{reply:?}");
        for part in ["did you mean `GREET`", "GITHUB_CLI", "GREET, NODE"] {
            assert!(reply.get("message").contains(part), "{reply:?}");
        }
        if images.len() == 1 {
            images.push(image_hash(&it.script("exec cat")));
        }
    }
    images.sort();
    images.dedup();
    assert_eq!(images.len(), 3, "its text is in the hash: {images:?}");
}

/// Without the repository, which is the installation's.
fn image_hash(worker: &Worker<'_>) -> String {
    let image = worker.record()["image"].clone();
    image.rsplit_once(':').expect("a tag").1.to_owned()
}

#[test]
fn a_module_that_commands_an_engine_is_refused_with_the_way_to_turn_it_on() {
    let it = Installation::start();
    let reply = it.command(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", "cat"),
        ("modules", "DOCKER"),
    ]);
    assert_eq!(reply.get("error"), "refused", "{reply:?}");
    for part in ["DOCKER", "docker = \"privileged\"", "docker = \"sysbox\"", "docs/security.md"] {
        assert!(reply.get("message").contains(part), "{reply:?}");
    }
    assert_eq!(it.containers(), Vec::<String>::new());
}

/// An image of a caller, made of a folder; dropping it removes it.
struct OwnImage(String);

impl OwnImage {
    fn import(folder: &Path, changes: &[&str]) -> Self {
        let name = format!("own-{}:1", uuid::Uuid::new_v4().simple());
        let archive = folder.with_extension("tar");
        let status = Command::new("tar")
            .arg("--create")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .args([folder, Path::new(".")])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "tar failed");
        let mut arguments = vec!["import"];
        changes.iter().for_each(|change| arguments.extend(["--change", change]));
        let archive = archive.to_string_lossy().into_owned();
        arguments.extend([archive.as_str(), &name]);
        assert!(docker(&arguments).starts_with("sha256:"), "docker import failed");
        Self(name)
    }
}

impl Drop for OwnImage {
    fn drop(&mut self) {
        docker(&["rmi", "--no-prune", &self.0]);
    }
}

#[test]
fn a_callers_image_with_one_static_program_and_nothing_else_becomes_a_worker() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path().join("root");
    std::fs::create_dir(&root).expect("a folder");
    // The one static program that is at hand.
    let it = Installation::start();
    std::fs::copy(&it.environment.wrapper, root.join("own")).expect("a copy");
    let image = OwnImage::import(
        &root,
        &[
            "USER 4242",
            "ENTRYPOINT [\"/own\", \"--boot\", \"/nothing\"]",
            "CMD [\"more\"]",
            "HEALTHCHECK CMD [\"/own\"]",
        ],
    );
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", r#"["/own", "--version"]"#),
        ("base_image", &image.0),
    ]);
    worker.prints("worker-wrapper ");
    let format = "{{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.Healthcheck.Test}}";
    let shown = docker(&["image", "inspect", "--format", format, &worker.record()["image"]]);
    assert!(shown.starts_with("[/usr/libexec/worker-wrapper] []"), "{shown}");
    assert!(shown.ends_with("[NONE]"), "{shown}");
    worker.delete();
    drop(it);
}

#[test]
fn a_callers_image_without_apt_is_refused_modules_by_a_build_that_says_why() {
    let it = Installation::start();
    let derived = format!("own-{}:1", uuid::Uuid::new_v4().simple());
    let container =
        docker(&["create", &it.environment.base_image, "/bin/sh", "-c", "rm /usr/bin/apt-get"]);
    docker(&["start", "--attach", &container]);
    docker(&["commit", &container, &derived]);
    docker(&["rm", &container]);
    let image = OwnImage(derived);
    let reply = it.command(&[
        ("command", "create"),
        ("agent_type", "CUSTOM"),
        ("agent_command", "cat"),
        ("base_image", &image.0),
        ("modules", "CURL"),
        ("wait", "running"),
    ]);
    assert_eq!(reply.get("error"), "build_failed", "{reply:?}");
    assert!(reply.get("message").contains("has no apt-get"), "{reply:?}");
    drop(it);
}
