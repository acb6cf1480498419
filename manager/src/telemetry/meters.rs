//! Counting where the work is done: how long it takes, and how often it fails.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;
use worker_protocol::{ErrorKind, Reply};

/// A label and its value. Values are words of this program, so that there are few.
pub type Label = (&'static str, &'static str);

/// From a lookup in memory to an image that is fetched or removed.
const SECONDS: [f64; 11] = [0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// How long operations take, by name, and how often they fail. A copy counts on the same.
#[derive(Clone)]
pub struct Timed {
    seconds: Family<[Label; 1], Histogram, fn() -> Histogram>,
    errors: Family<[Label; 2], Counter>,
}

impl Default for Timed {
    fn default() -> Self {
        let empty: fn() -> Histogram = || Histogram::new(SECONDS);
        Self { seconds: Family::new_with_constructor(empty), errors: Family::default() }
    }
}

impl Timed {
    /// An operation took so long, whether it failed or not.
    pub fn took(&self, operation: &'static str, time: Duration) {
        self.seconds.get_or_create(&[("operation", operation)]).observe(time.as_secs_f64());
    }

    /// An operation failed: `error` in a word.
    pub fn failed(&self, operation: &'static str, error: &'static str) {
        self.errors.get_or_create(&[("operation", operation), ("error", error)]).inc();
    }

    /// Shows both under `<what>_seconds` and `<what>_errors_total`.
    pub(super) fn register(&self, registry: &mut Registry, what: &str, whose: &str) {
        let text = format!("Time that {whose} took, by operation; failures count too");
        registry.register(format!("{what}_seconds"), text, self.seconds.clone());
        let text = format!("Failures of {whose}, by operation and kind of error");
        registry.register(format!("{what}_errors"), text, self.errors.clone());
    }
}

/// What the store counts. A copy counts on the same.
#[derive(Clone, Default)]
pub struct Meters {
    /// Short commands.
    pub calls: Timed,
    /// Batches that wait until Redis takes them.
    pub outbox: Gauge,
    /// Replies to commands, by command and by result.
    pub replies: Family<[Label; 2], Counter>,
}

impl Meters {
    /// So many batches wait.
    pub fn waits(&self, batches: usize) {
        self.outbox.set(i64::try_from(batches).unwrap_or(i64::MAX));
    }

    /// A reply to a command, whose name is as the caller wrote it.
    pub fn replied(&self, command: &str, reply: &Reply) {
        let command = super::metrics::known_command(command);
        let error = ErrorKind::from_wire(&reply.text("error"));
        let result = error.map_or("ok", ErrorKind::as_str);
        self.replies.get_or_create(&[("command", command), ("result", result)]).inc();
    }
}
