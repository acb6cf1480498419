//! What a policy says to a command. Nothing is looked at but the command and the file.

use std::path::Path;
use std::time::Duration;
use worker_protocol::limits::Limits;
use worker_protocol::problem::Shown;
use worker_protocol::{CallerName, Command, Create, Credentials, Egress, ErrorKind, Problem};

use super::parse::is_plain;
use super::words::Words;
use super::{Grant, Hosts, Policy, Role, Section};
use crate::caller::Refusal;

impl Policy {
    /// Whether a caller may ask for this.
    ///
    /// # Errors
    /// When not: the rule that says so.
    pub fn judge(&self, caller: Option<&CallerName>, command: &Command) -> Result<(), Refusal> {
        let Some(section) = self.section(caller) else {
            let name = caller.map_or(CallerName::ANONYMOUS, CallerName::as_str);
            return Err(says(format!("callers.{name}"), "is not there, and neither is `default`"));
        };
        let Role::Tenant(grant) = &section.role else { return Ok(()) };
        section.allow("commands", &grant.commands, command.name())?;
        match command {
            Command::Create(create) => section.judge_create(grant, create),
            _ => Ok(()),
        }
    }

    /// Adds to a wish what the policy says of those that do not say it themselves: labels, and
    /// limits where the usual ones are none or more than may be, and what its agent needs where the
    /// usual hosts are more.
    pub fn amend(&self, caller: Option<&CallerName>, create: &mut Create) {
        let Some(Section { role: Role::Tenant(grant), .. }) = self.section(caller) else { return };
        create.labels.extend(grant.labels.forced.clone());
        if create.egress == Egress::Usual && grant.egress.beyond(&self.usual.egress).is_some() {
            create.egress = Egress::Agent;
        }
        let (own, usual, most) = (&mut create.limits, &self.usual.limits, &grant.limits);
        bound(&mut own.memory, usual.memory, most.memory);
        bound(&mut own.cpus, usual.cpus, most.cpus);
        bound(&mut own.pids, usual.pids, most.pids);
        bound(&mut own.disk, usual.disk, most.disk);
        bound(&mut own.turn_timeout, usual.turn_timeout, most.turn_timeout);
        bound(&mut own.idle_timeout, usual.idle_timeout, most.idle_timeout);
        bound(&mut own.max_lifetime, usual.max_lifetime, most.max_lifetime);
        bound(&mut own.max_cost_usd, usual.max_cost_usd, most.max_cost_usd);
    }

    /// Whether a caller's workers may have this credential.
    #[must_use]
    pub fn gives(&self, caller: Option<&CallerName>, credential: &str) -> bool {
        match self.section(caller).map(|section| &section.role) {
            None => false,
            Some(Role::Operator) => true,
            Some(Role::Tenant(grant)) => grant.credentials.hold(credential),
        }
    }

    /// Whether a caller may see and command a worker of this one.
    #[must_use]
    pub fn sees(&self, caller: Option<&CallerName>, owner: Option<&CallerName>) -> bool {
        let name = owner.map_or(CallerName::ANONYMOUS, CallerName::as_str);
        match self.section(caller).map(|section| &section.role) {
            None => false,
            Some(Role::Operator) => true,
            Some(Role::Tenant(grant)) => caller == owner || grant.workers_of.hold(name),
        }
    }

    /// Whether a caller may have one more worker than so many.
    ///
    /// # Errors
    /// When not: the rule that says so.
    pub fn room(&self, caller: Option<&CallerName>, has: usize) -> Result<(), Refusal> {
        let Some(section) = self.section(caller) else { return Ok(()) };
        let Role::Tenant(grant) = &section.role else { return Ok(()) };
        let Some(most) = grant.workers.filter(|most| has >= *most) else { return Ok(()) };
        let what = format!("allows {most} workers at a time, and there are {has}");
        let Refusal { rule, problem } = says(format!("{}.workers", section.name), &what);
        Err(Refusal { rule, problem: Problem::new(ErrorKind::Exhausted, problem.message) })
    }
}

impl Section {
    fn judge_create(&self, grant: &Grant, create: &Create) -> Result<(), Refusal> {
        self.allow("agents", &grant.agents, create.agent_type.as_str())?;
        for module in &create.modules {
            self.allow("modules", &grant.modules, module.as_str())?;
        }
        if let Some(image) = &create.base_image {
            self.allow("base_images", &grant.base_images, image)?;
        }
        if let Some(host) = grant.egress.beyond(&create.egress) {
            return Err(self.denies("egress", &host));
        }
        if let Credentials::Named(names) = &create.credentials {
            for name in names {
                self.allow("credentials", &grant.credentials, name.as_str())?;
            }
        }
        self.judge_workspace(grant, create)?;
        self.judge_labels(grant, create)?;
        self.judge_limits(&grant.limits, &create.limits)
    }

    fn judge_workspace(&self, grant: &Grant, create: &Create) -> Result<(), Refusal> {
        if create.workspace.is_empty() {
            return Ok(());
        }
        let path = create.workspace.get("path").and_then(|path| path.as_str());
        let is_below = |path: &Path| {
            is_plain(path) && grant.workspace.iter().any(|root| path.starts_with(root))
        };
        if create.workspace.len() == 1 && path.is_some_and(|path| is_below(Path::new(path))) {
            return Ok(());
        }
        let given = path.map_or_else(|| "this".to_owned(), |path| Shown(path).to_string());
        Err(self.denies("workspace", &given))
    }

    fn judge_labels(&self, grant: &Grant, create: &Create) -> Result<(), Refusal> {
        let rules = &grant.labels;
        let rule = |key: &str| format!("{}.labels.{key}", self.name);
        for (name, value) in &create.labels {
            let shown = Shown(name);
            match rules.forced.get(name) {
                Some(forced) if forced == value => {}
                Some(forced) => {
                    let what = format!("has {shown} be {}", Shown(forced));
                    return Err(says(rule("forced"), &what));
                }
                None if rules.required.contains(name) || rules.allowed.hold(name) => {}
                None => return Err(says(rule("allowed"), &format!("does not allow {shown}"))),
            }
        }
        let has =
            |name: &&String| create.labels.contains_key(*name) || rules.forced.contains_key(*name);
        match rules.required.iter().find(|name| !has(name)) {
            None => Ok(()),
            Some(name) => Err(says(rule("required"), &format!("wants {}", Shown(name)))),
        }
    }

    fn judge_limits(&self, most: &Limits, given: &Limits) -> Result<(), Refusal> {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "for a comparison of sizes below 2^53")]
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        let all = [
            ("memory", whole(given.memory), whole(most.memory), " bytes"),
            ("cpus", given.cpus, most.cpus, ""),
            ("pids", whole(given.pids), whole(most.pids), ""),
            ("disk", whole(given.disk), whole(most.disk), " bytes"),
            ("turn_timeout", seconds(given.turn_timeout), seconds(most.turn_timeout), " s"),
            ("idle_timeout", seconds(given.idle_timeout), seconds(most.idle_timeout), " s"),
            ("max_lifetime", seconds(given.max_lifetime), seconds(most.max_lifetime), " s"),
            ("max_cost_usd", given.max_cost_usd, most.max_cost_usd, " US dollars"),
        ];
        for (name, given, most, unit) in all {
            if let (Some(given), Some(most)) = (given, most)
                && given > most
            {
                let what = format!("allows {most}{unit} at most, not {given}");
                return Err(says(format!("{}.limits.{name}", self.name), &what));
            }
        }
        Ok(())
    }

    fn allow(&self, key: &str, words: &Words, name: &str) -> Result<(), Refusal> {
        if words.hold(name) { Ok(()) } else { Err(self.denies(key, name)) }
    }

    fn denies(&self, key: &str, what: &str) -> Refusal {
        says(format!("{}.{key}", self.name), &format!("does not allow {what}"))
    }
}

impl Hosts {
    /// What of a wish goes beyond these. What an agent needs goes with the agent.
    fn beyond(&self, egress: &Egress) -> Option<String> {
        match egress {
            Egress::Usual | Egress::Off | Egress::Agent => None,
            Egress::Open => (!self.open).then(|| "open".to_owned()),
            Egress::Hosts(_) if self.open => None,
            Egress::Hosts(hosts) => {
                let mut hosts = hosts.iter();
                let covered = |host: &&_| self.named.iter().any(|own| own.covers(host));
                hosts.find(|host| !covered(host)).map(ToString::to_string)
            }
        }
    }
}

/// What holds where nothing is asked for: the usual, or else what there may be at most.
fn bound<T: PartialOrd>(own: &mut Option<T>, usual: Option<T>, most: Option<T>) {
    if let (None, Some(most)) = (&own, most)
        && usual.is_none_or(|usual| usual > most)
    {
        *own = Some(most);
    }
}

fn says(rule: String, what: &str) -> Refusal {
    let problem = Problem::refused(format!("the policy's `{rule}` {what}"));
    Refusal { rule: Some(rule), problem }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
