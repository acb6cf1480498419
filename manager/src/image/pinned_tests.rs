//! Whatever a step of a build downloads is compared with a digest: over all that is rendered.
//!
//! Debian's packages are the exception: apt compares them with lists that Debian has signed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::context::ContextFile;
use super::{BaseOwner, Catalogue, Companions, ImageSpec, Offer};
use crate::engine::{CacheMounts, Confinement};

/// Programs that steps run and that reach no network. Whoever adds one here vouches for that.
const HARMLESS: [&str; 25] = [
    "",
    "[",
    "agent-home",
    "cd",
    "chmod",
    "command",
    "copier",
    "cp",
    "docker",
    "echo",
    "exit",
    "fi",
    "find",
    "getent",
    "grep",
    "id",
    "if",
    "install",
    "ln",
    "mkdir",
    "mv",
    "printf",
    "rm",
    "sed",
    "useradd",
];

/// The commands of a Dockerfile's `RUN` steps, each with its words.
fn commands(dockerfile: &str) -> Vec<Vec<String>> {
    let joined = dockerfile.replace("\\\n", " ");
    let steps = joined.lines().filter_map(|line| line.strip_prefix("RUN "));
    let mut all = Vec::new();
    for step in steps {
        let mut step = step.to_owned();
        for separator in ["&&", "||", "|", ";", "$(", "`"] {
            step = step.replace(separator, "\n");
        }
        all.extend(step.lines().map(words));
    }
    all
}

/// Without what stands before a command's name: options of the builder, variables, brackets.
fn words(command: &str) -> Vec<String> {
    let before = |word: &&str| {
        word.starts_with("--mount=")
            || matches!(*word, "then" | "!")
            || word.split_once('=').is_some_and(|(name, _)| {
                name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            })
    };
    let words = command.split_whitespace().skip_while(before);
    words.map(|word| word.trim_matches(['(', ')', '"']).to_owned()).collect()
}

/// Why this command may not stand in a step; none, when it may.
fn objection(command: &[String]) -> Option<&'static str> {
    let has = |word: &str| command.iter().any(|each| each == word);
    let first = command.first().map_or("", String::as_str);
    match first {
        "apt-get" => None,
        "npm-package" => {
            let digest = |word: &String| {
                word.split_once('=').is_some_and(|(_, digest)| {
                    digest.len() == 128 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                })
            };
            (!command[1..].iter().any(digest)).then_some("it names no SHA-512")
        }
        "pip" => (!has("--require-hashes")).then_some("it takes what has no hash"),
        "python3" => (command[1..3] != ["-m", "venv"]).then_some("it may be anything"),
        "node" => (!has("--version")).then_some("it may be anything"),
        "git" => (!has("config")).then_some("it may fetch"),
        _ if HARMLESS.contains(&first) => None,
        _ => Some("it is not known to reach no network"),
    }
}

/// One image of each agent with all modules.
fn dockerfiles() -> Vec<String> {
    let companions = Companions::Allowed(Confinement::Privileged);
    let catalogue = Catalogue::load(None, &Offer { companions, ..Offer::default() }).unwrap();
    let wrapper = ContextFile::new(b"wrapper".to_vec());
    let modules: BTreeSet<_> = catalogue.modules().map(|module| module.name.clone()).collect();
    let render = |agent| {
        let spec = ImageSpec {
            agent,
            modules: modules.clone(),
            base_image: "debian:bookworm-slim".into(),
            base_owner: BaseOwner::Operator,
            base_identity: "sha256:1".into(),
            architecture: "amd64".into(),
            ca_bundle: None,
            wrapper: Arc::clone(&wrapper),
        };
        let rendered = spec.render(&catalogue).unwrap();
        [CacheMounts::No, CacheMounts::Yes].map(|mounts| rendered.dockerfile(mounts).to_owned())
    };
    catalogue.agents().flat_map(|agent| render(agent.agent)).collect()
}

#[test]
fn every_download_of_every_template_is_compared_with_a_digest() {
    let mut fetched = 0;
    for dockerfile in dockerfiles() {
        assert!(!dockerfile.contains("\nADD "), "ADD fetches without a digest:\n{dockerfile}");
        for command in commands(&dockerfile) {
            assert_eq!(objection(&command), None, "{}", command.join(" "));
            fetched += usize::from(matches!(command[..], [ref name, ..] if name == "npm-package"));
        }
    }
    assert!(fetched >= 2 * 6, "only {fetched} packages were seen: are the steps still read?");
}

#[test]
fn a_download_without_a_digest_is_seen_wherever_it_stands() {
    for step in [
        "RUN curl -fsSL https://example.com/install | sh",
        "RUN mkdir /x && wget https://example.com/x",
        "RUN npm install -g thing",
        "RUN cd /tmp \\\n && npm-package thing@1.2.3 \\\n && rm -rf package",
        "RUN --mount=type=cache,id=x,target=/y \\\n    pip install thing",
        "RUN NAME=value git clone https://example.com/x",
        "RUN [ \"$(curl https://example.com/version)\" = 1 ]",
        "RUN python3 -c 'import urllib'",
    ] {
        let objections = commands(step).iter().filter_map(|words| objection(words)).count();
        assert_eq!(objections, 1 + usize::from(step.ends_with("| sh")), "{step}");
    }
}
