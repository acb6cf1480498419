//! The keys of one installation.

use std::fmt;

use crate::caller::RequestName;
use crate::id::WorkerId;
use crate::problem::{Problem, Shown};

/// The consumer group that reads commands.
pub const COMMAND_GROUP: &str = "worker-manager";
/// The consumer group that reads one worker's input.
pub const INPUT_GROUP: &str = "wrapper";

/// Every key of an installation: `worker:…`, or with another word in place of `worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    namespace: String,
    in_cluster: bool,
}

impl Keys {
    /// The keys under `namespace`: 1 to 40 lower-case letters and digits, with single `-` or `_`
    /// between them. It becomes part of key patterns and of the names of containers and images.
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(namespace: &str) -> Result<Self, Problem> {
        let plain = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let fits = namespace.len() <= 40 && namespace.split(['-', '_']).all(plain);
        if !fits {
            return Err(Problem::malformed(format!(
                "the namespace must be 1 to 40 lower-case letters and digits, with single `-` or `_` \
                 between them, not {}",
                Shown(namespace)
            )));
        }
        Ok(Self { namespace: namespace.to_owned(), in_cluster: false })
    }

    /// The same in a cluster: `{worker}:…`. By the braces all of them lie in one slot, so that one
    /// transaction can write several.
    #[must_use]
    pub fn in_cluster(self) -> Self {
        Self { in_cluster: true, ..self }
    }

    /// What every key begins with.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.under("")
    }

    /// The word itself.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Stream of commands.
    #[must_use]
    pub fn commands(&self) -> String {
        self.under("commands")
    }

    /// Stream of entries that could not be handled.
    #[must_use]
    pub fn dead(&self) -> String {
        self.under("commands:dead")
    }

    /// Hash of how often an entry of the commands was begun with and not come to an end with.
    #[must_use]
    pub fn tries(&self) -> String {
        self.under("commands:tries")
    }

    /// Which manager acts for a host; it expires unless it is renewed.
    #[must_use]
    pub fn lease(&self, host: &str) -> String {
        self.under(format_args!("lease:{host}"))
    }

    /// Which manager took a host's lease last: what another one writes is refused.
    #[must_use]
    pub fn fence(&self, host: &str) -> String {
        self.under(format_args!("fence:{host}"))
    }

    /// Hash of what each worker may reach, by its network.
    #[must_use]
    pub fn passages(&self) -> String {
        self.under("gateway")
    }

    /// Hash of what workers have used of their limits at the gateway.
    #[must_use]
    pub fn spent(&self) -> String {
        self.under("gateway:spent")
    }

    /// Stream of replies.
    #[must_use]
    pub fn responses(&self) -> String {
        self.under("responses")
    }

    /// Stream of everything that happened.
    #[must_use]
    pub fn events(&self) -> String {
        self.under("events")
    }

    /// Sorted set of worker ids by creation time.
    #[must_use]
    pub fn index(&self) -> String {
        self.under("index")
    }

    /// Sorted set of image hashes by last use.
    #[must_use]
    pub fn images(&self) -> String {
        self.under("images")
    }

    /// Hash of what is known about an image.
    #[must_use]
    pub fn image(&self, hash: &str) -> String {
        self.under(format_args!("image:{hash}"))
    }

    /// The stored reply to a request, for when the request comes again. No caller's name holds a
    /// colon, and of those who do not sign it is another key.
    #[must_use]
    pub fn request(&self, request: &RequestName) -> String {
        match &request.caller {
            None => self.under(format_args!("request:{}", request.id)),
            Some(caller) => self.under(format_args!("requests:{caller}:{}", request.id)),
        }
    }

    /// Which entry a signature was accepted for.
    #[must_use]
    pub fn signed(&self, signature: &str) -> String {
        self.under(format_args!("signed:{signature}"))
    }

    /// What the name of every reply list begins with.
    #[must_use]
    pub fn reply_prefix(&self) -> String {
        self.under("reply:")
    }

    /// The hash of a worker's record.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> String {
        self.under(id)
    }

    /// The stream of a worker's prompts.
    #[must_use]
    pub fn input(&self, id: WorkerId) -> String {
        self.under(format_args!("{id}:input"))
    }

    /// The stream of what a worker says.
    #[must_use]
    pub fn output(&self, id: WorkerId) -> String {
        self.under(format_args!("{id}:output"))
    }

    /// The sign of life of a worker's wrapper.
    #[must_use]
    pub fn heartbeat(&self, id: WorkerId) -> String {
        self.under(format_args!("{id}:heartbeat"))
    }

    /// The name of a worker: of its container and of its Redis user.
    #[must_use]
    pub fn worker_name(&self, id: WorkerId) -> String {
        format!("{}-{id}", self.namespace)
    }

    /// The name of the gateway: of its container and of its Redis user.
    #[must_use]
    pub fn gateway_name(&self) -> String {
        format!("{}-gateway", self.namespace)
    }

    fn under(&self, rest: impl fmt::Display) -> String {
        match self.in_cluster {
            true => format!("{{{}}}:{rest}", self.namespace),
            false => format!("{}:{rest}", self.namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_contract() {
        let keys = Keys::new("worker").unwrap();
        let id = WorkerId::parse("0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90").unwrap();
        assert_eq!(keys.commands(), "worker:commands");
        assert_eq!(keys.dead(), "worker:commands:dead");
        assert_eq!(keys.input(id), "worker:0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90:input");
        assert_eq!(keys.worker_name(id), "worker-0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90");
    }

    #[test]
    fn in_a_cluster_keys_have_a_hash_tag_and_names_do_not() {
        let keys = Keys::new("worker").unwrap().in_cluster();
        let id = WorkerId::parse("0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90").unwrap();
        assert_eq!(
            (keys.commands().as_str(), keys.prefix().as_str()),
            ("{worker}:commands", "{worker}:")
        );
        assert_eq!(keys.worker_name(id), "worker-0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90");
    }

    #[test]
    fn a_namespace_cannot_hold_a_pattern() {
        for bad in ["", "a*", "a:b", "a b", "-a", "a-", "a--b", "A", &"x".repeat(41)] {
            assert!(Keys::new(bad).is_err(), "{bad}");
        }
    }
}
