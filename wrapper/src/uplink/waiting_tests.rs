use super::*;

fn waiting(folder: &tempfile::TempDir) -> Waiting {
    let spool_folder = folder.path().join("spool").to_str().unwrap().to_owned();
    let bounds =
        Bounds { backlog_bytes: 10_000, spool_bytes: 1 << 20, spool_folder, ..Bounds::default() };
    Waiting::new(&bounds)
}

fn fill(waiting: &mut Waiting, entries: i64) {
    for n in 0..entries {
        let output = Output::new(OutputKind::Stdout, Source::Agent, format!("{n:05}"));
        waiting.say(output, Timestamp::from_second(n).unwrap());
    }
}

fn field(item: Item, name: &str) -> String {
    let Item::Entry(entry) = item else { panic!("{item:?}") };
    entry.numbered(1).into_iter().find(|(known, _)| known == name).unwrap().1.into_owned()
}

fn drain(waiting: &mut Waiting) -> Vec<String> {
    std::iter::from_fn(|| waiting.pop()).map(|item| field(item, "content")).collect()
}

#[test]
fn what_cannot_be_read_back_is_counted_and_the_disk_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut waiting = waiting(&folder);
    fill(&mut waiting, 1000);
    let Disk::Used(spool) = &waiting.disk else { panic!("nothing is on disk") };
    spool.cut(spool.bytes() / 2);
    let kept = drain(&mut waiting);
    assert!(kept.iter().map(|text| text.parse::<usize>().unwrap()).eq(0..kept.len()));
    let lost = 1000 - kept.len();
    let gap = field(Item::Entry(waiting.pop_gap().unwrap()), "data");
    let gap: serde_json::Value = serde_json::from_str(&gap).unwrap();
    let bytes = lost * 5;
    assert_eq!(gap, json!({"entries": lost, "bytes": bytes, "reason": "spool_unreadable"}));
    assert!(waiting.is_empty());

    fill(&mut waiting, 1000);
    let again = drain(&mut waiting);
    let errors = again.iter().filter(|text| text.contains("cannot be kept on disk")).count();
    assert_eq!((again.len(), errors), (1001, 1));
}

#[test]
fn a_disk_that_could_not_be_used_is_tried_again_when_memory_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool");
    std::fs::write(&file, "in the way").unwrap();
    let mut waiting = waiting(&folder);
    fill(&mut waiting, 1000);
    assert!(waiting.pop_gap().is_some());
    assert!(drain(&mut waiting).len() < 1000);
    std::fs::remove_file(&file).unwrap();
    fill(&mut waiting, 1000);
    assert!(waiting.pop_gap().is_none());
    assert_eq!(drain(&mut waiting).len(), 1000);
}
