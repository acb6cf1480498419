//! From the start of the process to a session that takes prompts.

use serde_json::{Value, json};

use worker_protocol::{Output, OutputKind, Source};

use super::message::{LOGIN_NEEDED, error, text};
use super::{Acp, Told, mcp};

const VERSION: u64 = 1;

/// What the last request was for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    Initialize,
    /// A session was asked for; whether after a log-in.
    Session {
        logged_in: bool,
    },
    /// The session of earlier runs was asked for.
    Resume {
        logged_in: bool,
    },
    Login,
    Model,
    Ready,
    /// It will take no prompt; why.
    Failed(String),
}

impl Stage {
    pub(super) fn is_setup(&self) -> bool {
        *self != Self::Ready
    }

    /// What a prompt is told that cannot be given to the agent.
    pub(super) fn why_not_ready(&self) -> &str {
        match self {
            Self::Failed(why) => why,
            _ => "the agent has not opened a session yet; prompt it again when it is ready",
        }
    }
}

/// How many names of models are worth reading in an error.
const MODELS_SHOWN: usize = 30;

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

impl Acp {
    pub(super) fn initialize(&mut self, told: &mut Vec<Told>) {
        let nothing = json!({"fs": {"readTextFile": false, "writeTextFile": false},
            "terminal": false});
        let client = json!({"name": "worker-wrapper", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": VERSION, "clientCapabilities": nothing,
            "clientInfo": client});
        self.request("initialize", params, told);
    }

    /// An answer to a request that is not a prompt.
    pub(super) fn set_up(&mut self, answer: &Value, raw: String, told: &mut Vec<Told>) {
        let result = answer.get("result").cloned().unwrap_or_default();
        let failed = error(answer);
        match (self.stage.clone(), failed) {
            (
                Stage::Session { logged_in: false } | Stage::Resume { logged_in: false },
                Some((LOGIN_NEEDED, why)),
            ) => {
                self.unnamed("answer", raw, told);
                self.log_in(&why, told);
            }
            (Stage::Resume { logged_in }, Some((_, why))) => {
                self.unnamed("answer", raw, told);
                self.lose(&why, told);
                self.open(logged_in, told);
            }
            (Stage::Failed(_) | Stage::Ready, _) => self.unnamed("answer", raw, told),
            (_, Some((_, why))) => {
                self.unnamed("answer", raw, told);
                self.fail(&why, told);
            }
            (Stage::Initialize, None) => self.initialized(&result, raw, told),
            (Stage::Login, None) => {
                self.unnamed("answer", raw, told);
                self.open(true, told);
            }
            (Stage::Session { .. }, None) => self.opened(&result, raw, told),
            (Stage::Resume { .. }, None) => self.resumed(&result, raw, told),
            (Stage::Model, None) => self.ready(raw, told),
        }
    }

    fn initialized(&mut self, result: &Value, raw: String, told: &mut Vec<Told>) {
        self.unnamed("answer", raw, told);
        let version = result.get("protocolVersion").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let theirs = version.map_or("none".to_owned(), |version| version.to_string());
            let why = format!(
                "this worker-wrapper speaks version {VERSION} of the Agent Client Protocol, and \
                 the agent answered with {theirs}"
            );
            return self.fail(&why, told);
        }
        self.logins =
            result.get("authMethods").and_then(Value::as_array).cloned().unwrap_or_default();
        self.earlier.learn(result);
        self.offer_servers(result, told);
        self.open(false, told);
    }

    fn offer_servers(&mut self, initialized: &Value, told: &mut Vec<Told>) {
        let mcp::Offer { servers, problems } = self.servers.offer(initialized);
        self.offered = servers;
        let entry = |problem| Told::Say(Output::new(OutputKind::Error, Source::Wrapper, problem));
        told.extend(problems.into_iter().map(entry));
    }

    fn open(&mut self, logged_in: bool, told: &mut Vec<Told>) {
        let mut params = json!({"cwd": self.workspace, "mcpServers": self.offered});
        match self.earlier.way_back() {
            Ok(None) => {
                self.stage = Stage::Session { logged_in };
                self.request("session/new", params, told);
            }
            Ok(Some((method, session))) => {
                self.stage = Stage::Resume { logged_in };
                params["sessionId"] = session.into();
                self.request(method, params, told);
            }
            Err(why) => {
                self.lose(why, told);
                self.open(logged_in, told);
            }
        }
    }

    /// Nobody sits here to log in: only a key from the environment will do.
    fn log_in(&mut self, why: &str, told: &mut Vec<Told>) {
        let by_key = |login: &&Value| {
            login.pointer("/_meta/api-key").is_some() || text(login, "id").contains("api-key")
        };
        let Some(id) = self.logins.iter().find(by_key).map(|login| text(login, "id").to_owned())
        else {
            let why = format!(
                "{why}; give the agent's key as a credential of the manager or in the worker's \
                 `env`"
            );
            return self.fail(&why, told);
        };
        self.stage = Stage::Login;
        self.request("authenticate", json!({"methodId": id}), told);
    }

    fn opened(&mut self, result: &Value, raw: String, told: &mut Vec<Told>) {
        let session = text(result, "sessionId");
        if session.is_empty() {
            self.unnamed("answer", raw, told);
            return self.fail("the agent opened a session without a name", told);
        }
        self.choose_model(session.to_owned(), result, raw, told);
    }

    fn resumed(&mut self, result: &Value, raw: String, told: &mut Vec<Told>) {
        let Some((session, replayed)) = self.earlier.end() else { return };
        if replayed > 0 {
            let data = Some(json!({"replayed": replayed}));
            let content = format!("session/update: {replayed} of what was said before");
            self.say(OutputKind::Stdout, content, data, None, told);
        }
        self.choose_model(session, result, raw, told);
    }

    fn choose_model(&mut self, session: String, result: &Value, raw: String, told: &mut Vec<Told>) {
        self.session = Some(session.clone());
        let Some(model) = self.model.clone() else { return self.ready(raw, told) };
        self.unnamed("answer", raw, told);
        self.stage = Stage::Model;
        // Newer agents have one way to set all of their options, and name them.
        let option = list(result, "/configOptions").find(|one| text(one, "category") == "model");
        self.models = match option {
            Some(option) => {
                list(option, "/options").map(|one| text(one, "value").to_owned()).collect()
            }
            None => list(result, "/models/availableModels")
                .map(|one| text(one, "modelId").to_owned())
                .collect(),
        };
        self.models.truncate(MODELS_SHOWN);
        match option {
            Some(option) => self.request(
                "session/set_config_option",
                json!({"sessionId": session, "configId": text(option, "id"), "value": model}),
                told,
            ),
            None => self.request(
                "session/set_model",
                json!({"sessionId": session, "modelId": model}),
                told,
            ),
        };
    }

    fn ready(&mut self, raw: String, told: &mut Vec<Told>) {
        self.stage = Stage::Ready;
        told.push(Told::Ready { raw: Some(raw) });
    }

    fn fail(&mut self, why: &str, told: &mut Vec<Told>) {
        let what = match &self.stage {
            Stage::Login => "the agent did not accept its key".to_owned(),
            Stage::Model => {
                format!("the agent did not take the model {}", self.model.as_deref().unwrap_or("?"))
            }
            _ => "the agent opened no session".to_owned(),
        };
        let mut why = format!("{what}: {why}");
        if self.stage == Stage::Model && !self.models.is_empty() {
            why.push_str(&format!("; it has {}", self.models.join(", ")));
        }
        self.stage = Stage::Failed(why.clone());
        told.push(Told::NeverReady(why));
    }
}
