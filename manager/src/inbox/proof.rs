//! Who sent the entries that were read, and what each of them says.

use jiff::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use worker_protocol::signature::{Pair, unsigned};
use worker_protocol::{Command, ErrorKind, Header, Keys, Problem, parse_command};

use crate::caller::{Callers, Proof, Refusal, Signed};
use crate::driver::Prior;
use crate::store::{Acceptance, Delivered, Store, StoreError};

/// What an entry says.
pub(super) struct Parsed {
    pub(super) header: Header,
    pub(super) command: Result<Command, Problem>,
    /// Why nobody knows who sent it.
    pub(super) unproven: Option<Refusal>,
    /// The signature that it has, until it is known whether it is accepted.
    signed: Option<Signed>,
}

impl Parsed {
    /// Reads an entry, and looks at who sent it.
    pub(super) fn read(callers: &Callers, keys: &Keys, entry: &Delivered, now: Timestamp) -> Self {
        match callers.prove(&entry.fields, keys.namespace(), now) {
            Ok(Proof::Anonymous) => {
                let (header, command) = parse(keys, &entry.id, &entry.fields);
                Self { header, command, unproven: None, signed: None }
            }
            Ok(Proof::Signed(signed)) => {
                let (mut header, mut command) = parse(keys, &entry.id, &unsigned(&entry.fields));
                header.caller = Some(signed.caller.clone());
                if let Ok(Command::Create(create)) = &mut command {
                    create.caller = Some(signed.caller.clone());
                }
                Self { header, command, unproven: None, signed: Some(signed) }
            }
            Err(refusal) => {
                let (header, command) = parse(keys, &entry.id, &unsigned(&entry.fields));
                Self { header, command, unproven: None, signed: None }.turned_away(refusal)
            }
        }
    }

    /// Nothing of it is looked at but whom to answer.
    fn turned_away(self, refusal: Refusal) -> Self {
        let header = Header { caller: None, ..self.header };
        let command = Err(refusal.problem.clone());
        Self { header, command, unproven: Some(refusal), signed: None }
    }
}

/// Has each signature count once: for the entry that had it first, however often that is delivered,
/// or that an operator wants tried again.
pub(super) async fn accept(
    store: &Store,
    parsed: Vec<Parsed>,
    priors: &[Result<Prior, StoreError>],
) -> Result<Vec<Parsed>, StoreError> {
    let asked = parsed.iter().filter_map(|one| {
        let signed = one.signed.as_ref()?;
        let (signature, entry_id) = (signed.signature.as_str(), one.header.entry_id.as_str());
        Some(Acceptance { signature, entry_id, accept: signed.timely.is_ok() })
    });
    let asked: Vec<_> = asked.collect();
    let mut owners = store.accept(&asked).await?.into_iter();
    let settle = |(mut one, prior): (Parsed, &Result<Prior, StoreError>)| {
        let Some(signed) = one.signed.take() else { return one };
        let owner = owners.next().flatten();
        if owner.as_ref() == Some(&one.header.entry_id)
            || prior.as_ref().is_ok_and(|prior| prior.retried)
        {
            return one;
        }
        match signed.timely {
            Err(refusal) => one.turned_away(refusal),
            Ok(()) => one.turned_away(Refusal::used_before()),
        }
    };
    Ok(parsed.into_iter().zip(priors).map(settle).collect())
}

/// Whatever an entry holds, it does not end the manager here.
fn parse(keys: &Keys, entry_id: &str, fields: &[Pair]) -> (Header, Result<Command, Problem>) {
    let parsed = catch_unwind(AssertUnwindSafe(|| parse_command(entry_id, fields, keys)));
    parsed.unwrap_or_else(|_| {
        let problem =
            "reading this command failed by a defect of worker-manager; its log says more";
        (parse_command(entry_id, &[], keys).0, Err(Problem::new(ErrorKind::Internal, problem)))
    })
}
