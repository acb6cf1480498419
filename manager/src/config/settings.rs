//! The configuration as the program uses it: complete and checked.

use ipnet::Ipv4Net;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker_protocol::boot::{Bounds, WhenIdle};
use worker_protocol::limits::Limits;
use worker_protocol::{Keys, Problem, value};

use super::{ConfigError, Gc, RawConfig, RawLimits, RedisSource, callers};
use crate::caller::Callers;
use crate::engine::{Builder, ENCLOSURE_PREFIX, SystemCalls};
use crate::image::{ContextFile, ImageWish};
use crate::passage::Terms;
use crate::policy::{Policy, Usual};
use crate::store::Retention;
use crate::world::Rules;

/// What holds when nothing is configured.
pub struct Defaults;

impl Defaults {
    /// A Redis on this machine.
    pub const REDIS_URL: &'static str = "redis://127.0.0.1:6379/0";
    /// The word before all keys.
    pub const NAMESPACE: &'static str = "worker";
    /// The network that leads outside.
    pub const NETWORK: &'static str = "worker";
    /// Room for eight thousand workers, in a private range that few use.
    pub const WORKER_SUBNETS: &'static str = "10.213.0.0/16";
    /// What images build on.
    pub const BASE_IMAGE: &'static str = "debian:bookworm-slim";
    /// Two builds share a machine's network and disk without starving each other.
    pub const BUILDS: usize = 2;
    /// A manager that is killed by chance is not killed five times at the same command.
    pub const TRIES: u64 = 5;
    /// Package managers and compilers print more often.
    pub const BUILD_SILENCE: Duration = Duration::from_secs(600);
    /// A daemon that is upgraded is back sooner.
    pub const ENGINE_PATIENCE: Duration = Duration::from_secs(60);
    /// A day of a busy agent.
    pub const OUTPUT_ENTRIES: usize = 10_000;
    /// Node, compilers and test runners need several hundred processes; a fork bomb needs all.
    pub const PIDS: u64 = 2048;
    /// An operator who restores a Redis, or starts another manager, is done sooner.
    pub const ORPHAN_GRACE: Duration = Duration::from_secs(600);
    /// A manager that was killed is replaced within ten seconds, and an answer of Redis may be lost,
    /// or take two, without that.
    pub const LEASE: Duration = Duration::from_secs(6);
    /// How long an agent has to end. Claude Code writes its session and ends its children.
    pub const STOP_GRACE: Duration = Duration::from_secs(10);
}

/// Complete and checked. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Redis, and what opens it.
    pub redis: RedisSource,
    /// Redis as workers reach it, without credentials.
    pub workers_redis_url: String,
    /// Names.
    pub keys: Keys,
    /// The network that leads outside.
    pub network: String,
    /// Where workers' own networks are taken from.
    pub worker_subnets: Ipv4Net,
    /// What images build on.
    pub base_image: String,
    /// Certificates that builds and workers trust.
    pub ca_bundle: Option<Arc<ContextFile>>,
    /// The first process of every worker.
    pub wrapper: Arc<ContextFile>,
    /// The gateway's program.
    pub gateway: Arc<ContextFile>,
    /// Where the engine listens.
    pub docker_host: Option<String>,
    /// What this manager's name begins with.
    pub consumer: String,
    /// How often a command is begun with that the manager does not survive.
    pub tries: u64,
    /// Images built at the same time.
    pub builds: usize,
    /// A build that prints nothing for this long is ended.
    pub build_silence: Duration,
    /// What builds them.
    pub builder: Builder,
    /// How long an engine that goes away in the middle of a build is waited for.
    pub engine_patience: Duration,
    /// Images that are built before anybody asks for them.
    pub prebuild: Vec<ImageWish>,
    /// When images are removed.
    pub gc: Gc,
    /// How many workers there may be at once.
    pub capacity: Rules,
    /// Who may send commands.
    pub callers: Callers,
    /// What each of them may ask for; none: everything.
    pub policy: Option<Arc<Policy>>,
    /// Entries of an output that are kept.
    pub output_entries: usize,
    /// Bytes of a worker's output that wait on disk while Redis is away; 0: none.
    pub spool_bytes: u64,
    /// What is kept in Redis, and for how long.
    pub retention: Retention,
    /// How long the lease lasts that nobody renews.
    pub lease: Duration,
    /// How long an agent has to end.
    pub stop_grace: Duration,
    /// What is left of a worker that nobody knows goes when it was seen for so long.
    pub orphan_grace: Duration,
    /// Limits of workers that name none.
    pub limits: Limits,
    /// Which system calls workers may make.
    pub system_calls: SystemCalls,
    /// What runs workers, by the engine's name for it.
    pub runtime: Option<String>,
    /// What becomes of a worker that has had no work for as long as it may.
    pub when_idle: WhenIdle,
    /// Where health and metrics are served.
    pub listen: Option<SocketAddr>,
    /// What workers may reach, and as whom.
    pub terms: Arc<Terms>,
}

impl Settings {
    /// How long an instance has to end: as long as its agent, and then as long as its wrapper needs
    /// to kill the agent and to say how it ended.
    #[must_use]
    pub fn instance_grace(&self) -> Duration {
        const WRAPPERS_LAST_WORDS: Duration = Duration::from_secs(10);
        self.stop_grace + WRAPPERS_LAST_WORDS
    }

    /// Checks and completes. `own_program` is the path of the running program, beside which the
    /// wrapper is looked for.
    ///
    /// # Errors
    /// Names the key, and what would be right.
    pub fn check(raw: RawConfig, own_program: &Path) -> Result<Self, ConfigError> {
        let callers = callers::check(&raw)?;
        let (redis, keys) = RedisSource::check(&raw)?;
        let terms = raw.terms()?;
        let limits = limits(&raw.limits)?;
        let usual = Usual { limits: limits.clone(), egress: terms.egress.usual.clone() };
        let policy = callers::policy(raw.policy.as_deref(), &callers, usual)?;
        let beside = |name| own_program.with_file_name(name);
        let wrapper = raw.wrapper.unwrap_or_else(|| beside("worker-wrapper"));
        let gateway = raw.gateway.unwrap_or_else(|| beside("worker-gateway"));
        let keep = duration("keep_records (WORKER_KEEP_RECORDS)", raw.keep_records)?;
        let usual = Retention::default();
        let retention = Retention {
            farewell: keep.unwrap_or(usual.farewell),
            commands: raw.commands_entries.unwrap_or(usual.commands),
            responses: raw.responses_entries.unwrap_or(usual.responses),
            events: raw.events_entries.unwrap_or(usual.events),
            ..usual
        };
        Ok(Self {
            workers_redis_url: redis.workers_url().to_owned(),
            redis,
            keys,
            network: raw.network.unwrap_or_else(|| Defaults::NETWORK.to_owned()),
            worker_subnets: worker_subnets(raw.worker_subnets.as_deref())?,
            base_image: raw.base_image.unwrap_or_else(|| Defaults::BASE_IMAGE.to_owned()),
            ca_bundle: raw.ca_bundle.map(|path| file("the CA bundle", path)).transpose()?,
            wrapper: file("the wrapper", wrapper)?,
            gateway: file("the gateway", gateway)?,
            docker_host: raw.docker_host,
            consumer: consumer(raw.consumer)?,
            tries: raw.tries.map_or(Defaults::TRIES, |tries| tries.max(1) as u64),
            builds: raw.builds.unwrap_or(Defaults::BUILDS).max(1),
            build_silence: duration("build_silence (WORKER_BUILD_SILENCE)", raw.build_silence)?
                .unwrap_or(Defaults::BUILD_SILENCE),
            builder: builder(raw.builder.as_deref())?,
            engine_patience: duration(
                "engine_patience (WORKER_ENGINE_PATIENCE)",
                raw.engine_patience,
            )?
            .unwrap_or(Defaults::ENGINE_PATIENCE),
            prebuild: prebuild(&raw.prebuild)?,
            gc: Gc::check(raw.gc)?,
            capacity: raw.capacity.check()?,
            callers,
            policy,
            output_entries: raw.output_entries.unwrap_or(Defaults::OUTPUT_ENTRIES).max(100),
            spool_bytes: spool(raw.spool.as_deref())?,
            retention,
            lease: lease(raw.lease)?,
            stop_grace: duration("stop_grace (WORKER_STOP_GRACE)", raw.stop_grace)?
                .unwrap_or(Defaults::STOP_GRACE),
            orphan_grace: duration("orphan_grace (WORKER_ORPHAN_GRACE)", raw.orphan_grace)?
                .unwrap_or(Defaults::ORPHAN_GRACE),
            limits,
            system_calls: system_calls(raw.seccomp.as_deref())?,
            runtime: raw.runtime,
            when_idle: when_idle(raw.when_idle.as_deref())?,
            listen: raw.listen.as_deref().map(listen).transpose()?,
            terms: Arc::new(terms),
        })
    }
}

fn file(what: &'static str, path: PathBuf) -> Result<Arc<ContextFile>, ConfigError> {
    match std::fs::read(&path) {
        Ok(bytes) => Ok(ContextFile::new(bytes)),
        Err(source) => Err(ConfigError::Read { what, path, source }),
    }
}

pub(super) fn duration(
    name: &'static str,
    text: Option<String>,
) -> Result<Option<Duration>, ConfigError> {
    let right = "must be a duration such as 90s, 15m or 7d";
    text.map(|text| value::duration(&json!(text)).ok_or_else(|| wrong(name, right))).transpose()
}

/// Whole words on one line: it stands in logs, and in Redis before a random end.
fn consumer(given: Option<String>) -> Result<String, ConfigError> {
    let right = "must be 1 to 64 letters, digits, `.`, `-` or `_`";
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    match given {
        Some(name) if (1..=64).contains(&name.len()) && name.chars().all(is_plain) => Ok(name),
        Some(_) => Err(wrong("consumer (WORKER_CONSUMER)", right)),
        None => {
            let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
            let host: String = host.unwrap_or_default().chars().filter(|c| is_plain(*c)).collect();
            Ok(if host.is_empty() { "manager".to_owned() } else { host })
        }
    }
}

/// At least a second: with less, a busy machine changes its leader without a cause.
fn lease(given: Option<String>) -> Result<Duration, ConfigError> {
    let name = "lease (WORKER_LEASE)";
    match duration(name, given)?.unwrap_or(Defaults::LEASE) {
        short if short < Duration::from_secs(1) => Err(wrong(name, "must be 1s or longer")),
        time => Ok(time),
    }
}

/// At least a megabyte: with less, a worker would rather lose output than keep it.
fn spool(given: Option<&str>) -> Result<u64, ConfigError> {
    let right = "must be a size from 1m on such as 256m, or off";
    match given {
        None => Ok(Bounds::default().spool_bytes),
        Some("off") => Ok(0),
        Some(text) => value::size(&json!(text))
            .filter(|bytes| *bytes >= 1 << 20)
            .ok_or_else(|| wrong("spool (WORKER_SPOOL)", right)),
    }
}

fn system_calls(given: Option<&str>) -> Result<SystemCalls, ConfigError> {
    match given.unwrap_or("strict") {
        "strict" => Ok(SystemCalls::Strict),
        "engine" => Ok(SystemCalls::Engines),
        _ => Err(wrong("seccomp (WORKER_SECCOMP)", "must be strict or engine")),
    }
}

/// At least one network.
fn worker_subnets(given: Option<&str>) -> Result<Ipv4Net, ConfigError> {
    let range = given.unwrap_or(Defaults::WORKER_SUBNETS).parse::<Ipv4Net>();
    let range = range.ok().filter(|range| range.prefix_len() <= ENCLOSURE_PREFIX);
    let right = "must be a range of addresses with room for networks of 8, such as 10.213.0.0/16";
    range.map(|range| range.trunc()).ok_or_else(|| wrong("worker_subnets (WORKER_SUBNETS)", right))
}

fn when_idle(given: Option<&str>) -> Result<WhenIdle, ConfigError> {
    match given.unwrap_or("stop") {
        "stop" => Ok(WhenIdle::End),
        "pause" => Ok(WhenIdle::Pause),
        _ => Err(wrong("when_idle (WORKER_WHEN_IDLE)", "must be stop or pause")),
    }
}

fn listen(given: &str) -> Result<SocketAddr, ConfigError> {
    let right = "must be an address and a port, such as 127.0.0.1:9180";
    given.parse().map_err(|_| wrong("listen (WORKER_LISTEN)", right))
}

fn builder(given: Option<&str>) -> Result<Builder, ConfigError> {
    match given.unwrap_or("auto") {
        "auto" => Ok(Builder::Auto),
        "classic" => Ok(Builder::Classic),
        "buildkit" => Ok(Builder::BuildKit),
        _ => Err(wrong("builder (WORKER_BUILDER)", "must be auto, classic or buildkit")),
    }
}

/// Whether the modules exist, the catalogue knows.
fn prebuild(images: &[String]) -> Result<Vec<ImageWish>, ConfigError> {
    let wish = |text: &String| {
        text.parse()
            .map_err(|problem: Problem| wrong("prebuild (WORKER_PREBUILD)", &problem.message))
    };
    images.iter().map(wish).collect()
}

/// Checked as those of a `create` are.
fn limits(raw: &RawLimits) -> Result<Limits, ConfigError> {
    let mut given = serde_json::Map::new();
    let all = [
        ("memory", raw.memory.as_ref().map(|memory| json!(memory))),
        ("cpus", raw.cpus.map(|cpus| json!(cpus))),
        ("pids", Some(json!(raw.pids.unwrap_or(Defaults::PIDS)))),
        ("disk", raw.disk.as_ref().map(|disk| json!(disk))),
        ("turn_timeout", raw.turn_timeout.as_ref().map(|limit| json!(limit))),
        ("idle_timeout", raw.idle_timeout.as_ref().map(|limit| json!(limit))),
        ("max_lifetime", raw.max_lifetime.as_ref().map(|limit| json!(limit))),
        ("max_cost_usd", raw.max_cost_usd.map(|cost| json!(cost))),
    ];
    given.extend(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Limits::from_object(&given)
        .map_err(|problem| ConfigError::Value { name: "[limits]", problem: problem.message })
}

pub(super) fn wrong(name: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { name, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> (tempfile::TempDir, RawConfig) {
        let folder = tempfile::tempdir().unwrap();
        let wrapper = folder.path().join("worker-wrapper");
        let gateway = folder.path().join("worker-gateway");
        std::fs::write(&wrapper, "w").unwrap();
        std::fs::write(&gateway, "g").unwrap();
        let (wrapper, gateway) = (Some(wrapper), Some(gateway));
        (folder, RawConfig { wrapper, gateway, ..RawConfig::default() })
    }

    #[test]
    fn nothing_need_be_configured_but_a_wrapper_that_is_there() {
        let (_folder, raw) = raw();
        let settings = Settings::check(raw, Path::new("/none")).unwrap();
        assert_eq!(settings.keys.commands(), "worker:commands");
        let missing = Settings::check(RawConfig::default(), Path::new("/none/worker-manager"));
        assert!(missing.unwrap_err().to_string().contains("/none/worker-wrapper"));
    }

    #[test]
    fn a_wrong_value_is_named() {
        let (_folder, mut raw) = raw();
        raw.keep_records = Some("soon".to_owned());
        let error = Settings::check(raw.clone(), Path::new("/none")).unwrap_err().to_string();
        assert!(error.contains("WORKER_KEEP_RECORDS") && error.contains("90s"), "{error}");
        raw.keep_records = None;
        raw.limits.cpus = Some(-1.0);
        let error = Settings::check(raw.clone(), Path::new("/none")).unwrap_err().to_string();
        assert!(error.contains("limits.cpus"), "{error}");
        raw.limits = RawLimits { idle_timeout: Some("never".to_owned()), ..RawLimits::default() };
        let error = Settings::check(raw, Path::new("/none")).unwrap_err().to_string();
        assert!(error.contains("limits.idle_timeout"), "{error}");
    }

    #[test]
    fn a_managers_name_is_the_machines_unless_it_is_given() {
        let (_folder, raw) = raw();
        let named = |name: Option<&str>| {
            let raw = RawConfig { consumer: name.map(str::to_owned), ..raw.clone() };
            Settings::check(raw, Path::new("/none")).map(|settings| settings.consumer)
        };
        assert!(!named(None).unwrap().is_empty());
        assert_eq!(named(Some("blue-1")).unwrap(), "blue-1");
        let error = named(Some("a b")).unwrap_err().to_string();
        assert!(error.contains("WORKER_CONSUMER"), "{error}");
    }

    #[test]
    fn workers_networks_are_taken_from_a_range_with_room_for_one() {
        let (_folder, raw) = raw();
        let range = |text: &str| {
            let raw = RawConfig { worker_subnets: Some(text.to_owned()), ..raw.clone() };
            Settings::check(raw, Path::new("/none")).map(|settings| settings.worker_subnets)
        };
        assert_eq!(range("10.9.8.7/16").unwrap().to_string(), "10.9.0.0/16");
        for bad in ["10.9.0.0/30", "fd00::/64", "10.9.0.0"] {
            assert!(range(bad).unwrap_err().to_string().contains("WORKER_SUBNETS"), "{bad}");
        }
    }

    #[test]
    fn an_idle_worker_is_stopped_or_paused() {
        let (_folder, mut raw) = raw();
        let settings = Settings::check(raw.clone(), Path::new("/none")).unwrap();
        assert_eq!(settings.when_idle, WhenIdle::End);
        raw.when_idle = Some("pause".to_owned());
        let settings = Settings::check(raw.clone(), Path::new("/none")).unwrap();
        assert_eq!(settings.when_idle, WhenIdle::Pause);
        raw.when_idle = Some("sleep".to_owned());
        let error = Settings::check(raw, Path::new("/none")).unwrap_err().to_string();
        assert!(error.contains("WORKER_WHEN_IDLE") && error.contains("stop or pause"), "{error}");
    }

    #[test]
    fn the_filter_of_system_calls_is_ours_or_the_engines() {
        let (_folder, raw) = raw();
        let of = |given: Option<&str>| {
            let raw = RawConfig { seccomp: given.map(str::to_owned), ..raw.clone() };
            Settings::check(raw, Path::new("/none")).map(|settings| settings.system_calls)
        };
        assert_eq!(of(None).unwrap(), SystemCalls::Strict);
        assert_eq!(of(Some("engine")).unwrap(), SystemCalls::Engines);
        let error = of(Some("off")).unwrap_err().to_string();
        assert!(error.contains("WORKER_SECCOMP") && error.contains("strict or engine"), "{error}");
    }

    #[test]
    fn a_lease_is_no_shorter_than_a_second() {
        let (_folder, raw) = raw();
        let lease = |text: &str| {
            let raw = RawConfig { lease: Some(text.to_owned()), ..raw.clone() };
            Settings::check(raw, Path::new("/none")).map(|settings| settings.lease)
        };
        assert_eq!(lease("1s").unwrap(), Duration::from_secs(1));
        let error = lease("900ms").unwrap_err().to_string();
        assert!(error.contains("WORKER_LEASE") && error.contains("1s"), "{error}");
    }

    #[test]
    fn the_spool_has_a_size_or_is_off() {
        let (_folder, raw) = raw();
        let spool = |text: &str| {
            let raw = RawConfig { spool: Some(text.to_owned()), ..raw.clone() };
            Settings::check(raw, Path::new("/none")).map(|settings| settings.spool_bytes)
        };
        assert_eq!(spool("64m").unwrap(), 64 << 20);
        assert_eq!(spool("off").unwrap(), 0);
        for bad in ["1k", "0", "much"] {
            let error = spool(bad).unwrap_err().to_string();
            assert!(error.contains("WORKER_SPOOL") && error.contains("256m"), "{error}");
        }
    }
}
