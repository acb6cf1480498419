//! What comes from elsewhere than the agent and Redis: signals, time, and what the kernel counts.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::bridge::Event;
use crate::cgroup::Shortage;

const TICK: Duration = Duration::from_millis(500);

/// Signals and time.
pub(crate) fn listen(events: &mpsc::Sender<Event>) -> Result<(), String> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|error| format!("failed to listen for signals: {error}"))?;
        let events = events.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() && events.send(Event::AskedToStop).await.is_ok() {}
        });
    }
    let events = events.clone();
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(TICK);
        while events.send(Event::Tick).await.is_ok() {
            beat.tick().await;
        }
    });
    Ok(())
}

/// Tells when memory or processes have run out; the kernel only counts.
pub(crate) async fn watch_shortage(before: Shortage, events: mpsc::Sender<Event>) {
    let mut beat = tokio::time::interval(TICK);
    let mut told = before;
    loop {
        beat.tick().await;
        let counted = Shortage::counted();
        if counted == told {
            continue;
        }
        told = counted;
        if events.send(Event::RanShort(counted.since(before))).await.is_err() {
            return;
        }
    }
}
