//! A connection whose commands are timed and whose failures are counted.

use deadpool::managed::Object;
use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use std::time::Instant;

use super::dial::Pooled;
use crate::telemetry::meters::Timed;

/// Several commands in one.
const BATCH: &str = "batch";
const OTHER: &str = "other";
/// Those that this folder sends by themselves.
const COMMANDS: [&str; 15] = [
    "ACL",
    "CONFIG",
    "DEL",
    "EVAL",
    "GET",
    "HGETALL",
    "INFO",
    "PING",
    "XADD",
    "XINFO",
    "XLEN",
    "XPENDING",
    "XREVRANGE",
    "XTRIM",
    "ZRANGE",
];

/// See the module.
pub(super) struct Counted {
    connection: Object<Pooled>,
    timed: Timed,
}

impl Counted {
    pub(super) fn new(connection: Object<Pooled>, timed: Timed) -> Self {
        Self { connection, timed }
    }
}

impl ConnectionLike for Counted {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let Self { connection, timed } = self;
        Box::pin(async move {
            let begun = Instant::now();
            let answer = connection.req_packed_command(command).await;
            let refused = matches!(answer, Ok(Value::ServerError(_)));
            note(timed, name(command), begun, &answer, refused);
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let Self { connection, timed } = self;
        Box::pin(async move {
            let begun = Instant::now();
            let answers = connection.req_packed_commands(pipeline, offset, count).await;
            // What one of several commands was refused, its caller may have expected.
            note(timed, BATCH, begun, &answers, false);
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

fn note<T>(
    timed: &Timed,
    name: &'static str,
    begun: Instant,
    answer: &RedisResult<T>,
    refused: bool,
) {
    timed.took(name, begun.elapsed());
    match answer {
        Err(error) => timed.failed(name, word(error)),
        Ok(_) if refused => timed.failed(name, "refused"),
        Ok(_) => {}
    }
}

fn word(error: &RedisError) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_io_error() || error.is_connection_dropped() {
        "connection"
    } else {
        "refused"
    }
}

fn name(command: &Cmd) -> &'static str {
    let first = command.args_iter().next();
    let is = |known: &&str| matches!(first, Some(Arg::Simple(word)) if word == known.as_bytes());
    COMMANDS.into_iter().find(is).unwrap_or(OTHER)
}
