//! What one worker gets of what the operator has.

use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::gateway::{Passage, Reach};
use worker_protocol::{
    Create, CredentialName, Credentials, Egress, Host, Problem, Secret, WorkerId,
};

use super::terms::{Allowed, Credential, Terms};
use crate::image::AgentTemplate;

/// What one worker gets; by default nothing. `Debug` shows no value.
#[derive(Debug, PartialEq)]
pub struct Grant {
    /// Hosts.
    pub reach: Reach,
    /// Services whose keys stay with the gateway.
    pub models: Vec<Model>,
    /// Credentials that the agent's process is given, by variable.
    pub handed: BTreeMap<String, Secret>,
}

impl Default for Grant {
    fn default() -> Self {
        let reach = Reach::Hosts(BTreeSet::new());
        Self { reach, models: Vec::new(), handed: BTreeMap::new() }
    }
}

/// A service that a worker reaches by the gateway, with a token of its own in place of the key.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// The credential's name, and the upstream's.
    pub name: CredentialName,
    /// The variable that holds the token.
    pub variable: String,
    /// What tells the agent where the service is: `{url}` stands for that.
    pub env: BTreeMap<String, String>,
    /// Requests that the worker may make.
    pub max_requests: Option<u64>,
}

impl Terms {
    /// What a worker gets by its wish.
    ///
    /// # Errors
    /// When it wants more than it may have: names it, and the key that would allow it.
    pub fn grant(&self, spec: &Create, agent: &AgentTemplate) -> Result<Grant, Problem> {
        let mut grant = Grant { reach: self.reach(spec, agent)?, ..Grant::default() };
        let mut stood_before = BTreeSet::new();
        for (name, credential) in self.chosen(spec, agent)? {
            // What the caller brings is the caller's own affair.
            if spec.env_names.contains(&credential.variable) {
                continue;
            }
            let variable = credential.variable.clone();
            let Some(model) = credential.model(&agent.head) else {
                grant.handed.insert(variable, credential.secret.clone());
                continue;
            };
            stood_before.extend(model.base_url.clone());
            grant.models.push(Model {
                name: name.clone(),
                variable,
                env: model.env,
                max_requests: credential.max_requests,
            });
        }
        grant.handed.retain(|variable, _| !stood_before.contains(variable));
        Ok(grant)
    }

    /// Credentials that an agent has where a wish names none.
    pub fn usual(
        &self,
        agent: &AgentTemplate,
    ) -> impl Iterator<Item = (&CredentialName, &Credential)> {
        self.credentials.iter().filter(|(name, credential)| {
            name.as_str() == credential.variable
                && agent.head.credentials.contains(&credential.variable)
                && credential.is_for(agent)
        })
    }

    fn chosen<'a>(
        &'a self,
        spec: &Create,
        agent: &AgentTemplate,
    ) -> Result<Vec<(&'a CredentialName, &'a Credential)>, Problem> {
        let names = match &spec.credentials {
            Credentials::None => return Ok(Vec::new()),
            Credentials::Usual => {
                return Ok(self.usual(agent).collect());
            }
            Credentials::Named(names) => names,
        };
        let mut chosen: Vec<(&CredentialName, &Credential)> = Vec::new();
        for name in names {
            let Some((name, credential)) = self.credentials.get_key_value(name) else {
                return Err(Problem::refused(format!(
                    "`credentials` holds {name}, which the operator does not have (credentials.{name})"
                )));
            };
            if !credential.is_for(agent) {
                return Err(Problem::refused(format!(
                    "`credentials` holds {name}, which is not for {} (credentials.{name}.for)",
                    agent.agent
                )));
            }
            let same = |(_, other): &&(_, &Credential)| other.variable == credential.variable;
            if let Some((other, _)) = chosen.iter().find(same) {
                return Err(Problem::refused(format!(
                    "`credentials` holds {other} and {name}, and both are the agent's {}: name one",
                    credential.variable
                )));
            }
            chosen.push((name, credential));
        }
        Ok(chosen)
    }

    fn reach(&self, spec: &Create, agent: &AgentTemplate) -> Result<Reach, Problem> {
        let own = own_hosts(spec, agent);
        let terms = &self.egress;
        let is_usual = spec.egress == Egress::Usual;
        let egress = if is_usual { &terms.usual } else { &spec.egress };
        let hosts = match egress {
            Egress::Off => BTreeSet::new(),
            Egress::Usual | Egress::Agent => own,
            Egress::Open => {
                let may = is_usual || terms.usual == Egress::Open;
                return if may || terms.allowed == Allowed::Every {
                    Ok(Reach::Open)
                } else {
                    Err(not_allowed("is open"))
                };
            }
            Egress::Hosts(hosts) => {
                let refused = |host: &&Host| !is_usual && !self.may_name(host, agent);
                if let Some(host) = hosts.iter().find(refused) {
                    return Err(not_allowed(&format!("holds {host}")));
                }
                hosts.iter().cloned().chain(own).collect()
            }
        };
        Ok(Reach::Hosts(hosts.iter().map(Host::to_string).collect()))
    }

    fn may_name(&self, host: &Host, agent: &AgentTemplate) -> bool {
        let terms = &self.egress;
        let covered = |hosts: &BTreeSet<Host>| hosts.iter().any(|known| known.covers(host));
        let usual = match &terms.usual {
            Egress::Hosts(hosts) => covered(hosts),
            Egress::Open => true,
            _ => false,
        };
        let allowed = match &terms.allowed {
            Allowed::Every => true,
            Allowed::Hosts(hosts) => covered(hosts),
        };
        let opened = terms.private.iter().any(|opening| opening.covers(host));
        let own = models_hosts(agent, |_| true).any(|known| known.covers(host));
        usual || allowed || opened || own || covered(&agent.head.egress)
    }
}

/// What an agent cannot do without. The gateway asks models for it, unless the caller brings a key:
/// with one of its own, a hostile agent could tell a model's service whatever it has read.
fn own_hosts(spec: &Create, agent: &AgentTemplate) -> BTreeSet<Host> {
    let brought = |variable: &String| spec.env_names.contains(variable);
    agent.head.egress.iter().cloned().chain(models_hosts(agent, brought)).collect()
}

fn models_hosts(
    agent: &AgentTemplate,
    which: impl Fn(&String) -> bool,
) -> impl Iterator<Item = Host> {
    let models = agent.head.models.iter().filter(move |(variable, _)| which(variable));
    models.filter_map(|(_, model)| model.host())
}

fn not_allowed(what: &str) -> Problem {
    Problem::refused(format!(
        "`egress` {what}, which the operator does not allow: see egress.allow \
         (WORKER_EGRESS_ALLOW) in worker-manager.toml"
    ))
}

impl Grant {
    /// What the gateway is to know of the worker. `token_sha256` is of the token that it shows;
    /// `max_cost_usd` holds in all.
    #[must_use]
    pub fn passage(
        &self,
        worker_id: WorkerId,
        token_sha256: String,
        max_cost_usd: Option<f64>,
    ) -> Passage {
        Passage {
            worker_id,
            egress: self.reach.clone(),
            models: self.models.iter().map(|model| model.name.to_string()).collect(),
            token_sha256: (!self.models.is_empty()).then_some(token_sha256),
            max_requests: self.models.iter().filter_map(|model| model.max_requests).min(),
            max_cost_usd: max_cost_usd.filter(|_| !self.models.is_empty()),
        }
    }
}

#[cfg(test)]
#[path = "grant_tests.rs"]
mod tests;
