//! Looking at Redis as an operator does: whether it is one that this program can rely on.

use redis::{RedisError, Value};
use std::collections::BTreeMap;

use super::connect::{Store, StoreError};
use super::counted::Counted;
use worker_protocol::RequestName;
use worker_protocol::key::COMMAND_GROUP;

/// What Redis says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisFacts {
    /// Such as `7.0.15`.
    pub version: String,
    /// What it does when its memory is full.
    pub policy: String,
    /// The bound of its memory in bytes; 0 for none.
    pub memory_limit: u64,
    /// Whether it writes each command to a file.
    pub append_only: bool,
    /// When it saves everything to a file, as in its configuration; none, when this user may not
    /// ask.
    pub saves: Option<String>,
    /// Whether its last save or rewrite failed.
    pub save_failed: bool,
    /// `master`, or `slave`.
    pub role: String,
    /// The user of this program.
    pub user: Permission<String>,
    /// Commands that the user may not send, each with what Redis says.
    pub forbidden: Permission<Vec<String>>,
}

/// Something that not every user may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Permission<T> {
    /// The answer.
    Given(T),
    /// This user may not ask.
    #[default]
    Refused,
}

impl Store {
    /// Asks Redis what it is. Changes nothing.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn examine(&self) -> Result<RedisFacts, StoreError> {
        let mut connection = self.short().await?;
        let during = StoreError::during("ask for the facts");
        let info: String =
            redis::cmd("INFO").query_async(&mut connection).await.map_err(&during)?;
        let info = fields(&info);
        let text = |name: &str| info.get(name).map_or("", |value| *value).to_owned();
        let saves = ask(&mut connection, &["CONFIG", "GET", "save"]).await.map_err(&during)?;
        let user = ask::<String>(&mut connection, &["ACL", "WHOAMI"]).await.map_err(&during)?;
        let forbidden = match &user {
            Some(user) => self.forbidden(&mut connection, user).await.map_err(&during)?,
            None => None,
        };
        Ok(RedisFacts {
            version: text("redis_version"),
            policy: text("maxmemory_policy"),
            memory_limit: text("maxmemory").parse().unwrap_or_default(),
            append_only: text("aof_enabled") == "1",
            saves: saves.and_then(|pair: Vec<String>| pair.into_iter().nth(1)),
            save_failed: ["rdb_last_bgsave_status", "aof_last_write_status"]
                .iter()
                .any(|name| !matches!(text(name).as_str(), "ok" | "")),
            role: text("role"),
            user: user.map_or(Permission::Refused, Permission::Given),
            forbidden: forbidden.map_or(Permission::Refused, Permission::Given),
        })
    }

    /// Redis judges each command without running it.
    async fn forbidden(
        &self,
        connection: &mut Counted,
        user: &str,
    ) -> Result<Option<Vec<String>>, RedisError> {
        let mut forbidden = Vec::new();
        for command in self.needed() {
            let mut words = vec!["ACL", "DRYRUN", user];
            words.extend(command.iter().map(String::as_str));
            let Some(verdict) = ask::<String>(connection, &words).await? else { return Ok(None) };
            if verdict != "OK" {
                forbidden.push(verdict);
            }
        }
        Ok(Some(forbidden))
    }

    /// One command of each kind that `serve` sends.
    fn needed(&self) -> Vec<Vec<String>> {
        let keys = &self.keys;
        let (commands, events, index) = (keys.commands(), keys.events(), keys.index());
        let request = keys.request(&RequestName { caller: None, id: "doctor".to_owned() });
        let lines = [
            format!("XREADGROUP GROUP {COMMAND_GROUP} doctor COUNT 1 STREAMS {commands} >"),
            format!("XAUTOCLAIM {commands} {COMMAND_GROUP} doctor 1 0-0"),
            format!("XACK {commands} {COMMAND_GROUP} 0-1"),
            format!("XGROUP CREATE {commands} {COMMAND_GROUP} 0 MKSTREAM"),
            format!("XINFO GROUPS {commands}"),
            format!("XPENDING {commands} {COMMAND_GROUP}"),
            format!("XLEN {commands}"),
            format!("XTRIM {commands} MINID 0-1"),
            format!("XADD {events} * type doctor"),
            format!("XREVRANGE {events} + - COUNT 1"),
            format!("HSET {request} field value"),
            format!("HSETNX {request} field value"),
            format!("HDEL {request} field"),
            format!("HMGET {request} field"),
            format!("HGETALL {request}"),
            format!("GET {request}"),
            format!("SET {request} value NX EX 1"),
            format!("DEL {request}"),
            format!("EXPIRE {request} 1"),
            format!("RPUSH {request} value"),
            format!("ZADD {index} 1 member"),
            format!("ZREM {index} member"),
            format!("ZRANGE {index} 0 -1"),
            format!("EVAL script 1 {request}"),
            "ROLE".to_owned(),
            "MULTI".to_owned(),
            "EXEC".to_owned(),
            "ACL SETUSER doctor".to_owned(),
            "ACL DELUSER doctor".to_owned(),
        ];
        lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
    }
}

/// None, when this user may not ask.
async fn ask<T: redis::FromRedisValue>(
    connection: &mut Counted,
    words: &[&str],
) -> Result<Option<T>, RedisError> {
    let mut command = redis::cmd(words.first().copied().unwrap_or_default());
    for word in words.iter().skip(1) {
        command.arg(word);
    }
    match command.query_async::<Value>(connection).await {
        Ok(value) => Ok(redis::from_redis_value(value).ok()),
        Err(error) if error.is_io_error() || error.is_timeout() => Err(error),
        Err(_) => Ok(None),
    }
}

fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}
