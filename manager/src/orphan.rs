//! What is left of workers that nobody knows, and what becomes of it: a plain function of what there
//! is.
//!
//! Nothing goes at once: what is left may belong to a worker that another manager is just making, or
//! whose record somebody is about to bring back. Nothing goes while an instance is there: that one
//! is taken up by its labels, or left alone when they cannot be read.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use worker_protocol::WorkerId;

use crate::engine::InstanceName;
use crate::image::collect::{Verdict, ago};

/// Something that belongs to a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// The host has it, and calls it so.
    OnHost(String),
    /// A Redis user.
    User,
    /// A key in Redis that does not expire.
    Key(String),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnHost(what) => f.write_str(what),
            Self::User => f.write_str("redis user"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}

/// What was found, of workers that are known and of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// What belongs to each worker, its instance apart.
    pub belongings: BTreeMap<WorkerId, BTreeSet<Left>>,
    /// Workers whose instances are there, by name.
    pub instances: BTreeSet<WorkerId>,
    /// Instances of this installation whose labels cannot be read.
    pub unreadable: Vec<InstanceName>,
    /// What is left goes when it was seen for so long.
    pub grace: Duration,
}

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Orphan {
    /// A worker's that nobody knows.
    Worker(WorkerId),
    /// An instance that says nothing that could be read.
    Instance(InstanceName),
}

/// What becomes of an orphan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whose it is.
    pub orphan: Orphan,
    /// What is left.
    pub left: Vec<Left>,
    /// When it was first seen.
    pub since: Timestamp,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Judges all that belongs to no known worker.
#[must_use]
pub fn judge(
    survey: &Survey,
    first_seen: &BTreeMap<Orphan, Timestamp>,
    is_known: impl Fn(WorkerId) -> bool,
    now: Timestamp,
) -> Vec<Judged> {
    let since = |orphan: &Orphan| first_seen.get(orphan).copied().unwrap_or(now);
    let unreadable = survey.unreadable.iter().map(|name| {
        let orphan = Orphan::Instance(name.clone());
        let reason = "its labels cannot be read: another version of worker-manager made it, or \
                      somebody else; it is left alone";
        let verdict = Verdict::Keep(reason.to_owned());
        Judged { since: since(&orphan), orphan, left: Vec::new(), verdict }
    });
    let unknown = survey.belongings.iter().filter(|(id, _)| !is_known(**id));
    let strays = unknown.map(|(id, left)| {
        let orphan = Orphan::Worker(*id);
        let since = since(&orphan);
        let verdict = match survey.instances.contains(id) {
            true => Verdict::Keep("its instance is there".to_owned()),
            false => verdict(now.duration_since(since), survey.grace),
        };
        Judged { orphan, left: left.iter().cloned().collect(), since, verdict }
    });
    strays.chain(unreadable).collect()
}

fn verdict(age: SignedDuration, grace: Duration) -> Verdict {
    let grace = SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX);
    let (age_text, grace_text) = (ago(age), ago(grace));
    if age >= grace {
        Verdict::Remove(format!("nobody has known its worker for {age_text}, over {grace_text}"))
    } else {
        Verdict::Keep(format!("first seen {age_text} ago, within {grace_text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u64) -> WorkerId {
        WorkerId::from_moment(number, [0; 10])
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_nobody_knows_goes_after_its_grace_and_never_while_an_instance_is_there() {
        let of = |number| (worker(number), BTreeSet::from([Left::User]));
        let name = InstanceName("w-odd".to_owned());
        let survey = Survey {
            belongings: [1, 2, 3, 4].map(of).into(),
            instances: [worker(4)].into(),
            unreadable: vec![name.clone()],
            grace: Duration::from_secs(600),
        };
        let seen = [1, 2, 4].map(|number| (Orphan::Worker(worker(number)), at(0)));
        let judged = judge(&survey, &seen.into(), |id| id == worker(1), at(601));
        let told: Vec<_> = judged
            .iter()
            .map(|judged| match &judged.verdict {
                Verdict::Keep(reason) => (judged.orphan.clone(), judged.since, false, &**reason),
                Verdict::Remove(reason) => (judged.orphan.clone(), judged.since, true, &**reason),
            })
            .collect();
        let orphan = |number| Orphan::Worker(worker(number));
        assert_eq!(
            told[..3],
            [
                (orphan(2), at(0), true, "nobody has known its worker for 10m, over 10m"),
                (orphan(3), at(601), false, "first seen 0s ago, within 10m"),
                (orphan(4), at(0), false, "its instance is there"),
            ]
        );
        assert_eq!((&told[3].0, told[3].2), (&Orphan::Instance(name), false));
        assert!(told[3].3.contains("left alone") && told.len() == 4, "{told:?}");
    }

    #[test]
    fn the_grace_is_over_at_its_end() {
        let judged =
            |seconds| verdict(SignedDuration::from_secs(seconds), Duration::from_secs(600));
        assert!(matches!(judged(599), Verdict::Keep(_)));
        assert!(matches!(judged(600), Verdict::Remove(_)));
        assert!(matches!(judged(-5), Verdict::Keep(_)), "a clock that was set back");
    }

    #[test]
    fn what_is_left_is_named() {
        let all = [Left::OnHost("volume x".into()), Left::User, Left::Key("t:1:input".into())];
        let all = all.map(|left| left.to_string());
        assert_eq!(all, ["volume x", "redis user", "key t:1:input"]);
    }
}
