//! Whom the operator lets do what: who may command, and what workers may reach.

use super::Finding;
use crate::caller::{Callers, Unsigned};
use crate::config::Settings;
use crate::passage::{Allowed, EgressTerms};
use worker_protocol::{CallerName, Egress};

pub(super) fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![commands(&settings.callers, settings.policy.is_some())];
    findings.extend(egress(&settings.terms.egress));
    findings
}

/// Who may command.
fn commands(callers: &Callers, has_policy: bool) -> Finding {
    const CHECK: &str = "commands";
    let names: Vec<_> = callers.keys.keys().map(CallerName::as_str).collect();
    let names = names.join(", ");
    let rules = if has_policy { "the policy holds" } else { "without a policy" };
    match (callers.unsigned, names.is_empty()) {
        (Unsigned::Refused, _) => {
            Finding::ok(CHECK, format!("taken from {names}, who sign them; {rules}"))
        }
        (Unsigned::Allowed, true) => {
            let who = "taken from whoever can write to the stream";
            let keys = "keys in `[callers]` have them signed";
            Finding::note(CHECK, format!("{who}; {rules}; {keys}"))
        }
        (Unsigned::Allowed, false) => {
            let who =
                format!("taken from {names}, and unsigned from whoever can write to the stream");
            Finding::note(CHECK, format!("{who}; {rules}"))
        }
    }
}

/// What workers may reach.
fn egress(terms: &EgressTerms) -> Vec<Finding> {
    const CHECK: &str = "egress";
    let mut findings = vec![match &terms.usual {
        Egress::Open => Finding::note(CHECK, "workers that do not say reach every public host"),
        Egress::Off => Finding::ok(CHECK, "workers that do not say reach nothing"),
        Egress::Hosts(_) => {
            Finding::ok(CHECK, format!("workers that do not say reach {}", terms.usual))
        }
        Egress::Agent | Egress::Usual => {
            Finding::ok(CHECK, "workers that do not say reach what their agent needs")
        }
    }];
    match &terms.allowed {
        Allowed::Every => {
            findings.push(Finding::note(CHECK, "a `create` may name every public host"))
        }
        Allowed::Hosts(hosts) if !hosts.is_empty() => {
            let text = format!("a `create` may name {} hosts more", hosts.len());
            findings.push(Finding::ok(CHECK, text));
        }
        Allowed::Hosts(_) => {}
    }
    if !terms.private.is_empty() {
        let openings: Vec<_> = terms.private.iter().map(ToString::to_string).collect();
        let text = format!("open to those who name them: {}", openings.join(", "));
        findings.push(Finding::note(CHECK, text));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::passage::Opening;
    use worker_protocol::signature::Key;

    #[test]
    fn what_is_open_is_said() {
        let said = |terms: EgressTerms| {
            let all = egress(&terms);
            all.into_iter().map(|finding| (finding.level, finding.text)).collect::<Vec<_>>()
        };
        let usual = said(EgressTerms::default());
        assert!(usual.len() == 1 && usual[0].0 == Level::Ok, "{usual:?}");
        let open = said(EgressTerms {
            usual: Egress::Open,
            allowed: Allowed::Every,
            private: ["10.1.0.0/16"].iter().filter_map(|text| Opening::parse(text)).collect(),
        });
        assert!(open.len() == 3 && open.iter().all(|(level, _)| *level == Level::Note), "{open:?}");
        assert!(open[2].1.contains("10.1.0.0/16"), "{open:?}");
    }

    #[test]
    fn who_commands_is_said_and_no_key_is() {
        let key = || Key::new("hunter2hunter2hunter2hunter2hunter2").unwrap();
        let keys = || [(CallerName::parse("team-a").unwrap(), vec![key()])].into();
        let of = |unsigned, keys| Callers { unsigned, keys, ..Callers::default() };
        for (callers, policy, level, part) in [
            (of(Unsigned::Allowed, [].into()), false, Level::Note, "whoever can write"),
            (of(Unsigned::Allowed, keys()), true, Level::Note, "team-a, and unsigned"),
            (of(Unsigned::Refused, keys()), true, Level::Ok, "team-a, who sign them; the policy"),
        ] {
            let found = commands(&callers, policy);
            assert!(found.level == level && found.text.contains(part), "{found:?}");
            assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        }
    }
}
