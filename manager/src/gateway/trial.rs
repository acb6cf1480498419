//! Whether anything gets past the gateway: a program looks, from where a worker would be.

use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use worker_link::Host;
use worker_protocol::gateway::{Passage, Reach, SELF_TEST_HOST};
use worker_protocol::{ErrorKind, Problem, WorkerId};

use super::host;
use crate::act::Hands;
use crate::chain::chain;
use crate::engine::{Enclosure, EnclosurePlan, GatewayPlan, InstanceName, Names, Trial};
use crate::store::StoreError;

/// The wrapper looks for a few seconds at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// A gateway that was just started, and a Redis that it reaches anew, answer within that.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);
/// What no worker may reach by itself: the address of a cloud's metadata, and a public one.
const OUTSIDE: [&str; 2] = ["169.254.169.254:80", "8.8.8.8:443"];
/// Whether anything listens there does not matter: the host would refuse, and so be heard.
const ANY_PORT: u16 = 22;
/// Of this machine's addresses.
const MOST: usize = 8;

/// What `worker-wrapper confined` tells.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    leaks: Vec<String>,
    forbidden: String,
    allowed: String,
    redis: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What is allowed passes, and nothing else.
    Tight,
    /// Why it is not so.
    Leaks(String),
}

/// Makes a network as a worker's, and has it looked out of there.
pub(super) async fn try_out(hands: &Hands, gateway: &GatewayPlan) -> Result<Verdict, Problem> {
    let name = InstanceName(format!("{}-trial", gateway.name));
    let engine = &hands.engine;
    // What an earlier manager left.
    engine.remove(&name).await.map_err(|error| Problem::from(&error))?;
    let plan = EnclosurePlan {
        of: name.clone(),
        gateway: gateway.name.clone(),
        labels: hands.own().into_iter().collect(),
        range: hands.settings.worker_subnets,
    };
    let enclosure = engine.enclose(&plan).await.map_err(|error| Problem::from(&error))?;
    let opened = hands.store.open_passage(enclosure.address(), &passage()).await;
    opened.map_err(|error| store_problem(&error))?;
    let verdict = look(hands, gateway, name.clone(), &enclosure).await;
    let closed = hands.store.close_passage(enclosure.address()).await;
    let cleared = engine.clear(&name).await.map_err(|error| Problem::from(&error));
    closed.map_err(|error| store_problem(&error))?;
    cleared.and(verdict)
}

/// Again and again, while it is only that nobody answers yet.
async fn look(
    hands: &Hands,
    gateway: &GatewayPlan,
    name: InstanceName,
    enclosure: &Enclosure,
) -> Result<Verdict, Problem> {
    let mut arguments = vec!["confined".to_owned(), enclosure.gateway().to_string()];
    arguments.extend(forbidden(&hands.settings.redis.workers_address().hosts));
    let trial = Trial {
        name,
        image: gateway.image.tag.clone(),
        network: enclosure.name.clone(),
        names: Names::Unknown,
        program: hands.settings.wrapper.bytes().to_vec(),
        arguments,
        patience: PATIENCE,
    };
    let deadline = Instant::now() + ANSWERS_WITHIN;
    loop {
        let said = hands.engine.try_out(&trial).await.map_err(|error| Problem::from(&error))?;
        let seen: Result<Seen, _> = serde_json::from_str(said.trim());
        let seen = seen.map_err(|_| {
            let message = format!("the wrapper said {:?} at the trial of the gateway", said.trim());
            Problem::new(ErrorKind::StartFailed, message)
        })?;
        let verdict = judge(&seen, &hands.settings.workers_redis_url);
        if verdict == Verdict::Tight || !seen.leaks.is_empty() || Instant::now() > deadline {
            return Ok(verdict);
        }
        sleep(PAUSE).await;
    }
}

/// Addresses that are to be out of reach.
fn forbidden(redis: &[Host]) -> BTreeSet<String> {
    let mut all: BTreeSet<_> = OUTSIDE.map(str::to_owned).into();
    // An IPv6 address is none that a worker could use at all.
    let own = host::addresses().into_iter().filter(IpAddr::is_ipv4);
    all.extend(own.take(MOST).map(|address| format!("{address}:{ANY_PORT}")));
    // A loopback address is the trial's own.
    let outside = |name: &str| name.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback());
    let by_address = redis.iter().filter(|host| outside(&host.name));
    all.extend(by_address.take(MOST).map(Host::to_string));
    all
}

/// It may reach the gateway's own name and nothing else. The worker is nobody: its id is all zeros,
/// but for what makes it one.
fn passage() -> Passage {
    Passage {
        worker_id: WorkerId::from_moment(0, [0; 10]),
        egress: Reach::Hosts([SELF_TEST_HOST.to_owned()].into()),
        models: BTreeSet::new(),
        token_sha256: None,
        max_requests: None,
        max_cost_usd: None,
    }
}

fn judge(seen: &Seen, redis: &str) -> Verdict {
    let verdict = |why: String| Verdict::Leaks(why);
    if !seen.leaks.is_empty() {
        return verdict(format!("from a worker's network, {}", seen.leaks.join(", ")));
    }
    // Without redis, a gateway knows nobody, and lets nobody pass.
    if !["-NOAUTH", "+PONG"].iter().any(|answer| seen.redis.starts_with(answer)) {
        return verdict(format!(
            "redis cannot be reached at {redis} by way of the gateway: is `worker_redis_url` \
             (WORKER_REDIS_URL) an address that the network `network` (WORKER_NETWORK) reaches? It \
             says {:?}",
            seen.redis
        ));
    }
    if !seen.forbidden.starts_with("HTTP/1.1 403") {
        let why = "the gateway does not refuse a host that is not allowed";
        return verdict(format!("{why}, but says {:?}", seen.forbidden));
    }
    if !seen.allowed.starts_with("HTTP/1.1 20") {
        return verdict(format!("the gateway lets nothing pass, but says {:?}", seen.allowed));
    }
    Verdict::Tight
}

fn store_problem(error: &StoreError) -> Problem {
    Problem::new(ErrorKind::StartFailed, chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "redis://redis:6379/0";

    fn tight() -> Seen {
        Seen {
            leaks: Vec::new(),
            forbidden: "HTTP/1.1 403 Forbidden".to_owned(),
            allowed: "HTTP/1.1 200 OK".to_owned(),
            redis: "-NOAUTH Authentication required.".to_owned(),
        }
    }

    #[test]
    fn whatever_gets_past_it_is_told() {
        assert_eq!(judge(&tight(), REDIS), Verdict::Tight);
        let text = |text: &str| text.to_owned();
        let leaks = vec![text("1.2.3.4:22 can be reached")];
        for (seen, word) in [
            (Seen { leaks, ..tight() }, "1.2.3.4:22"),
            (Seen { forbidden: text("HTTP/1.1 200 OK"), ..tight() }, "does not refuse"),
            (Seen { allowed: text("no answer: timed out"), ..tight() }, "timed out"),
            (Seen { redis: String::new(), ..tight() }, "WORKER_REDIS_URL"),
        ] {
            let Verdict::Leaks(why) = judge(&seen, REDIS) else { panic!("{word} passed") };
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn where_redis_is_no_worker_goes_by_itself() {
        let host = |name: &str| Host { name: name.to_owned(), port: 7000 };
        let all = forbidden(&[host("10.0.0.1"), host("redis")]);
        assert!(all.contains("10.0.0.1:7000") && all.contains("169.254.169.254:80"));
        assert!(!all.contains("redis:7000"));
    }
}
