use super::*;
use crate::uplink::item::{Entry, write_record};
use jiff::Timestamp;
use worker_protocol::{Output, OutputKind, Source};

fn said(text: &str) -> Item {
    let output = Output::new(OutputKind::Stdout, Source::Agent, text);
    Item::Entry(Entry::new(output, Timestamp::UNIX_EPOCH))
}

fn append(spool: &mut Spool, item: &Item) -> io::Result<Append> {
    spool.append(&write_record(item), item.facts())
}

#[test]
fn records_come_round_the_end_of_the_file() {
    let mut spool = Spool::over(tempfile::tempfile().unwrap(), 1000);
    let (mut next, mut oldest) = (0, 0);
    while next < 500 {
        let item = said(&"x".repeat(next % 300));
        match append(&mut spool, &item).unwrap() {
            Append::Done => next += 1,
            _ => {
                assert_eq!(spool.take().unwrap(), Some(said(&"x".repeat(oldest % 300))));
                oldest += 1;
            }
        }
        assert_eq!(spool.content().0, (next - oldest) as u64);
    }
    assert!(spool.file.metadata().unwrap().len() <= 1000);
    while let Some(item) = spool.take().unwrap() {
        assert_eq!(item, said(&"x".repeat(oldest % 300)));
        oldest += 1;
    }
    assert_eq!((oldest, spool.bytes(), spool.content()), (500, 0, (0, 0)));
}

#[test]
fn a_disk_without_any_room_is_an_error() {
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let mut spool = Spool::over(full, 1000);
    assert_eq!(append(&mut spool, &said("a")).unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_file_that_was_cut_is_noticed() {
    let mut spool = Spool::over(tempfile::tempfile().unwrap(), 1000);
    append(&mut spool, &said("a")).unwrap();
    spool.cut(10);
    assert!(spool.take().is_err());
    assert_eq!(spool.content(), (1, 1));
}
