//! What clients ask for.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

use crate::caller::{CallerName, RequestName};
use crate::create::Create;
use crate::fields::{Fields, Form};
use crate::id::WorkerId;
use crate::key::Keys;
use crate::problem::{ErrorKind, Problem, Shown, did_you_mean};
use crate::record::Status;

/// The most bytes an entry of the commands stream may hold; a larger one is refused unread.
pub const ENTRY_LIMIT: usize = 16 << 20;
/// The most bytes of an id that a caller chooses: it becomes part of a key.
const CALLERS_ID_LIMIT: usize = 200;
/// Accepted on every command, and given back in its reply.
const PASSED_THROUGH: [&str; 3] = ["version", "timestamp", "context"];
/// The names that every command may carry.
const COMMON: [&str; 7] =
    ["command", "request_id", "correlation_id", "reply_to", "version", "timestamp", "context"];

/// What a command carries besides its content: enough to answer it.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The id of the stream entry.
    pub entry_id: String,
    /// The caller's name for the request, or else the entry's id. The same again never acts twice.
    pub request_id: String,
    /// Echoed everywhere.
    pub correlation_id: Option<String>,
    /// A list that gets the reply too.
    pub reply_to: Option<String>,
    /// The form of the command, and so of its reply.
    pub form: Form,
    /// The command's name as it was sent.
    pub command: String,
    /// `version`, `timestamp` and `context`, which are the caller's own.
    pub passed_through: Map<String, Value>,
    /// Who asks, once a signature has proven it.
    pub caller: Option<CallerName>,
}

impl Header {
    /// The request among those of all callers.
    #[must_use]
    pub fn request(&self) -> RequestName {
        RequestName { caller: self.caller.clone(), id: self.request_id.clone() }
    }
}

/// Whether a worker is asked to end, or made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// The agent is told to end, and given time.
    No,
    /// Killed at once.
    Yes,
}

/// Whether something is done, or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// Only told.
    Yes,
    /// Done.
    No,
}

/// One command, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Make a worker.
    Create(Box<Create>),
    /// End a worker and take away what it consisted of.
    Delete {
        /// Which one.
        worker_id: WorkerId,
        /// How.
        force: Force,
    },
    /// Tell about a worker.
    Status {
        /// Which one.
        worker_id: WorkerId,
    },
    /// End a worker in order, and keep what it consists of.
    Stop {
        /// Which one.
        worker_id: WorkerId,
    },
    /// Let a worker that has ended run again.
    Start {
        /// Which one.
        worker_id: WorkerId,
    },
    /// End the running turn of a worker.
    Interrupt {
        /// Which one.
        worker_id: WorkerId,
    },
    /// Tell which workers there are.
    List(Selection),
    /// Remove images that are not used any more.
    Gc {
        /// Whether it only tells what it would do.
        dry_run: DryRun,
    },
    /// Tell about the manager.
    Ping,
}

/// Which workers are to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of this status.
    pub status: Option<Status>,
    /// Those that carry all of these labels; without a value, the label with any.
    pub labels: BTreeMap<String, Option<String>>,
    /// Those whose ids come after this one.
    pub after: Option<WorkerId>,
}

impl Command {
    /// The names of all.
    pub const NAMES: [&str; 9] =
        ["create", "delete", "status", "stop", "start", "interrupt", "list", "gc", "ping"];

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Delete { .. } => "delete",
            Self::Status { .. } => "status",
            Self::Stop { .. } => "stop",
            Self::Start { .. } => "start",
            Self::Interrupt { .. } => "interrupt",
            Self::List(_) => "list",
            Self::Gc { .. } => "gc",
            Self::Ping => "ping",
        }
    }

    /// The worker that it is about, as far as the caller named one.
    #[must_use]
    pub fn worker_id(&self) -> Option<WorkerId> {
        match self {
            Self::Create(create) => create.worker_id,
            Self::Delete { worker_id, .. }
            | Self::Status { worker_id }
            | Self::Stop { worker_id }
            | Self::Start { worker_id }
            | Self::Interrupt { worker_id } => Some(*worker_id),
            Self::List(_) | Self::Gc { .. } | Self::Ping => None,
        }
    }
}

/// Reads one entry of the commands stream. The header is given in any case: each command has a
/// reply, also when it was malformed.
pub fn parse_command(
    entry_id: &str,
    pairs: &[(String, Vec<u8>)],
    keys: &Keys,
) -> (Header, Result<Command, Problem>) {
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    // The small fields of an entry that is too large still tell whom to answer.
    let readable: Vec<_> = if bytes > ENTRY_LIMIT {
        pairs.iter().filter(|(_, value)| value.len() <= CALLERS_ID_LIMIT).cloned().collect()
    } else {
        pairs.to_vec()
    };
    let (fields, mut fault) = Fields::read(&readable);
    if bytes > ENTRY_LIMIT {
        let largest = pairs.iter().max_by_key(|(_, value)| value.len());
        let name = largest.map_or("", |(name, _)| name);
        fault = Err(Problem::malformed(format!(
            "the entry holds {bytes} bytes, and may hold at most {ENTRY_LIMIT}: `{name}` is too long"
        )));
    }
    let (mut header, header_fault) = read_header(entry_id, &fields, keys);
    header.form = Fields::form_of(pairs);
    let command = fault.and(header_fault).and_then(|()| read_command(&fields));
    (header, command)
}

fn read_header(entry_id: &str, fields: &Fields, keys: &Keys) -> (Header, Result<(), Problem>) {
    let mut fault = Ok(());
    let mut callers = |name: &str| {
        let text = fields.text(name, CALLERS_ID_LIMIT).and_then(|text| match text {
            Some(text) if text.chars().any(char::is_control) => {
                Err(Problem::malformed(format!("`{name}` may not hold control characters")))
            }
            text => Ok(text),
        });
        text.unwrap_or_else(|problem| {
            fault = Err(problem);
            None
        })
    };
    let request_id = callers("request_id").unwrap_or_else(|| entry_id.to_owned());
    let correlation_id = callers("correlation_id");
    let reply_to = callers("reply_to");
    let command = callers("command").unwrap_or_default();
    let prefix = keys.reply_prefix();
    let reply_to = match reply_to {
        Some(list) if !list.starts_with(&prefix) || list.len() == prefix.len() => {
            fault = Err(Problem::malformed(format!(
                "`reply_to` must be a list named `{prefix}<anything>`, not {}",
                Shown(&list)
            )));
            None
        }
        list => list,
    };
    let passed_through = PASSED_THROUGH
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.raw(name)?.clone())))
        .collect();
    let form = fields.form();
    let entry_id = entry_id.to_owned();
    (
        Header {
            entry_id,
            request_id,
            correlation_id,
            reply_to,
            form,
            command,
            passed_through,
            caller: None,
        },
        fault,
    )
}

fn read_command(fields: &Fields) -> Result<Command, Problem> {
    let Some(name) = fields.text("command", usize::MAX)? else {
        let known = Command::NAMES.join(", ");
        return Err(Problem::malformed(format!("the field `command` is missing: one of {known}")));
    };
    match name.to_ascii_lowercase().as_str() {
        "create" => {
            allow(fields, &crate::create::FIELDS)?;
            Create::from_fields(fields).map(|create| Command::Create(Box::new(create)))
        }
        "delete" => {
            allow(fields, &["worker_id", "force"])?;
            let force = if fields.boolean("force")? == Some(true) { Force::Yes } else { Force::No };
            Ok(Command::Delete { worker_id: worker_id(fields)?, force })
        }
        "status" => Ok(Command::Status { worker_id: only_worker_id(fields)? }),
        "stop" => Ok(Command::Stop { worker_id: only_worker_id(fields)? }),
        "start" => Ok(Command::Start { worker_id: only_worker_id(fields)? }),
        "interrupt" => Ok(Command::Interrupt { worker_id: only_worker_id(fields)? }),
        "list" => {
            allow(fields, &["status", "label", "after"])?;
            selection(fields).map(Command::List)
        }
        "gc" => {
            allow(fields, &["dry_run"])?;
            let dry = fields.boolean("dry_run")? == Some(true);
            Ok(Command::Gc { dry_run: if dry { DryRun::Yes } else { DryRun::No } })
        }
        "ping" => allow(fields, &[]).map(|()| Command::Ping),
        _ => {
            let near = did_you_mean(&name, Command::NAMES);
            let known = Command::NAMES.join(", ");
            let shown = Shown(&name);
            Err(Problem::new(
                ErrorKind::UnknownCommand,
                format!("`command` {shown} is not known{near} (known: {known})"),
            ))
        }
    }
}

fn allow(fields: &Fields, own: &[&str]) -> Result<(), Problem> {
    fields.only(&[own, &COMMON].concat())
}

fn only_worker_id(fields: &Fields) -> Result<WorkerId, Problem> {
    allow(fields, &["worker_id"])?;
    worker_id(fields)
}

fn selection(fields: &Fields) -> Result<Selection, Problem> {
    let label = |text: String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text, None),
    };
    let after = fields.text("after", usize::MAX)?;
    Ok(Selection {
        status: fields.choice("status", &Status::ALL, Status::as_str)?,
        labels: fields.list("label")?.into_iter().map(label).collect(),
        after: after.map(|text| WorkerId::parse(&text)).transpose()?,
    })
}

fn worker_id(fields: &Fields) -> Result<WorkerId, Problem> {
    match fields.text("worker_id", usize::MAX)? {
        Some(text) => WorkerId::parse(&text),
        None => Err(Problem::malformed("the field `worker_id` is missing: the UUID of a worker")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90";

    fn parse(pairs: &[(&str, &str)]) -> (Header, Result<Command, Problem>) {
        let pairs: Vec<_> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        parse_command("1-1", &pairs, &Keys::new("worker").unwrap())
    }

    #[test]
    fn commands_are_read_in_both_forms() {
        let flat = parse(&[("command", "DELETE"), ("worker_id", ID), ("force", "true")]).1.unwrap();
        let data = format!(r#"{{"command":"delete","worker_id":"{ID}","force":true}}"#);
        let document = parse(&[("data", &data)]).1.unwrap();
        assert_eq!(flat, document);
    }

    #[test]
    fn the_entry_names_a_request_without_a_name() {
        assert_eq!(parse(&[("command", "ping")]).0.request_id, "1-1");
        assert_eq!(parse(&[("command", "ping"), ("request_id", "r1")]).0.request_id, "r1");
    }

    #[test]
    fn a_malformed_command_can_still_be_answered() {
        let (header, command) = parse(&[
            ("command", "status"),
            ("worker_id", "nonsense"),
            ("request_id", "r9"),
            ("reply_to", "worker:reply:x"),
        ]);
        assert_eq!(command.unwrap_err().kind, ErrorKind::Malformed);
        assert_eq!(
            (header.request_id.as_str(), header.reply_to.as_deref()),
            ("r9", Some("worker:reply:x"))
        );
    }

    #[test]
    fn an_entry_that_is_too_large_can_still_be_answered() {
        let huge = "x".repeat(ENTRY_LIMIT + 1);
        let (header, command) =
            parse(&[("command", "create"), ("request_id", "r2"), ("instructions", &huge)]);
        assert_eq!(header.request_id, "r2");
        assert!(command.unwrap_err().message.contains("`instructions` is too long"));
        assert_eq!(parse(&[("data", &huge)]).0.form, Form::Document);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pairs, part) in [
            (vec![("commnd", "ping")], "`command` is missing"),
            (vec![("command", "creat")], "did you mean `create`?"),
            (vec![("command", "status")], "`worker_id` is missing"),
            (vec![("command", "ping"), ("worker", "1")], "`worker` is not known"),
            (vec![("command", "ping"), ("reply_to", "mylist")], "`reply_to` must be a list named"),
            (vec![("data", "{oops")], "`data` must be a JSON object"),
            (vec![("command", "delete"), ("worker_id", ID), ("force", "ja")], "`force` must be"),
        ] {
            let message = parse(&pairs).1.unwrap_err().message;
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_list_is_told_what_to_choose() {
        let list =
            [("command", "list"), ("status", "running"), ("label", "team=a,urgent"), ("after", ID)];
        let Command::List(selection) = parse(&list).1.unwrap() else { panic!("a list") };
        assert_eq!(selection.status, Some(Status::Running));
        let labels = [("team", Some("a")), ("urgent", None)]
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(selection.labels, labels.into());
        assert_eq!(selection.after.unwrap().to_string(), ID);
        let message = parse(&[("command", "list"), ("status", "asleep")]).1.unwrap_err().message;
        assert!(message.contains("`status` must be one of"), "{message}");
    }

    #[test]
    fn context_is_accepted_and_kept() {
        let (header, command) = parse(&[("command", "ping"), ("context", "mine")]);
        assert!(command.is_ok());
        assert_eq!(header.passed_through["context"], "mine");
    }
}
