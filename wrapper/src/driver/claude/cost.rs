//! A turn's cost: the difference between what the session had cost before and after it.

/// What was told so far, in US dollars.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    session: Option<String>,
    /// The session's cost when it was last told.
    session_usd: f64,
    /// Of all sessions.
    all_usd: f64,
}

impl Ledger {
    /// Takes a session's cost so far; gives what was added to it and what all sessions cost.
    pub(super) fn charge(&mut self, session: Option<&str>, session_usd: f64) -> (f64, f64) {
        if self.session.as_deref() != session || session_usd < self.session_usd {
            self.restart();
            self.session = session.map(str::to_owned);
        }
        let added = session_usd - self.session_usd;
        self.session_usd = session_usd;
        self.all_usd += added;
        (added, self.all_usd)
    }

    /// The session's count begins again at zero.
    pub(super) fn restart(&mut self) {
        self.session_usd = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_costs_what_was_added() {
        let mut ledger = Ledger::default();
        for (session, told, charged) in [
            ("a", 1.0, (1.0, 1.0)),
            ("a", 1.5, (0.5, 1.5)),
            ("b", 0.25, (0.25, 1.75)), // another session
            ("b", 0.125, (0.125, 1.875)), // its count began again
        ] {
            assert_eq!(ledger.charge(Some(session), told), charged);
        }
        ledger.restart();
        assert_eq!(ledger.charge(Some("b"), 1.0), (1.0, 2.875));
    }
}
