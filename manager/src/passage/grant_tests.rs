//! What workers get, with the templates as they are.

use super::*;
use crate::config::RawConfig;
use crate::image::{Catalogue, Offer};
use worker_protocol::{Command, Keys, parse_command};

fn catalogue() -> Catalogue {
    Catalogue::load(None, &Offer::default()).unwrap()
}

fn terms(configuration: &str) -> Terms {
    toml::from_str::<RawConfig>(configuration).unwrap().terms().unwrap()
}

/// A wish, as `name value name value …`.
fn spec(agent: &str, fields: &[(&str, &str)]) -> Create {
    let usual = [("command", "create"), ("agent_type", agent), ("agent_command", "true")];
    let usual = &usual[..if agent == "CUSTOM" { 3 } else { 2 }];
    let pairs: Vec<_> = [usual, fields].concat();
    let pairs: Vec<_> =
        pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
    match parse_command("1-0", &pairs, &Keys::new("worker").unwrap()).1.unwrap() {
        Command::Create(create) => *create,
        other => panic!("{other:?}"),
    }
}

fn grant(configuration: &str, agent: &str, fields: &[(&str, &str)]) -> Result<Grant, String> {
    let (catalogue, spec) = (catalogue(), spec(agent, fields));
    let agent = catalogue.agent(spec.agent_type).unwrap();
    terms(configuration).grant(&spec, agent).map_err(|problem| problem.message)
}

fn hosts(grant: &Grant) -> Vec<&str> {
    match &grant.reach {
        Reach::Hosts(hosts) => hosts.iter().map(String::as_str).collect(),
        Reach::Open => vec!["(open)"],
    }
}

fn models(grant: &Grant) -> Vec<&str> {
    grant.models.iter().map(|model| model.name.as_str()).collect()
}

const TWO_KEYS: &str = "[credentials]\nANTHROPIC_API_KEY = \"sk-1\"\nFACTORY_API_KEY = \"fk-1\"\n\
    team-a = { as = \"ANTHROPIC_API_KEY\", value = \"sk-2\", max_requests = 5 }\n\
    team-b = { as = \"ANTHROPIC_API_KEY\", value = \"sk-3\", for = [\"OPENCODE\"] }\n";

#[test]
fn what_a_worker_reaches_is_what_it_asks_for_within_what_the_operator_allows() {
    for (configuration, agent, asked, reached) in [
        ("", "CLAUDE", None, vec![]),
        ("", "FACTORY", None, vec!["api.factory.ai", "app.factory.ai"]),
        ("", "FACTORY", Some("off"), vec![]),
        ("", "FACTORY", Some("agent"), vec!["api.factory.ai", "app.factory.ai"]),
        ("", "FACTORY", Some("api.factory.ai"), vec!["api.factory.ai", "app.factory.ai"]),
        ("", "CLAUDE", Some("api.anthropic.com"), vec!["api.anthropic.com"]),
        ("default = \"off\"", "FACTORY", None, vec![]),
        ("default = \"open\"", "CUSTOM", None, vec!["(open)"]),
        ("default = \"open\"", "CUSTOM", Some("a.com"), vec!["a.com"]),
        ("default = \"a.com\"", "CUSTOM", None, vec!["a.com"]),
        ("default = \"a.com\"", "CUSTOM", Some("a.com:443"), vec!["a.com:443"]),
        (
            "allow = [\"*.a.com\"]",
            "CUSTOM",
            Some("x.a.com,*.y.a.com"),
            vec!["*.y.a.com", "x.a.com"],
        ),
        ("allow = [\"*\"]", "CUSTOM", Some("open"), vec!["(open)"]),
        ("allow = [\"*\"]", "CUSTOM", Some("a.com:22"), vec!["a.com:22"]),
        ("allow = [\"*\"]", "CUSTOM", None, vec![]),
        ("private = [\"10.1.0.0/16\"]", "CUSTOM", Some("10.1.2.3:8080"), vec!["10.1.2.3:8080"]),
    ] {
        let asked: Vec<_> = asked.map(|asked| ("egress", asked)).into_iter().collect();
        let grant = grant(&format!("[egress]\n{configuration}"), agent, &asked).unwrap();
        assert_eq!(hosts(&grant), reached, "{configuration} {agent} {asked:?}");
    }
}

#[test]
fn what_the_operator_does_not_allow_is_refused_by_name() {
    for (configuration, asked, part) in [
        ("", "github.com", "holds github.com"),
        ("", "open", "is open"),
        ("allow = [\"a.com\"]", "a.com,b.com", "holds b.com"),
        ("allow = [\"a.com\"]", "*.a.com", "holds *.a.com"),
        ("allow = [\"a.com\"]", "a.com:22", "holds a.com:22"),
        ("allow = [\"a.com\"]", "open", "is open"),
        ("private = [\"10.1.0.0/16\"]", "10.2.0.1", "holds 10.2.0.1"),
        ("private = [\"10.1.0.1:80\"]", "10.1.0.1", "holds 10.1.0.1"),
        ("", "10.0.0.1", "holds 10.0.0.1"),
    ] {
        let configuration = format!("[egress]\n{configuration}");
        let refusal = grant(&configuration, "CUSTOM", &[("egress", asked)]).unwrap_err();
        assert!(refusal.contains(part) && refusal.contains("egress.allow"), "{refusal}");
    }
}

#[test]
fn a_key_stays_with_the_gateway_where_the_agent_can_be_told_of_it() {
    let of = |agent, fields: &[_]| grant(TWO_KEYS, agent, fields).unwrap();
    let claude = of("CLAUDE", &[]);
    assert_eq!((models(&claude), claude.handed.len()), (vec!["ANTHROPIC_API_KEY"], 0));
    assert_eq!(hosts(&claude), Vec::<&str>::new(), "the gateway asks for it");
    let factory = of("FACTORY", &[]);
    assert_eq!((models(&factory).len(), factory.handed.len()), (0, 1));
    assert_eq!(factory.handed["FACTORY_API_KEY"].reveal(), "fk-1");
    let named = of("CLAUDE", &[("credentials", "team-a")]);
    assert_eq!((models(&named), named.models[0].max_requests), (vec!["team-a"], Some(5)));
    let none = of("CLAUDE", &[("credentials", "none")]);
    assert!(none.models.is_empty() && none.handed.is_empty());
    let custom = of("CUSTOM", &[]);
    assert!(custom.models.is_empty() && custom.handed.is_empty());
}

#[test]
fn a_key_that_the_caller_brings_is_the_callers_affair() {
    let env = ("env", r#"{"ANTHROPIC_API_KEY": "sk-mine"}"#);
    let own = grant(TWO_KEYS, "CLAUDE", &[env]).unwrap();
    assert!(own.models.is_empty() && own.handed.is_empty());
    assert_eq!(hosts(&own), ["api.anthropic.com"], "and it needs the way there");
    // From the label, without the value, the same follows.
    let label = serde_json::to_string(&spec("CLAUDE", &[env])).unwrap();
    assert!(!label.contains("sk-mine"));
    let (known, catalogue) = (serde_json::from_str(&label).unwrap(), catalogue());
    let agent = catalogue.agent(worker_protocol::AgentType::Claude).unwrap();
    assert_eq!(terms(TWO_KEYS).grant(&known, agent).unwrap(), own);
}

#[test]
fn a_credential_that_cannot_be_had_is_named() {
    for (agent, names, part) in [
        ("CLAUDE", "team-c", "team-c, which the operator does not have"),
        ("CLAUDE", "team-b", "team-b, which is not for CLAUDE"),
        ("CLAUDE", "FACTORY_API_KEY", "which is not for CLAUDE"),
        ("CUSTOM", "team-a", "which is not for CUSTOM"),
        ("CLAUDE", "team-a,ANTHROPIC_API_KEY", "name one"),
    ] {
        let refusal = grant(TWO_KEYS, agent, &[("credentials", names)]).unwrap_err();
        assert!(refusal.contains(part) && !refusal.contains("sk-"), "{refusal}");
    }
}

#[test]
fn the_gateway_is_told_where_services_are_and_what_opens_them() {
    let upstreams = terms(
        "[credentials]\nANTHROPIC_BASE_URL = \"http://10.1.2.3:80/\"\nANTHROPIC_API_KEY = \"sk-1\"\n\
         FACTORY_API_KEY = \"fk-1\"\nOPENAI_API_KEY = \"sk-o\"\n\
         [credentials.own]\nas = \"LLM_KEY\"\nvalue = \"k\"\nurl = \"https://llm.example.com/v1\"\n\
         base_url = \"LLM_URL\"\nheaders = { authorization = \"Basic {key}\" }\nfor = [\"CUSTOM\"]",
    )
    .upstreams(&catalogue());
    assert_eq!(
        upstreams.keys().collect::<Vec<_>>(),
        ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "own"]
    );
    let anthropic = &upstreams["ANTHROPIC_API_KEY"];
    assert_eq!(anthropic.url, "http://10.1.2.3:80", "where the operator said");
    assert_eq!(anthropic.headers["x-api-key"].reveal(), "sk-1");
    assert!(anthropic.prices.iter().any(|price| price.model == "claude-opus"));
    assert_eq!(upstreams["OPENAI_API_KEY"].headers["authorization"].reveal(), "Bearer sk-o");
    assert_eq!(upstreams["own"].headers["authorization"].reveal(), "Basic k");
    assert_eq!(upstreams["own"].url, "https://llm.example.com/v1");
}

#[test]
fn the_operators_address_is_the_gateways_affair_unless_the_caller_brings_the_key() {
    let operators =
        "[credentials]\nANTHROPIC_BASE_URL = \"http://10.1.2.3\"\nANTHROPIC_API_KEY = \"k\"";
    let grants = grant(operators, "CLAUDE", &[]).unwrap();
    assert!(grants.handed.is_empty(), "{grants:?}");
    let brought = ("env", r#"{"ANTHROPIC_API_KEY": "sk-mine"}"#);
    let grants = grant(operators, "CLAUDE", &[brought]).unwrap();
    assert_eq!(grants.handed["ANTHROPIC_BASE_URL"].reveal(), "http://10.1.2.3");
}

#[test]
fn a_passage_says_all_that_the_gateway_needs_of_a_worker() {
    let id = WorkerId::new();
    let grant = grant(TWO_KEYS, "CLAUDE", &[("credentials", "team-a")]).unwrap();
    let passage = grant.passage(id, "abc".to_owned(), Some(2.5));
    assert_eq!((passage.worker_id, passage.egress), (id, Reach::Hosts(BTreeSet::new())));
    assert_eq!(passage.models, ["team-a".to_owned()].into());
    assert_eq!(passage.token_sha256.as_deref(), Some("abc"));
    assert_eq!((passage.max_requests, passage.max_cost_usd), (Some(5), Some(2.5)));
}

#[test]
fn a_worker_without_models_has_no_token() {
    let grant = grant("", "CUSTOM", &[]).unwrap();
    let passage = grant.passage(WorkerId::new(), "abc".to_owned(), Some(2.5));
    assert_eq!((passage.token_sha256, passage.max_cost_usd), (None, None));
}

#[test]
fn every_template_that_names_a_model_lists_its_credential_and_says_where_the_gateway_is() {
    let catalogue = catalogue();
    for agent in catalogue.agents() {
        for (variable, model) in &agent.head.models {
            let listed = |name: &String| agent.head.credentials.contains(name);
            assert!(listed(variable), "{} {variable}", agent.agent);
            assert!(model.base_url.iter().all(listed), "{} {variable}", agent.agent);
            assert!(model.host().is_some(), "{} {variable}", agent.agent);
            assert!(model.env.values().any(|value| value.contains("{url}")));
            assert!(model.headers.values().any(|value| value.contains("{key}")));
        }
    }
}
