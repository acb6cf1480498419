//! Whether a worker that failed by itself is started again, and when.

use jiff::{SignedDuration, Timestamp};
use worker_protocol::create::Restart;
use worker_protocol::rfc3339;

use super::{Ended, Stage, Wish, Worker};

/// The pause before the first try; each further one is twice as long.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// Something that is away comes back within that, or not soon.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// One that ran for so long did not fail because of what made it fail before.
const RAN_WELL: SignedDuration = SignedDuration::from_mins(10);

/// How often a worker was started again, and whether it is about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    /// How often in a row.
    pub count: u32,
    /// When it is started next, while it waits for that.
    pub next_at: Option<Timestamp>,
    /// Why, for people.
    pub message: String,
}

impl Restarts {
    /// Whether nothing is to be waited for.
    #[must_use]
    pub fn are_due(&self, now: Timestamp) -> bool {
        self.next_at.is_none_or(|at| at <= now)
    }

    /// A pause that has become longer than any is over: the clock was set back.
    pub(super) fn heed_clock(&mut self, now: Timestamp) {
        self.next_at =
            self.next_at.map(|at| if at.duration_since(now) > LONGEST_PAUSE { now } else { at });
    }
}

impl Worker {
    /// What follows from an end that nobody wanted; none, when it is to stay.
    #[must_use]
    pub fn restarts_after(&self, end: &Ended, now: Timestamp) -> Option<Restarts> {
        let Restart::OnFailure(most) = self.spec.restart else { return None };
        if self.wish != Wish::Run {
            return None;
        }
        let before = if self.has_run_well(now) { 0 } else { self.restarts.count };
        let count = before.checked_add(1).filter(|count| *count <= most)?;
        let next_at = now.checked_add(pause(before)).ok()?;
        let message =
            format!("{}; started again at {}, {count} of {most}", end.reason, rfc3339(next_at));
        Some(Restarts { count, next_at: Some(next_at), message })
    }

    fn has_run_well(&self, now: Timestamp) -> bool {
        let Stage::Running { started_at, .. } = &self.stage else { return false };
        now.duration_since(started_at.unwrap_or(self.since)) >= RAN_WELL
    }
}

fn pause(before: u32) -> SignedDuration {
    let factor = 1_i32.checked_shl(before).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_twice_the_one_before_up_to_five_minutes() {
        let seconds: Vec<_> = (0..10).map(|before| pause(before).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        for many in [30, 31, 32, 33, 100] {
            assert_eq!(pause(many), LONGEST_PAUSE);
        }
    }
}
