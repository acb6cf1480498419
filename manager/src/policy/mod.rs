//! What each caller may ask for, as the operator's policy file says it.
//!
//! A file that is there denies what it does not allow; without one, everything is allowed. [`parse`]
//! reads it, [`judge`] answers; `words` are names with a `*` at their end. No I/O, no clock.

mod judge;
mod parse;
mod words;

pub use parse::Fault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use worker_protocol::limits::Limits;
use worker_protocol::{CallerName, Egress, Host};

use self::words::Words;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// By the caller's name; [`CallerName::ANONYMOUS`] for those without one.
    sections: BTreeMap<String, Section>,
    /// Of those who have no section of their own.
    default: Option<Section>,
    usual: Usual,
}

/// What holds for workers whose `create` does not say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usual {
    /// What they may use.
    pub limits: Limits,
    /// What they may reach.
    pub egress: Egress,
}

/// What is said of one caller.
#[derive(Clone, Debug, PartialEq)]
struct Section {
    /// Where it stands: `callers.team-a`.
    name: String,
    role: Role,
}

#[derive(Clone, Debug, PartialEq)]
enum Role {
    /// May do everything.
    Operator,
    /// May do this.
    Tenant(Box<Grant>),
}

/// What may be done. What is not there is denied, but for numbers, which then have no bound.
#[derive(Clone, Debug, Default, PartialEq)]
struct Grant {
    commands: Words,
    agents: Words,
    modules: Words,
    base_images: Words,
    egress: Hosts,
    credentials: Words,
    /// Folders at or below which a workspace may be.
    workspace: BTreeSet<PathBuf>,
    /// Callers whose workers are seen and commanded besides its own.
    workers_of: Words,
    /// Workers that have not ended, at a time.
    workers: Option<usize>,
    /// The most that a worker may have of each.
    limits: Limits,
    labels: Labels,
}

/// What a worker may reach besides what its agent needs.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hosts {
    /// Every public host at once.
    open: bool,
    /// These.
    named: BTreeSet<Host>,
}

/// What labels a worker has.
#[derive(Clone, Debug, Default, PartialEq)]
struct Labels {
    /// May be there.
    allowed: Words,
    /// Have to be there.
    required: BTreeSet<String>,
    /// Are there, with this value, whether asked for or not.
    forced: BTreeMap<String, String>,
}

impl Policy {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first thing that is wrong, and its line.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        parse::parse(text)
    }

    /// The same, where this is usual.
    #[must_use]
    pub fn with_usual(self, usual: Usual) -> Self {
        Self { usual, ..self }
    }

    /// The callers that have a section of their own.
    pub fn callers(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    fn section(&self, caller: Option<&CallerName>) -> Option<&Section> {
        let name = caller.map_or(CallerName::ANONYMOUS, CallerName::as_str);
        self.sections.get(name).or(self.default.as_ref())
    }
}
