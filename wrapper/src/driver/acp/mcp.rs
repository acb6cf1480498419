//! The caller's MCP servers, as `session/new` wants them.
//!
//! Source: the protocol's chapter on setting up a session. Every agent starts servers that talk
//! over stdio; those behind an address are for agents that say so in `mcpCapabilities`.

use serde_json::{Value, json};

use super::message::text;

/// The servers of a worker, in the form that Claude Code made common: `{"mcpServers": {name: …}}`.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers(Option<Value>);

/// What an agent is given, and why it is not given the rest.
#[derive(Debug, PartialEq)]
pub(super) struct Offer {
    /// For `mcpServers` of `session/new`.
    pub(super) servers: Vec<Value>,
    /// A text for people for each server that is missing.
    pub(super) problems: Vec<String>,
}

impl Servers {
    /// Those of a file's text. What is no JSON becomes a problem of the offer.
    pub(super) fn read(file: Option<&str>) -> Self {
        Self(file.map(|text| serde_json::from_str(text).unwrap_or_default()))
    }

    /// What of them an agent can have that answered `initialize` so.
    pub(super) fn offer(&self, initialized: &Value) -> Offer {
        let mut offer = Offer { servers: Vec::new(), problems: Vec::new() };
        let Some(file) = &self.0 else { return offer };
        let Some(servers) = file.get("mcpServers").and_then(Value::as_object) else {
            offer.problems.push(
                "`mcp` names no servers, so the agent has none: give it as \
                 {\"mcpServers\": {\"name\": {\"command\": \"…\"}}}"
                    .to_owned(),
            );
            return offer;
        };
        for (name, server) in servers {
            match converted(name, server, initialized) {
                Ok(server) => offer.servers.push(server),
                Err(why) => offer
                    .problems
                    .push(format!("the agent does not have the MCP server {name}: {why}")),
            }
        }
        offer
    }
}

fn converted(name: &str, server: &Value, initialized: &Value) -> Result<Value, String> {
    let transport = match (text(server, "type"), server.get("url")) {
        ("" | "stdio", None) | ("stdio", _) => return over_stdio(name, server),
        ("" | "http" | "streamable-http", Some(_)) => "http",
        ("sse", Some(_)) => "sse",
        ("http" | "streamable-http" | "sse", None) => return Err("it has no `url`".to_owned()),
        (other, _) => {
            return Err(format!("its `type` is {other}, and can be `stdio`, `http` or `sse`"));
        }
    };
    let capability = format!("/agentCapabilities/mcpCapabilities/{transport}");
    if initialized.pointer(&capability) != Some(&json!(true)) {
        return Err(format!("the agent takes no servers over {transport}"));
    }
    let headers = pairs(server, "headers")?;
    Ok(json!({"type": transport, "name": name, "url": text(server, "url"), "headers": headers}))
}

fn over_stdio(name: &str, server: &Value) -> Result<Value, String> {
    let command = text(server, "command");
    if command.is_empty() {
        return Err("it has neither `command` nor `url`".to_owned());
    }
    let args = match server.get("args") {
        None => Vec::new(),
        Some(args) => args
            .as_array()
            .filter(|args| args.iter().all(Value::is_string))
            .cloned()
            .ok_or("its `args` must be a list of strings")?,
    };
    let env = pairs(server, "env")?;
    Ok(json!({"name": name, "command": command, "args": args, "env": env}))
}

/// An object of strings, as the list of names and values that the protocol has in its place.
fn pairs(server: &Value, field: &str) -> Result<Vec<Value>, String> {
    let strings = || format!("its `{field}` must be an object of strings");
    let Some(object) = server.get(field) else { return Ok(Vec::new()) };
    let one = |(name, value): (&String, &Value)| {
        value.is_string().then(|| json!({"name": name, "value": value})).ok_or_else(strings)
    };
    object.as_object().ok_or_else(strings)?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(server: &Value, initialized: &Value) -> Offer {
        let file = json!({"mcpServers": {"one": server}}).to_string();
        Servers::read(Some(&file)).offer(initialized)
    }

    #[test]
    fn each_transport_has_its_form() {
        let all = json!({"agentCapabilities": {"mcpCapabilities": {"http": true, "sse": true}}});
        let headers = json!([{"name": "Authorization", "value": "Bearer x"}]);
        for (server, wanted) in [
            (
                json!({"command": "node", "args": ["-e", "1"], "env": {"A": "b"}}),
                json!({"name": "one", "command": "node", "args": ["-e", "1"],
                    "env": [{"name": "A", "value": "b"}]}),
            ),
            (
                json!({"type": "stdio", "command": "/bin/server"}),
                json!({"name": "one", "command": "/bin/server", "args": [], "env": []}),
            ),
            (
                json!({"type": "http", "url": "http://h/", "headers": {"Authorization": "Bearer x"}}),
                json!({"type": "http", "name": "one", "url": "http://h/", "headers": headers}),
            ),
            (
                json!({"url": "http://h/"}),
                json!({"type": "http", "name": "one", "url": "http://h/", "headers": []}),
            ),
            (
                json!({"type": "sse", "url": "http://h/"}),
                json!({"type": "sse", "name": "one", "url": "http://h/", "headers": []}),
            ),
        ] {
            let right = Offer { servers: vec![wanted], problems: Vec::new() };
            assert_eq!(offer(&server, &all), right, "{server}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_given_is_named_with_the_reason_and_its_secrets_are_not_shown() {
        for (server, why) in [
            (json!({"type": "http", "url": "http://h/"}), "takes no servers over http"),
            (json!({"type": "sse", "url": "http://h/"}), "takes no servers over sse"),
            (json!({"type": "http"}), "no `url`"),
            (json!({"type": "ws", "url": "ws://h/"}), "`type` is ws"),
            (json!({}), "neither `command` nor `url`"),
            (json!("node"), "neither `command` nor `url`"),
            (json!({"command": "x", "args": "hunter2"}), "`args` must be a list"),
            (json!({"command": "x", "args": [1]}), "`args` must be a list"),
            (json!({"command": "x", "env": ["hunter2"]}), "`env` must be an object"),
            (json!({"command": "x", "env": {"A": 1}}), "`env` must be an object"),
        ] {
            let Offer { servers, problems } = offer(&server, &json!({}));
            assert_eq!(servers, Vec::<Value>::new(), "{server}");
            let [problem] = &problems[..] else { panic!("{server}: {problems:?}") };
            assert!(problem.contains("server one: ") && problem.contains(why), "{problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_worker_without_servers_has_none_and_a_file_without_them_is_a_problem() {
        let none = Servers::default().offer(&json!({}));
        assert_eq!(none, Offer { servers: Vec::new(), problems: Vec::new() });
        for file in ["", "{", "[]", r#"{"one": {"command": "x"}}"#, r#"{"mcpServers": []}"#] {
            let offer = Servers::read(Some(file)).offer(&json!({}));
            assert!(offer.problems[0].contains("names no servers"), "{file}: {offer:?}");
        }
    }
}
