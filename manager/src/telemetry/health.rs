//! Whether the manager lives, and whether it can do its work.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The loop shows that it lives at least this often.
pub const BEAT: Duration = Duration::from_secs(1);
/// A loop that handled nothing for so long is stuck: handling an event takes microseconds, and a
/// machine that is short of everything still comes to it once in this time.
const STUCK: Duration = Duration::from_secs(20);

/// The beats of the loop; what it does is known by them too.
pub struct Health {
    begun: Instant,
    /// Milliseconds after `begun`, at the last beat; or one of the two below.
    beat: AtomicU64,
}

/// No beat yet.
const STARTING: u64 = u64::MAX;
/// No beat is due.
const STANDBY: u64 = u64::MAX - 1;

/// What a manager is there for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It is not ready to be anything.
    Starting,
    /// It does the work.
    Leader,
    /// It waits for the one that does the work to go.
    Standby,
}

/// What `/healthz` tells.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the process is of use; if not, a supervisor should start another.
    pub live: bool,
    /// Whether it can do its work.
    pub ready: bool,
    /// What it is there for.
    pub role: Role,
    /// Why it is not live or not ready.
    pub reasons: Vec<String>,
    /// Of this program.
    pub version: &'static str,
}

impl Default for Health {
    fn default() -> Self {
        Self { begun: Instant::now(), beat: AtomicU64::new(STARTING) }
    }
}

impl Health {
    /// The loop lives. So this manager leads.
    pub fn beat(&self, now: Instant) {
        self.beat.store(self.millis(now), Ordering::Relaxed);
    }

    /// Another manager leads, and this one waits: no beats are due until the next one.
    pub fn stand_by(&self) {
        self.beat.store(STANDBY, Ordering::Relaxed);
    }

    /// What is so. `troubles` are those of Redis and the engine.
    #[must_use]
    pub fn report(&self, troubles: Vec<String>, now: Instant) -> Report {
        let mut reasons = troubles;
        let (role, live) = match self.beat.load(Ordering::Relaxed) {
            STARTING => (Role::Starting, true),
            STANDBY => (Role::Standby, true),
            beat => {
                let silent = Duration::from_millis(self.millis(now).saturating_sub(beat));
                if silent > STUCK {
                    let text = "the loop has handled nothing for";
                    reasons.push(format!("{text} {} s: restart the manager", silent.as_secs()));
                }
                (Role::Leader, silent <= STUCK)
            }
        };
        if role == Role::Starting {
            reasons.push("it is starting".to_owned());
        }
        Report {
            live,
            ready: reasons.is_empty(),
            role,
            reasons,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.begun).as_millis();
        u64::try_from(millis).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_beats_is_live_and_one_that_stopped_is_not() {
        let health = Health::default();
        let at = |seconds| health.begun + Duration::from_secs(seconds);
        let starting = health.report(Vec::new(), at(0));
        assert_eq!((starting.live, starting.ready, starting.role), (true, false, Role::Starting));
        health.beat(at(5));
        let well = health.report(Vec::new(), at(6));
        assert_eq!((well.live, well.ready, well.role), (true, true, Role::Leader));
        let stuck = health.report(Vec::new(), at(60));
        assert_eq!((stuck.live, stuck.ready), (false, false));
        assert!(stuck.reasons[0].contains("for 55 s"), "{:?}", stuck.reasons);
    }

    #[test]
    fn a_standby_is_ready_unless_something_that_it_needs_is_away() {
        let health = Health::default();
        health.stand_by();
        let much_later = health.begun + Duration::from_secs(900);
        let well = health.report(Vec::new(), much_later);
        assert_eq!((well.live, well.ready, well.role), (true, true, Role::Standby));
        let ill = health.report(vec!["redis: away".to_owned()], much_later);
        assert_eq!((ill.live, ill.ready, ill.reasons.len()), (true, false, 1));
    }
}
