//! What decides where a worker gets, and what models' services answer.

use std::collections::BTreeSet;
use worker_gateway::host::{Host, Opening, allowed};
use worker_gateway::model::usage::{Ended, Form, Meter};
use worker_protocol::egress;
use worker_protocol::gateway::Reach;

/// Three lines: what the operator allows, what a caller wants, and where a worker goes, as
/// `host:port`. Who gets there by what was wanted would get there by what covers it.
pub(crate) fn egress(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (operator, wanted, way) = (next(), next(), next());
    let _ = Opening::parse(operator);
    let (Ok(operator), Ok(wanted)) = (egress::Host::parse(operator), egress::Host::parse(wanted))
    else {
        return;
    };
    assert_eq!(egress::Host::parse(&operator.to_string()).as_ref(), Ok(&operator));
    let Some((host, port)) = way.rsplit_once(':') else { return };
    let (Some(host), Ok(port)) = (Host::parse(host), port.parse()) else { return };
    let may = |pattern: &egress::Host| {
        allowed(&Reach::Hosts(BTreeSet::from([pattern.to_string()])), &host, port).is_some()
    };
    if operator.covers(&wanted) && may(&wanted) {
        assert!(
            may(&operator),
            "{wanted} leads to {way}, and {operator}, which covers it, does not"
        );
    }
}

/// What an answer has used does not depend on how it came.
pub(crate) fn meter(data: &[u8]) {
    let Some((&at, data)) = data.split_first() else { return };
    let at = usize::from(at).min(data.len());
    for form in [Form::Json, Form::Events] {
        let read = |pieces: &[&[u8]]| {
            let mut meter = Meter::new(form);
            pieces.iter().for_each(|piece| meter.take(piece));
            let model = meter.model().map(str::to_owned);
            (model, [Ended::Whole, Ended::Early].map(|end| meter.usage(1000, end)))
        };
        assert_eq!(read(&[&data[..at], &data[at..]]), read(&[data]));
    }
}
