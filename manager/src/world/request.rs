//! Requests: the same one never acts twice and is always answered.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use worker_protocol::{Header, Reply, RequestName};

/// How long an answer is remembered here. It lies in Redis for much longer; this only bridges the
/// time between deciding on a reply and its being written.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(300);

/// What is known of a request that came again.
#[derive(Debug, PartialEq)]
pub enum Known {
    /// Never seen, as far as memory reaches.
    No,
    /// It is being worked on; the header now waits for the same reply.
    InFlight,
    /// This very entry is being worked on or was answered: it was only delivered again.
    SameEntry,
    /// It was answered, with this.
    Answered(Reply),
}

/// Requests in flight, and the latest answers.
#[derive(Default)]
pub struct Requests {
    by_id: BTreeMap<RequestName, Request>,
}

struct Request {
    entries: Vec<String>,
    waiting: Vec<Header>,
    answer: Option<(Reply, Timestamp)>,
}

impl Requests {
    /// Notes that a command arrived, and tells what is known of its request.
    pub fn arrived(&mut self, header: &Header) -> Known {
        let Some(request) = self.by_id.get_mut(&header.request()) else {
            let request = Request {
                entries: vec![header.entry_id.clone()],
                waiting: Vec::new(),
                answer: None,
            };
            self.by_id.insert(header.request(), request);
            return Known::No;
        };
        if request.entries.contains(&header.entry_id) {
            return Known::SameEntry;
        }
        request.entries.push(header.entry_id.clone());
        match &request.answer {
            Some((reply, _)) => Known::Answered(reply.clone()),
            None => {
                request.waiting.push(header.clone());
                Known::InFlight
            }
        }
    }

    /// Notes the answer, and gives the other entries that asked for the same.
    pub fn answered(
        &mut self,
        request: &RequestName,
        reply: &Reply,
        now: Timestamp,
    ) -> Vec<Header> {
        let Some(request) = self.by_id.get_mut(request) else { return Vec::new() };
        request.answer = Some((reply.clone(), now));
        std::mem::take(&mut request.waiting)
    }

    /// Forgets a request whose reply is made elsewhere: one that only asks acts on nothing, so that
    /// asking again is harmless.
    pub fn let_go(&mut self, request: &RequestName) {
        self.by_id.remove(request);
    }

    /// Forgets the answer to a request that is to be handled anew, once for the entry that says so.
    pub fn retry(&mut self, header: &Header) {
        let answered_before = |request: &Request| {
            request.answer.is_some() && !request.entries.contains(&header.entry_id)
        };
        if self.by_id.get(&header.request()).is_some_and(answered_before) {
            self.by_id.remove(&header.request());
        }
    }

    /// Forgets old answers.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.by_id.retain(|_, request| match request.answer {
            Some((_, at)) => now.duration_since(at) < REMEMBERED,
            None => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use worker_protocol::{Keys, parse_command};

    fn header(entry: &str) -> Header {
        let pairs = [("command", "ping"), ("request_id", "r1")]
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        parse_command(entry, &pairs, &Keys::new("worker").unwrap()).0
    }

    fn reply() -> Reply {
        Reply::ok(&header("1-0"), Timestamp::UNIX_EPOCH, serde_json::Map::new())
    }

    #[test]
    fn a_request_that_comes_again_waits_for_the_same_reply() {
        let mut requests = Requests::default();
        assert_eq!(requests.arrived(&header("1-0")), Known::No);
        assert_eq!(requests.arrived(&header("1-0")), Known::SameEntry);
        assert_eq!(requests.arrived(&header("2-0")), Known::InFlight);
        let waiting = requests.answered(&header("1-0").request(), &reply(), Timestamp::UNIX_EPOCH);
        assert_eq!(waiting, [header("2-0")]);
        assert_eq!(requests.arrived(&header("3-0")), Known::Answered(reply()));
    }

    #[test]
    fn a_request_of_one_caller_is_not_anothers() {
        let mut requests = Requests::default();
        requests.arrived(&header("1-0"));
        requests.answered(&header("1-0").request(), &reply(), Timestamp::UNIX_EPOCH);
        let mut other = header("2-0");
        other.caller = worker_protocol::CallerName::parse("team-b").ok();
        assert_eq!(requests.arrived(&other), Known::No);
    }

    #[test]
    fn a_request_that_was_let_go_is_a_new_one() {
        let mut requests = Requests::default();
        requests.arrived(&header("1-0"));
        requests.let_go(&header("1-0").request());
        assert_eq!(requests.arrived(&header("2-0")), Known::No);
    }

    #[test]
    fn a_request_that_an_operator_retries_is_new_once() {
        let mut requests = Requests::default();
        requests.arrived(&header("1-0"));
        requests.retry(&header("2-0"));
        assert_eq!(requests.arrived(&header("2-0")), Known::InFlight, "it is being worked on");
        requests.answered(&header("1-0").request(), &reply(), Timestamp::UNIX_EPOCH);
        requests.retry(&header("3-0"));
        assert_eq!(requests.arrived(&header("3-0")), Known::No);
        requests.retry(&header("3-0"));
        assert_eq!(requests.arrived(&header("3-0")), Known::SameEntry);
    }

    #[test]
    fn only_answers_are_forgotten() {
        let mut requests = Requests::default();
        requests.arrived(&header("1-0"));
        let late = Timestamp::from_second(10_000).unwrap();
        requests.forget_old(late);
        assert_eq!(requests.arrived(&header("2-0")), Known::InFlight);
        requests.answered(&header("1-0").request(), &reply(), Timestamp::UNIX_EPOCH);
        requests.forget_old(late);
        assert_eq!(requests.arrived(&header("3-0")), Known::No);
    }
}
