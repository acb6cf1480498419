use super::*;
use worker_protocol::{OutputKind, Source};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn said(text: &str) -> Output {
    Output::new(OutputKind::Stdout, Source::Agent, text)
}

fn in_memory(backlog_bytes: usize) -> Bounds {
    Bounds { backlog_bytes, spool_bytes: 0, ..Bounds::default() }
}

/// `seq id` of entries, `ack id` of acknowledgements.
fn shown(flights: &[Flight]) -> Vec<String> {
    let show = |flight: &Flight| match flight {
        Flight::Entry { id, fields, .. } => {
            let seq = &fields.iter().find(|(name, _)| name == "seq").unwrap().1;
            format!("{seq} {}", id.unwrap())
        }
        Flight::Ack { id, trim_below } => format!("ack {id} trim {trim_below}"),
        Flight::Pulse(pulse) => format!("pulse {pulse}"),
    };
    flights.iter().map(show).collect()
}

fn content(flight: &Flight) -> &str {
    let Flight::Entry { fields, .. } = flight else { panic!("{flight:?}") };
    &fields.iter().find(|(name, _)| name == "content").unwrap().1
}

#[test]
fn ids_grow_when_the_clock_stands_or_goes_back() {
    let mut backlog = Backlog::new(&in_memory(1 << 20));
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
    let mut backlog = Backlog::new(&in_memory(1 << 20));
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
    let mut backlog = Backlog::new(&in_memory(1 << 20));
    backlog.push(said("a"), at(1));
    backlog.take(at(1));
    assert_eq!(backlog.settle(&[Answer::IdTooLow]), Ids::Passed);
    backlog.continue_after(0, StreamId { ms: 9, n: 0 });
    assert_eq!(shown(backlog.take(at(2))), ["1 9-1"]);
}

#[test]
fn a_refused_entry_holds_back_the_acknowledgement() {
    let mut backlog = Backlog::new(&in_memory(1 << 20));
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
    let mut backlog = Backlog::new(&in_memory(1 << 20));
    backlog.push(said("a"), at(1));
    backlog.beat(Pulse { turns: 1, ..Pulse::default() });
    backlog.beat(Pulse { turns: 2, ..Pulse::default() });
    assert_eq!(shown(backlog.take(at(1))), ["1 1-0", r#"pulse {"turns":2,"cost_usd":0.0}"#]);
}

#[test]
fn over_the_bound_the_oldest_become_one_gap_with_exact_counts() {
    let each = Entry::new(said("0000"), at(0)).cost();
    let mut backlog = Backlog::new(&in_memory(each * 100));
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
        entries[0].starts_with(&format!("{lost} entries ({} bytes)", lost * 4)),
        "{}",
        entries[0]
    );
    assert_eq!(entries[1], "0000");
    let newest: Vec<_> = (lost + 1..1000).map(|n| format!("{n:04}")).collect();
    assert_eq!(entries[2..], newest);
}

/// Sends all that waits and gives it, as `content` of entries and ids of acknowledgements.
fn drain(backlog: &mut Backlog) -> Vec<String> {
    let mut all = Vec::new();
    while !backlog.is_empty() {
        let sent = backlog.take(at(0));
        for flight in sent {
            all.push(match flight {
                Flight::Ack { id, .. } => format!("ack {id}"),
                flight => content(flight).to_owned(),
            });
        }
        let answers = vec![Answer::Done; sent.len()];
        backlog.settle(&answers);
    }
    all
}

fn on_disk(folder: &tempfile::TempDir, spool_bytes: u64) -> Bounds {
    let spool_folder = folder.path().join("spool").to_str().unwrap().to_owned();
    Bounds { backlog_bytes: 10_000, spool_bytes, spool_folder, ..Bounds::default() }
}

#[test]
fn what_waits_on_disk_comes_in_order_and_the_file_has_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(&on_disk(&folder, 1 << 20));
    for round in 0..3 {
        let mut expected = Vec::new();
        for n in 0..1000 {
            let text = format!("{round} {n}");
            backlog.push(said(&text), at(n));
            expected.push(text);
            if n % 100 == 0 {
                backlog.acknowledge(format!("{n}-0"), StreamId::default());
                expected.push(format!("ack {n}-0"));
            }
        }
        assert_eq!(std::fs::read_dir(folder.path().join("spool")).unwrap().count(), 0);
        assert_eq!(drain(&mut backlog), expected);
    }
}

#[test]
fn what_is_taken_from_the_disk_while_more_comes_stays_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(&on_disk(&folder, 200_000));
    let (mut pushed, mut got) = (0, Vec::new());
    while pushed < 20_000 {
        for _ in 0..(pushed % 700) + 1 {
            backlog.push(said(&format!("{pushed}")), at(pushed));
            pushed += 1;
        }
        let sent = backlog.take(at(0));
        got.extend(sent.iter().map(|flight| content(flight).to_owned()));
        let answers = vec![Answer::Done; sent.len()];
        backlog.settle(&answers);
    }
    got.extend(drain(&mut backlog));
    assert_eq!(got, (0..pushed).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn over_the_bound_of_the_disk_the_oldest_go_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(&on_disk(&folder, 100_000));
    let mut end = said("the end");
    end.kind = OutputKind::TurnCompleted;
    for n in 0..10_000 {
        backlog.push(said(&format!("{n:05}")), at(n));
        if n == 1000 {
            backlog.push(end.clone(), at(n));
            backlog.acknowledge("7-0".into(), StreamId::default());
        }
    }
    let got = drain(&mut backlog);
    let kept = got.len() - 3;
    let lost = 10_000 - kept;
    assert_eq!(
        got[0].split(" were").next().unwrap(),
        format!("{lost} entries ({} bytes)", lost * 5)
    );
    assert_eq!(got[1..3], ["the end", "ack 7-0"]);
    assert_eq!(got[3..], (lost..10_000).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    assert!(kept > 500, "{kept}");
    backlog.beat(Pulse::default());
    let [Flight::Pulse(pulse)] = backlog.take(at(0)) else { panic!("only a pulse is left") };
    let pulse: Pulse = serde_json::from_str(pulse).unwrap();
    assert_eq!(pulse.dropped_entries, lost as u64);
    assert!(pulse.spooled_bytes > 500_000, "{pulse:?}");
}

#[test]
fn an_entry_that_is_larger_than_the_spool_is_counted_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut backlog = Backlog::new(&on_disk(&folder, 50_000));
    for n in 0..100 {
        backlog.push(said(&format!("{n:05}")), at(n));
    }
    backlog.push(said(&"x".repeat(60_000)), at(100));
    backlog.push(said("after"), at(101));
    let got = drain(&mut backlog);
    assert!(got[0].starts_with("101 entries (60500 bytes) were lost"), "{got:?}");
    assert_eq!(got[1..], ["after"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_once_and_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spool"), "a file").unwrap();
    let mut backlog = Backlog::new(&on_disk(&folder, 1 << 20));
    for n in 0..100 {
        backlog.push(said(&format!("{n:05}")), at(n));
    }
    let got = drain(&mut backlog);
    let is_error = |text: &String| text.starts_with("output that waits for redis cannot be kept");
    let errors = got.iter().filter(|text| is_error(text)).count();
    let lines: Vec<_> = got[1..].iter().filter(|text| !is_error(text)).cloned().collect();
    let lost = 100 - lines.len();
    assert!(got[0].starts_with(&format!("{lost} entries ({} bytes)", lost * 5)), "{got:?}");
    assert_eq!(lines, (lost..100).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    assert_eq!(errors, 1, "{got:?}");
}

#[test]
fn what_was_made_ready_follows_when_all_was_taken() {
    let mut backlog = Backlog::new(&Bounds::default());
    backlog.push(said("a"), at(100));
    assert_eq!(backlog.take(at(100)).len(), 1);
    assert!(backlog.prepare(at(100)).is_empty(), "nothing waits");
    backlog.push(said("b"), at(100));
    let ready: Vec<_> = backlog.prepare(at(101)).iter().map(content).map(str::to_owned).collect();
    assert_eq!(ready, ["b"]);
    backlog.push(said("c"), at(101));
    assert_eq!(backlog.settle(&[Answer::Done]), Ids::Ours);
    assert_eq!(backlog.take(at(102)).iter().map(content).collect::<Vec<_>>(), ["b"]);
    assert_eq!(backlog.settle(&[Answer::Done]), Ids::Ours);
    assert_eq!(backlog.take(at(103)).iter().map(content).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn what_was_made_ready_comes_behind_what_is_sent_again() {
    for answer in [Some(Answer::Refused), Some(Answer::IdTooLow), None] {
        let mut backlog = Backlog::new(&Bounds::default());
        backlog.push(said("a"), at(100));
        backlog.take(at(100));
        backlog.push(said("b"), at(100));
        backlog.prepare(at(100));
        match answer {
            Some(answer) => drop(backlog.settle(&[answer])),
            None => backlog.unanswered(),
        }
        let again = backlog.take(at(200));
        assert_eq!(again.iter().map(content).collect::<Vec<_>>(), ["a", "b"]);
        let ids = again.iter().map(|flight| match flight {
            Flight::Entry { id: Some(id), .. } => *id,
            other => panic!("{other:?}"),
        });
        let ids: Vec<_> = ids.collect();
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    }
}

#[test]
fn an_acknowledgement_is_not_made_ready_before_the_flight_is_taken() {
    let mut backlog = Backlog::new(&Bounds::default());
    backlog.push(said("a"), at(100));
    backlog.take(at(100));
    backlog.acknowledge("7-0".into(), StreamId::default());
    backlog.push(said("b"), at(100));
    assert!(backlog.prepare(at(100)).is_empty());
}
