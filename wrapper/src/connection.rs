//! Connections to Redis as the worker's own user, and what their errors mean.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, RedisError};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use worker_protocol::boot::RedisAccess;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A peer that does not acknowledge for so long is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A trouble that lasts is told of again after this time, and then ever more seldom.
const FIRST_REMINDER: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Users are gone when Redis was restarted, until the manager makes them again.
const DENIED_PATIENCE: Duration = Duration::from_secs(30);
/// The same for credentials that have not worked yet: Redis may have been restarted since they were
/// made, or they are wrong and will not begin to work.
const NEVER_LET_IN_PATIENCE: Duration = Duration::from_secs(10);

/// What an error means for the one who got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection is of no more use, or the consumer group is not there: make another
    /// connection after a while. The manager makes groups again at the stream's beginning.
    Lost,
    /// The credentials are not accepted, or do not suffice.
    Denied,
}

/// Sorts an error. What is not known is treated as a lost connection: it is tried again.
#[must_use]
pub fn trouble(error: &RedisError) -> Trouble {
    match error.code() {
        Some("NOAUTH" | "WRONGPASS" | "NOPERM") => Trouble::Denied,
        _ if error.kind() == ErrorKind::AuthenticationFailed => Trouble::Denied,
        _ => Trouble::Lost,
    }
}

/// Makes connections to one Redis.
#[derive(Clone, Debug)]
pub struct Redis {
    client: Client,
}

impl Redis {
    /// A Redis that is not connected yet.
    ///
    /// # Errors
    /// When the address cannot be understood.
    pub fn new(access: &RedisAccess) -> Result<Self, RedisError> {
        let tcp = TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
            .set_user_timeout(UNACKNOWLEDGED);
        let info = access.url.as_str().into_connection_info()?;
        let user = info
            .redis_settings()
            .clone()
            .set_username(&access.username)
            .set_password(access.password.reveal())
            .set_skip_set_lib_name();
        let info = info.set_tcp_settings(tcp).set_redis_settings(user);
        Ok(Self { client: Client::open(info)? })
    }

    /// A new connection, whose answers may take as long as `answer_within`.
    ///
    /// # Errors
    /// When Redis cannot be reached or does not accept the credentials.
    pub async fn connect(
        &self,
        answer_within: Duration,
    ) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(answer_within));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// Pauses between attempts, and when to give up.
#[derive(Debug, Default)]
pub struct Retry {
    failures: u32,
    worked_once: bool,
    denied_since: Option<Instant>,
    trouble: Option<Lasting>,
}

/// A trouble that was told of.
#[derive(Debug)]
struct Lasting {
    since: Instant,
    tell_at: Instant,
    /// What Redis answered so far: the first word of each error, none where it did not answer.
    answers: Vec<Option<String>>,
}

impl Retry {
    /// It worked: the next failure is a first one. For how long it had not worked, if it had not.
    pub fn worked(&mut self, now: Instant) -> Option<Duration> {
        let lasted = self.trouble.as_ref().map(|trouble| now.duration_since(trouble.since));
        *self = Self { worked_once: true, ..Self::default() };
        lasted
    }

    /// It failed. For how long it has, when that is worth a line: at first, at an answer that was not
    /// there before, and each time that it has lasted twice as long. `answer` is the first word of
    /// what Redis said, if it said something.
    pub fn failed(&mut self, answer: Option<&str>, now: Instant) -> Option<Duration> {
        let new = || Lasting { since: now, tell_at: now, answers: Vec::new() };
        let trouble = self.trouble.get_or_insert_with(new);
        let known = trouble.answers.iter().any(|known| known.as_deref() == answer);
        if known && now < trouble.tell_at {
            return None;
        }
        if !known {
            trouble.answers.push(answer.map(str::to_owned));
        }
        let lasting = now.duration_since(trouble.since);
        trouble.tell_at = now + lasting.max(FIRST_REMINDER);
        Some(lasting)
    }

    /// How long to wait before the next attempt; nothing when there is no hope. Credentials are
    /// given a time to come back, those that worked a longer one.
    pub fn pause(&mut self, trouble: Trouble, now: Instant) -> Option<Duration> {
        if trouble == Trouble::Denied {
            let since = *self.denied_since.get_or_insert(now);
            let patience = if self.worked_once { DENIED_PATIENCE } else { NEVER_LET_IN_PATIENCE };
            if now.duration_since(since) >= patience {
                return None;
            }
        } else {
            self.denied_since = None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        Some(jitter(pause))
    }
}

/// Between half and all of it, so that many workers do not come back at one moment.
fn jitter(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 512;
    pause.mul_f64(0.5 + random as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_again() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            last = retry.pause(Trouble::Lost, now).unwrap();
        }
        assert!(last >= LONGEST_PAUSE / 2 && last <= LONGEST_PAUSE);
        retry.worked(now);
        assert!(retry.pause(Trouble::Lost, now).unwrap() <= FIRST_PAUSE);
    }

    #[test]
    fn a_trouble_that_lasts_is_told_of_ever_more_seldom_and_its_end_once() {
        let (mut retry, begin) = (Retry::default(), Instant::now());
        let tries = (0..3600).map(|second| begin + Duration::from_secs(second));
        let told: Vec<_> =
            tries.filter_map(|now| retry.failed(None, now)).map(|t| t.as_secs()).collect();
        assert_eq!(told, [0, 15, 30, 60, 120, 240, 480, 960, 1920]);
        let hour = Duration::from_secs(3600);
        let at = begin + hour;
        let answers = [Some("LOADING"), None, Some("LOADING")].map(|word| retry.failed(word, at));
        assert_eq!(answers, [Some(hour), None, None], "what is new is told at once");
        assert_eq!(retry.worked(begin + hour), Some(hour));
        assert_eq!(retry.worked(begin + hour), None);
        assert_eq!(retry.failed(None, begin + hour), Some(Duration::ZERO));
    }

    #[test]
    fn credentials_that_never_worked_have_less_time() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        assert!(retry.pause(Trouble::Denied, now).is_some());
        assert_eq!(retry.pause(Trouble::Denied, now + NEVER_LET_IN_PATIENCE), None);
    }

    #[test]
    fn credentials_that_worked_have_time_to_come_back() {
        let (mut retry, now) = (Retry::default(), Instant::now());
        retry.worked(now);
        assert!(retry.pause(Trouble::Denied, now).is_some());
        assert!(retry.pause(Trouble::Denied, now + DENIED_PATIENCE / 2).is_some());
        assert_eq!(retry.pause(Trouble::Denied, now + DENIED_PATIENCE), None);
    }
}
