//! Random work and random faults for a while; after each round all has to be in order.
//!
//! ```text
//! scripts/soak [--seed N] [--minutes N] [--rounds N]    # or `make soak`
//! ```
//!
//! It has a Redis and an engine of its own, ends by itself, and prints its seed: the same seed does
//! the same in the same order, as far as the machine's own timing lets it. It fails at the first
//! thing that is out of order, and says what.

mod faults;
mod load;
mod tally;

use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use worker_tests::harness::{
    Census, Installation, Memory, Options, Persistence, PrivateEngine, Proxy, RedisServer,
    Templates, until,
};

use faults::Surroundings;
use load::Load;
use tally::Tally;

/// How long it may take until all is in order after a fault: an instance that was left half started
/// is waited for as long as its wrapper waits, and a busy machine needs its time too.
const RECOVERY: Duration = Duration::from_secs(120);
/// What a manager may have more at the end than at the beginning: connections of its pool.
const MORE_DESCRIPTORS: usize = 24;

#[derive(Parser)]
struct Arguments {
    /// What decides on work and faults [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// No round begins after so many minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// No more rounds than this
    #[arg(long, default_value_t = u32::MAX)]
    rounds: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(now.as_secs());
    println!("soak: the seed is {seed}; again with: scripts/soak --seed {seed}");
    let mut tally = Tally::default();
    let result = soak(&arguments, fastrand::Rng::with_seed(seed), &mut tally);
    println!("{tally}");
    match result {
        Ok(()) => {
            println!("soak: all was in order");
            ExitCode::SUCCESS
        }
        Err(violations) => {
            violations.iter().for_each(|violation| println!("soak: VIOLATION: {violation}"));
            println!("soak: FAILED; again with: scripts/soak --seed {seed}");
            ExitCode::FAILURE
        }
    }
}

fn soak(
    arguments: &Arguments,
    mut rng: fastrand::Rng,
    tally: &mut Tally,
) -> Result<(), Vec<String>> {
    let mut redis = RedisServer::start(Persistence::EverySecond);
    let (of_manager, url) = Proxy::in_front_of(&redis.url());
    let (of_workers, worker_url) = Proxy::in_front_of(&redis.worker_url());
    let mut engine = PrivateEngine::live_restoring();
    let templates = Templates::quick();
    let options = Options::default()
        .failpoints()
        .redis(&redis)
        .engine(&engine)
        .templates(&templates)
        .set("REDIS_URL", &url)
        .set("WORKER_REDIS_URL", &worker_url)
        .set("WORKER_STOP_GRACE", "2s")
        .set("WORKER_OUTPUT_ENTRIES", "1000000");
    let it = Installation::start_with(options);
    it.script("exec cat").delete();
    it.settles();
    let before = it.census();
    let (redis, engine) = (&mut redis, &mut engine);
    let mut surroundings = Surroundings { it: &it, redis, engine, of_manager, of_workers };
    let mut load = Load::new(&it);
    let deadline = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    while tally.rounds < arguments.rounds && Instant::now() < deadline {
        tally.rounds += 1;
        let work = load.work(&mut rng, tally);
        let fault = surroundings.choose(&mut rng);
        println!("soak: round {}: {work}; {fault}", tally.rounds);
        surroundings.break_and_mend(&fault);
        tally.fault(&fault);
        settle(&it, &mut load, tally)?;
    }
    load.end(tally);
    settle(&it, &mut load, tally)?;
    let after = it.census();
    tally.census = Some((before.clone(), after.clone()));
    let leaks = leaks(&before, &after);
    if leaks.is_empty() { Ok(()) } else { Err(leaks) }
}

/// Waits until all is in order, and looks at what was said by then.
fn settle(it: &Installation, load: &mut Load<'_>, tally: &mut Tally) -> Result<(), Vec<String>> {
    let begun = Instant::now();
    let mut violations = Vec::new();
    let settled = until(RECOVERY, || {
        violations = it.violations(Memory::Whole);
        violations.is_empty().then_some(())
    });
    tally.recovery(begun.elapsed());
    tally.look(it);
    if settled.is_some() {
        violations = load.check();
    }
    if violations.is_empty() {
        return Ok(());
    }
    println!("{}\nsoak: not in order: {violations:#?}", it.explain());
    tally.violations = violations.len();
    Err(violations)
}

/// What there is more of than at the beginning, when every worker is gone.
fn leaks(before: &Census, after: &Census) -> Vec<String> {
    let counts = |of: &Census| {
        [
            ("containers", of.containers),
            ("networks", of.networks),
            ("volumes", of.volumes),
            ("Redis users", of.users),
            ("consumers", of.consumers),
        ]
    };
    let pairs = counts(before).into_iter().zip(counts(after));
    let more = pairs.filter(|((_, before), (_, after))| after > before);
    let mut leaks: Vec<_> = more
        .map(|((what, before), (_, after))| format!("{what} leak: {before} before, {after} after"))
        .collect();
    if after.descriptors > before.descriptors + MORE_DESCRIPTORS {
        leaks.push(format!(
            "descriptors leak: {} before, {} after",
            before.descriptors, after.descriptors
        ));
    }
    leaks
}
