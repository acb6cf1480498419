//! Ten minutes without Redis: what a worker says meanwhile is there afterwards, once and in order.
//! Not a part of a run without words, since it takes its time.

use std::thread;
use std::time::{Duration, Instant};
use worker_protocol::AgentProtocol;
use worker_tests::harness::{Entry, Installation, Proxy};

use super::wrapped::{Wrapped, access};

const AWAY: Duration = Duration::from_secs(600);
/// A hundred lines or two a second, as a busy build prints them.
const AGENT: &str = "n=0; while :; do n=$((n+1)); \
    echo \"$n the quick brown fox jumps over the lazy dog, and tells of it in a line\"; \
    sleep 0.005; done";
/// Longer than the agent can make it.
const ENTRIES: usize = 1_000_000;
/// Of a read.
const AT_ONCE: &str = "10000";

pub(crate) fn measure(it: &Installation) -> String {
    let url = access(&it.environment.redis_url).url;
    let target = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let proxy = Proxy::start("127.0.0.1", target);
    let wrapped =
        Wrapped::start_with(it, AgentProtocol::Lines, &["/bin/sh", "-c", AGENT], |boot| {
            boot.redis.url = format!("redis://{}/0", proxy.addr());
            boot.bounds.output_entries = ENTRIES;
        });
    wrapped.comes_to(|entry| entry.content().starts_with("100 "));
    proxy.cut();
    thread::sleep(AWAY);
    let (peak, spooled) = (wrapped.megabytes("VmHWM"), wrapped.spooled());
    proxy.mend();
    let back = Instant::now();
    wrapped.comes_to(|entry| age(entry) < Duration::from_secs(1));
    let caught_up = back.elapsed();
    let lines = in_order(&wrapped);
    format!(
        "| {} s without redis | |\n| --- | --- |\n| lines, all there, once and in order | {lines} |\n\
         | MB on disk at its end | {spooled:.1} |\n| MB resident, most | {peak:.1} |\n\
         | seconds until all was in Redis | {:.1} |\n",
        AWAY.as_secs(),
        caught_up.as_secs_f64()
    )
}

/// How long ago an entry was said.
fn age(entry: &Entry) -> Duration {
    let said: jiff::Timestamp = entry.get("timestamp").parse().expect("a time");
    jiff::Timestamp::now().duration_since(said).try_into().unwrap_or_default()
}

/// How many lines there are; none is missing, and none is there twice.
fn in_order(wrapped: &Wrapped) -> usize {
    let (mut last, mut lines, mut seq) = ("-".to_owned(), 0, 0);
    loop {
        let entries = wrapped.redis.range(wrapped.output(), &last, AT_ONCE);
        let Some(newest) = entries.last() else { return lines };
        for entry in &entries {
            seq += 1;
            assert_eq!(entry.get("seq"), seq.to_string(), "a hole in the numbers");
            if entry.kind() == "stdout" {
                lines += 1;
                let number = entry.content().split(' ').next();
                assert_eq!(number, Some(&*lines.to_string()), "a line is missing");
            }
        }
        last = format!("({}", newest.id);
    }
}
