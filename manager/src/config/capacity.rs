//! How many workers there may be at once, and what the host must have left for another.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use worker_protocol::value;

use super::ConfigError;
use super::settings::{duration, wrong};
use crate::world::Rules;

/// The table `[capacity]` of the configuration file. The environment variable of a key `x` is
/// `WORKER_CAPACITY_X`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCapacity {
    /// Workers that run or are made at once.
    pub workers: Option<usize>,
    /// Workers that are made or started at once.
    pub starts: Option<usize>,
    /// Workers that wait for room.
    pub queue: Option<usize>,
    /// How long one may wait: `15m`.
    pub queue_timeout: Option<String>,
    /// The label whose values take turns.
    pub fair_by: Option<String>,
    /// What must be free of the disk for a start: `1g`, or `off`.
    pub min_free_disk: Option<String>,
    /// What must be available of the memory for a start: `256m`, or `off`.
    pub min_free_memory: Option<String>,
}

impl RawCapacity {
    /// Starts that an engine still takes as fast as one after the other: beyond that each takes as
    /// much longer as there are more.
    const STARTS: usize = 8;
    /// Of a few kilobytes each; more is a client that has lost control.
    const QUEUE: usize = 1000;
    /// Somebody who waits for a worker has given up by then.
    const QUEUE_TIMEOUT: Duration = Duration::from_secs(900);
    /// An agent writes sessions and caches from the first minute, and Redis may be on that disk.
    const MIN_FREE_DISK: u64 = 1 << 30;
    /// What the smallest of the agents takes until it is ready.
    const MIN_FREE_MEMORY: u64 = 256 << 20;

    /// Environment variables go over the file.
    pub(super) fn overlay(
        &mut self,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let number = |slot: &mut Option<usize>, name: &'static str| {
            let Some(text) = env(name) else { return Ok(()) };
            let number = text.parse().map_err(|_| wrong(name, "must be a whole number"))?;
            *slot = Some(number);
            Ok(())
        };
        number(&mut self.workers, "WORKER_CAPACITY_WORKERS")?;
        number(&mut self.starts, "WORKER_CAPACITY_STARTS")?;
        number(&mut self.queue, "WORKER_CAPACITY_QUEUE")?;
        for (slot, name) in [
            (&mut self.queue_timeout, "WORKER_CAPACITY_QUEUE_TIMEOUT"),
            (&mut self.fair_by, "WORKER_CAPACITY_FAIR_BY"),
            (&mut self.min_free_disk, "WORKER_CAPACITY_MIN_FREE_DISK"),
            (&mut self.min_free_memory, "WORKER_CAPACITY_MIN_FREE_MEMORY"),
        ] {
            if let Some(text) = env(name) {
                *slot = Some(text);
            }
        }
        Ok(())
    }

    pub(crate) fn check(self) -> Result<Rules, ConfigError> {
        let timeout = duration("capacity.queue_timeout", self.queue_timeout)?;
        let timeout = timeout.unwrap_or(Self::QUEUE_TIMEOUT);
        Ok(Rules {
            workers: some("capacity.workers", self.workers)?,
            starts: some("capacity.starts", self.starts.or(Some(Self::STARTS)))?,
            queue: self.queue.or(Some(Self::QUEUE)),
            queue_timeout: SignedDuration::try_from(timeout).ok(),
            fair_by: self.fair_by,
            min_free_disk: size("capacity.min_free_disk", self.min_free_disk, Self::MIN_FREE_DISK)?,
            min_free_memory: size(
                "capacity.min_free_memory",
                self.min_free_memory,
                Self::MIN_FREE_MEMORY,
            )?,
        })
    }
}

/// With none, nothing could ever run.
fn some(name: &'static str, number: Option<usize>) -> Result<Option<usize>, ConfigError> {
    match number {
        Some(0) => Err(wrong(name, "must be at least 1; leave it out for no limit")),
        number => Ok(number),
    }
}

fn size(name: &'static str, text: Option<String>, usual: u64) -> Result<Option<u64>, ConfigError> {
    match text.as_deref() {
        None => Ok(Some(usual)),
        Some("off") => Ok(None),
        Some(text) => {
            let right = "must be a size such as 512m or 2g, or off";
            value::size(&json!(text)).map(Some).ok_or_else(|| wrong(name, right))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, ConfigError> {
        toml::from_str::<RawCapacity>(text).unwrap().check()
    }

    #[test]
    fn any_number_may_run_when_nothing_is_configured_but_not_on_a_full_host() {
        let rules = rules("").unwrap();
        assert_eq!((rules.workers, rules.starts, rules.queue), (None, Some(8), Some(1000)));
        assert_eq!(rules.min_free_disk, Some(1 << 30));
        assert_eq!(rules.queue_timeout, Some(SignedDuration::from_mins(15)));
    }

    #[test]
    fn the_host_is_not_looked_at_when_that_is_off() {
        let rules = rules("min_free_disk = \"off\"\nmin_free_memory = \"2g\"").unwrap();
        assert_eq!((rules.min_free_disk, rules.min_free_memory), (None, Some(2 << 30)));
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let mut raw = RawCapacity { workers: Some(1), ..RawCapacity::default() };
        let env = |name: &str| match name {
            "WORKER_CAPACITY_WORKERS" => Some("7".to_owned()),
            "WORKER_CAPACITY_FAIR_BY" => Some("team".to_owned()),
            _ => None,
        };
        raw.overlay(env).unwrap();
        assert_eq!((raw.workers, raw.fair_by.as_deref()), (Some(7), Some("team")));
        let error = raw.overlay(|_| Some("many".to_owned())).unwrap_err().to_string();
        assert!(error.contains("WORKER_CAPACITY_WORKERS"), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (text, name) in [
            ("workers = 0", "capacity.workers"),
            ("starts = 0", "capacity.starts"),
            ("queue_timeout = \"soon\"", "capacity.queue_timeout"),
            ("min_free_disk = \"much\"", "capacity.min_free_disk"),
            ("min_free_memory = \"1x\"", "capacity.min_free_memory"),
        ] {
            let error = rules(text).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
