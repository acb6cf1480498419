//! All numbers, and the counting of what goes through the loop.
//!
//! [docs/observability.md](../../../docs/observability.md) has them in one table.

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use worker_protocol::{ErrorKind, Status, WorkerId};

use super::meters::{Label, Meters, Timed};
use crate::driver::{Effect, Event, LaunchError, Outcome, Write};
use crate::world::{Origin, Stage, Wish, World};

/// From a container on an idle machine to an image that is built first.
const TO_RUNNING: [f64; 12] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 300.0, 600.0];
/// From a copy of layers that are there to an agent of several hundred MB and a slow network.
const BUILDS: [f64; 8] = [1.0, 5.0, 15.0, 60.0, 180.0, 300.0, 600.0, 1800.0];
/// Workers are counted again at most this often: there may be thousands of them, and events too.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// What `reason` is shown as, when it is no word of this list: labels have few values.
const OTHER: &str = "other";
const REASONS: [&str; 12] = [
    "accepted",
    "queued",
    "building",
    "creating",
    "starting",
    "restarting",
    "stopping",
    "running",
    "paused",
    "host lost",
    "ended",
    OTHER,
];
const COMMANDS: [&str; 9] =
    ["create", "delete", "status", "stop", "start", "interrupt", "list", "gc", "ping"];

/// Every number that `/metrics` shows.
pub struct Metrics {
    registry: Registry,
    /// The engine's verbs.
    pub engine: Timed,
    store: Meters,
    workers: Family<[Label; 2], Gauge>,
    builds_running: Gauge,
    builds: Family<[Label; 1], Counter>,
    build_seconds: Histogram,
    image_lookups: Family<[Label; 1], Counter>,
    to_running: Histogram,
    failed_starts: Family<[Label; 1], Counter>,
    ends: Family<[Label; 1], Counter>,
    commands: Family<[Label; 1], Counter>,
    freed: Family<[Label; 1], Counter>,
    images_removed: Counter,
    /// What [`super::sample`] asks for.
    pub(super) sampled: Sampled,
    counted: Mutex<Counted>,
}

/// What nobody tells, so that it is asked for now and then.
#[derive(Clone, Default)]
pub(super) struct Sampled {
    pub(super) images: Gauge,
    pub(super) image_bytes: Gauge,
    pub(super) disk_free: Gauge,
    pub(super) commands_lag: Gauge,
    pub(super) commands_pending: Gauge,
    pub(super) spooled: Counter,
    pub(super) dropped: Counter,
}

#[derive(Default)]
struct Counted {
    at: Option<Instant>,
    running: Vec<WorkerId>,
    /// Places that once had a worker stay, with none.
    places: BTreeMap<[Label; 2], i64>,
}

impl Metrics {
    pub(super) fn new(store: &Meters) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("worker_manager"),
            engine: Timed::default(),
            store: store.clone(),
            workers: Family::default(),
            builds_running: Gauge::default(),
            builds: Family::default(),
            build_seconds: Histogram::new(BUILDS),
            image_lookups: Family::default(),
            to_running: Histogram::new(TO_RUNNING),
            failed_starts: Family::default(),
            ends: Family::default(),
            commands: Family::default(),
            freed: Family::default(),
            images_removed: Counter::default(),
            sampled: Sampled::default(),
            counted: Mutex::default(),
        };
        metrics.register_workers();
        metrics.register_images();
        metrics.register_redis();
        metrics
    }

    fn register_workers(&mut self) {
        let Self { registry, engine, .. } = self;
        let info: Family<[Label; 1], Gauge> = Family::default();
        info.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("info", "Always 1; the program's version is a label", info);
        let text = "Workers that exist, by status and, until they have ended, by reason";
        registry.register("workers", text, self.workers.clone());
        let text = "Time from a create to a worker that runs";
        registry.register("time_to_running_seconds", text, self.to_running.clone());
        let text = "Workers that failed before they ran, by error";
        registry.register("failed_starts", text, self.failed_starts.clone());
        let text = "Workers that ended or were deleted, by status";
        registry.register("worker_ends", text, self.ends.clone());
        let text = "Output of running workers that waited on disk for Redis, as they tell it";
        registry.register("output_spooled_bytes", text, self.sampled.spooled.clone());
        let text = "Output entries that running workers could not keep until Redis took them";
        registry.register("output_dropped_entries", text, self.sampled.dropped.clone());
        engine.register(registry, "engine", "the container engine");
    }

    fn register_images(&mut self) {
        let Self { registry, sampled, .. } = self;
        registry.register("builds_running", "Builds under way", self.builds_running.clone());
        registry.register("builds", "Builds that ended, by result", self.builds.clone());
        let text = "Time that builds took which succeeded, their wait for room included";
        registry.register("build_seconds", text, self.build_seconds.clone());
        let text = "Looks for a worker's image on the host: hit, or miss";
        registry.register("image_lookups", text, self.image_lookups.clone());
        registry.register("images", "Images of this installation", sampled.images.clone());
        let text = "Bytes of these images, shared layers counted once";
        registry.register("image_bytes", text, sampled.image_bytes.clone());
        let text = "Free bytes of the disk that images are kept on; 0, where it cannot be seen";
        registry.register("disk_free_bytes", text, sampled.disk_free.clone());
        let text = "Images that a collection removed";
        registry.register("images_removed", text, self.images_removed.clone());
        let text = "Bytes that collections freed: of images, of build_cache";
        registry.register("freed_bytes", text, self.freed.clone());
    }

    fn register_redis(&mut self) {
        let Self { registry, store, sampled, .. } = self;
        let text = "Commands that arrived, deliveries of the same entry included";
        registry.register("commands", text, self.commands.clone());
        let text = "Replies, by command and result: ok, or the error";
        registry.register("replies", text, store.replies.clone());
        let text = "Commands in the stream that no manager has read";
        registry.register("commands_lag", text, sampled.commands_lag.clone());
        let text = "Commands that were read and are not acknowledged";
        registry.register("commands_pending", text, sampled.commands_pending.clone());
        let text = "Decisions that wait until Redis takes them";
        registry.register("outbox_batches", text, store.outbox.clone());
        store.calls.register(registry, "redis", "Redis");
    }

    /// In the text format of OpenMetrics.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // It can fail only where a writer can, and a string cannot.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Workers that ran when they were counted last.
    #[must_use]
    pub fn running(&self) -> Vec<WorkerId> {
        self.counted().running.clone()
    }

    pub(super) fn event(&self, world: &World, event: &Event, now: Timestamp) {
        match event {
            Event::Arrived(arrival) => {
                let command = known_command(&arrival.header.command);
                self.commands.get_or_create(&[("command", command)]).inc();
            }
            Event::Done(_, Outcome::Resolved(Ok(resolution))) => {
                let result = if resolution.present { "hit" } else { "miss" };
                self.image_lookups.get_or_create(&[("result", result)]).inc();
            }
            Event::Done(_, Outcome::Launched(Err(LaunchError::NoImage(_)))) => {
                self.image_lookups.get_or_create(&[("result", "lost")]).inc();
            }
            Event::Done(id, Outcome::Launched(Ok(_))) => self.launched(world, *id, now),
            Event::Built(hash, id, result) => {
                let word = if result.is_ok() { "succeeded" } else { "failed" };
                self.builds.get_or_create(&[("result", word)]).inc();
                if let (Some(build), Ok(_)) = (world.builds.get(hash, *id), result) {
                    self.build_seconds.observe(seconds_between(build.since, now));
                }
            }
            _ => {}
        }
        self.count_now_and_then(world);
    }

    /// Of a worker that was adopted, nobody knows since when somebody waits for it.
    fn launched(&self, world: &World, id: WorkerId, now: Timestamp) {
        if let Some(worker) = world.workers.get(&id)
            && worker.origin == Origin::Asked
            && worker.wish == Wish::Run
        {
            self.to_running.observe(seconds_between(worker.created_at, now));
        }
    }

    fn count_now_and_then(&self, world: &World) {
        let now = Instant::now();
        let last = self.counted().at;
        if last.is_none_or(|at| now.duration_since(at) >= COUNT_EVERY) {
            self.count(world, now);
        }
    }

    /// What there is in the world.
    pub(super) fn count(&self, world: &World, now: Instant) {
        let mut counted = self.counted();
        counted.at = Some(now);
        self.builds_running.set(i64::try_from(world.builds.count()).unwrap_or(i64::MAX));
        counted.running.clear();
        counted.places.values_mut().for_each(|count| *count = 0);
        counted.places.entry(place(Status::Running, "running")).or_default();
        for worker in world.workers.values() {
            let place = place(worker.status(), worker.reason());
            *counted.places.entry(place).or_default() += 1;
            if matches!(worker.stage, Stage::Running { .. }) {
                counted.running.push(worker.id);
            }
        }
        for (place, count) in &counted.places {
            self.workers.get_or_create(place).set(*count);
        }
    }

    pub(super) fn effect(&self, effect: &Effect) {
        let Effect::Write(write) = effect else { return };
        match write {
            Write::Event(event) => self.told(event),
            Write::Reply(header, reply, _) => self.store.replied(&header.command, reply),
            _ => {}
        }
    }

    /// What is told to the world is what there is to count.
    fn told(&self, event: &Map<String, Value>) {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        match text("type") {
            "worker" => {
                let status = Status::from_wire(text("status"));
                if let Some(status @ (Status::Stopped | Status::Failed)) = status {
                    self.ends.get_or_create(&[("status", status.as_str())]).inc();
                }
                if let Some(error) = ErrorKind::from_wire(text("error")) {
                    self.failed_starts.get_or_create(&[("error", error.as_str())]).inc();
                }
            }
            "gc" if event.get("dry_run") != Some(&Value::Bool(true)) => {
                self.images_removed.inc_by(number("removed"));
                self.freed.get_or_create(&[("of", "images")]).inc_by(number("freed_bytes"));
                self.freed.get_or_create(&[("of", "build_cache")]).inc_by(number("cache_bytes"));
            }
            _ => {}
        }
    }

    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command's name, if it is one: a caller may write anything.
pub(super) fn known_command(name: &str) -> &'static str {
    COMMANDS.into_iter().find(|known| *known == name).unwrap_or(OTHER)
}

fn place(status: Status, reason: &str) -> [Label; 2] {
    let reason = match status {
        Status::Stopped | Status::Failed => "ended",
        _ => REASONS.into_iter().find(|known| *known == reason).unwrap_or(OTHER),
    };
    [("status", status.as_str()), ("reason", reason)]
}

fn seconds_between(begin: Timestamp, end: Timestamp) -> f64 {
    end.duration_since(begin).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use worker_protocol::Command;

    fn told(event: Value) -> Effect {
        Effect::Write(Write::Event(event.as_object().cloned().unwrap_or_default()))
    }

    #[test]
    fn what_a_collection_frees_is_counted_and_what_it_would_free_is_not() {
        let metrics = Metrics::new(&Meters::default());
        let gc = json!({"type": "gc", "removed": 2, "freed_bytes": 700, "cache_bytes": 30});
        let mut dry = gc.clone();
        dry["dry_run"] = json!(true);
        metrics.effect(&told(gc));
        metrics.effect(&told(dry));
        let text = metrics.text();
        for line in [
            "worker_manager_images_removed_total 2",
            "worker_manager_freed_bytes_total{of=\"images\"} 700",
            "worker_manager_freed_bytes_total{of=\"build_cache\"} 30",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_place_that_once_had_a_worker_is_shown_with_none() {
        let (metrics, now) = (Metrics::new(&Meters::default()), Timestamp::UNIX_EPOCH);
        let fields = [("command", "create"), ("agent_type", "CLAUDE")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let keys = worker_protocol::Keys::new("worker").unwrap();
        let (_, command) = worker_protocol::parse_command("1-0", &fields, &keys);
        let Ok(Command::Create(spec)) = command else { panic!("{command:?}") };
        let (mut world, id) = (World::default(), WorkerId::new());
        world.workers.insert(id, crate::world::Worker::new(id, *spec, "r".to_owned(), now));
        let shown = |line: &str| metrics.text().lines().any(|is| is == line);
        let accepted = "worker_manager_workers{status=\"STARTING\",reason=\"accepted\"}";
        metrics.count(&world, Instant::now());
        assert!(shown(&format!("{accepted} 1")), "{}", metrics.text());
        metrics.count(&World::default(), Instant::now());
        assert!(shown(&format!("{accepted} 0")), "{}", metrics.text());
    }

    #[test]
    fn a_failure_has_its_error_as_a_label_and_a_callers_words_are_none() {
        let metrics = Metrics::new(&Meters::default());
        metrics.effect(&told(json!({
            "type": "worker", "status": "FAILED", "error": "build_failed", "message": "step 7",
        })));
        let text = metrics.text();
        assert!(text.contains("failed_starts_total{error=\"build_failed\"} 1"), "{text}");
        assert_eq!(known_command("ping"), "ping");
        assert_eq!(known_command("no such thing"), OTHER);
        assert_eq!(place(Status::Failed, "exit 3")[1].1, "ended");
        assert_eq!(place(Status::Starting, "building")[1].1, "building");
        assert_eq!(place(Status::Starting, "something new")[1].1, OTHER);
    }
}
