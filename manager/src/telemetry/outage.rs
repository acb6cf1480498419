//! A trouble that lasts, told a few times instead of at each try.

use std::time::{Duration, Instant};

/// The first reminder. Each comes after twice the time of the one before.
const REMIND: Duration = Duration::from_secs(15);
/// The longest time between two reminders.
const AT_LEAST_EVERY: Duration = Duration::from_secs(600);

/// Of one thing that may fail. Who tries tells how it went, and is told whether to log it.
#[derive(Debug, Default)]
pub struct Outage {
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    since: Instant,
    remind_at: Instant,
    pause: Duration,
}

impl Outage {
    /// It failed. For how long it has, when that is to be logged: at first, and ever more seldom.
    pub fn failed(&mut self, now: Instant) -> Option<Duration> {
        let Some(lasting) = &mut self.lasting else {
            self.lasting = Some(Lasting { since: now, remind_at: now + REMIND, pause: REMIND });
            return Some(Duration::ZERO);
        };
        if now < lasting.remind_at {
            return None;
        }
        lasting.pause = (lasting.pause * 2).min(AT_LEAST_EVERY);
        lasting.remind_at = now + lasting.pause;
        Some(now.duration_since(lasting.since))
    }

    /// It worked. How long it had failed, if it had.
    pub fn worked(&mut self, now: Instant) -> Option<Duration> {
        self.lasting.take().map(|lasting| now.duration_since(lasting.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_tries_each_five_seconds_is_told_in_few_lines_and_so_is_its_end() {
        let (mut outage, begin) = (Outage::default(), Instant::now());
        assert_eq!(outage.worked(begin), None);
        let tries = (0..86_400).step_by(5).map(|second| begin + Duration::from_secs(second));
        let told: Vec<_> = tries.filter_map(|now| outage.failed(now)).collect();
        let seconds: Vec<_> = told.iter().map(Duration::as_secs).take(5).collect();
        assert_eq!(seconds, [0, 15, 45, 105, 225]);
        assert!(told.len() < 160, "{}", told.len());
        let day = Duration::from_secs(86_400);
        assert_eq!(outage.worked(begin + day), Some(day));
        assert_eq!(outage.failed(begin + day), Some(Duration::ZERO), "the next one is a new one");
    }
}
