//! When images are collected, and by which rules.

use cron::Schedule;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use std::str::FromStr;
use std::time::Duration;
use worker_protocol::value;

use super::ConfigError;
use super::settings::{duration, wrong};
use crate::image::collect::Rules;

/// The table `[gc]` of the configuration file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGc {
    /// In cron's notation, UTC: `0 3 * * *`, `@daily`; `off` for never.
    pub schedule: Option<String>,
    /// Images go that were unused for longer than this.
    pub unused: Option<String>,
    /// Images go while there are more than this.
    pub max_images: Option<usize>,
    /// Images go while they take more of the disk than this.
    pub max_size: Option<String>,
    /// Images go while less than so many percent of the disk are free; 0 for never.
    pub min_free: Option<u8>,
    /// No image goes that is younger, or was used more recently, than this.
    pub min_age: Option<String>,
    /// What builds left goes that was unused for longer than this.
    pub cache_unused: Option<String>,
    /// Hashes, or what they begin with, of images that stay.
    pub pinned: Vec<String>,
}

/// Checked.
#[derive(Clone, Debug)]
pub struct Gc {
    /// When; none, when only the disk and commands are a reason.
    pub schedule: Option<Schedule>,
    /// Which images go.
    pub rules: Rules,
}

impl Gc {
    const DAY: Duration = Duration::from_secs(86_400);
    /// When few people are about.
    const SCHEDULE: &str = "0 3 * * *";
    /// A week's holiday should not cost a team its images.
    const UNUSED: Duration = Self::DAY.saturating_mul(7);
    /// An image that was just built is about to be used, whoever asked for it.
    const YOUNGEST: Duration = Duration::from_secs(3600);
    /// A build needs a few GB, and a host with less is about to fail elsewhere.
    const LEAST_FREE: u8 = 10;
    /// Digits of a pinned hash that tell it from others.
    const PIN: usize = 12;

    pub(super) fn check(raw: RawGc) -> Result<Self, ConfigError> {
        let rules = Rules {
            unused: duration("gc.unused", raw.unused)?.unwrap_or(Self::UNUSED),
            most_images: raw.max_images,
            most_bytes: raw.max_size.map(|text| size(&text)).transpose()?,
            least_free: percent(raw.min_free)?,
            youngest: duration("gc.min_age", raw.min_age)?.unwrap_or(Self::YOUNGEST),
            cache_unused: duration("gc.cache_unused", raw.cache_unused)?.unwrap_or(Self::UNUSED),
            pinned: raw.pinned.into_iter().map(pin).collect::<Result<_, _>>()?,
        };
        let schedule = raw.schedule.unwrap_or_else(|| Self::SCHEDULE.to_owned());
        Ok(Self { schedule: schedule_of(&schedule)?, rules })
    }

    /// The next time after `now`, if there is one.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = chrono::DateTime::from_timestamp(now.as_second(), 0)?;
        let next = self.schedule.as_ref()?.after(&now).next()?;
        Timestamp::from_second(next.timestamp()).ok()
    }
}

impl Default for Gc {
    fn default() -> Self {
        Self::check(RawGc::default()).expect("the defaults are right: a test has them checked")
    }
}

/// Five fields as everywhere; the library wants a sixth, the seconds, before them.
fn schedule_of(text: &str) -> Result<Option<Schedule>, ConfigError> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let five = text.split_whitespace().count() == 5;
    let full = if five { format!("0 {text}") } else { text.to_owned() };
    Schedule::from_str(&full).map(Some).map_err(|error| {
        let right = "must be in cron's notation, such as `0 3 * * *`, or `off`";
        wrong("gc.schedule", &format!("{right}: {error}"))
    })
}

fn size(text: &str) -> Result<u64, ConfigError> {
    let right = "must be a size such as 50g";
    value::size(&json!(text)).ok_or_else(|| wrong("gc.max_size", right))
}

fn percent(given: Option<u8>) -> Result<Option<u8>, ConfigError> {
    match given.unwrap_or(Gc::LEAST_FREE) {
        0 => Ok(None),
        percent @ 1..100 => Ok(Some(percent)),
        _ => Err(wrong("gc.min_free", "must be a number of percent below 100")),
    }
}

fn pin(text: String) -> Result<String, ConfigError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if digits && (Gc::PIN..=64).contains(&text.len()) {
        return Ok(text);
    }
    Err(wrong("gc.pinned", "must hold hashes of images, or their first 12 digits or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gc(text: &str) -> Result<Gc, ConfigError> {
        Gc::check(toml::from_str(text).unwrap())
    }

    #[test]
    fn images_are_collected_daily_when_nothing_is_configured() {
        let gc = gc("").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(gc.next_after(at("2026-08-01T10:00:00Z")), Some(at("2026-08-02T03:00:00Z")));
        assert_eq!(gc.next_after(at("2026-08-02T02:59:59Z")), Some(at("2026-08-02T03:00:00Z")));
        assert_eq!((gc.rules.unused.as_secs(), gc.rules.least_free), (7 * 86_400, Some(10)));
    }

    #[test]
    fn a_schedule_may_have_seconds_a_name_or_be_off() {
        for text in ["*/2 * * * * *", "@hourly", "0 3 * * 1-5"] {
            assert!(gc(&format!("schedule = \"{text}\"")).unwrap().schedule.is_some(), "{text}");
        }
        let off = gc("schedule = \"off\"").unwrap();
        assert_eq!(off.next_after(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (text, name) in [
            ("schedule = \"daily\"", "gc.schedule"),
            ("unused = \"never\"", "gc.unused"),
            ("max_size = \"much\"", "gc.max_size"),
            ("min_free = 100", "gc.min_free"),
            ("pinned = [\"CLAUDE\"]", "gc.pinned"),
        ] {
            let error = gc(text).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
