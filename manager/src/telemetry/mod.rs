//! What the manager shows of itself: health, numbers, log, traces.
//!
//! [`meters`] count where the work is done, in the store and around the engine; [`metrics`] has them
//! all, and counts what goes through the loop. [`health`] says whether the loop lives and whether
//! it can do its work. [`http`] serves both, and [`sample`] asks what nobody tells. [`log`] and
//! [`trace`] go to the operator's collectors; [`spans`] say which command and worker a line or a
//! span belongs to, and [`outage`] keeps a long trouble from filling the log.
//!
//! Nothing in here decides anything. The loop tells what it does by way of [`Telemetry`].

pub mod health;
pub mod http;
pub mod log;
pub mod meters;
pub mod metrics;
pub mod outage;
mod sample;
pub mod spans;
pub mod trace;

use jiff::Timestamp;
use std::time::Instant;

use crate::driver::{Effect, Event};
use crate::world::World;
use health::Health;
use meters::Meters;
use metrics::Metrics;
use spans::Spans;

/// All that the loop tells about itself.
pub struct Telemetry {
    /// Whether it lives and can work.
    pub health: Health,
    /// Numbers.
    pub metrics: Metrics,
    /// Commands and steps under way.
    pub spans: Spans,
}

impl Telemetry {
    /// Nothing has happened yet. `redis` are the meters of the store.
    #[must_use]
    pub fn new(redis: &Meters) -> Self {
        let (health, spans) = (Health::default(), Spans::default());
        Self { health, metrics: Metrics::new(redis), spans }
    }

    /// Another manager does the work: what this one counted of the world is not so any more.
    pub fn stand_by(&self) {
        self.health.stand_by();
        self.metrics.count(&World::default(), Instant::now());
        self.spans.forget();
    }

    /// An event is about to be handled.
    pub fn event(&self, world: &World, event: &Event, now: Timestamp) {
        self.metrics.event(world, event, now);
        self.spans.event(event);
    }

    /// It was handled, and this is to be done.
    pub fn effect(&self, effect: &Effect) {
        self.metrics.effect(effect);
        self.spans.effect(effect);
    }
}
