//! Waiting for something to become true.

use std::thread;
use std::time::{Duration, Instant};

/// Short beside what is waited for, long beside what asking costs.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks until there is an answer; none, when there is none in time.
pub fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
