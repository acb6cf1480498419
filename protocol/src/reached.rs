//! A limit of time, cost or disk that was reached, as wrapper and manager tell each other and clients.

use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// The limits that end a turn or a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// The longest turn.
    TurnTimeout,
    /// The longest time without work.
    IdleTimeout,
    /// The longest life.
    MaxLifetime,
    /// The most that the agent may cost.
    MaxCostUsd,
    /// The most that it may write to the disk.
    Disk,
}

impl LimitName {
    /// The word on the wire, as in the `limits` of a `create`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TurnTimeout => "turn_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxLifetime => "max_lifetime",
            Self::MaxCostUsd => "max_cost_usd",
            Self::Disk => "disk",
        }
    }

    /// The `reason` in the record of a worker that it ended.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TurnTimeout => "turn timeout",
            Self::IdleTimeout => "idle timeout",
            Self::MaxLifetime => "lifetime limit",
            Self::MaxCostUsd => "cost limit",
            Self::Disk => "disk limit",
        }
    }

    /// Which limit ended a worker, by the `data` of its `exit` entry.
    #[must_use]
    pub fn of_exit(data: &Value) -> Option<Self> {
        Self::deserialize(data.pointer("/limit/name")?).ok()
    }
}

/// A limit with its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reached {
    /// A turn took so long.
    TurnTimeout(Duration),
    /// There was no work for so long.
    IdleTimeout(Duration),
    /// The worker has lived so long.
    MaxLifetime(Duration),
    /// The agent has cost so much, in US dollars.
    MaxCostUsd(f64),
    /// The worker has written more bytes to the disk than these.
    Disk(u64),
}

impl Reached {
    /// Which limit.
    #[must_use]
    pub fn name(self) -> LimitName {
        match self {
            Self::TurnTimeout(_) => LimitName::TurnTimeout,
            Self::IdleTimeout(_) => LimitName::IdleTimeout,
            Self::MaxLifetime(_) => LimitName::MaxLifetime,
            Self::MaxCostUsd(_) => LimitName::MaxCostUsd,
            Self::Disk(_) => LimitName::Disk,
        }
    }

    /// As it stands in an entry's `data.limit`: `value` is in seconds, US dollars or bytes.
    #[must_use]
    pub fn to_data(self) -> Value {
        let value = match self {
            Self::TurnTimeout(time) | Self::IdleTimeout(time) | Self::MaxLifetime(time) => {
                seconds(time)
            }
            Self::MaxCostUsd(cost) => json!(cost),
            Self::Disk(bytes) => json!(bytes),
        };
        json!({"name": self.name().as_str(), "value": value})
    }
}

/// What happened, for people.
impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TurnTimeout(time) => write!(f, "the turn has taken {} s", seconds(*time)),
            Self::IdleTimeout(time) => write!(f, "there was no work for {} s", seconds(*time)),
            Self::MaxLifetime(time) => write!(f, "the worker has lived for {} s", seconds(*time)),
            Self::MaxCostUsd(cost) => write!(f, "the agent's cost has reached {cost} US dollars"),
            Self::Disk(bytes) => {
                write!(f, "the worker has written more than {bytes} bytes to the disk")
            }
        }?;
        write!(f, " (`limits.{}`)", self.name().as_str())
    }
}

/// Whole seconds as a whole number.
fn seconds(time: Duration) -> Value {
    if time.subsec_nanos() == 0 { json!(time.as_secs()) } else { json!(time.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_wrapper_tells_is_read_back() {
        let second = Duration::from_secs(1);
        for reached in [
            Reached::TurnTimeout(second),
            Reached::IdleTimeout(second),
            Reached::MaxLifetime(second),
            Reached::MaxCostUsd(0.5),
            Reached::Disk(1 << 30),
        ] {
            let exit = json!({"code": 1, "limit": reached.to_data()});
            assert_eq!(LimitName::of_exit(&exit), Some(reached.name()));
            assert!(reached.to_string().contains(reached.name().as_str()), "{reached}");
        }
        assert_eq!(LimitName::of_exit(&json!({"code": 1})), None);
    }

    #[test]
    fn a_time_is_told_in_seconds() {
        let value = |ms| Reached::IdleTimeout(Duration::from_millis(ms)).to_data()["value"].clone();
        assert_eq!((value(90_000), value(500)), (json!(90), json!(0.5)));
    }
}
