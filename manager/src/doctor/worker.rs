//! What a worker will find: its image's base, its network, and Redis at the other end of it.

use serde::Deserialize;
use std::net::IpAddr;
use std::time::Duration;
use worker_link::{Address, Way};

use super::Finding;
use crate::config::Settings;
use crate::engine::{Engine, InstanceName, Names, Trial};

const CHECK: &str = "worker";
/// The wrapper gives up on its own after a few seconds for each address.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `worker-wrapper check` tells.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    #[serde(default)]
    addresses: Vec<String>,
    connected: Option<String>,
    answer: Option<String>,
    error: Option<String>,
}

pub(super) async fn examine(engine: &dyn Engine, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let plain = target(settings.redis.workers_address());
    if let Some((host, _)) = &plain {
        findings.extend(loopback(host, &settings.workers_redis_url));
    }
    let (base, network) = (&settings.base_image, &settings.network);
    let there = matches!(engine.image(base).await, Ok(Some(_)));
    findings.push(if there {
        Finding::ok(CHECK, format!("the base image {base} is on the host"))
    } else {
        let text = format!("the base image {base} is not on the host: the first build pulls it");
        let mend = "docker pull it, or make one with images/base/prepare, to be sure that it can be \
                    had and that workers can be looked at from inside";
        Finding::warning(CHECK, text, mend)
    });
    let known = engine.has_network(network).await.unwrap_or_default();
    findings.push(if known {
        Finding::ok(CHECK, format!("the network {network} is there"))
    } else {
        let text = format!("there is no network {network} yet: the first worker's start makes it");
        Finding::note(CHECK, text)
    });
    if there
        && known
        && let Some((host, address)) = plain
    {
        findings.push(from_inside(engine, settings, &host, address).await);
    }
    findings
}

async fn from_inside(
    engine: &dyn Engine,
    settings: &Settings,
    host: &str,
    address: String,
) -> Finding {
    let namespace = settings.keys.namespace();
    let trial = Trial {
        name: InstanceName(format!("{namespace}-doctor-{}", uuid::Uuid::new_v4().simple())),
        image: settings.base_image.clone(),
        network: settings.network.clone(),
        names: Names::Known,
        program: settings.wrapper.bytes().to_vec(),
        arguments: vec!["check".to_owned(), address.clone()],
        patience: PATIENCE,
    };
    match engine.try_out(&trial).await {
        Err(error) => {
            let text = format!("nothing could be run on the network: {error}");
            Finding::problem(CHECK, text, "no worker can be started either; mend the engine")
        }
        Ok(said) => match serde_json::from_str(said.trim()) {
            Ok(seen) => judge(&seen, host, &address, &settings.network),
            Err(_) => {
                let text = format!("the wrapper said {:?} on the network", said.trim());
                Finding::problem(CHECK, text, "install manager and wrapper of the same version")
            }
        },
    }
}

fn judge(seen: &Seen, host: &str, address: &str, network: &str) -> Finding {
    let way = match seen.addresses.first() {
        Some(ip) if ip != host => format!("{address} ({})", seen.addresses.join(", ")),
        _ => address.to_owned(),
    };
    let mend = "correct `worker_redis_url` (WORKER_REDIS_URL) and Redis' `bind`, or open the \
                firewall between network and host";
    let Some(answer) = &seen.answer else {
        let why = seen.error.as_deref().unwrap_or("no answer");
        let (how, mend) = match (&seen.connected, seen.addresses.is_empty()) {
            (Some(_), _) => ("connects and gets no answer", mend),
            (None, false) => ("cannot connect", mend),
            (None, true) => (
                "cannot look up the name",
                "use an address in place of the name, or \
                put Redis on the network under this name",
            ),
        };
        let text = format!("from inside a worker on {network}, one {how} to redis at {way}: {why}");
        return Finding::problem(CHECK, text, mend);
    };
    let reached = format!("from inside a worker on {network}, redis at {way}");
    match answer.as_str() {
        "+PONG" => Finding::warning(
            CHECK,
            format!("{reached} lets everybody in: its user `default` needs no password"),
            "give `default` a password (`requirepass`), or turn it off",
        ),
        denied if denied.starts_with("-DENIED") => Finding::problem(
            CHECK,
            format!("{reached} answers {denied:?}"),
            "give `default` a password (`requirepass`): protected mode refuses other machines",
        ),
        error if error.starts_with('-') => {
            Finding::ok(CHECK, format!("{reached} answers, and wants a password"))
        }
        other => Finding::problem(
            CHECK,
            format!("{reached} answers {other:?}, which is not what Redis says"),
            mend,
        ),
    }
}

/// Host, and host with port, of a Redis that can be spoken to as it is: without TLS, and without
/// asking others where it is.
fn target(address: &Address) -> Option<(String, String)> {
    let host = address.hosts.first().filter(|_| address.way == Way::Direct && !address.tls)?;
    (!host.is_socket()).then(|| (host.name.clone(), host.to_string()))
}

fn loopback(host: &str, url: &str) -> Option<Finding> {
    let ip = host.parse::<IpAddr>();
    let own = ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    (own || host == "localhost").then(|| {
        let text = format!("{url} means the worker itself, seen from a worker");
        let mend = "set `worker_redis_url` (WORKER_REDIS_URL) to an address of Redis that the \
                    workers' network reaches, such as the network's gateway";
        Finding::problem(CHECK, text, mend)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn seen(connected: bool, answer: Option<&str>, error: Option<&str>) -> Seen {
        Seen {
            addresses: vec!["10.0.0.1".to_owned()],
            connected: connected.then(|| "10.0.0.1:6379".to_owned()),
            answer: answer.map(str::to_owned),
            error: error.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_seen_from_inside_is_judged() {
        for (seen, level, word) in [
            (seen(true, Some("-NOAUTH Authentication required."), None), Level::Ok, "password"),
            (seen(true, Some("+PONG"), None), Level::Warning, "everybody"),
            (seen(true, Some("-DENIED protected mode"), None), Level::Problem, "DENIED"),
            (seen(true, Some("HTTP/1.1 400"), None), Level::Problem, "not what Redis says"),
            (seen(true, None, Some("timed out")), Level::Problem, "gets no answer"),
            (seen(false, None, Some("refused")), Level::Problem, "cannot connect"),
            (Seen::default(), Level::Problem, "cannot look up"),
        ] {
            let found = judge(&seen, "redis", "redis:6379", "workers");
            assert!(found.level == level && found.text.contains(word), "{found:?}");
        }
    }

    #[test]
    fn an_address_that_means_the_worker_itself_is_a_problem() {
        for url in ["redis://127.0.0.1:6379/0", "redis://localhost", "redis://[::1]:1/0"] {
            let (host, _) = target(&Address::parse(url).unwrap()).unwrap();
            assert!(loopback(&host, url).is_some(), "{url}");
        }
        assert_eq!(target(&Address::parse("rediss://10.0.0.1").unwrap()), None);
        let (host, address) = target(&Address::parse("redis://10.0.0.1/2").unwrap()).unwrap();
        assert_eq!((address.as_str(), loopback(&host, "")), ("10.0.0.1:6379", None));
    }
}
