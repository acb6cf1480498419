//! The configuration as it was written: a file, then environment variables, then flags.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use worker_protocol::{AgentType, Secret};

use super::{ConfigError, RawCaller, RawCapacity, RawCredential, RawEgress, RawGc};
use crate::engine::Confinement;
use crate::image::{AgentOverride, Companions, Offer};
use crate::passage::Terms;

/// The file's name in the working directory, and below the user's configuration directory.
const FILE: &str = "worker-manager.toml";

/// Every key of the file, each of them optional. The environment variable of a key `x` at the top
/// is `WORKER_X`; `REDIS_URL` and `DOCKER_HOST` stand for themselves. Tables stand in the file only, but for
/// `[capacity]` and `[egress]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// `redis://user:password@host:port/db`, `rediss://…`, `redis+sentinel://host,host/name/db`,
    /// `redis+cluster://host,host` (`REDIS_URL`).
    pub redis_url: Option<String>,
    /// A file with the password, in place of one in `redis_url`.
    pub redis_password_file: Option<PathBuf>,
    /// A file of certificates in PEM that those of Redis are signed by; default: the usual
    /// authorities.
    pub redis_ca: Option<PathBuf>,
    /// The certificate in PEM that Redis is shown.
    pub redis_cert: Option<PathBuf>,
    /// Its key in PEM.
    pub redis_key: Option<PathBuf>,
    /// The user of the sentinels, where they have users.
    pub redis_sentinel_username: Option<String>,
    /// A file with the sentinels' password, where they ask for one.
    pub redis_sentinel_password_file: Option<PathBuf>,
    /// The address by which workers reach Redis, without credentials; default: that of `redis_url`.
    pub worker_redis_url: Option<String>,
    /// The word that all keys and names begin with.
    pub namespace: Option<String>,
    /// The network that leads outside, on which the gateway is; it is made when it is missing.
    pub network: Option<String>,
    /// Addresses that workers' own networks are taken from: `10.213.0.0/16`.
    pub worker_subnets: Option<String>,
    /// The image that workers' images build on.
    pub base_image: Option<String>,
    /// A file of certificates in PEM that builds and workers are to trust.
    pub ca_bundle: Option<PathBuf>,
    /// The wrapper's program; default: `worker-wrapper` beside the manager's own.
    pub wrapper: Option<PathBuf>,
    /// The gateway's program; default: `worker-gateway` beside the manager's own.
    pub gateway: Option<PathBuf>,
    /// A folder of templates in place of those that the manager brings, or beside them.
    pub templates: Option<PathBuf>,
    /// Where the engine listens (`DOCKER_HOST`).
    pub docker_host: Option<String>,
    /// What this manager's name begins with, among the readers of the commands and as leader;
    /// default: the machine's name.
    pub consumer: Option<String>,
    /// A command that the manager did not survive so often is put aside.
    pub tries: Option<usize>,
    /// Images that are built at the same time.
    pub builds: Option<usize>,
    /// A build that prints nothing for this long is ended: `10m`.
    pub build_silence: Option<String>,
    /// How long a manager that was killed is missed before another one leads: `6s`.
    pub lease: Option<String>,
    /// Entries of the commands stream, before what is acknowledged is trimmed.
    pub commands_entries: Option<usize>,
    /// Entries of the replies stream, roughly.
    pub responses_entries: Option<usize>,
    /// Entries of the events stream, roughly.
    pub events_entries: Option<usize>,
    /// Entries of a worker's output that are kept, roughly.
    pub output_entries: Option<usize>,
    /// How long record and output of a worker that is gone are kept: `24h`.
    pub keep_records: Option<String>,
    /// What is left of a worker that nobody knows goes after this: `10m`.
    pub orphan_grace: Option<String>,
    /// How much output of a worker waits on disk while Redis is away: `256m`, or `off`.
    pub spool: Option<String>,
    /// How long an agent has to end after it was asked to: `10s`.
    pub stop_grace: Option<String>,
    /// Where health and metrics are served: `127.0.0.1:9180`.
    pub listen: Option<String>,
    /// A collector of traces, by OTLP over HTTP: `http://127.0.0.1:4318`
    /// (`OTEL_EXPORTER_OTLP_ENDPOINT`).
    pub otlp_endpoint: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// Which messages are logged, in the notation of `tracing`: `info`, `worker_manager=debug`.
    pub log: Option<String>,
    /// How long an engine that goes away in the middle of a build is waited for: `60s`.
    pub engine_patience: Option<String>,
    /// What becomes of a worker whose `idle_timeout` is over: `stop` or `pause`.
    pub when_idle: Option<String>,
    /// What runs workers, by the engine's name for it: `runc`, `runsc`, `kata`, …; default: what the
    /// engine takes by itself.
    pub runtime: Option<String>,
    /// Which system calls workers may make: `strict` or `engine`.
    pub seccomp: Option<String>,
    /// What builds images: `auto`, `classic` or `buildkit`.
    pub builder: Option<String>,
    /// Whether workers may have an engine of their own, and what keeps that from the host: `off`,
    /// `privileged` or `sysbox`.
    pub docker: Option<String>,
    /// Agents in another version than their template's.
    pub agents: BTreeMap<AgentType, AgentOverride>,
    /// Images that are built before anybody asks for them: `CLAUDE+GIT`. In the environment with
    /// blanks between them.
    pub prebuild: Vec<String>,
    /// When images are removed.
    pub gc: RawGc,
    /// How many workers there may be at once.
    pub capacity: RawCapacity,
    /// Limits of a worker that names none itself.
    pub limits: RawLimits,
    /// Which hosts workers may reach.
    pub egress: RawEgress,
    /// Credentials for agents: by the name of the variable that a template lists under
    /// `credentials`, or by a name of the operator's.
    pub credentials: BTreeMap<String, RawCredential>,
    /// Who may send commands, each with what its signatures are checked by.
    pub callers: BTreeMap<String, RawCaller>,
    /// Whether commands have to be signed; default: as soon as there are callers.
    pub require_signatures: Option<bool>,
    /// A file that says what each caller may ask for.
    pub policy: Option<PathBuf>,
    /// How far the time of a signature may be from the manager's: `60s`.
    pub signature_window: Option<String>,
    /// The caller whose name this program's own commands carry.
    pub caller: Option<String>,
    /// A file with that caller's key.
    pub caller_key_file: Option<PathBuf>,
    /// The file that was read, if there was one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// The notations are those of `create`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Size.
    pub memory: Option<String>,
    /// Number.
    pub cpus: Option<f64>,
    /// Number.
    pub pids: Option<u64>,
    /// Size.
    pub disk: Option<String>,
    /// Duration.
    pub turn_timeout: Option<String>,
    /// Duration.
    pub idle_timeout: Option<String>,
    /// Duration.
    pub max_lifetime: Option<String>,
    /// Number.
    pub max_cost_usd: Option<f64>,
}

impl RawConfig {
    /// Reads file and environment. `file` is the one that the command line names; otherwise it is
    /// looked for in its usual places, and need not be there.
    ///
    /// # Errors
    /// When a file that is there, or was named, cannot be read or is malformed.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = file.map(Path::to_owned).or_else(|| env("WORKER_CONFIG").map(PathBuf::from));
        let users = env("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| env("HOME").map(|home| Path::new(&home).join(".config")))
            .map(|folder| folder.join(FILE));
        let found = match named {
            Some(path) => Some(path),
            None => [Some(PathBuf::from(FILE)), users].into_iter().flatten().find(|p| p.is_file()),
        };
        let mut config =
            found.map_or_else(|| Ok(Self::default()), |path| Self::from_file(&path))?;
        config.overlay(env)?;
        Ok(config)
    }

    /// What the operator decided about images, besides the templates.
    ///
    /// # Errors
    /// When `docker` is none of the words that it can be.
    pub fn offer(&self) -> Result<Offer, ConfigError> {
        let companions = match self.docker.as_deref().unwrap_or("off") {
            "off" => Companions::Refused,
            "privileged" => Companions::Allowed(Confinement::Privileged),
            "sysbox" => Companions::Allowed(Confinement::Runtime("sysbox-runc".to_owned())),
            other => {
                let problem = format!("must be off, privileged or sysbox, not {other:?}");
                return Err(ConfigError::Value { name: "docker (WORKER_DOCKER)", problem });
            }
        };
        Ok(Offer { companions, agents: self.agents.clone() })
    }

    /// What workers may reach, and as whom.
    ///
    /// # Errors
    /// Names the key, and what would be right; also when a credential's file cannot be read.
    pub fn terms(&self) -> Result<Terms, ConfigError> {
        Ok(Terms {
            egress: self.egress.check()?,
            credentials: super::credentials::check(&self.credentials)?,
        })
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            what: "the configuration file",
            path: path.to_owned(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            line: 1 + text.bytes().take(start(&error)).filter(|&byte| byte == b'\n').count(),
            message: error.message().to_owned(),
        })?;
        Ok(Self { file: Some(path.to_owned()), ..config })
    }

    /// Environment variables go over the file.
    fn overlay(&mut self, env: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        self.overlay_texts(&env);
        self.overlay_paths(&env);
        self.overlay_numbers(&env)?;
        if let Some(value) = env("WORKER_REQUIRE_SIGNATURES") {
            let required = value.to_ascii_lowercase().parse();
            self.require_signatures = Some(required.map_err(|_| ConfigError::Value {
                name: "WORKER_REQUIRE_SIGNATURES",
                problem: "must be true or false".to_owned(),
            })?);
        }
        if let Some(images) = env("WORKER_PREBUILD") {
            self.prebuild = images.split_whitespace().map(str::to_owned).collect();
        }
        self.egress.overlay(&env);
        self.capacity.overlay(&env)
    }

    fn overlay_texts(&mut self, env: &impl Fn(&str) -> Option<String>) {
        let text = |slot: &mut Option<String>, name: &str| {
            if let Some(value) = env(name) {
                *slot = Some(value);
            }
        };
        text(&mut self.redis_url, "REDIS_URL");
        text(&mut self.docker_host, "DOCKER_HOST");
        text(&mut self.worker_redis_url, "WORKER_REDIS_URL");
        text(&mut self.redis_sentinel_username, "WORKER_REDIS_SENTINEL_USERNAME");
        text(&mut self.namespace, "WORKER_NAMESPACE");
        text(&mut self.network, "WORKER_NETWORK");
        text(&mut self.worker_subnets, "WORKER_SUBNETS");
        text(&mut self.base_image, "WORKER_BASE_IMAGE");
        text(&mut self.consumer, "WORKER_CONSUMER");
        text(&mut self.keep_records, "WORKER_KEEP_RECORDS");
        text(&mut self.orphan_grace, "WORKER_ORPHAN_GRACE");
        text(&mut self.spool, "WORKER_SPOOL");
        text(&mut self.lease, "WORKER_LEASE");
        text(&mut self.stop_grace, "WORKER_STOP_GRACE");
        text(&mut self.build_silence, "WORKER_BUILD_SILENCE");
        text(&mut self.engine_patience, "WORKER_ENGINE_PATIENCE");
        text(&mut self.docker, "WORKER_DOCKER");
        text(&mut self.signature_window, "WORKER_SIGNATURE_WINDOW");
        text(&mut self.caller, "WORKER_CALLER");
        text(&mut self.when_idle, "WORKER_WHEN_IDLE");
        text(&mut self.builder, "WORKER_BUILDER");
        text(&mut self.runtime, "WORKER_RUNTIME");
        text(&mut self.seccomp, "WORKER_SECCOMP");
        text(&mut self.listen, "WORKER_LISTEN");
        text(&mut self.otlp_endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT");
        text(&mut self.log_format, "WORKER_LOG_FORMAT");
        text(&mut self.log, "WORKER_LOG");
    }

    fn overlay_paths(&mut self, env: &impl Fn(&str) -> Option<String>) {
        let path = |slot: &mut Option<PathBuf>, name: &str| {
            if let Some(value) = env(name) {
                *slot = Some(PathBuf::from(value));
            }
        };
        path(&mut self.redis_password_file, "WORKER_REDIS_PASSWORD_FILE");
        path(&mut self.redis_ca, "WORKER_REDIS_CA");
        path(&mut self.redis_cert, "WORKER_REDIS_CERT");
        path(&mut self.redis_key, "WORKER_REDIS_KEY");
        path(&mut self.redis_sentinel_password_file, "WORKER_REDIS_SENTINEL_PASSWORD_FILE");
        path(&mut self.ca_bundle, "WORKER_CA_BUNDLE");
        path(&mut self.wrapper, "WORKER_WRAPPER");
        path(&mut self.gateway, "WORKER_GATEWAY");
        path(&mut self.templates, "WORKER_TEMPLATES");
        path(&mut self.caller_key_file, "WORKER_CALLER_KEY_FILE");
        path(&mut self.policy, "WORKER_POLICY");
    }

    fn overlay_numbers(
        &mut self,
        env: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let number = |slot: &mut Option<usize>, name: &'static str| match env(name) {
            None => Ok(()),
            Some(value) => value.parse().map(|number| *slot = Some(number)).map_err(|_| {
                ConfigError::Value { name, problem: "must be a whole number".to_owned() }
            }),
        };
        number(&mut self.builds, "WORKER_BUILDS")?;
        number(&mut self.tries, "WORKER_TRIES")?;
        number(&mut self.commands_entries, "WORKER_COMMANDS_ENTRIES")?;
        number(&mut self.responses_entries, "WORKER_RESPONSES_ENTRIES")?;
        number(&mut self.events_entries, "WORKER_EVENTS_ENTRIES")?;
        number(&mut self.output_entries, "WORKER_OUTPUT_ENTRIES")
    }

    /// Credentials that stand in the environment under the names that templates list. What the file
    /// says besides the value holds.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn take_credentials<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            if let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) {
                let credential = self.credentials.entry(name.to_owned()).or_default();
                (credential.value, credential.file) = (Some(Secret::new(value)), None);
            }
        }
    }
}

fn start(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_over_the_file() {
        let mut config: RawConfig =
            toml::from_str("namespace = \"a\"\nnetwork = \"n\"\n[limits]\nmemory = \"2g\"")
                .unwrap();
        let env = |name: &str| (name == "WORKER_NAMESPACE").then(|| "b".to_owned());
        config.overlay(env).unwrap();
        assert_eq!(
            (config.namespace.as_deref(), config.network.as_deref()),
            (Some("b"), Some("n"))
        );
    }

    #[test]
    fn a_mistake_is_told_by_its_line_and_not_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker-manager.toml");
        let table = "[credentials]\nA = \"a\"\nB = { valu = \"hunter2\" }";
        for (text, part) in [(table, "line 3"), ("\nlog = hunter2", "line 2")] {
            std::fs::write(&path, text).unwrap();
            let error = crate::chain::chain(&RawConfig::from_file(&path).unwrap_err());
            assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<RawConfig>("namspace = \"a\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `namspace`"), "{error}");
    }

    #[test]
    fn debug_shows_no_credential() {
        let config: RawConfig =
            toml::from_str("[credentials]\nANTHROPIC_API_KEY = \"hunter2\"").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
