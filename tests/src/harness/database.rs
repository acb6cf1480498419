//! Redis, asked as `redis-cli` asks it.

use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{Connection, FromRedisValue, RedisResult};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Entry;

/// One connection.
pub struct Redis {
    url: String,
    connection: Mutex<Connection>,
}

impl Redis {
    /// Connects.
    pub fn connect(url: &str) -> Self {
        Self::try_connect(url).unwrap_or_else(|error| {
            panic!("redis does not answer ({error}); run `make test`, which starts one")
        })
    }

    /// Connects, or says why not.
    pub fn try_connect(url: &str) -> RedisResult<Self> {
        let connection = Mutex::new(connection(url)?);
        Ok(Self { url: url.to_owned(), connection })
    }

    /// Connects anew, after Redis was away.
    pub fn reconnect(&self) {
        let connection = connection(&self.url);
        *self.lock() = connection.unwrap_or_else(|error| panic!("redis is away: {error}"));
    }

    /// Sends one command.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let (name, arguments) = words.split_first().expect("a command");
        let mut command = redis::cmd(name);
        for argument in arguments {
            command.arg(argument);
        }
        command.query(&mut *self.lock())
    }

    /// Sends one command that cannot fail.
    pub fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.ask(words).unwrap_or_else(|error| {
            let shown: Vec<_> =
                words.iter().map(|w| w.chars().take(60).collect::<String>()).collect();
            panic!("redis refused {shown:?}: {error}")
        })
    }

    /// Appends an entry, and gives its id.
    pub fn xadd(&self, stream: &str, fields: &[(&str, &str)]) -> String {
        let mut words = vec!["XADD", stream, "*"];
        for (name, value) in fields {
            words.extend([*name, *value]);
        }
        self.run(&words)
    }

    /// Appends entries in one go, so that they are there at the same time; gives their ids.
    pub fn xadd_at_once(&self, stream: &str, entries: &[Vec<(&str, &str)>]) -> Vec<String> {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for fields in entries {
            pipe.cmd("XADD").arg(stream).arg("*");
            for (name, value) in fields {
                pipe.arg(name).arg(value);
            }
        }
        pipe.query(&mut *self.lock()).expect("entries")
    }

    /// The whole of a stream; nothing, when there is none.
    pub fn stream(&self, key: &str) -> Vec<Entry> {
        let reply: StreamRangeReply = self.run(&["XRANGE", key, "-", "+"]);
        reply.ids.into_iter().map(Entry::read).collect()
    }

    /// Waits for entries after `last`; none, when there are none in time.
    pub fn follow(&self, key: &str, last: &str, limit: Duration) -> Vec<Entry> {
        let limit = limit.as_millis().to_string();
        let words = ["XREAD", "BLOCK", &limit, "STREAMS", key, last];
        let reply: Option<StreamReadReply> = self.run(&words);
        let streams = reply.map(|reply| reply.keys).unwrap_or_default();
        streams.into_iter().flat_map(|stream| stream.ids).map(Entry::read).collect()
    }

    /// The first entries of a stream from an id on; from behind it, after a `(`.
    pub fn range(&self, key: &str, from: &str, count: &str) -> Vec<Entry> {
        let reply: StreamRangeReply = self.run(&["XRANGE", key, from, "+", "COUNT", count]);
        reply.ids.into_iter().map(Entry::read).collect()
    }

    /// A stream's last entry.
    pub fn last_entry(&self, key: &str) -> Option<Entry> {
        let reply: StreamRangeReply = self.run(&["XREVRANGE", key, "+", "-", "COUNT", "1"]);
        reply.ids.into_iter().next().map(Entry::read)
    }

    /// The id of a stream's last entry; `0`, when there is none.
    pub fn last_id(&self, key: &str) -> String {
        self.last_entry(key).map_or_else(|| "0".to_owned(), |entry| entry.id)
    }

    /// The id up to which a group has taken entries; none, when there is no such group.
    pub fn taken(&self, stream: &str, group: &str) -> Option<String> {
        let groups: Vec<BTreeMap<String, redis::Value>> =
            self.ask(&["XINFO", "GROUPS", stream]).unwrap_or_default();
        let text = |of: &BTreeMap<String, redis::Value>, name: &str| -> Option<String> {
            redis::from_redis_value_ref(of.get(name)?).ok()
        };
        let found = groups.iter().find(|of| text(of, "name").as_deref() == Some(group))?;
        text(found, "last-delivered-id")
    }

    /// How many entries a group has taken and not acknowledged.
    pub fn pending(&self, stream: &str, group: &str) -> i64 {
        let summary: Vec<redis::Value> = self.run(&["XPENDING", stream, group]);
        summary.first().and_then(|n| redis::from_redis_value_ref(n).ok()).expect("a number")
    }

    /// The keys that fit a pattern, in order.
    pub fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let (next, some): (String, Vec<String>) =
                self.run(&["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"]);
            keys.extend(some);
            if next == "0" {
                keys.sort();
                keys.dedup();
                return keys;
            }
            cursor = next;
        }
    }

    /// The users whose names begin with `prefix`.
    pub fn users(&self, prefix: &str) -> Vec<String> {
        let users: Vec<String> = self.run(&["ACL", "USERS"]);
        users.into_iter().filter(|user| user.starts_with(prefix)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connection(url: &str) -> RedisResult<Connection> {
    redis::Client::open(url)?.get_connection_with_timeout(Duration::from_secs(5))
}
