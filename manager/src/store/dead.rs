//! For operators: what was put aside.

use redis::streams::{StreamId, StreamRangeReply};
use std::collections::BTreeMap;

use super::connect::{Store, StoreError, texts};
use worker_protocol::{CallerName, RequestName};

/// Entries of one read.
const PAGE: usize = 1000;

/// Writes a command's entry again, as it was, and forgets how its request was answered. The field
/// `retried` says of the new entry that memory is not to answer it either.
const RETRY: &str = r"
local found = redis.call('XRANGE', KEYS[2], ARGV[2], ARGV[2])
if #found == 0 then return 'gone' end
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'hash' and kind ~= 'none' then return 'blocked' end
local id = redis.call('XADD', KEYS[2], '*', unpack(found[1][2]))
redis.call('DEL', KEYS[3])
redis.call('HSET', KEYS[3], 'retried', id)
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('XDEL', KEYS[1], ARGV[1])
return id";

/// An entry of the stream of the dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEntry {
    /// Its own id.
    pub id: String,
    /// Which command it was, and what was wrong.
    pub fields: BTreeMap<String, String>,
}

impl DeadEntry {
    /// A field; empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// The request that it was.
    #[must_use]
    pub fn request(&self) -> RequestName {
        let caller = CallerName::parse(self.text("caller")).ok();
        RequestName { caller, id: self.text("request_id").to_owned() }
    }
}

/// What came of trying a command again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is in the commands again, under this id.
    As(String),
    /// It is not in the commands any more.
    Gone,
    /// What has the name of the request's hash is something else.
    Blocked,
}

impl Store {
    /// All that was put aside, the oldest first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead(&self) -> Result<Vec<DeadEntry>, StoreError> {
        let mut connection = self.short().await?;
        let mut all: Vec<DeadEntry> = Vec::new();
        loop {
            let from = all.last().map_or_else(|| "-".to_owned(), |last| format!("({}", last.id));
            let page: StreamRangeReply = redis::cmd("XRANGE")
                .arg(&[&self.keys.dead(), &from, "+", "COUNT"])
                .arg(PAGE)
                .query_async(&mut connection)
                .await
                .map_err(StoreError::during("read what was put aside"))?;
            let last = page.ids.len() < PAGE;
            let entry = |entry: &StreamId| DeadEntry { id: entry.id.clone(), fields: texts(entry) };
            all.extend(page.ids.iter().map(entry));
            if last {
                return Ok(all);
            }
        }
    }

    /// Puts a command among the commands again, and takes it from those that were put aside.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn retry_dead(&self, entry: &DeadEntry) -> Result<Retried, StoreError> {
        if entry.text("entry_id").is_empty() {
            return Ok(Retried::Gone);
        }
        let answer: String = redis::cmd("EVAL")
            .arg(RETRY)
            .arg(3)
            .arg(&[self.keys.dead(), self.keys.commands()])
            .arg(self.keys.request(&entry.request()))
            .arg(&[&entry.id, entry.text("entry_id")])
            .arg(self.retention.requests.as_secs())
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("try a command again"))?;
        Ok(match answer.as_str() {
            "gone" => Retried::Gone,
            "blocked" => Retried::Blocked,
            _ => Retried::As(answer),
        })
    }

    /// Forgets one of those that were put aside.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn drop_dead(&self, entry: &DeadEntry) -> Result<(), StoreError> {
        let _: i64 = redis::cmd("XDEL")
            .arg(&[&self.keys.dead(), &entry.id])
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("forget what was put aside"))?;
        Ok(())
    }
}
