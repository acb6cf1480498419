//! What a worker may use.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

use crate::problem::{Problem, Shown, did_you_mean};
use crate::value;

/// Limits of one worker; what is not given comes from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Processors, in parts: `1.5`.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Disk in bytes.
    pub disk: Option<u64>,
    /// The longest turn.
    pub turn_timeout: Option<Duration>,
    /// The longest time without work: no turn, no prompt, no output.
    pub idle_timeout: Option<Duration>,
    /// The longest life, from the container's first start on.
    pub max_lifetime: Option<Duration>,
    /// The most that the agent may cost, in US dollars.
    pub max_cost_usd: Option<f64>,
}

const NAMES: [&str; 8] = [
    "memory",
    "cpus",
    "pids",
    "disk",
    "turn_timeout",
    "idle_timeout",
    "max_lifetime",
    "max_cost_usd",
];

/// Less than this and no engine starts a container.
const LEAST_MEMORY: u64 = 16 << 20;

impl Limits {
    /// Reads the `limits` object.
    ///
    /// # Errors
    /// Names the key and what would be right.
    pub fn from_object(map: &serde_json::Map<String, Value>) -> Result<Self, Problem> {
        let mut limits = Self::default();
        for (name, given) in map {
            limits.set(name, given)?;
        }
        Ok(limits)
    }

    fn set(&mut self, name: &str, given: &Value) -> Result<(), Problem> {
        let bad = |right: &str| {
            Problem::malformed(format!(
                "`limits.{name}` must be {right}, not {}",
                Shown(&given.to_string())
            ))
        };
        let a_size = "a size such as 512m or 2g, from 16m to below 1024t";
        let a_time = "a duration such as 90s, 15m or 7d, at most ten years";
        match name {
            "memory" | "disk" => {
                let bytes =
                    value::size(given).filter(|b| *b >= LEAST_MEMORY).ok_or_else(|| bad(a_size))?;
                *(if name == "memory" { &mut self.memory } else { &mut self.disk }) = Some(bytes);
            }
            "cpus" => {
                let cpus = value::number(given).filter(|n| (0.01..=1024.0).contains(n));
                self.cpus = Some(cpus.ok_or_else(|| bad("a number from 0.01 to 1024"))?);
            }
            "pids" => {
                let pids = value::number(given)
                    .filter(|n| (8.0..=4_194_304.0).contains(n) && n.fract() == 0.0);
                let pids = pids.map(|n| n as u64);
                self.pids = Some(pids.ok_or_else(|| bad("a whole number from 8 to 4194304"))?);
            }
            "turn_timeout" | "idle_timeout" | "max_lifetime" => {
                let time = value::duration(given).ok_or_else(|| bad(a_time))?;
                *(match name {
                    "turn_timeout" => &mut self.turn_timeout,
                    "idle_timeout" => &mut self.idle_timeout,
                    _ => &mut self.max_lifetime,
                }) = Some(time);
            }
            "max_cost_usd" => {
                let cost = value::number(given).filter(|n| *n > 0.0 && *n <= 1e9);
                self.max_cost_usd = Some(cost.ok_or_else(|| bad("an amount above 0"))?);
            }
            _ => {
                let near = did_you_mean(name, NAMES);
                let known = NAMES.join(", ");
                return Err(Problem::malformed(format!(
                    "`limits.{name}` is not known{near} (known: {known})"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Limits, String> {
        Limits::from_object(value.as_object().unwrap()).map_err(|problem| problem.message)
    }

    #[test]
    fn limits_are_read_in_their_notations() {
        let limits =
            read(json!({"memory": "2g", "cpus": "1.5", "pids": 512, "turn_timeout": "15m"}))
                .unwrap();
        assert_eq!(limits.memory, Some(2 << 30));
        assert_eq!(limits.cpus, Some(1.5));
        assert_eq!(limits.turn_timeout, Some(Duration::from_secs(900)));
        assert_eq!(limits.pids, Some(512));
    }

    #[test]
    fn absurd_limits_are_refused_by_name() {
        for (limits, name) in [
            (json!({"memory": "99999999t"}), "limits.memory"),
            (json!({"memory": "1k"}), "limits.memory"),
            (json!({"cpus": -1}), "limits.cpus"),
            (json!({"pids": 1.5}), "limits.pids"),
            (json!({"memroy": "1g"}), "did you mean `memory`?"),
        ] {
            let message = read(limits).unwrap_err();
            assert!(message.contains(name), "{message}");
        }
    }
}
