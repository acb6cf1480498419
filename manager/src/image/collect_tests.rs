use super::*;

const NOW: i64 = 100 * 86_400;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn days(number: u64) -> Duration {
    Duration::from_secs(number * 86_400)
}

/// Rules under which only what is unused for seven days goes.
fn rules() -> Rules {
    Rules {
        unused: days(7),
        most_images: None,
        most_bytes: None,
        least_free: None,
        youngest: Duration::from_secs(3600),
        cache_unused: days(7),
        pinned: Vec::new(),
    }
}

/// Image `n`, of a base that all share (100 bytes) and a layer of its own (10 bytes).
fn image(n: u64, unused: Duration) -> Stored {
    let hash = ImageHash::parse(&format!("{n:064x}")).unwrap();
    let layer = |id: String, size| Layer { id, size };
    let last_used = now() - signed(unused);
    Stored {
        tag: hash.tag("worker"),
        hash,
        holds: "CUSTOM".to_owned(),
        base: "debian".to_owned(),
        size: 110,
        layers: vec![layer("base".to_owned(), 100), layer(format!("own {n}"), 10)],
        built_at: Some(last_used),
        last_used,
        used: false,
    }
}

fn inventory(images: Vec<Stored>, rules: Rules) -> Inventory {
    Inventory { images, others: BTreeSet::new(), disk: None, cache: 0, rules }
}

/// The verdicts as text: number of the image, `-` or `+`, reason.
fn judged(inventory: &Inventory, shields: &BTreeMap<ImageHash, Shield>) -> Vec<String> {
    let line = |judged: Judged| {
        let number = judged.image.hash.as_str().trim_start_matches('0').to_owned();
        match judged.verdict {
            Verdict::Keep(reason) => format!("{number} + {reason}"),
            Verdict::Remove(reason) => format!("{number} - {reason}, frees {}", judged.frees),
        }
    };
    plan(inventory, shields, now()).into_iter().map(line).collect()
}

#[test]
fn what_was_unused_for_too_long_goes_and_the_rest_says_why_it_stays() {
    let images = vec![image(1, days(2)), image(2, days(9)), image(3, Duration::from_secs(60))];
    let lines = judged(&inventory(images, rules()), &BTreeMap::new());
    let expected = [
        "2 - unused for 9d, over 7d, frees 10",
        "1 + last used 2d ago, within 7d",
        "3 + it is new or was used 60s ago, within 60m",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn nothing_that_is_used_wanted_prebuilt_pinned_or_young_goes_whatever_the_rules_say() {
    let mut images: Vec<_> = (1..=5).map(|n| image(n, days(30))).collect();
    images[0].used = true;
    images[4].built_at = Some(now());
    let shields = BTreeMap::from([
        (images[1].hash.clone(), Shield::Wanted),
        (images[2].hash.clone(), Shield::Prebuilt),
    ]);
    let strict = Rules {
        most_images: Some(0),
        most_bytes: Some(1),
        least_free: Some(99),
        pinned: vec![images[3].hash.as_str()[..64].to_owned()],
        ..rules()
    };
    let full = Inventory { disk: Some(Disk { free: 0, total: 100 }), ..inventory(images, strict) };
    let lines = judged(&full, &shields);
    assert!(lines.iter().all(|line| line.contains(" + ")), "{lines:?}");
    assert_eq!(lines.len(), 5);
}

#[test]
fn the_least_recently_used_go_until_few_enough_are_left() {
    let images = (1..=5).map(|n| image(n, days(6) - Duration::from_secs(n * 3600))).collect();
    let lines =
        judged(&inventory(images, Rules { most_images: Some(3), ..rules() }), &BTreeMap::new());
    assert_eq!(lines[0], "1 - 5 images, over 3, frees 10");
    assert_eq!(lines[1], "2 - 4 images, over 3, frees 10");
    assert!(lines[2..].iter().all(|line| line.contains(" + last used")), "{lines:?}");
}

#[test]
fn bytes_count_once_however_many_share_them() {
    let images = (1..=5).map(|n| image(n, days(6) - Duration::from_secs(n * 3600))).collect();
    let rules = Rules { most_bytes: Some(130), ..rules() };
    let lines = judged(&inventory(images, rules), &BTreeMap::new());
    // 150 bytes in all; two removals leave 130.
    assert_eq!(lines.iter().filter(|line| line.contains(" - ")).count(), 2, "{lines:?}");
    assert_eq!(lines[0], "1 - 150 B of images, over 130 B, frees 10");
}

#[test]
fn the_last_one_frees_what_all_had_in_common() {
    let images = vec![image(1, days(8)), image(2, days(9))];
    let lines = judged(&inventory(images, rules()), &BTreeMap::new());
    assert_eq!(
        lines,
        ["2 - unused for 9d, over 7d, frees 10", "1 - unused for 8d, over 7d, frees 110"]
    );
}

#[test]
fn what_images_of_others_have_as_well_is_not_freed() {
    let others = BTreeSet::from(["base".to_owned(), "own 2".to_owned()]);
    let images = vec![image(1, days(8)), image(2, days(9))];
    let lines = judged(&Inventory { others, ..inventory(images, rules()) }, &BTreeMap::new());
    assert_eq!(
        lines,
        ["2 - unused for 9d, over 7d, frees 0", "1 - unused for 8d, over 7d, frees 10"]
    );
}

#[test]
fn a_full_disk_takes_as_many_as_it_needs_and_no_more() {
    let images = (1..=4).map(|n| image(n, days(6) - Duration::from_secs(n * 3600))).collect();
    let rules = Rules { least_free: Some(20), ..rules() };
    let tight = Inventory { disk: Some(Disk { free: 5, total: 100 }), ..inventory(images, rules) };
    let lines = judged(&tight, &BTreeMap::new());
    assert_eq!(lines[0], "1 - 5 % of the disk free, below 20 %, frees 10");
    assert_eq!(lines[1], "2 - 15 % of the disk free, below 20 %, frees 10");
    assert!(lines[2].contains(" + "), "{lines:?}");
}

#[test]
fn a_disk_that_cannot_be_seen_is_no_reason() {
    let images = vec![image(1, days(1))];
    let lines =
        judged(&inventory(images, Rules { least_free: Some(99), ..rules() }), &BTreeMap::new());
    assert_eq!(lines, ["1 + last used 24h ago, within 7d"]);
}

#[test]
fn bytes_are_told_in_their_unit() {
    for (number, text) in [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (310_000_000, "310 MB"),
        (2_000_000_000, "2.0 GB"),
    ] {
        assert_eq!(bytes(number), text);
    }
}
