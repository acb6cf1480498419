//! A Redis of its own, an engine that plays, somebody who plays the wrappers, and managers.

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker_manager::act::Hands;
use worker_manager::config::{RawConfig, RedisSource, Settings};
use worker_manager::engine::{InstanceState, ScriptedEngine};
use worker_manager::image::{Catalogue, Offer};
use worker_manager::serve::serve;
use worker_manager::store::{Retention, Store};
use worker_protocol::boot::Again;
use worker_protocol::{Boot, Pulse};

use crate::servers::Server;

/// What the wrapper tells of a gateway that nothing gets past.
pub(crate) const TIGHT: &str = r#"{"leaks": [], "forbidden": "HTTP/1.1 403 Forbidden",
    "allowed": "HTTP/1.1 200 OK", "redis": "+PONG"}"#;
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) engine: Arc<ScriptedEngine>,
    folder: TempDir,
    redis: Server,
    options: Vec<String>,
    prefix: &'static str,
    client: redis::Client,
    wrappers: JoinHandle<()>,
    asked: AtomicUsize,
}

/// Each has threads of its own, as a process would: when it dies, all that it does dies.
pub(crate) struct Manager {
    runtime: Runtime,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

/// Asks until it is so; panics at the deadline.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Stage {
    pub(crate) async fn open() -> Self {
        Self::open_with(&["port 0"], "t:").await
    }

    /// Where Redis has these lines of configuration, and keys begin so.
    pub(crate) async fn open_with(options: &[&str], prefix: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = Server::start(folder.path(), options);
        let options = options.iter().map(|line| (*line).to_owned()).collect();
        let client = redis::Client::open(redis.url()).unwrap();
        until("redis answers", async || client.get_multiplexed_async_connection().await.is_ok())
            .await;
        let engine = ScriptedEngine::new();
        engine.print_in_trials(TIGHT);
        let wrappers = tokio::spawn(play_wrappers(Arc::clone(&engine), client.clone()));
        let asked = AtomicUsize::new(0);
        Self { engine, folder, redis, options, prefix, client, wrappers, asked }
    }

    /// Ends Redis, and starts one in its place that knows nothing.
    pub(crate) async fn replace_redis(&mut self) {
        self.end_redis();
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        self.redis = Server::start(self.folder.path(), &options);
        until("redis answers", async || {
            self.client.get_multiplexed_async_connection().await.is_ok()
        })
        .await;
    }

    /// Ends Redis.
    pub(crate) fn end_redis(&mut self) {
        self.redis.kill();
    }

    /// Ends Redis, and looks at the one at `url` from now on.
    pub(crate) fn lose_redis(&mut self, url: &str) {
        self.end_redis();
        self.client = redis::Client::open(url).unwrap();
    }

    /// A manager of the namespace `t`.
    pub(crate) fn manager(&self) -> Manager {
        self.manager_with(|_| ())
    }

    /// One of this name.
    pub(crate) fn manager_named(&self, name: &str) -> Manager {
        self.manager_with(|raw| raw.consumer = Some(name.to_owned()))
    }

    /// Where Redis is.
    pub(crate) fn url(&self) -> String {
        self.redis.url()
    }

    /// Redis, as a client has it.
    pub(crate) fn store(&self) -> Store {
        self.store_at(&self.url())
    }

    /// The same, with other credentials.
    pub(crate) fn store_at(&self, url: &str) -> Store {
        let (redis_url, namespace) = (Some(url.to_owned()), Some("t".to_owned()));
        let raw = RawConfig { redis_url, namespace, ..RawConfig::default() };
        let (redis, keys) = RedisSource::check(&raw).unwrap();
        Store::open(&redis, keys, Retention::default()).unwrap()
    }

    /// One that is configured otherwise.
    pub(crate) fn manager_with(&self, configure: impl FnOnce(&mut RawConfig)) -> Manager {
        let wrapper = self.folder.path().join("worker-wrapper");
        std::fs::write(&wrapper, "a wrapper").unwrap();
        let gateway = self.folder.path().join("worker-gateway");
        std::fs::write(&gateway, "a gateway").unwrap();
        let mut raw = RawConfig {
            redis_url: Some(self.url()),
            worker_redis_url: Some("redis://redis.invalid:6379/0".to_owned()),
            namespace: Some("t".to_owned()),
            wrapper: Some(wrapper),
            gateway: Some(gateway),
            lease: Some("1s".to_owned()), // One that is killed is waited for so long.
            ..RawConfig::default()
        };
        configure(&mut raw);
        let settings = Settings::check(raw, Path::new("/none")).unwrap();
        let (keys, keep) = (settings.keys.clone(), settings.retention.clone());
        let store = Store::open(&settings.redis, keys, keep).unwrap();
        let engine: Arc<ScriptedEngine> = Arc::clone(&self.engine);
        let hands =
            Hands::new(engine, store, Catalogue::load(None, &Offer::default()).unwrap(), settings);
        let stop = CancellationToken::new();
        let until_then = stop.clone();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let task = runtime.spawn(async move { serve(hands, until_then).await.unwrap() });
        Manager { runtime, task, stop }
    }

    /// Sends a command and waits for its reply.
    pub(crate) async fn ask(&self, fields: &[(&str, &str)]) -> Value {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let list = format!("{}reply:{number}", self.prefix);
        let mut connection = connect(&self.client).await;
        let mut command = redis::cmd("XADD");
        let commands = format!("{}commands", self.prefix);
        command.arg(commands).arg("*").arg("reply_to").arg(&list);
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        let _: String = command.query_async(&mut connection).await.unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let popped: Option<String> =
                redis::cmd("LPOP").arg(&list).query_async(&mut connection).await.unwrap();
            if let Some(text) = popped {
                return serde_json::from_str(&text).unwrap();
            }
            assert!(Instant::now() < deadline, "no reply to {fields:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a command whose reply is read elsewhere.
    pub(crate) async fn send(&self, fields: &[(&str, &str)]) {
        let entry = fields.iter().flat_map(|(name, value)| [*name, *value]);
        let words: Vec<_> = ["XADD", "t:commands", "*"].into_iter().chain(entry).collect();
        self.redis(&words).await;
    }

    /// Runs a command, and gives what it answers as text.
    pub(crate) async fn redis(&self, words: &[&str]) -> String {
        shown(&self.redis_value(words).await)
    }

    /// Runs a command.
    pub(crate) async fn redis_value(&self, words: &[&str]) -> redis::Value {
        let mut connection = connect(&self.client).await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// A connection of another user.
    pub(crate) async fn connect_as(&self, user: &str, password: &str) -> MultiplexedConnection {
        connect(&as_user(&self.client, user, password)).await
    }

    /// What a server at another address answers to a command, as text; none, when it does not.
    pub(crate) async fn ask_at(&self, url: &str, words: &[&str]) -> Option<String> {
        let client = redis::Client::open(url).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.ok().map(|value| shown(&value))
    }

    /// Writes entries that nobody can understand, all of one request's name but for a number.
    pub(crate) async fn flood(&self, entries: usize) {
        let mut connection = connect(&self.client).await;
        let mut pipe = redis::pipe();
        for number in 0..entries {
            let id = format!("flood-{number}");
            pipe.cmd("XADD").arg("t:commands").arg("*").arg(&["request_id", &id, "nonsense", "1"]);
        }
        let _: Vec<String> = pipe.query_async(&mut connection).await.unwrap();
    }

    /// How many replies carry this request's name, or one that begins so.
    pub(crate) async fn replies_to(&self, request: &str) -> usize {
        let all = self.redis(&["XRANGE", "t:responses", "-", "+"]).await;
        all.split(' ').filter(|word| word.starts_with(request)).count()
    }

    /// Writes a ping that another reader than the manager gets, and leaves it pending. In a
    /// transaction: one that waits for commands is served only after it.
    pub(crate) async fn swallow(&self, request: &str) {
        let mut connection = connect(&self.client).await;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("XADD").arg("t:commands").arg("*");
        pipe.arg(&["command", "ping", "request_id", request]).ignore();
        pipe.cmd("XREADGROUP").arg(&["GROUP", "worker-manager", "gone", "STREAMS"]);
        pipe.arg("t:commands").arg(">");
        let (taken,): (redis::Value,) = pipe.query_async(&mut connection).await.unwrap();
        assert!(shown(&taken).contains(request), "{taken:?}");
    }

    /// Whether every command is acknowledged.
    pub(crate) async fn nothing_is_pending(&self) -> bool {
        self.redis(&["XPENDING", "t:commands", "worker-manager"]).await.starts_with("0 ")
    }

    /// How many Redis users there are for workers.
    pub(crate) async fn workers_users(&self) -> usize {
        let users = self.redis(&["ACL", "USERS"]).await;
        let workers = |user: &&str| user.starts_with("t-") && *user != "t-gateway";
        users.split(' ').filter(workers).count()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.wrappers.abort();
    }
}

impl Manager {
    /// Stops in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.runtime.shutdown_background();
    }

    /// Stops at once, in the middle of whatever it does.
    pub(crate) async fn die(self) {
        self.runtime.shutdown_background();
        let _ = self.task.await;
    }
}

/// A connection that waits as long as a busy machine needs; the library's own limit is 500 ms.
async fn connect(client: &redis::Client) -> MultiplexedConnection {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

fn as_user(client: &redis::Client, user: &str, password: &str) -> redis::Client {
    let user = redis::RedisConnectionInfo::default().set_username(user).set_password(password);
    let info = client.get_connection_info().clone().set_redis_settings(user);
    redis::Client::open(info).unwrap()
}

/// In place of the wrapper of each instance that runs: shows that it lives, with the credentials
/// and under the key that it was given when it was started first.
async fn play_wrappers(engine: Arc<ScriptedEngine>, client: redis::Client) {
    let pulse = serde_json::to_string(&Pulse { turns: 3, ..Pulse::default() }).unwrap();
    let mut boots = BTreeMap::new();
    let mut lives = BTreeSet::new();
    loop {
        for found in engine.instances() {
            let starts = engine.starts(&found.name);
            if found.state != InstanceState::Running || !lives.insert((found.name.clone(), starts))
            {
                continue;
            }
            let input = engine.input(&found.name).unwrap();
            if let Ok(boot) = serde_json::from_slice::<Boot>(&input) {
                boots.insert(found.name.clone(), boot);
            } else {
                let _: Again = serde_json::from_slice(&input).unwrap();
            }
            let boot = &boots[&found.name];
            let own = as_user(&client, &boot.redis.username, boot.redis.password.reveal());
            let mut connection = connect(&own).await;
            let _: () = redis::cmd("SET")
                .arg(&[&boot.keys.heartbeat, &pulse])
                .query_async(&mut connection)
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn shown(value: &redis::Value) -> String {
    match value {
        redis::Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Int(number) => number.to_string(),
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Okay => "OK".to_owned(),
        _ => String::new(),
    }
}
