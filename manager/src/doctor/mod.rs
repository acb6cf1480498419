//! Looking at everything that this program relies on, and telling what is wrong and how to mend it.
//!
//! Each file asks about one thing and judges the answer by itself: [`files`] what the operator wrote,
//! [`access`] whom it lets do what, [`redis`] and [`engine`] the two services, [`worker`] what a
//! worker will find. Nothing is changed,
//! but that a container lives for a moment. A manager may run meanwhile, or not.

mod access;
mod engine;
mod files;
mod redis;
mod worker;

use serde::Serialize;
use std::path::Path;

use crate::chain::chain;
use crate::config::{RawConfig, Settings};
use crate::engine::{DockerEngine, Engine};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// It works, and will do harm one day.
    Warning,
    /// It does not work.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `redis`, `engine`, …
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What is so.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self { check, level, text: text.into(), mend: None }
    }

    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, text)
    }

    fn note(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Note, text)
    }

    fn warning(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..Self::new(check, Level::Warning, text) }
    }

    fn problem(check: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..Self::new(check, Level::Problem, text) }
    }
}

/// Looks at everything. What cannot be looked at for want of something else says so by that.
pub async fn examine(mut raw: RawConfig, own_program: &Path) -> Vec<Finding> {
    let mut findings = vec![files::configuration(&raw)];
    let (catalogue, templates) = files::templates(&raw);
    findings.push(templates);
    if let Some(catalogue) = &catalogue {
        findings.extend(files::credentials(catalogue, &mut raw));
    }
    findings.push(files::wrapper(&raw, own_program).await);
    findings.push(files::gateway(&raw, own_program).await);
    findings.extend(files::ca_bundle(&raw));
    let settings = match Settings::check(raw.clone(), own_program) {
        Ok(settings) => settings,
        Err(error) => {
            let mend = "correct it; Redis, engine and workers were not looked at";
            findings.push(Finding::problem("configuration", chain(&error), mend));
            return findings;
        }
    };
    findings.extend(access::examine(&settings));
    findings.extend(redis::examine(&settings).await);
    let docker = DockerEngine::connect(settings.docker_host.as_deref(), settings.builder);
    match docker {
        Ok(docker) => findings.extend(services(&docker, &settings, &raw).await),
        Err(error) => {
            let mend = "correct `docker_host` (DOCKER_HOST)";
            findings.push(Finding::problem("engine", error.to_string(), mend));
        }
    }
    findings
}

async fn services(engine: &dyn Engine, settings: &Settings, raw: &RawConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    match engine.describe().await {
        Ok(facts) => {
            let disk = engine.disk().await.ok().flatten();
            findings.extend(engine::judge(&facts, disk, raw));
            findings.extend(worker::examine(engine, settings).await);
        }
        Err(error) => {
            let mend = "start it, or name another in `docker_host` (DOCKER_HOST); this user must \
                        be able to open its socket";
            findings.push(Finding::problem("engine", error.to_string(), mend));
        }
    }
    findings
}
