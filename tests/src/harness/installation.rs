//! An installation of its own: namespace, manager, scripted model.

use crate::model::{Script, ScriptedModel, SeenRequest};
use redis::RedisResult;
use std::cell::{RefCell, RefMut};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;
use worker_manager::failpoint::Failpoint;

use super::database::Redis;
use super::terminal;
use super::{
    Engine, Entry, Environment, PrivateEngine, Program, RedisServer, Reply, Templates, Worker,
    until,
};

/// What takes milliseconds on an idle machine and seconds on a busy one. An agent that starts in two
/// seconds took forty where eight times as much was to be done as there were processors for.
pub(super) const SOON: Duration = Duration::from_secs(180);
/// A first build fetches packages and an agent of several hundred MB.
const BUILD: Duration = Duration::from_secs(600);

/// Codex tries again for minutes what the model refuses.
const CODEX_CONFIG: &str = r#"{"model": "scripted", "model_providers":
    {"gateway": {"request_max_retries": 0, "stream_max_retries": 0}}}"#;

/// What differs from the usual installation.
#[derive(Default)]
pub struct Options {
    variables: Vec<(String, String)>,
    file: String,
    no_manager: bool,
    failpoints: bool,
    redis: Option<(String, String)>,
}

impl Options {
    /// Sets an environment variable of the manager.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it a configuration file with this text.
    pub fn file(mut self, text: &str) -> Self {
        self.file.push_str(text);
        self
    }

    /// Gives it templates of the operator.
    pub fn templates(self, templates: &Templates) -> Self {
        self.set("WORKER_TEMPLATES", &templates.path().to_string_lossy())
    }

    /// Gives it an engine of the test's own.
    pub fn engine(self, engine: &PrivateEngine) -> Self {
        self.set("DOCKER_HOST", &engine.host())
    }

    /// Gives it a Redis of the test's own.
    pub fn redis(mut self, server: &RedisServer) -> Self {
        self.redis = Some((server.url(), server.worker_url()));
        self
    }

    /// Its managers can be told where to die, and have the C library of the machine.
    pub fn failpoints(mut self) -> Self {
        self.failpoints = true;
        self
    }

    fn docker_host(&self) -> Option<&str> {
        let mut hosts = self.variables.iter().filter(|(name, _)| name == "DOCKER_HOST");
        hosts.next_back().map(|(_, host)| host.as_str())
    }

    /// Starts no manager.
    pub fn without_manager(mut self) -> Self {
        self.no_manager = true;
        self
    }
}

/// One installation. Dropping it takes away all that it has.
pub struct Installation {
    /// The machine's services.
    pub environment: Environment,
    /// The word before all its keys and names.
    pub namespace: String,
    /// A connection with all rights.
    pub redis: Redis,
    /// The engine that it uses.
    pub engine: Engine,
    variables: Vec<(String, String)>,
    manager: RefCell<Option<Program>>,
    model: Option<ScriptedModel>,
    runtime: Runtime,
    folder: TempDir,
}

impl Installation {
    /// The usual one, ready.
    pub fn start() -> Self {
        Self::start_with(Options::default())
    }

    /// One that differs, ready.
    pub fn start_with(options: Options) -> Self {
        let mut environment = Environment::read();
        if options.failpoints {
            let program = environment.failpoints.clone();
            let there = program.is_file();
            assert!(there, "{} is missing; run `scripts/build failpoints`", program.display());
            environment.manager = program;
        }
        if let Some((url, worker_url)) = options.redis.clone() {
            (environment.redis_url, environment.worker_redis_url) = (url, worker_url);
        }
        let engine = options.docker_host().map_or_else(Engine::default, Engine::at);
        Engine::default().require(&environment);
        let redis = Redis::connect(&environment.redis_url);
        let runtime = Runtime::new().expect("a runtime");
        let listen: SocketAddr =
            format!("{}:0", environment.host_address()).parse().expect("an address");
        let model =
            runtime.block_on(ScriptedModel::start(listen, Script::empty())).expect("a model");
        let namespace = format!("t-{}", &Uuid::new_v4().simple().to_string()[..12]);
        let mut variables = usual_variables(&environment, &namespace, &model);
        let folder = TempDir::new().expect("a temporary folder");
        let file = folder.path().join("worker-manager.toml");
        std::fs::write(&file, options.file).expect("a configuration file");
        variables.push(("WORKER_CONFIG".to_owned(), file.to_string_lossy().into_owned()));
        variables.extend(options.variables);
        let installation = Self {
            environment,
            namespace,
            redis,
            engine,
            variables,
            manager: RefCell::new(None),
            model: Some(model),
            runtime,
            folder,
        };
        if !options.no_manager {
            installation.start_manager();
        }
        installation
    }

    /// Gives managers that are started from now on another configuration file: what it says may
    /// need an address that was not known before.
    pub fn write_configuration(&self, text: &str) {
        let file = self.folder.path().join("worker-manager.toml");
        std::fs::write(file, text).expect("a configuration file");
    }

    /// Starts a manager, and waits until it answers.
    pub fn start_manager(&self) {
        self.start_manager_quietly();
        let request = self.send(&[("command", "ping")]);
        let ready = until(SOON, || {
            assert!(!self.manager().has_ended(), "the manager ended at once:\n{}", self.log());
            self.replies(&request).pop()
        });
        assert!(
            ready.is_some_and(|reply| reply.is_ok()),
            "no ping was answered:{}",
            self.explain()
        );
    }

    /// Starts a manager and waits for nothing.
    pub fn start_manager_quietly(&self) {
        *self.manager.borrow_mut() = Some(self.program("manager", &["serve"]));
    }

    /// Starts a manager that dies of SIGKILL when it passes a step for this time, from 1.
    pub fn start_manager_that_dies_at(&self, point: Failpoint, time: u32) {
        let death = format!("{}:{time}", point.name());
        *self.manager.borrow_mut() = Some(self.program("manager", &["serve", "--die-at", &death]));
    }

    /// The running manager.
    pub fn manager(&self) -> RefMut<'_, Program> {
        RefMut::map(self.manager.borrow_mut(), |manager| manager.as_mut().expect("a manager"))
    }

    /// Runs `worker-manager` with the manager's own environment; `name` is that of its logs.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Program {
        Program::start(
            &self.environment,
            arguments,
            &self.variables,
            &self.folder.path().join(name),
        )
    }

    /// Runs `worker-manager` with the manager's own environment on a terminal, to its end, and gives
    /// what that was sent.
    pub fn on_a_terminal(&self, arguments: &[&str]) -> String {
        terminal::shown(&self.environment, arguments, &self.variables, BUILD)
    }

    /// Starts one more manager, with some variables of its own, and waits for nothing.
    pub fn another_manager(&self, name: &str, own: &[(&str, &str)]) -> Program {
        let mut variables = self.variables.clone();
        variables.push(("WORKER_CONSUMER".to_owned(), name.to_owned()));
        variables.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = self.folder.path().join(name);
        Program::start(&self.environment, &["serve"], &variables, &log)
    }

    /// What all managers of this installation said.
    pub fn log(&self) -> String {
        self.manager().said()
    }

    /// A key of this installation.
    pub fn key(&self, rest: &str) -> String {
        format!("{}:{rest}", self.namespace)
    }

    /// Sends a command, and gives the entry's id.
    pub fn send(&self, fields: &[(&str, &str)]) -> String {
        self.redis.xadd(&self.key("commands"), fields)
    }

    /// Sends a command in the form of a document, and gives the entry's id.
    pub fn send_document(&self, document: &serde_json::Value) -> String {
        self.send(&[("data", &document.to_string())])
    }

    /// Sends a command, and waits for its reply.
    pub fn command(&self, fields: &[(&str, &str)]) -> Reply {
        let request = self.send(fields);
        self.reply(&request)
    }

    /// Waits for the reply to a request.
    pub fn reply(&self, request_id: &str) -> Reply {
        let what = format!("a reply to {request_id}");
        self.until(&what, BUILD, || self.replies(request_id).pop())
    }

    /// The replies to a request so far.
    pub fn replies(&self, request_id: &str) -> Vec<Reply> {
        let entries = self.redis.stream(&self.key("responses"));
        let replies = entries.iter().map(Reply::read);
        replies.filter(|reply| reply.get("request_id") == request_id).collect()
    }

    /// Entries of the events stream so far.
    pub fn events(&self) -> Vec<Entry> {
        self.redis.stream(&self.key("events"))
    }

    /// A worker that runs. On a fresh machine the first one of each image takes a while.
    pub fn worker(&self, fields: &[(&str, &str)]) -> Worker<'_> {
        let reply = self.command(&[&[("command", "create"), ("wait", "running")], fields].concat());
        assert!(reply.is_ok(), "create failed: {reply:?}{}", self.explain());
        Worker::of(self, &reply.get("worker_id"))
    }

    /// A worker whose agent is a shell script.
    pub fn script(&self, script: &str) -> Worker<'_> {
        let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
        self.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command)])
    }

    /// What the model was asked so far by an agent at work.
    pub fn asked_of_model(&self) -> Vec<SeenRequest> {
        let model = self.model.as_ref().expect("a model");
        model.requests().into_iter().filter(SeenRequest::is_work).collect()
    }

    /// Where agents reach the model.
    pub fn model_url(&self) -> String {
        self.model.as_ref().expect("a model").base_url()
    }

    /// Containers of this installation, running or not.
    pub fn containers(&self) -> Vec<String> {
        self.engine.containers(&self.namespace)
    }

    /// Images of this installation.
    pub fn images(&self) -> Vec<String> {
        self.engine.images(&self.namespace)
    }

    /// Redis users of this installation's workers.
    pub fn users(&self) -> Vec<String> {
        let mut users = self.all_users();
        users.retain(|user| !user.ends_with("-gateway"));
        users
    }

    fn all_users(&self) -> Vec<String> {
        self.redis.users(&format!("{}-", self.namespace))
    }

    /// Waits for what is soon to be so.
    pub fn soon<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        self.until(what, SOON, ask)
    }

    /// Waits; a failure shows what was seen instead.
    pub fn until<T>(&self, what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
        until(limit, ask).unwrap_or_else(|| {
            panic!("waited {} s in vain for {what}:{}", limit.as_secs(), self.explain())
        })
    }

    /// Everything that helps to understand a failure.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        for key in self.redis.keys(&self.key("*")) {
            let kind: String = self.redis.run(&["TYPE", &key]);
            text.push_str(&format!("\n--- {key} ({kind})\n"));
            match kind.as_str() {
                "stream" => {
                    for entry in tail(self.redis.stream(&key), 25) {
                        text.push_str(&format!("{} {}\n", entry.id, shown(&entry)));
                    }
                }
                "hash" => {
                    let fields: Vec<String> = self.redis.run(&["HGETALL", &key]);
                    text.push_str(&cut(&fields.join(" "), 1500));
                }
                _ => {}
            }
        }
        if self.manager.borrow().is_some() {
            let log = self.log();
            text.push_str("\n--- the manager's log\n");
            text.push_str(&tail(log.lines().collect(), 40).join("\n"));
        }
        text
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some(mut manager) = self.manager.borrow_mut().take() {
            manager.kill();
        }
        self.engine.clean(&self.namespace);
        // A second panic would end the process before the services of this test are ended; and a
        // Redis that a test has broken holds nothing of it.
        let failed = std::thread::panicking();
        if !failed || self.redis.ask::<String>(&["PING"]).is_ok() {
            let cleaned = self.clean_redis();
            assert!(cleaned.is_ok() || failed, "{cleaned:?}");
        }
        let _inside = self.runtime.enter();
        self.model.take();
    }
}

impl Installation {
    fn clean_redis(&self) -> RedisResult<()> {
        for user in self.all_users() {
            self.redis.ask::<i64>(&["ACL", "DELUSER", &user])?;
        }
        for key in self.redis.keys(&self.key("*")) {
            self.redis.ask::<i64>(&["UNLINK", &key])?;
        }
        Ok(())
    }
}

fn usual_variables(
    environment: &Environment,
    namespace: &str,
    model: &ScriptedModel,
) -> Vec<(String, String)> {
    let mut variables = vec![
        ("REDIS_URL", environment.redis_url.clone()),
        ("WORKER_REDIS_URL", environment.worker_redis_url.clone()),
        ("WORKER_NETWORK", environment.network.clone()),
        ("WORKER_BASE_IMAGE", environment.base_image.clone()),
        ("WORKER_WRAPPER", environment.wrapper.to_string_lossy().into_owned()),
        ("WORKER_GATEWAY", environment.gateway.to_string_lossy().into_owned()),
        ("WORKER_NAMESPACE", namespace.to_owned()),
        // One that is killed and started again waits for its own old lease.
        ("WORKER_LEASE", "1s".to_owned()),
        ("ANTHROPIC_BASE_URL", model.base_url()),
        ("ANTHROPIC_API_KEY", "scripted-key".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", model.base_url())),
        ("OPENAI_API_KEY", "scripted-key".to_owned()),
        ("GOOGLE_GEMINI_BASE_URL", model.base_url()),
        ("GEMINI_API_KEY", "scripted-key".to_owned()),
        ("CODEX_CONFIG", CODEX_CONFIG.to_owned()),
    ];
    variables.extend(environment.ca_bundle.clone().map(|path| ("WORKER_CA_BUNDLE", path)));
    variables.extend(environment.docker_host.clone().map(|host| ("DOCKER_HOST", host)));
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn tail<T>(mut items: Vec<T>, most: usize) -> Vec<T> {
    items.split_off(items.len().saturating_sub(most))
}

fn shown(entry: &Entry) -> String {
    let fields = entry.fields.iter().filter(|(name, _)| *name != "raw");
    fields.map(|(name, value)| format!("{name}={} ", cut(value, 300))).collect()
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
