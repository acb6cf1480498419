//! The operator's decisions on hosts and credentials.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use worker_protocol::gateway::{Price, Upstream};
use worker_protocol::{AgentType, CredentialName, Egress, Host, Secret};

use crate::image::{AgentHead, AgentTemplate, Catalogue, ModelHead};

/// What stands for the credential's own value in a header.
const KEY: &str = "{key}";

/// The operator's decisions. By default workers reach what their agents need, and nobody has
/// credentials to give.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// On hosts.
    pub egress: EgressTerms,
    /// On credentials.
    pub credentials: BTreeMap<CredentialName, Credential>,
}

/// The operator's decisions on hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressTerms {
    /// Of workers that do not say; never [`Egress::Usual`].
    pub usual: Egress,
    /// Hosts that a `create` may name besides its agent's own.
    pub allowed: Allowed,
    /// Private addresses that are open to those who name them.
    pub private: BTreeSet<Opening>,
}

impl Default for EgressTerms {
    fn default() -> Self {
        let allowed = Allowed::Hosts(BTreeSet::new());
        Self { usual: Egress::Agent, allowed, private: BTreeSet::new() }
    }
}

/// Hosts that a `create` may name.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// Every one, and all of them at once.
    Every,
    /// These.
    Hosts(BTreeSet<Host>),
}

/// A private address that is open to those who name it, or a range of them, at one port or all:
/// `10.1.0.0/16`, `10.1.2.3`, `10.1.2.3:8080`, `[fd00::1]:8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opening {
    range: IpNet,
    port: Option<u16>,
}

impl Opening {
    /// Reads one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(range) = text.parse::<IpNet>() {
            return Some(Self { range: range.trunc(), port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self { range: address.into(), port: None });
        }
        let address: SocketAddr = text.parse().ok()?;
        Some(Self { range: address.ip().into(), port: Some(address.port()) })
    }

    /// Whether all of a host that is an address is open by it.
    pub(super) fn covers(&self, host: &Host) -> bool {
        let inside = host.address().is_some_and(|address| self.range.contains(&address));
        inside && (self.port.is_none() || self.port == host.port())
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let single = self.range.prefix_len() == self.range.max_prefix_len();
        match (single, self.port) {
            (true, Some(port)) => write!(f, "{}", SocketAddr::new(self.range.addr(), port)),
            (true, None) => write!(f, "{}", self.range.addr()),
            (false, _) => write!(f, "{}", self.range),
        }
    }
}

/// A credential that the operator has. `Debug` shows no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// The variable in which an agent looks for it.
    pub variable: String,
    /// Its value.
    pub secret: Secret,
    /// Who may have it; empty: the agents whose template lists the variable.
    pub agents: BTreeSet<AgentType>,
    /// Where it is good, in place of what the template says.
    pub url: Option<String>,
    /// The variable by which an agent is told an address, where no template says that.
    pub base_url: Option<String>,
    /// Headers that show it, in place of the template's; `{key}` in them is its value.
    pub headers: BTreeMap<String, Secret>,
    /// Requests that one worker may make with it.
    pub max_requests: Option<u64>,
    /// What its models cost, in place of the template's.
    pub prices: Vec<Price>,
}

impl Credential {
    /// A value by the variable's name, and nothing special about it.
    #[must_use]
    pub fn plain(variable: impl Into<String>, secret: Secret) -> Self {
        Self {
            variable: variable.into(),
            secret,
            agents: BTreeSet::new(),
            url: None,
            base_url: None,
            headers: BTreeMap::new(),
            max_requests: None,
            prices: Vec::new(),
        }
    }

    pub(super) fn is_for(&self, agent: &AgentTemplate) -> bool {
        if self.agents.is_empty() {
            agent.head.credentials.contains(&self.variable)
        } else {
            self.agents.contains(&agent.agent)
        }
    }

    /// The service that it opens, where the gateway can stand before that for this agent.
    pub(super) fn model(&self, head: &AgentHead) -> Option<ModelHead> {
        if let (Some(variable), Some(url)) = (&self.base_url, &self.url) {
            let env = BTreeMap::from([(variable.clone(), "{url}".to_owned())]);
            return Some(ModelHead { url: url.clone(), env, ..ModelHead::default() });
        }
        head.models.get(&self.variable).cloned()
    }
}

impl Terms {
    /// The services that the gateway is to stand before, by their credentials' names.
    #[must_use]
    pub fn upstreams(&self, catalogue: &Catalogue) -> BTreeMap<String, Upstream> {
        let upstream = |(name, credential): (&CredentialName, &Credential)| {
            let agents = catalogue.agents().filter(|agent| credential.is_for(agent));
            let model = |agent: &'_ AgentTemplate| {
                Some(self.upstream(credential, &credential.model(&agent.head)?, &agent.head))
            };
            Some((name.to_string(), agents.filter_map(model).next()?))
        };
        self.credentials.iter().filter_map(upstream).collect()
    }

    /// Credentials that an agent may have.
    pub fn of<'a>(&'a self, agent: &'a AgentTemplate) -> impl Iterator<Item = &'a CredentialName> {
        let own = self.credentials.iter().filter(|(_, credential)| credential.is_for(agent));
        own.map(|(name, _)| name)
    }

    /// Credentials that no agent's template takes, and that are not given to one by name either.
    pub fn without_agent<'a>(
        &'a self,
        catalogue: &'a Catalogue,
    ) -> impl Iterator<Item = &'a CredentialName> {
        let taken =
            |credential: &Credential| catalogue.agents().any(|agent| credential.is_for(agent));
        let lost = self.credentials.iter().filter(move |(_, credential)| !taken(credential));
        lost.map(|(name, _)| name)
    }

    fn upstream(&self, credential: &Credential, model: &ModelHead, head: &AgentHead) -> Upstream {
        let own = credential.headers.iter();
        let own = own.map(|(name, value)| (name.clone(), value.reveal().to_owned()));
        let headers: BTreeMap<_, _> =
            if credential.headers.is_empty() { model.headers.clone() } else { own.collect() };
        let key = credential.secret.reveal();
        let shown = |(name, value): (String, String)| (name, Secret::new(value.replace(KEY, key)));
        // The operator may have said by an agent's own variable where its service is.
        let said = model.base_url.as_ref().and_then(|variable| {
            let name = CredentialName::parse(variable).ok()?;
            Some(self.credentials.get(&name)?.secret.reveal().to_owned())
        });
        let url = credential.url.clone().or(said).unwrap_or_else(|| model.url.clone());
        let prices = if credential.prices.is_empty() { &head.prices } else { &credential.prices };
        Upstream {
            url: url.trim_end_matches('/').to_owned(),
            headers: headers.into_iter().map(shown).collect(),
            prices: prices.clone(),
        }
    }
}
