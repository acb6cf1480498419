//! Which of what builds leave may go. Nothing is removed here.

use bollard::models::ImageSummary;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Something to remove, and what that frees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) id: String,
    pub(super) size: u64,
}

/// A record of BuildKit's cache, as the daemon lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Record {
    #[serde(rename = "ID")]
    id: String,
    /// Until API 1.41.
    parent: String,
    /// Since API 1.42.
    parents: Option<Vec<String>>,
    description: String,
    in_use: bool,
    /// An image keeps it as well, so that nothing would be freed.
    shared: bool,
    size: i64,
    created_at: String,
    last_used_at: Option<String>,
}

impl Record {
    fn parents(&self) -> impl Iterator<Item = &str> {
        let all = self.parents.iter().flatten().chain([&self.parent]);
        all.map(String::as_str).filter(|id| !id.is_empty())
    }

    fn unused_since(&self) -> Option<Timestamp> {
        self.last_used_at.as_deref().unwrap_or(&self.created_at).parse().ok()
    }
}

/// The images without a name that carry the label, were made before that time, and are below nothing
/// that stays; those that are below others last.
pub(super) fn unnamed_to_remove(
    images: Vec<ImageSummary>,
    label: &str,
    before: Timestamp,
) -> Vec<Leftover> {
    let sizes: HashMap<String, i64> =
        images.iter().map(|image| (image.id.clone(), image.size)).collect();
    let parents_of = |image: &ImageSummary| -> Vec<String> {
        Some(image.parent_id.clone()).into_iter().filter(|id| !id.is_empty()).collect()
    };
    let may_go = |image: &ImageSummary| {
        let named = image.repo_tags.iter().any(|tag| !tag.starts_with("<none>"));
        let made = Timestamp::from_second(image.created);
        !named && image.labels.contains_key(label) && made.is_ok_and(|made| made < before)
    };
    let nodes = images.iter().map(|image| Node {
        id: image.id.clone(),
        parents: parents_of(image),
        may_go: may_go(image),
        // What is its own. Without a parent, what others have of it too is not known: it counts as
        // nothing, since that is all which is certain.
        size: sizes.get(&image.parent_id).map_or(0, |below| image.size.saturating_sub(*below)),
    });
    leaves_first(nodes.collect())
}

/// The records that are this project's and were not used since that time, and that nothing which
/// stays is made from; those that others are made from last.
///
/// A record is this project's when its description has one of the words in it (a step's command is part of
/// it), or when it was made from one that is.
pub(super) fn records_to_remove(
    records: Vec<Record>,
    words: &[String],
    before: Timestamp,
) -> Vec<Leftover> {
    let ours = ours(&records, words);
    let nodes = records.iter().map(|record| Node {
        id: record.id.clone(),
        parents: record.parents().map(str::to_owned).collect(),
        may_go: ours.contains(record.id.as_str())
            && !record.in_use
            && !record.shared
            && record.unused_since().is_some_and(|since| since < before),
        size: record.size,
    });
    leaves_first(nodes.collect())
}

fn ours<'a>(records: &'a [Record], words: &[String]) -> HashSet<&'a str> {
    let is_marked = |record: &&Record| words.iter().any(|word| record.description.contains(word));
    let marked = records.iter().filter(is_marked);
    let mut ours: HashSet<&str> = marked.map(|record| record.id.as_str()).collect();
    // Once for each generation.
    loop {
        let before = ours.len();
        for record in records {
            if record.parents().any(|parent| ours.contains(parent)) {
                ours.insert(&record.id);
            }
        }
        if ours.len() == before {
            return ours;
        }
    }
}

struct Node {
    id: String,
    parents: Vec<String>,
    may_go: bool,
    size: i64,
}

/// Takes leaves away as long as there are some that may go: an engine keeps what has children.
fn leaves_first(mut nodes: Vec<Node>) -> Vec<Leftover> {
    let mut children: HashMap<String, usize> = HashMap::new();
    for parent in nodes.iter().flat_map(|node| &node.parents) {
        *children.entry(parent.clone()).or_default() += 1;
    }
    let mut removed = Vec::new();
    loop {
        let is_leaf = |node: &mut Node| {
            node.may_go && children.get(&node.id).copied().unwrap_or_default() == 0
        };
        let leaves: Vec<Node> = nodes.extract_if(.., is_leaf).collect();
        if leaves.is_empty() {
            return removed;
        }
        for parent in leaves.iter().flat_map(|node| &node.parents) {
            children.entry(parent.clone()).and_modify(|count| *count -= 1);
        }
        removed.extend(
            leaves.into_iter().map(|node| Leftover {
                id: node.id,
                size: node.size.try_into().unwrap_or_default(),
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "io.worker-manager.build";
    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-03-01T00:00:00Z";

    fn limit() -> Timestamp {
        "2026-02-01T00:00:00Z".parse().expect("a time")
    }

    fn words() -> Vec<String> {
        vec!["/var/cache/worker".to_owned(), "worker-manager".to_owned()]
    }

    fn image(id: &str, parent: &str, tag: &str, size: i64) -> ImageSummary {
        ImageSummary {
            id: id.into(),
            parent_id: parent.into(),
            repo_tags: vec![tag.into()],
            size,
            created: OLD.parse::<Timestamp>().expect("a time").as_second(),
            labels: HashMap::from([(LABEL.to_owned(), "1".to_owned())]),
            ..Default::default()
        }
    }

    fn record(id: &str, parent: &str, description: &str) -> Record {
        Record {
            id: id.into(),
            parent: parent.into(),
            description: description.into(),
            size: 10,
            created_at: OLD.into(),
            ..Default::default()
        }
    }

    fn ids(removed: &[Leftover]) -> Vec<&str> {
        removed.iter().map(|left| left.id.as_str()).collect()
    }

    #[test]
    fn an_unnamed_image_goes_with_those_below_it_that_nothing_else_needs() {
        let images = vec![
            image("base", "", "base:1", 100),
            image("kept", "base", "<none>:<none>", 110),
            image("worker", "kept", "worker:1", 150),
            image("below", "kept", "<none>:<none>", 130),
            image("agent", "below", "<none>:<none>", 170),
        ];
        let removed = unnamed_to_remove(images, LABEL, limit());
        assert_eq!(ids(&removed), ["agent", "below"]);
        assert_eq!(removed.iter().map(|left| left.size).sum::<u64>(), 60);
    }

    #[test]
    fn what_is_new_named_or_of_others_stays() {
        let mut new = image("new", "base", "<none>:<none>", 110);
        new.created = NEW.parse::<Timestamp>().expect("a time").as_second();
        let mut other = image("other", "base", "<none>:<none>", 110);
        other.labels.clear();
        let base = image("base", "", "base:1", 100);
        assert_eq!(unnamed_to_remove(vec![base, new, other], LABEL, limit()), []);
    }

    #[test]
    fn a_record_is_ours_by_its_words_or_by_what_it_was_made_from() {
        let records = vec![
            record("root", "", "from local"),
            record("ours", "root", "mount / from exec /bin/sh -c : worker-manager; apt"),
            record("copied", "ours", "fileop target"),
            record("cache", "", "cached mount /var/cache/apt with id \"/worker-manager-apt\""),
            record("other", "root", "mount / from exec make"),
        ];
        let removed = records_to_remove(records, &words(), limit());
        assert_eq!(ids(&removed), ["copied", "cache", "ours"]);
        assert_eq!(removed.iter().map(|left| left.size).sum::<u64>(), 30);
    }

    #[test]
    fn a_record_in_use_keeps_what_it_was_made_from() {
        for change in [
            (|record| record.in_use = true) as fn(&mut Record),
            |record| record.shared = true,
            |record| record.last_used_at = Some(NEW.into()),
            |record| record.created_at = "?".into(),
        ] {
            let ours = record("ours", "", "worker-manager");
            let mut child = record("child", "ours", "fileop target");
            change(&mut child);
            assert_eq!(records_to_remove(vec![ours, child], &words(), limit()), []);
        }
    }

    #[test]
    fn both_shapes_of_a_record_are_read() {
        let text = r#"[{"ID": "a", "Parent": "p", "Description": "x", "InUse": false, "Shared": true,
            "Size": 3, "CreatedAt": "2026-01-01T00:00:00Z", "LastUsedAt": null, "UsageCount": 1},
            {"ID": "b", "Parents": ["p", "q"], "Type": "regular"}]"#;
        let records: Vec<Record> = serde_json::from_str(text).expect("records");
        assert_eq!(records[0].parents().collect::<Vec<_>>(), ["p"]);
        assert_eq!(records[1].parents().collect::<Vec<_>>(), ["p", "q"]);
        assert!(records[0].shared && records[0].size == 3);
        assert_eq!(records[0].unused_since(), OLD.parse().ok());
    }
}
