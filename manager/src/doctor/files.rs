//! What the operator wrote: configuration, templates, programs, certificates.

use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

use super::Finding;
use crate::chain::chain;
use crate::config::RawConfig;
use crate::image::Catalogue;
use worker_protocol::CredentialName;

/// A program says its version at once.
const PATIENCE: Duration = Duration::from_secs(5);
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Which file holds, besides the environment.
pub(super) fn configuration(raw: &RawConfig) -> Finding {
    const CHECK: &str = "configuration";
    match &raw.file {
        Some(path) => Finding::ok(CHECK, format!("{} was read", path.display())),
        None => Finding::ok(CHECK, "there is no file; environment and defaults hold"),
    }
}

/// All of them are rendered: a mistake shows here and not at a worker's start.
pub(super) fn templates(raw: &RawConfig) -> (Option<Catalogue>, Finding) {
    const CHECK: &str = "templates";
    let offer = match raw.offer() {
        Ok(offer) => offer,
        Err(error) => {
            let mend = "correct the configuration";
            return (None, Finding::problem(CHECK, chain(&error), mend));
        }
    };
    match Catalogue::load(raw.templates.as_deref(), &offer) {
        Ok(catalogue) => {
            let (agents, modules) = (catalogue.agents().count(), catalogue.modules().count());
            let text = format!("{agents} agents and {modules} modules can be rendered");
            (Some(catalogue), Finding::ok(CHECK, text))
        }
        Err(error) => {
            let place = raw.templates.as_deref().map(|path| path.display().to_string());
            let place = place.unwrap_or_else(|| "the built-in templates".to_owned());
            let mend = format!("correct the file in {place}; the manager does not start with it");
            (None, Finding::problem(CHECK, chain(&error), mend))
        }
    }
}

/// Names only: whether a credential is good, its vendor knows.
pub(super) fn credentials(catalogue: &Catalogue, raw: &mut RawConfig) -> Vec<Finding> {
    const CHECK: &str = "credentials";
    let all = catalogue.agents().flat_map(|agent| agent.head.credentials.iter());
    raw.take_credentials(all.map(String::as_str));
    let mut findings = Vec::new();
    let terms = match raw.terms() {
        Ok(terms) => terms,
        Err(error) => {
            let mend = "correct the configuration; the manager does not start with it";
            return vec![Finding::problem(CHECK, chain(&error), mend)];
        }
    };
    for name in terms.without_agent(catalogue) {
        let mend = "correct the name, add the template that lists it, or name agents in its `for`";
        findings.push(Finding::warning(CHECK, format!("no agent takes {name}"), mend));
    }
    for agent in catalogue.agents().filter(|agent| !agent.head.credentials.is_empty()) {
        let known: Vec<_> = terms.of(agent).map(CredentialName::as_str).collect();
        findings.push(if known.is_empty() {
            let text = format!("{} has none: a create must bring its own in `env`", agent.agent);
            Finding::note(CHECK, text)
        } else {
            Finding::ok(CHECK, format!("{} has {}", agent.agent, known.join(", ")))
        });
    }
    findings
}

/// Whether the wrapper runs, and belongs to this manager.
pub(super) async fn wrapper(raw: &RawConfig, own_program: &Path) -> Finding {
    program("wrapper", "`wrapper` (WORKER_WRAPPER)", raw.wrapper.as_deref(), own_program).await
}

/// Whether the gateway runs, and belongs to this manager.
pub(super) async fn gateway(raw: &RawConfig, own_program: &Path) -> Finding {
    program("gateway", "`gateway` (WORKER_GATEWAY)", raw.gateway.as_deref(), own_program).await
}

/// A program of this version: the one that is named, or the one beside this program.
async fn program(
    check: &'static str,
    key: &str,
    named: Option<&Path>,
    own_program: &Path,
) -> Finding {
    let name = format!("worker-{check}");
    let path = named.map_or_else(|| own_program.with_file_name(&name), Path::to_owned);
    let shown = path.display();
    let mend = format!("install the programs together, or name this one in {key}");
    let mut command = Command::new(&path);
    let ran = command.arg("--version").kill_on_drop(true).output();
    let said = match timeout(PATIENCE, ran).await {
        Err(_) => {
            return Finding::problem(check, format!("{shown} does not say its version"), mend);
        }
        Ok(Err(error)) => {
            return Finding::problem(check, format!("{shown} cannot be run: {error}"), mend);
        }
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    };
    let right = format!("{name} {}", env!("CARGO_PKG_VERSION"));
    if said == right {
        return Finding::ok(check, format!("{shown} is {said}"));
    }
    Finding::problem(check, format!("{shown} says {said:?}; this manager needs {right}"), mend)
}

/// None, where none is configured.
pub(super) fn ca_bundle(raw: &RawConfig) -> Option<Finding> {
    const CHECK: &str = "certificates";
    let path = raw.ca_bundle.as_deref()?;
    let shown = path.display();
    let mend = "`ca_bundle` (WORKER_CA_BUNDLE) must name a file of certificates in PEM";
    Some(match std::fs::read_to_string(path) {
        Err(error) => Finding::problem(CHECK, format!("{shown} cannot be read: {error}"), mend),
        Ok(text) => match text.matches(BEGIN).count() {
            0 => Finding::problem(CHECK, format!("{shown} holds no certificate"), mend),
            count => Finding::ok(CHECK, format!("{shown} holds {count} certificates")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::image::Offer;

    #[test]
    fn a_bundle_without_certificates_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let raw = RawConfig { ca_bundle: Some(path.clone()), ..RawConfig::default() };
        assert_eq!(ca_bundle(&raw).unwrap().level, Level::Problem);
        std::fs::write(&path, "nothing").unwrap();
        assert_eq!(ca_bundle(&raw).unwrap().level, Level::Problem);
        std::fs::write(&path, format!("{BEGIN}\nMII\n")).unwrap();
        assert_eq!(ca_bundle(&raw).unwrap().level, Level::Ok);
        assert_eq!(ca_bundle(&RawConfig::default()), None);
    }

    #[test]
    fn a_credential_that_no_agent_takes_is_named_and_its_value_is_not() {
        let catalogue = Catalogue::load(None, &Offer::default()).unwrap();
        let mut raw = RawConfig::default();
        let secret = || worker_protocol::Secret::new("hunter2".to_owned()).into();
        raw.credentials.insert("ANTHROPIC_API_KAY".to_owned(), secret());
        raw.credentials.insert("FACTORY_API_KEY".to_owned(), secret());
        let findings = credentials(&catalogue, &mut raw);
        assert_eq!(findings[0].text, "no agent takes ANTHROPIC_API_KAY");
        assert!(findings.iter().any(|finding| finding.text == "FACTORY has FACTORY_API_KEY"));
        assert!(!format!("{findings:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_wrapper_of_another_version_is_a_problem() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker-wrapper");
        let own = folder.path().join("worker-manager");
        let found = wrapper(&RawConfig::default(), &own).await;
        assert!(found.level == Level::Problem && found.text.contains("cannot be run"), "{found:?}");
        std::fs::write(&path, "#!/bin/sh\necho worker-wrapper 0.0.1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = wrapper(&RawConfig::default(), &own).await;
        assert!(found.level == Level::Problem && found.text.contains("0.0.1"), "{found:?}");
    }
}
