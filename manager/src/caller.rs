//! Who sent a command: what its signature proves. Pure: the time comes from outside, and so does the
//! memory of signatures that were accepted ([`crate::store::Acceptance`]).

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use worker_protocol::signature::{Claim, Key, Pair};
use worker_protocol::{CallerName, Problem, rfc3339};

/// A command that is not carried out, and the rule that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Such as `signature.wrong` or `callers.team-a.modules`; none, where it would tell what the
    /// caller may not know.
    pub rule: Option<String>,
    /// What the caller is told.
    pub problem: Problem,
}

impl Refusal {
    fn signature(rule: &str, message: impl Into<String>) -> Self {
        let rule = format!("signature.{rule}");
        let problem = Problem::refused(format!("{} ({rule})", message.into()));
        Self { rule: Some(rule), problem }
    }

    /// Of a signature that another entry had.
    #[must_use]
    pub fn used_before() -> Self {
        Self::signature(
            "replay",
            "this signature was used before: sign each command anew, with a `nonce` of its own",
        )
    }
}

/// Whether those without a name are listened to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unsigned {
    /// They are.
    #[default]
    Allowed,
    /// They are not.
    Refused,
}

/// Whom the operator has given keys. `Debug` shows none.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Each with one key, or several while they are changed.
    pub keys: BTreeMap<CallerName, Vec<Key>>,
    /// What becomes of commands that are not signed.
    pub unsigned: Unsigned,
    /// How far the time of a signature may be from the manager's.
    pub window: SignedDuration,
}

/// What an entry's signature proves.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing, and it need not.
    Anonymous,
    /// Who sent it.
    Signed(Signed),
}

/// A signature that is right.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose.
    pub caller: CallerName,
    /// The signature as it is remembered.
    pub signature: String,
    /// Whether it is of now. One that was accepted in its time stays so for its entry.
    pub timely: Result<(), Refusal>,
}

impl Callers {
    /// Looks at who sent an entry.
    ///
    /// # Errors
    /// When nobody knows.
    pub fn prove(&self, entry: &[Pair], namespace: &str, now: Timestamp) -> Result<Proof, Refusal> {
        let claim = match Claim::read(entry) {
            Ok(Some(claim)) => claim,
            Ok(None) if self.unsigned == Unsigned::Allowed => return Ok(Proof::Anonymous),
            Ok(None) => {
                return Err(Refusal::signature(
                    "missing",
                    "only signed commands are taken here: with the fields `caller`, `signed_at` \
                     and `signature`",
                ));
            }
            Err(problem) => return Err(Refusal::signature("malformed", problem.message)),
        };
        let Some(keys) = self.keys.get(&claim.caller) else {
            let message = format!("nobody is known here as `{}`", claim.caller);
            return Err(Refusal::signature("caller", message));
        };
        if !keys.iter().any(|key| key.made(&claim.signature, namespace, entry)) {
            let message = format!(
                "`signature` is not one of `{}` for this entry in the namespace `{namespace}`: \
                 another key, or not all fields, or not as they are sent",
                claim.caller
            );
            return Err(Refusal::signature("wrong", message));
        }
        let signature = claim.signature_text();
        let timely = self.timely(claim.signed_at, now);
        Ok(Proof::Signed(Signed { caller: claim.caller, signature, timely }))
    }

    fn timely(&self, signed_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let age = now.duration_since(signed_at);
        if age.abs() <= self.window {
            return Ok(());
        }
        let when = if age.is_positive() { "before" } else { "after" };
        Err(Refusal::signature(
            "time",
            format!(
                "`signed_at` is {} s {when} the manager's time, which is {}: it may be {} s at most",
                age.abs().as_secs(),
                rfc3339(now),
                self.window.as_secs()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use worker_protocol::signature::Signer;

    const OLD: &str = "an old key of thirty-two letters and more";
    const NEW: &str = "a new key of thirty-two letters and more";

    fn name(text: &str) -> CallerName {
        CallerName::parse(text).unwrap()
    }

    fn callers(unsigned: Unsigned) -> Callers {
        let keys = [OLD, NEW].map(|key| Key::new(key).unwrap()).to_vec();
        let window = SignedDuration::from_secs(60);
        Callers { keys: [(name("team-a"), keys)].into(), unsigned, window }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn entry(caller: &str, key: &str) -> Vec<Pair> {
        let mut entry = vec![("command".to_owned(), b"ping".to_vec())];
        let signer = Signer { caller: name(caller), key: Key::new(key).unwrap() };
        signer.sign(&mut entry, "worker", at(1000), "n");
        entry
    }

    fn prove(entry: &[Pair], now: i64) -> Result<Proof, String> {
        let proof = callers(Unsigned::Refused).prove(entry, "worker", at(now));
        proof.map_err(|refusal| refusal.rule.unwrap())
    }

    #[test]
    fn each_of_a_callers_keys_proves_who_it_is() {
        for key in [OLD, NEW] {
            let Ok(Proof::Signed(signed)) = prove(&entry("team-a", key), 1000) else {
                panic!("{key}")
            };
            assert_eq!((signed.caller, signed.timely), (name("team-a"), Ok(())));
        }
    }

    #[test]
    fn a_refusal_names_its_rule() {
        let unsigned = [("command".to_owned(), b"ping".to_vec())];
        assert_eq!(prove(&unsigned, 1000), Err("signature.missing".to_owned()));
        assert_eq!(prove(&entry("team-b", OLD), 1000), Err("signature.caller".to_owned()));
        let foreign = "somebody else's key, which is long enough";
        assert_eq!(prove(&entry("team-a", foreign), 1000), Err("signature.wrong".to_owned()));
        let mut without = entry("team-a", OLD);
        without.retain(|(name, _)| name != "signed_at");
        assert_eq!(prove(&without, 1000), Err("signature.malformed".to_owned()));
    }

    #[test]
    fn the_time_may_differ_both_ways_and_no_further() {
        for (now, right) in [(940, true), (1060, true), (939, false), (1061, false)] {
            let Ok(Proof::Signed(signed)) = prove(&entry("team-a", OLD), now) else {
                panic!("{now}")
            };
            assert_eq!(signed.timely.is_ok(), right, "{now}");
            if let Err(refusal) = signed.timely {
                assert!(refusal.problem.message.contains(&rfc3339(at(now))), "{refusal:?}");
            }
        }
    }

    #[test]
    fn who_may_be_anonymous_may_not_be_somebody_else() {
        let callers = callers(Unsigned::Allowed);
        let unsigned = [("command".to_owned(), b"ping".to_vec())];
        assert_eq!(callers.prove(&unsigned, "worker", at(0)), Ok(Proof::Anonymous));
        let mut claimed = unsigned.to_vec();
        claimed.push(("caller".to_owned(), b"team-a".to_vec()));
        assert!(callers.prove(&claimed, "worker", at(0)).is_err());
        let none = Callers::default().prove(&entry("team-a", OLD), "worker", at(1000));
        assert_eq!(none.unwrap_err().rule.unwrap(), "signature.caller");
    }
}
