//! The other side: a program that commands workers.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use worker_protocol::signature::{Pair, Signer};
use worker_protocol::{Output, Reply, WorkerId};

use crate::config::{ConfigError, RawConfig, RedisSource};
use crate::store::{Follower, Retention, Store, StoreError};

/// A manager that leads answers in milliseconds; one that has to take over needs some seconds.
const PING: Duration = Duration::from_secs(10);
/// Characters of a build's line that are shown: steps may be pages long.
const LINE: usize = 100;

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Redis did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration does not say where it is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers.
    #[error(
        "no manager answered on {address} for the namespace `{namespace}` within {seconds} s: \
         is `worker-manager serve` running?"
    )]
    NoManager {
        /// Where Redis is.
        address: String,
        /// Whose commands.
        namespace: String,
        /// How long it was waited for.
        seconds: u64,
    },
}

/// Commands workers by way of Redis.
pub struct Client {
    store: Store,
    signer: Option<Signer>,
}

/// Something that happened.
pub enum Happening {
    /// A worker said something.
    Output(Output),
    /// The manager tells of something: an entry of the events stream.
    Event(BTreeMap<String, String>),
}

/// What happens to one worker, in the order in which it is seen.
pub struct Watch {
    follower: Follower,
    output: String,
}

impl Client {
    /// Prepares a connection.
    ///
    /// # Errors
    /// When the address is none, or a file that it needs cannot be read.
    pub fn open(raw: &RawConfig) -> Result<Self, ClientError> {
        let (redis, keys) = RedisSource::check(raw)?;
        Ok(Self::new(Store::open(&redis, keys, Retention::default())?))
    }

    /// Over connections that are there.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, signer: None }
    }

    /// The same, for a caller who signs its commands; for none, as it is.
    #[must_use]
    pub fn signing(self, signer: Option<Signer>) -> Self {
        Self { signer, ..self }
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// When Redis does not answer, or nobody replies in time.
    pub async fn request(
        &self,
        fields: &[(&str, String)],
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        let list = format!("{}{}", self.store.keys().reply_prefix(), WorkerId::new());
        let pair = |(name, value): (&str, String)| (name.to_owned(), value.into_bytes());
        let mut entry: Vec<Pair> = fields.iter().cloned().map(pair).collect();
        entry.push(pair(("reply_to", list.clone())));
        if let Some(signer) = &self.signer {
            let namespace = self.store.keys().namespace();
            signer.sign(&mut entry, namespace, Timestamp::now(), &WorkerId::new().to_string());
        }
        self.store.send(&entry).await?;
        self.store.await_reply(&list, limit).await?.ok_or_else(|| ClientError::NoManager {
            address: self.store.address().to_owned(),
            namespace: self.store.keys().namespace().to_owned(),
            seconds: limit.as_secs(),
        })
    }

    /// Asks whether a manager is there, before something that takes its time is asked for.
    ///
    /// # Errors
    /// When Redis does not answer, or no manager does.
    pub async fn ping(&self) -> Result<Reply, ClientError> {
        self.request(&[("command", "ping".to_owned())], PING).await
    }

    /// Gives a worker a prompt, and returns the name of its turn.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn prompt(&self, id: WorkerId, text: &str) -> Result<String, StoreError> {
        self.store.tell_worker(id, &[("prompt", text.to_owned())]).await
    }

    /// Watches a worker from its beginning, and the manager from now on.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn watch(&self, id: WorkerId) -> Result<Watch, StoreError> {
        let keys = self.store.keys();
        let (events, output) = (keys.events(), keys.output(id));
        let now = self.store.last_id(&events).await?;
        let at = BTreeMap::from([(events, now), (output.clone(), "0".to_owned())]);
        Ok(Watch { follower: self.store.follow(at).await?, output })
    }
}

impl Watch {
    /// What happened next; nothing, when nothing happens for a while.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn next(&mut self) -> Result<Vec<Happening>, StoreError> {
        let seen = self.follower.next().await?;
        let happening = |entry: crate::store::Seen| {
            if entry.stream == self.output {
                Output::from_entry(&entry.fields).map(Happening::Output)
            } else {
                Some(Happening::Event(entry.fields))
            }
        };
        Ok(seen.into_iter().filter_map(happening).collect())
    }
}

/// An output as one or more lines for a terminal; none for what only programs need.
#[must_use]
pub fn show(output: &Output) -> Option<String> {
    use worker_protocol::OutputKind as Kind;
    let text = output.content.trim_end();
    let data = output.data.as_ref();
    Some(match output.kind {
        Kind::Ready => format!("[ready] {text}"),
        Kind::TurnStarted => format!("[prompt] {text}"),
        Kind::Message => text.to_owned(),
        Kind::ToolCall => format!("[tool] {text}"),
        Kind::ToolResult => format!("[result] {}", text.replace('\n', "\n         ")),
        Kind::Permission => format!("[permission] {text}"),
        Kind::Stderr => format!("[stderr] {text}"),
        Kind::Stdout if output.raw.is_none() => text.to_owned(),
        Kind::TurnCompleted => {
            let outcome = data.and_then(|data| data.get("outcome")?.as_str()).unwrap_or("?");
            let cost = data.and_then(|data| data.get("cost_usd")?.as_f64());
            let cost = cost.map(|usd| format!(", {usd:.4} USD")).unwrap_or_default();
            format!("[turn] {outcome}{cost}")
        }
        Kind::Gap => format!("[gap] {text}"),
        Kind::Error => format!("[error] {text}"),
        Kind::Exit => format!("[exit] {text}"),
        Kind::Stdout | Kind::Thinking | Kind::Usage => return None,
    })
}

/// A build's progress as a line for a terminal.
#[must_use]
pub fn show_build(event: &BTreeMap<String, String>) -> Option<String> {
    let text = |name: &str| event.get(name).map(String::as_str).unwrap_or_default();
    match (text("type"), text("status")) {
        ("build", "") => {
            let line: String = text("line").trim_end().chars().take(LINE).collect();
            Some(format!("[build {}/{}] {line}", text("step"), text("of")))
        }
        ("build", status) => Some(format!("[build] {status}")),
        _ => None,
    }
}
