//! Whether the engine is one that workers are safe on.

use super::Finding;
use crate::act::judge_runtime;
use crate::config::RawConfig;
use crate::engine::{CacheMounts, Confinement, Disk, HostFacts};
use crate::image::Companions;
use crate::image::collect::{bytes, percent_free};

const CHECK: &str = "engine";
/// The oldest that this program is made for.
const OLDEST: (u32, u32) = (20, 10);
/// Below this, the next image may not fit: an agent's is several hundred MB.
const LITTLE: u64 = 10;
const NEARLY_NONE: u64 = 2;

pub(super) fn judge(facts: &HostFacts, disk: Option<Disk>, raw: &RawConfig) -> Vec<Finding> {
    let mut findings = vec![version(facts), restart(facts), limits(facts), space(disk)];
    findings.extend(runtime(facts, raw));
    findings.extend(workers_runtime(facts, raw));
    findings.push(builder(facts));
    let details = &facts.details;
    if details.storage == "vfs" {
        let mend = "let the engine use overlay2";
        let text = "images are stored by vfs, which copies all of an image for each worker";
        findings.push(Finding::warning(CHECK, text, mend));
    }
    for shield in &details.shields {
        findings.push(Finding::note(CHECK, format!("instances are kept from root by {shield}")));
    }
    let warned = details.warnings.iter();
    findings.extend(warned.map(|text| Finding::note(CHECK, format!("it warns of itself: {text}"))));
    findings
}

fn version(facts: &HostFacts) -> Finding {
    let details = &facts.details;
    let storage = &details.storage;
    let text = format!("{} answers, API {}, {storage}", facts.engine, details.interface);
    let mut parts = details.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST {
        return Finding::ok(CHECK, text);
    }
    Finding::problem(CHECK, text, "install 20.10 or later")
}

fn restart(facts: &HostFacts) -> Finding {
    if facts.details.survives_restart {
        return Finding::ok(CHECK, "live-restore is on: workers outlive a restart of the daemon");
    }
    let text = "live-restore is off: a restart of the daemon ends every worker";
    Finding::warning(CHECK, text, "set \"live-restore\": true in daemon.json and reload the daemon")
}

fn limits(facts: &HostFacts) -> Finding {
    let details = &facts.details;
    let groups = match details.cgroup.as_str() {
        "" => "control groups of unknown version".to_owned(),
        version => format!("control groups of version {version}"),
    };
    if details.unlimited.is_empty() {
        let text = format!("{groups}: memory, processes and processors can be limited");
        return Finding::ok(CHECK, text);
    }
    let text = format!("{groups}: it cannot limit {}", details.unlimited.join(", "));
    Finding::warning(CHECK, text, "enable these controllers in the kernel of the engine's machine")
}

fn space(disk: Option<Disk>) -> Finding {
    let Some(disk) = disk else {
        return Finding::note(CHECK, "its disk cannot be seen from here: keep an eye on it there");
    };
    let percent = percent_free(disk);
    let text = format!("{} of its disk are free ({percent} %)", bytes(disk.free));
    let mend = "worker-manager gc, docker system prune, or a larger disk";
    if percent < NEARLY_NONE {
        Finding::problem(CHECK, text, mend)
    } else if percent < LITTLE {
        Finding::warning(CHECK, text, mend)
    } else {
        Finding::ok(CHECK, text)
    }
}

fn runtime(facts: &HostFacts, raw: &RawConfig) -> Option<Finding> {
    let all = facts.runtimes.join(", ");
    match raw.offer().ok()?.companions {
        Companions::Allowed(Confinement::Runtime(wanted)) if !facts.runtimes.contains(&wanted) => {
            let text = format!("`docker` (WORKER_DOCKER) wants the runtime {wanted}; it has {all}");
            Some(Finding::problem(CHECK, text, format!("install {wanted} on its machine")))
        }
        Companions::Allowed(Confinement::Privileged) => {
            let text = "engines beside workers are privileged: see docs/security.md";
            Some(Finding::note(CHECK, text))
        }
        Companions::Allowed(_) | Companions::Refused => {
            Some(Finding::ok(CHECK, format!("runtimes: {all}")))
        }
    }
}

fn workers_runtime(facts: &HostFacts, raw: &RawConfig) -> Option<Finding> {
    let wanted = raw.runtime.as_deref()?;
    Some(match judge_runtime(Some(wanted), facts) {
        Ok(()) => Finding::ok(CHECK, format!("workers are run by {wanted}")),
        Err(text) => Finding::problem(CHECK, text, format!("install {wanted} on its machine")),
    })
}

fn builder(facts: &HostFacts) -> Finding {
    match facts.cache_mounts {
        CacheMounts::Yes => Finding::ok(CHECK, "images are built by BuildKit"),
        CacheMounts::No => {
            Finding::note(CHECK, "images are built without BuildKit: downloads are not kept")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::engine::HostDetails;

    fn good() -> HostFacts {
        HostFacts {
            engine: "docker 20.10.24".to_owned(),
            architecture: "amd64".to_owned(),
            cache_mounts: CacheMounts::Yes,
            runtimes: vec!["runc".to_owned()],
            details: HostDetails {
                version: "20.10.24+dfsg1".to_owned(),
                interface: "1.41".to_owned(),
                survives_restart: true,
                cgroup: "2".to_owned(),
                storage: "overlay2".to_owned(),
                ..HostDetails::default()
            },
        }
    }

    fn with(change: impl FnOnce(&mut HostDetails)) -> HostFacts {
        let mut facts = good();
        change(&mut facts.details);
        facts
    }

    fn worst(facts: &HostFacts, free: u64, raw: &RawConfig) -> (Level, String) {
        let findings = judge(facts, Some(Disk { free, total: 100 }), raw);
        let worst = findings.into_iter().max_by_key(|finding| finding.level).unwrap();
        assert_eq!(worst.mend.is_some(), worst.level >= Level::Warning, "{worst:?}");
        (worst.level, worst.text)
    }

    #[test]
    fn each_fault_is_found_and_has_a_mend() {
        let raw = RawConfig::default();
        assert_eq!(worst(&good(), 50, &raw).0, Level::Ok);
        let faults = [
            (with(|d| d.version = "19.03.1".to_owned()), 50, Level::Problem, "docker"),
            (with(|d| d.survives_restart = false), 50, Level::Warning, "live-restore"),
            (with(|d| d.unlimited = vec!["pids".to_owned()]), 50, Level::Warning, "pids"),
            (with(|d| d.storage = "vfs".to_owned()), 50, Level::Warning, "vfs"),
            (with(|d| d.shields = vec!["userns".to_owned()]), 50, Level::Note, "userns"),
            (good(), 9, Level::Warning, "9 %"),
            (good(), 1, Level::Problem, "1 %"),
        ];
        for (facts, free, level, word) in faults {
            let (found, text) = worst(&facts, free, &raw);
            assert!(found == level && text.contains(word), "{word}: {found:?} {text}");
        }
        let sysbox = RawConfig { docker: Some("sysbox".to_owned()), ..RawConfig::default() };
        let (level, text) = worst(&good(), 50, &sysbox);
        assert!(level == Level::Problem && text.contains("sysbox-runc"), "{text}");
        let runsc = RawConfig { runtime: Some("runsc".to_owned()), ..RawConfig::default() };
        let (level, text) = worst(&good(), 50, &runsc);
        assert!(level == Level::Problem && text.contains("has only runc"), "{text}");
    }
}
