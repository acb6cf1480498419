//! What an agent finds in its environment of the way out.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use worker_protocol::Secret;
use worker_protocol::gateway::{HTTP_PORT, MODEL_PATH};

use super::grant::Grant;

/// What stands for a service's address.
const URL: &str = "{url}";

/// What an agent finds in its environment, at each start anew. `Debug` shows no value.
#[derive(Debug, PartialEq)]
pub struct Surroundings {
    /// Variables that the operator gives.
    pub env: BTreeMap<String, Secret>,
    /// Those of them whose value is the worker's token.
    pub tokens: BTreeSet<String>,
}

impl Grant {
    /// The agent's environment, with its gateway at this address.
    #[must_use]
    pub fn surroundings(&self, gateway: IpAddr) -> Surroundings {
        let origin = origin(gateway);
        let mut env = self.handed.clone();
        env.extend(proxy_environment(gateway).map(|(name, value)| (name, Secret::new(value))));
        for model in &self.models {
            let url = format!("{origin}{MODEL_PATH}{}", model.name);
            for (name, value) in &model.env {
                let value = value.replace(URL, &url);
                let other = env.get(name).and_then(|other| merged(other.reveal(), &value));
                env.insert(name.clone(), Secret::new(other.unwrap_or(value)));
            }
        }
        let tokens = self.models.iter().map(|model| model.variable.clone()).collect();
        Surroundings { env, tokens }
    }
}

fn origin(gateway: IpAddr) -> String {
    format!("http://{}", SocketAddr::new(gateway, HTTP_PORT))
}

/// What has programs go by way of the gateway; they need not heed it, since there is no other way.
/// Some look for it in lower case (curl), some in upper case, and Node.js only where it is told to.
/// Requests to the gateway itself need no proxy.
pub fn proxy_environment(gateway: IpAddr) -> impl Iterator<Item = (String, String)> {
    let (origin, past) = (origin(gateway), format!("{gateway},localhost,127.0.0.1,::1"));
    let proxies = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    let proxies = proxies.map(|name| (name, origin.clone()));
    let past = ["no_proxy", "NO_PROXY"].map(|name| (name, past.clone()));
    let all = proxies.into_iter().chain(past).chain([("NODE_USE_ENV_PROXY", "1".to_owned())]);
    all.map(|(name, value)| (name.to_owned(), value))
}

/// Where two have to say something in the same JSON object, both do; `over` has the last word.
fn merged(under: &str, over: &str) -> Option<String> {
    let (Value::Object(mut under), Value::Object(over)) =
        (serde_json::from_str(under).ok()?, serde_json::from_str(over).ok()?)
    else {
        return None;
    };
    lay_over(&mut under, over);
    Some(Value::Object(under).to_string())
}

fn lay_over(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => lay_over(inner, value),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passage::Model;
    use worker_protocol::CredentialName;
    use worker_protocol::gateway::Reach;

    const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 213, 4, 10));

    fn model(name: &str, variable: &str, env: &[(&str, &str)]) -> Model {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Model {
            name: CredentialName::parse(name).unwrap(),
            variable: variable.to_owned(),
            env: env.collect(),
            max_requests: None,
        }
    }

    fn surroundings(models: Vec<Model>, handed: &[(&str, &str)]) -> Surroundings {
        let handed =
            handed.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        Grant { reach: Reach::Open, models, handed }.surroundings(GATEWAY)
    }

    #[test]
    fn the_way_out_is_the_gateway_and_the_way_to_it_needs_no_proxy() {
        let found = surroundings(Vec::new(), &[("FACTORY_API_KEY", "fk-1")]);
        assert_eq!(found.env["https_proxy"].reveal(), "http://10.213.4.10:3128");
        assert_eq!(found.env["HTTP_PROXY"], found.env["https_proxy"]);
        assert!(found.env["NO_PROXY"].reveal().split(',').any(|host| host == "10.213.4.10"));
        assert_eq!(found.env["FACTORY_API_KEY"].reveal(), "fk-1");
        assert!(found.tokens.is_empty());
    }

    #[test]
    fn a_model_is_at_the_gateway_and_its_variable_holds_a_token() {
        let env = [("ANTHROPIC_BASE_URL", "{url}")];
        let found = surroundings(vec![model("team-a", "ANTHROPIC_API_KEY", &env)], &[]);
        let url = found.env["ANTHROPIC_BASE_URL"].reveal();
        assert_eq!(url, "http://10.213.4.10:3128/model/team-a");
        assert_eq!(found.tokens, ["ANTHROPIC_API_KEY".to_owned()].into());
        assert!(!found.env.contains_key("ANTHROPIC_API_KEY"), "the wrapper fills it in");
    }

    #[test]
    fn what_two_say_in_one_variable_is_put_together() {
        let a = model("A", "A", &[("CONFIG", r#"{"provider": {"a": {"url": "{url}"}}}"#)]);
        let b = model("B", "B", &[("CONFIG", r#"{"provider": {"b": {"url": "{url}"}}}"#)]);
        let operators = r#"{"effort": "high", "provider": {"a": {"url": "x", "name": "y"}}}"#;
        let found = surroundings(vec![a, b], &[("CONFIG", operators)]);
        let config: Value = serde_json::from_str(found.env["CONFIG"].reveal()).unwrap();
        assert_eq!(config["effort"], "high");
        assert_eq!(config["provider"]["a"]["name"], "y");
        assert_eq!(config["provider"]["a"]["url"], "http://10.213.4.10:3128/model/A");
        assert_eq!(config["provider"]["b"]["url"], "http://10.213.4.10:3128/model/B");
    }
}
