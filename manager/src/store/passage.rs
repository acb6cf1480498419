//! What the gateway has in Redis: a user of its own, and what each worker may reach.

use std::net::Ipv4Addr;
use worker_protocol::gateway::{GatewayKeys, Passage};
use worker_protocol::{Secret, WorkerId};

use super::connect::{Store, StoreError};
use super::worker::{Admission, CLOSED, new_password};

impl Store {
    /// The gateway's keys.
    #[must_use]
    pub fn gateways_keys(&self) -> GatewayKeys {
        GatewayKeys {
            passages: self.keys.passages(),
            spent: self.keys.spent(),
            events: self.keys.events(),
        }
    }

    /// A password for the gateway's user, and what lets it in with that.
    #[must_use]
    pub fn new_gateway_password() -> (Secret, Admission) {
        let password = new_password();
        let admission = Admission::of(&password);
        (Secret::new(password), admission)
    }

    /// Makes the gateway's user, also again.
    ///
    /// # Errors
    /// When Redis does not answer, or does not let this program make users.
    pub async fn admit_gateway(&self, admission: &Admission) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("ACL").arg("SETUSER").arg(self.keys.gateway_name());
        for rule in rules(admission, &self.gateways_keys()) {
            pipe.arg(rule);
        }
        self.apply_all(&mut pipe, "make the gateway's user").await
    }

    /// Whether Redis knows the gateway's user.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn knows_gateway(&self) -> Result<bool, StoreError> {
        Ok(self.user_names().await?.contains(&self.keys.gateway_name()))
    }

    /// From now on, whoever comes from this network may reach that.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn open_passage(
        &self,
        network: Ipv4Addr,
        passage: &Passage,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(passage).unwrap_or_default();
        let mut pipe = redis::pipe();
        pipe.hset(self.keys.passages(), network.to_string(), text);
        self.apply_all(&mut pipe, "open a passage").await
    }

    /// From now on, whoever comes from this network may reach nothing.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn close_passage(&self, network: Ipv4Addr) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        pipe.hdel(self.keys.passages(), network.to_string());
        self.apply_all(&mut pipe, "close a passage").await
    }

    /// Forgets what a worker has used of models: nothing is left of it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget_spent(&self, id: WorkerId) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        pipe.hdel(self.keys.spent(), &[format!("{id}:requests"), format!("{id}:usd")]);
        self.apply_all(&mut pipe, "forget what a worker has used").await
    }
}

/// What the gateway's user may do: read what workers may reach, count what they use, and tell of
/// refusals. Each rule names whole keys, so that no pattern can reach further.
fn rules(admission: &Admission, keys: &GatewayKeys) -> Vec<String> {
    vec![
        "reset".to_owned(),
        "resetchannels".to_owned(),
        "on".to_owned(),
        format!("#{}", admission.0),
        "-@all".to_owned(),
        "+ping".to_owned(),
        "+select".to_owned(),
        // By these it finds the master.
        "+role".to_owned(),
        "+cluster|slots".to_owned(),
        format!("({CLOSED} +hget ~{})", keys.passages),
        format!("({CLOSED} +hincrby +hincrbyfloat ~{})", keys.spent),
        format!("({CLOSED} +xadd ~{})", keys.events),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_reaches_its_own_keys_by_whole_names() {
        let keys = GatewayKeys { passages: "p".into(), spent: "s".into(), events: "e".into() };
        let rules = rules(&Admission::of("p"), &keys);
        assert!(rules.iter().all(|rule| !rule.contains('*')));
        assert!(rules.contains(&format!("({CLOSED} +hget ~p)")));
    }
}
