use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn said(text: &str) -> Output {
    Output::new(OutputKind::Stdout, Source::Agent, text)
}

/// `seq id` of entries, `ack id` of acknowledgements.
fn shown(flights: &[Flight]) -> Vec<String> {
    let show = |flight: &Flight| match flight {
        Flight::Entry { id, fields, .. } => {
            let seq = &fields.iter().find(|(name, _)| *name == "seq").unwrap().1;
            format!("{seq} {}", id.unwrap())
        }
        Flight::Ack { id, trim_below } => format!("ack {id} trim {trim_below}"),
        Flight::Pulse(pulse) => format!("pulse {pulse}"),
    };
    flights.iter().map(show).collect()
}

fn content(flight: &Flight) -> &str {
    let Flight::Entry { fields, .. } = flight else { panic!("{flight:?}") };
    &fields.iter().find(|(name, _)| *name == "content").unwrap().1
}

#[test]
fn ids_grow_when_the_clock_stands_or_goes_back() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.continue_after(7, StreamId { ms: 100, n: 3 });
    for text in ["a", "b"] {
        backlog.push(said(text), at(50));
    }
    assert_eq!(shown(backlog.take(at(50))), ["8 100-4", "9 100-5"]);
    backlog.settle(&[Answer::Done, Answer::Done]);
    backlog.push(said("c"), at(101));
    assert_eq!(shown(backlog.take(at(101))), ["10 101-0"]);
}

#[test]
fn what_was_not_answered_is_sent_again_under_the_same_id_and_not_doubled() {
    let mut backlog = Backlog::new(1 << 20);
    for text in ["a", "b", "c"] {
        backlog.push(said(text), at(1));
    }
    let first = shown(backlog.take(at(1)));
    backlog.unanswered();
    assert_eq!(shown(backlog.take(at(2))), first);
    backlog.settle(&[Answer::IdTooLow, Answer::IdTooLow, Answer::Done]);
    assert!(backlog.is_empty());
}

#[test]
fn an_id_that_is_too_low_at_the_first_try_gets_a_new_one() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.push(said("a"), at(1));
    backlog.take(at(1));
    assert_eq!(backlog.settle(&[Answer::IdTooLow]), Ids::Passed);
    backlog.continue_after(0, StreamId { ms: 9, n: 0 });
    assert_eq!(shown(backlog.take(at(2))), ["1 9-1"]);
}

#[test]
fn a_refused_entry_holds_back_the_acknowledgement() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.push(said("a"), at(1));
    backlog.acknowledge("7-0".into(), StreamId { ms: 8, n: 0 });
    assert_eq!(backlog.take(at(1)).len(), 1);
    backlog.settle(&[Answer::Refused]);
    assert_eq!(shown(backlog.take(at(1))), ["1 1-1"]);
    backlog.settle(&[Answer::Done]);
    assert_eq!(shown(backlog.take(at(1))), ["ack 7-0 trim 8-0"]);
    backlog.settle(&[Answer::Done]);
    assert!(backlog.is_empty());
}

#[test]
fn the_newest_pulse_goes_with_the_next_batch() {
    let mut backlog = Backlog::new(1 << 20);
    backlog.push(said("a"), at(1));
    backlog.beat("old".into());
    backlog.beat("new".into());
    assert_eq!(shown(backlog.take(at(1))), ["1 1-0", "pulse new"]);
}

#[test]
fn over_the_bound_the_oldest_become_one_gap_with_exact_counts() {
    let each = size(&said("0000"));
    let mut backlog = Backlog::new(each * 100);
    backlog.acknowledge("7-0".into(), StreamId::default());
    let mut end = said("0000");
    end.kind = OutputKind::TurnCompleted;
    backlog.push(end, at(0));
    for n in 1..1000 {
        backlog.push(said(&format!("{n:04}")), at(n));
        assert!(backlog.queued_bytes() <= each * 100);
    }
    let mut entries = Vec::new();
    while !backlog.is_empty() {
        let sent = backlog.take(at(2000));
        entries.extend(
            sent.iter()
                .filter(|f| matches!(f, Flight::Entry { .. }))
                .map(|f| content(f).to_owned()),
        );
        let answers = vec![Answer::Done; sent.len()];
        backlog.settle(&answers);
    }
    // The gap, the end of the turn that stayed, and the newest without a hole.
    let lost = 1000 - (entries.len() - 1);
    assert!(
        entries[0].starts_with(&format!("{lost} entries ({} bytes)", lost * each)),
        "{}",
        entries[0]
    );
    assert_eq!(entries[1], "0000");
    let newest: Vec<_> = (lost + 1..1000).map(|n| format!("{n:04}")).collect();
    assert_eq!(entries[2..], newest);
}
