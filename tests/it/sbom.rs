//! The list of what is in an image.

use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use worker_tests::harness::{Finished, Installation};

/// An engine writes an image of some hundred MB to its disk before it gives the first byte.
const READ: Duration = Duration::from_secs(300);

fn sbom(it: &Installation, log: &str, image: &str) -> Finished {
    it.program(log, &["images", "sbom", image]).finish(READ)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// What the standard demands of each component, as far as it is used here.
fn assert_sound(component: &Value) {
    let kinds = ["application", "library", "operating-system"];
    assert!(kinds.contains(&text(component, "type")), "{component}");
    assert!(!text(component, "name").is_empty() && !text(component, "bom-ref").is_empty());
    for hash in component["hashes"].as_array().into_iter().flatten() {
        let digits = match text(hash, "alg") {
            "SHA-256" => 64,
            "SHA-512" => 128,
            other => panic!("{other} is none of the standard's names: {component}"),
        };
        let content = text(hash, "content");
        assert!(content.len() == digits && content.bytes().all(|b| b.is_ascii_hexdigit()));
    }
    let licences = component["licenses"].as_array().cloned().unwrap_or_default();
    let named = licences.iter().all(|one| !text(&one["license"], "name").is_empty());
    let expression = licences.len() == 1 && !text(&licences[0], "expression").is_empty();
    assert!(named || expression, "{component}");
}

#[test]
fn all_that_the_distribution_python_and_npm_have_installed_is_listed_with_its_version() {
    let it = Installation::start();
    let worker = it.worker(&[("agent_type", "CLAUDE"), ("modules", "COPIER")]);
    let done = sbom(&it, "sbom", "CLAUDE+COPIER");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(sbom(&it, "again", "CLAUDE+COPIER").stdout, done.stdout, "it is the same each time");

    let document: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(
        (text(&document, "bomFormat"), text(&document, "specVersion")),
        ("CycloneDX", "1.6")
    );
    assert_eq!(document["version"], 1);
    let number = text(&document, "serialNumber").strip_prefix("urn:uuid:").unwrap_or_default();
    assert!(uuid::Uuid::parse_str(number).is_ok(), "{number}");
    let components = document["components"].as_array().expect("components");
    components.iter().for_each(assert_sound);
    let names: BTreeSet<_> = components.iter().map(|one| text(one, "bom-ref")).collect();
    assert_eq!(names.len(), components.len(), "each has a name of its own");

    // dpkg's own word.
    let installed = worker.root("dpkg-query -W -f '${Package} ${Version}\n'");
    let installed: BTreeSet<_> = installed.lines().map(str::to_owned).collect();
    let listed = components.iter().filter(|one| text(one, "purl").starts_with("pkg:deb/"));
    let listed: BTreeSet<_> =
        listed.map(|one| format!("{} {}", text(one, "name"), text(one, "version"))).collect();
    assert_eq!(listed, installed);

    let find = |start: &str| {
        let found = components.iter().find(|one| text(one, "purl").starts_with(start));
        found.unwrap_or_else(|| panic!("{start} is missing in {names:?}"))
    };
    let copier = find("pkg:pypi/copier@");
    assert!(worker.root("copier --version").contains(text(copier, "version")), "{copier}");
    let claude = find("pkg:npm/%40anthropic-ai/claude-code-linux-");
    assert_eq!(worker.comes_to("ready").data()["version"], claude["version"]);
    assert_eq!(text(&claude["hashes"][0], "alg"), "SHA-512");
    let wrapper = find("pkg:generic/worker-wrapper@");
    let digest = worker.root("sha256sum /usr/libexec/worker-wrapper");
    assert!(digest.starts_with(text(&wrapper["hashes"][0], "content")), "{wrapper}");
    assert!(!text(&wrapper["hashes"][0], "content").is_empty());
    assert!(components.iter().any(|one| one["licenses"].is_array()), "some licences are known");

    let missing = sbom(&it, "missing", "CLAUDE+GITHUB_CLI");
    assert!(!missing.status.success() && missing.stderr.contains("is not built"), "{missing:?}");
}
