//! Whether Redis can be relied on.

use super::Finding;
use crate::chain::chain;
use crate::config::Settings;
use crate::store::{Permission, RedisFacts, Store};

const CHECK: &str = "redis";
/// The first with access rules per key.
const OLDEST: u32 = 7;

pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    let (keys, keep) = (settings.keys.clone(), settings.retention.clone());
    let store = match Store::open(&settings.redis, keys, keep) {
        Ok(store) => store,
        Err(error) => {
            let mend = "correct what it names";
            return vec![Finding::problem(CHECK, chain(&error), mend)];
        }
    };
    match store.examine().await {
        Ok(facts) => judge(&facts, store.address()),
        Err(error) => {
            let mend = "start Redis, or correct `redis_url` (REDIS_URL): address, user, password; \
                        with TLS also `redis_ca`, `redis_cert` and `redis_key`";
            vec![Finding::problem(CHECK, chain(&error), mend)]
        }
    }
}

fn judge(facts: &RedisFacts, address: &str) -> Vec<Finding> {
    let mut findings = vec![version(facts, address), policy(facts), persistence(facts)];
    if facts.role != "master" {
        let text = format!("{address} is a {} and cannot be written to", facts.role);
        findings.push(Finding::problem(CHECK, text, "let the address lead to the master"));
    }
    findings.push(user(facts));
    findings
}

fn version(facts: &RedisFacts, address: &str) -> Finding {
    let text = format!("{address} answers, version {}", facts.version);
    let major = facts.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= OLDEST) {
        return Finding::ok(CHECK, text);
    }
    Finding::problem(CHECK, text, "install 7.0 or later: workers need access rules per key")
}

fn policy(facts: &RedisFacts) -> Finding {
    let text = format!("maxmemory-policy is {}", facts.policy);
    if facts.policy == "noeviction" {
        return Finding::ok(CHECK, text);
    }
    let mend = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf";
    let harm = "Redis may throw away records, commands and output when its memory is full";
    let bounded = facts.memory_limit > 0;
    if bounded {
        Finding::problem(CHECK, format!("{text}: {harm}"), mend)
    } else {
        Finding::warning(CHECK, format!("{text}: as soon as maxmemory is set, {harm}"), mend)
    }
}

fn persistence(facts: &RedisFacts) -> Finding {
    if facts.save_failed {
        let text = "its last save failed: it takes no writes until it can save";
        return Finding::problem(CHECK, text, "look at the log and the disk of Redis");
    }
    match (facts.append_only, facts.saves.as_deref()) {
        (true, _) => Finding::ok(CHECK, "appendonly is on: a restart loses a second at most"),
        (false, Some("")) => Finding::warning(
            CHECK,
            "it saves nothing: a restart loses commands, records and output",
            "CONFIG SET appendonly yes, and the same in redis.conf",
        ),
        (false, saves) => Finding::warning(
            CHECK,
            match saves {
                Some(saves) => format!("it saves only now and then ({saves}), without appendonly"),
                None => "appendonly is off".to_owned(),
            },
            "CONFIG SET appendonly yes, and the same in redis.conf",
        ),
    }
}

fn user(facts: &RedisFacts) -> Finding {
    let Permission::Given(user) = &facts.user else {
        let text = "the user may not ask for its name, so its rights were not looked at; +acl|whoami \
                    +acl|dryrun would let it";
        return Finding::note(CHECK, text);
    };
    match &facts.forbidden {
        Permission::Given(forbidden) if forbidden.is_empty() => {
            Finding::ok(CHECK, format!("the user {user} may do all that a manager does"))
        }
        Permission::Given(forbidden) => Finding::problem(
            CHECK,
            format!("the user {user} may not do all that a manager does: {}", forbidden.join("; ")),
            "give it the rules that docs/operations.md lists under Redis",
        ),
        Permission::Refused => {
            let text = format!("the user {user} may not ask for its rights (+acl|dryrun)");
            Finding::note(CHECK, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn good() -> RedisFacts {
        RedisFacts {
            version: "7.0.15".to_owned(),
            policy: "noeviction".to_owned(),
            append_only: true,
            saves: Some(String::new()),
            role: "master".to_owned(),
            user: Permission::Given("manager".to_owned()),
            forbidden: Permission::Given(Vec::new()),
            ..RedisFacts::default()
        }
    }

    fn worst(facts: &RedisFacts) -> (Level, String) {
        let findings = judge(facts, "redis:6379");
        let worst = findings.into_iter().max_by_key(|finding| finding.level).unwrap();
        assert_eq!(worst.mend.is_some(), worst.level >= Level::Warning, "{worst:?}");
        (worst.level, worst.text)
    }

    #[test]
    fn each_fault_is_found_and_has_a_mend() {
        assert_eq!(worst(&good()).0, Level::Ok);
        let lru = || "allkeys-lru".to_owned();
        let refused = vec!["no permissions to run the 'acl|setuser' command".to_owned()];
        let faults = [
            (RedisFacts { version: "6.2.1".into(), ..good() }, Level::Problem, "6.2.1"),
            (RedisFacts { policy: lru(), ..good() }, Level::Warning, "as soon as"),
            (RedisFacts { policy: lru(), memory_limit: 9, ..good() }, Level::Problem, "throw"),
            (RedisFacts { append_only: false, ..good() }, Level::Warning, "saves nothing"),
            (RedisFacts { save_failed: true, ..good() }, Level::Problem, "save failed"),
            (RedisFacts { role: "slave".into(), ..good() }, Level::Problem, "slave"),
            (RedisFacts { user: Permission::Refused, ..good() }, Level::Note, "acl|whoami"),
            (
                RedisFacts { forbidden: Permission::Given(refused), ..good() },
                Level::Problem,
                "acl|setuser",
            ),
        ];
        for (facts, level, word) in faults {
            let (found, text) = worst(&facts);
            assert!(found == level && text.contains(word), "{word}: {found:?} {text}");
        }
        let now_and_then = RedisFacts { append_only: false, saves: Some("60 1".into()), ..good() };
        assert!(worst(&now_and_then).1.contains("60 1"));
    }
}
