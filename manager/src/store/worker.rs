//! A worker's own keys: opened before it starts, closed when it is gone.

use jiff::Timestamp;
use redis::RedisResult;
use redis::streams::StreamRangeReply;
use std::collections::BTreeMap;
use worker_protocol::boot::{BootKeys, RedisAccess};
use worker_protocol::key::INPUT_GROUP;
use worker_protocol::{LimitName, Output, OutputKind, Pulse, Secret, Source, WorkerId};

use super::connect::{Store, StoreError, is_final, texts};
use crate::driver::RememberedWorker;

/// How much of an output is looked at when a worker has ended.
const TAIL: usize = 64;
/// The field of a record that holds, from before the last `start`, the number of the last output
/// and when the instance had been started.
const SAID_BEFORE: &str = "said_before";
/// The most bytes of a final text that a reply carries.
const RESULT_LIMIT: usize = 256 << 10;

/// The most bytes of it that a record keeps: some twenty lines.
const LAST_OUTPUT_LIMIT: usize = 2048;

/// What a worker's wrapper needs to reach Redis.
pub struct OpenWorker {
    /// The user that may touch this worker's keys, and nothing else.
    pub access: RedisAccess,
    /// The keys.
    pub keys: BootKeys,
    /// What lets the user in again.
    pub admission: Admission,
    /// What the worker shows to the gateway.
    pub token: Secret,
}

/// What lets a worker's user in, or a worker use models: the SHA-256 of its password, or token. It stands in a label, since nobody
/// can get from it to the 244 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission(pub String);

impl Admission {
    pub(crate) fn of(password: &str) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(password);
        Self(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// What was said of the agent's end.
#[derive(Debug, PartialEq)]
pub struct Exit {
    /// The limit of time or cost that ended the worker.
    pub limit: Option<LimitName>,
    /// Whether the kernel had killed something for want of memory.
    pub oom_killed: bool,
}

impl Exit {
    fn read(exit: &Output) -> Self {
        let data = exit.data.as_ref();
        Self {
            limit: data.and_then(LimitName::of_exit),
            oom_killed: data.is_some_and(|data| data["oom_killed"] == true),
        }
    }
}

/// The end of a worker's output.
#[derive(Debug, Default, PartialEq)]
pub struct Tail {
    /// What was said of the agent's end in this run, if nothing came after that.
    pub exit: Option<Exit>,
    /// The number of the last entry.
    pub seq: u64,
    /// The final text.
    pub result: Option<String>,
    /// The last lines of the last run, whoever said them.
    pub last_output: Option<String>,
}

impl Store {
    /// What a new worker needs to reach Redis. It is let in by [`Store::admit_worker`].
    #[must_use]
    pub fn prepare_worker(&self, id: WorkerId, workers_url: &str) -> OpenWorker {
        let password = new_password();
        let admission = Admission::of(&password);
        let access = RedisAccess {
            url: workers_url.to_owned(),
            username: self.keys.worker_name(id),
            password: Secret::new(password),
        };
        let token = Secret::new(new_password());
        OpenWorker { access, keys: self.workers_keys(id), admission, token }
    }

    /// Makes a worker's consumer group and its Redis user, also again: Redis forgets users when it
    /// is restarted, and all when it is emptied.
    ///
    /// # Errors
    /// When Redis does not answer, or does not let this program make users.
    pub async fn admit_worker(
        &self,
        id: WorkerId,
        workers_url: &str,
        admission: &Admission,
    ) -> Result<(), StoreError> {
        let keys = self.workers_keys(id);
        let mut pipe = redis::pipe();
        pipe.cmd("XGROUP").arg("CREATE").arg(&keys.input).arg(INPUT_GROUP).arg("0").arg("MKSTREAM");
        pipe.cmd("ACL").arg("SETUSER").arg(self.keys.worker_name(id));
        for rule in rules(workers_url, admission, &keys) {
            pipe.arg(rule);
        }
        let what = "make a worker's streams and user";
        for answer in self.apply(&mut pipe, what).await? {
            match answer {
                Err(error) if !is_repetition(&error) => {
                    return Err(StoreError::during(what)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn workers_keys(&self, id: WorkerId) -> BootKeys {
        BootKeys {
            input: self.keys.input(id),
            output: self.keys.output(id),
            heartbeat: self.keys.heartbeat(id),
        }
    }

    /// Takes a worker's user away; it is cut off at once.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn close_worker(&self, id: WorkerId) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ACL").arg("DELUSER").arg(self.keys.worker_name(id));
        self.apply_all(&mut pipe, "remove a worker's user").await
    }

    /// The wrapper's last sign of life.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn pulse(&self, id: WorkerId) -> Result<Option<Pulse>, StoreError> {
        let mut connection = self.short().await?;
        let text: Option<String> = redis::cmd("GET")
            .arg(self.keys.heartbeat(id))
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("read a heartbeat"))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Before another run: the next sign of life is of the wrapper that is started now, and what was
    /// said so far is not its own; unless the instance still has the start that it has now, since
    /// this one failed. No clocks are compared: those of the engine, of Redis and of this machine
    /// need not agree.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begin_run(
        &self,
        id: WorkerId,
        last_start: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let seq = self.tail(id, last_start).await?.seq;
        let before = format!("{seq} {}", start_text(last_start));
        let mut pipe = redis::pipe();
        pipe.hset(self.keys.worker(id), SAID_BEFORE, before).del(self.keys.heartbeat(id));
        self.apply_all(&mut pipe, "begin another run").await
    }

    /// The end of the output of a worker whose instance was last started at that time.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tail(
        &self,
        id: WorkerId,
        started_at: Option<Timestamp>,
    ) -> Result<Tail, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("XREVRANGE").arg(self.keys.output(id)).arg(&["+", "-", "COUNT"]).arg(TAIL);
        pipe.cmd("HMGET").arg(self.keys.worker(id)).arg(SAID_BEFORE);
        let (reply, (before,)): (StreamRangeReply, (Option<String>,)) = pipe
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("read the end of an output"))?;
        let entries: Vec<_> = reply.ids.iter().map(texts).collect();
        Ok(summarise(&entries, said_before(before.as_deref(), started_at)))
    }

    /// Tells the readers of a worker's output that it ended, in place of a wrapper that could not.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn report_exit(
        &self,
        id: WorkerId,
        seq: u64,
        exit: Output,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(self.keys.output(id)).arg("*");
        for (name, value) in exit.into_entry(seq, now) {
            pipe.arg(name).arg(&*value);
        }
        self.apply_all(&mut pipe, "report a worker's end").await
    }

    /// The records of all workers that had not been removed.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn remembered(&self) -> Result<Vec<RememberedWorker>, StoreError> {
        let mut connection = self.short().await?;
        let ids: Vec<String> = redis::cmd("ZRANGE")
            .arg(self.keys.index())
            .arg(0)
            .arg(-1)
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("read the index of workers"))?;
        let ids: Vec<_> = ids.iter().filter_map(|id| WorkerId::parse(id).ok()).collect();
        let mut pipe = redis::pipe();
        for id in &ids {
            pipe.hgetall(self.keys.worker(*id));
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let records: Vec<RedisResult<BTreeMap<String, String>>> = pipe
            .ignore_errors()
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("read the records of workers"))?;
        let mut remembered = Vec::new();
        for (id, record) in ids.into_iter().zip(records) {
            match record {
                Ok(fields) => remembered.push(RememberedWorker { id, fields }),
                Err(error) if is_final(&error) => {
                    tracing::error!(worker = %id, %error, "this worker's record is something else");
                }
                Err(error) => {
                    return Err(StoreError::during("read the records of workers")(error));
                }
            }
        }
        Ok(remembered)
    }
}

/// No command; and no channel, which a Redis with `acl-pubsub-default allchannels` opens otherwise.
pub(super) const CLOSED: &str = "resetchannels -@all";

/// What a worker's user may do: read its input, write its output, show that it lives. Each rule
/// names whole keys, so that no pattern can reach further.
fn rules(workers_url: &str, admission: &Admission, keys: &BootKeys) -> Vec<String> {
    let mut rules = vec![
        "reset".to_owned(),
        "resetchannels".to_owned(),
        "on".to_owned(),
        format!("#{}", admission.0),
        "-@all".to_owned(),
        "+ping".to_owned(),
    ];
    // The library selects a database only when it is not the first.
    if url::Url::parse(workers_url).is_ok_and(|url| !matches!(url.path(), "" | "/" | "/0")) {
        rules.push("+select".to_owned());
    }
    rules.push(format!("({CLOSED} +xreadgroup +xack +xtrim +xpending ~{})", keys.input));
    rules.push(format!("({CLOSED} +xadd +xrevrange ~{})", keys.output));
    rules.push(format!("({CLOSED} +set ~{})", keys.heartbeat));
    rules
}

/// 244 random bits.
pub(super) fn new_password() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// The group is there already.
fn is_repetition(error: &redis::RedisError) -> bool {
    error.code() == Some("BUSYGROUP")
}

fn start_text(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// The number up to which an output is of earlier runs, by what was noted before the last start.
fn said_before(noted: Option<&str>, started_at: Option<Timestamp>) -> u64 {
    let Some((seq, last_start)) = noted.and_then(|noted| noted.split_once(' ')) else { return 0 };
    let has_run_since = last_start != start_text(started_at);
    if has_run_since { seq.parse().unwrap_or_default() } else { 0 }
}

/// Newest entry first. What has a number up to `before` is of an earlier run.
fn summarise(entries: &[BTreeMap<String, String>], before: u64) -> Tail {
    let number = |entry: &BTreeMap<String, String>| -> u64 {
        entry.get("seq").and_then(|seq| seq.parse().ok()).unwrap_or(0)
    };
    let seq = entries.first().map(number).unwrap_or(0);
    let of_this_run = |entry: &&BTreeMap<String, String>| number(entry) > before;
    let outputs: Vec<_> =
        entries.iter().take_while(of_this_run).filter_map(Output::from_entry).collect();
    let exit = outputs.first().filter(|output| output.kind == OutputKind::Exit);
    let exit = exit.map(Exit::read);
    let final_text = outputs
        .iter()
        .find(|output| output.kind == OutputKind::TurnCompleted && !output.content.is_empty())
        .map(|output| output.content.clone());
    let printed = || {
        let lines: Vec<_> = outputs
            .iter()
            .rev()
            .filter(|output| output.kind == OutputKind::Stdout && output.source == Source::Agent)
            .map(|output| output.content.as_str())
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    let last_output = last_said(&outputs);
    let mut result = final_text.or_else(printed);
    if let Some(text) = &mut result {
        let end = text.floor_char_boundary(RESULT_LIMIT);
        text.truncate(end);
    }
    Tail { exit, seq, result, last_output }
}

/// Newest first.
fn last_said(outputs: &[Output]) -> Option<String> {
    let said = outputs.iter().filter(|output| {
        use OutputKind::{Error, Message, Stderr, Stdout};
        matches!(output.kind, Stdout | Stderr | Message | Error) && !output.content.is_empty()
    });
    let mut lines = Vec::new();
    let mut room = LAST_OUTPUT_LIMIT;
    for output in said {
        let from = output.content.len().saturating_sub(room);
        lines.push(&output.content[output.content.ceil_char_boundary(from)..]);
        room = room.saturating_sub(output.content.len() + 1);
        if room == 0 {
            break;
        }
    }
    lines.reverse();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(kind: OutputKind, text: &str, seq: u64) -> BTreeMap<String, String> {
        Output::new(kind, Source::Agent, text)
            .into_entry(seq, Timestamp::UNIX_EPOCH)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect()
    }

    #[test]
    fn the_final_text_is_the_last_turns() {
        let tail = summarise(
            &[
                entry(OutputKind::Exit, "exit 0", 3),
                entry(OutputKind::TurnCompleted, "hello", 2),
                entry(OutputKind::Stdout, "noise", 1),
            ],
            0,
        );
        let exit = Exit { limit: None, oom_killed: false };
        assert_eq!((tail.exit, tail.seq), (Some(exit), 3));
        assert_eq!(tail.result.as_deref(), Some("hello"));
    }

    #[test]
    fn a_start_that_failed_makes_nothing_that_was_said_an_earlier_runs() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(7).unwrap());
        let noted = format!("20 {}", start_text(Some(first)));
        assert_eq!(said_before(Some(&noted), Some(second)), 20);
        assert_eq!(said_before(Some(&noted), Some(first)), 0, "it was not started again");
        assert_eq!(said_before(None, Some(first)), 0);
    }

    #[test]
    fn a_program_without_turns_has_its_lines_as_result() {
        let tail = summarise(
            &[
                entry(OutputKind::Stdout, "b", 3),
                entry(OutputKind::Stdout, "a", 2),
                entry(OutputKind::TurnCompleted, "", 1),
            ],
            0,
        );
        assert_eq!((tail.exit, tail.seq, tail.result.as_deref()), (None, 3, Some("a\nb")));
    }

    #[test]
    fn the_last_output_is_that_of_the_last_run_and_has_a_bound() {
        let last =
            |entries: &[BTreeMap<String, String>], before| summarise(entries, before).last_output;
        let run = [
            entry(OutputKind::Exit, "exit 1", 6),
            entry(OutputKind::Stderr, "it broke", 5),
            entry(OutputKind::TurnStarted, "a prompt", 4),
            entry(OutputKind::Stdout, "at work", 3),
            entry(OutputKind::Exit, "exit 0", 2),
            entry(OutputKind::Stdout, "of the run before", 1),
        ];
        assert_eq!(last(&run, 2).as_deref(), Some("at work\nit broke"));
        assert_eq!(last(&run[..1], 2), None);
        let long = format!("{}ä", "x".repeat(3000));
        let entries = [entry(OutputKind::Stdout, &long, 2), entry(OutputKind::Stdout, "a", 1)];
        let cut = last(&entries, 0).unwrap();
        assert!(cut.ends_with("xä") && (2000..=2048).contains(&cut.len()), "{}", cut.len());
    }

    #[test]
    fn what_an_earlier_run_said_is_not_the_result_of_this_one() {
        let entries = [
            entry(OutputKind::Exit, "exit 0", 4),
            entry(OutputKind::Stdout, "b", 3),
            entry(OutputKind::Exit, "exit 3", 2),
            entry(OutputKind::Stdout, "a", 1),
        ];
        assert_eq!(summarise(&entries, 2).result, Some("b".to_owned()));
        assert_eq!(summarise(&[], 0), Tail::default());
    }

    #[test]
    fn what_ended_a_worker_is_told_by_its_last_entry_alone() {
        let limit = worker_protocol::Reached::MaxCostUsd(1.0).to_data();
        let mut exit = entry(OutputKind::Exit, "exit 1", 2);
        exit.insert("data".to_owned(), json!({"limit": limit, "oom_killed": true}).to_string());
        let told = summarise(std::slice::from_ref(&exit), 1).exit.unwrap();
        assert_eq!((told.limit, told.oom_killed), (Some(LimitName::MaxCostUsd), true));
        let of_an_earlier_run = summarise(std::slice::from_ref(&exit), 2);
        assert_eq!((of_an_earlier_run.exit, of_an_earlier_run.seq), (None, 2));
        assert_eq!(summarise(&[entry(OutputKind::Ready, "started again", 3), exit], 0).exit, None);
    }

    #[test]
    fn a_worker_reaches_its_own_keys_by_whole_names() {
        let admission = Admission::of("p");
        let keys = BootKeys { input: "i".into(), output: "o".into(), heartbeat: "h".into() };
        let rules = rules("redis://redis:6379/2", &admission, &keys);
        assert!(rules.iter().all(|rule| !rule.contains('*')));
        assert!(rules.contains(&"+select".to_owned()));
    }
}
