use super::*;
use proptest::prelude::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn pairs(fields: &[(&str, &str)]) -> Vec<Pair> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn signer() -> Signer {
    Signer { caller: CallerName::parse("team-a").unwrap(), key: Key::new(KEY).unwrap() }
}

fn made(pairs: &[Pair], namespace: &str) -> bool {
    let claim = Claim::read(pairs).unwrap().unwrap();
    Key::new(KEY).unwrap().made(&claim.signature, namespace, pairs)
}

fn signed(fields: &[(&str, &str)]) -> Vec<Pair> {
    let mut pairs = pairs(fields);
    signer().sign(&mut pairs, "worker", Timestamp::UNIX_EPOCH, "n1");
    pairs
}

/// The worked example of docs/wire.md, whose signature OpenSSL made.
#[test]
fn the_worked_example_is_right() {
    let entry = pairs(&[
        ("command", "ping"),
        ("caller", "team-a"),
        ("signed_at", "2026-01-31T12:00:00Z"),
        ("nonce", "7f3a"),
        ("signature", "03129585f54db55bf1b0207388b1075f22fc8a3c1f2c7695dad4b69cfbe8f92e"),
    ]);
    assert!(made(&entry, "worker"));
}

#[test]
fn nothing_of_an_entry_can_be_changed() {
    let entry = signed(&[("command", "delete"), ("worker_id", "1")]);
    assert!(made(&entry, "worker"));
    assert!(!made(&entry, "other"), "of another installation");
    for at in 0..entry.len() {
        if entry[at].0 == SIGNATURE {
            continue;
        }
        let mut changed = entry.clone();
        changed[at].1.push(b'0');
        assert!(Claim::read(&changed).is_err() || !made(&changed, "worker"), "{}", changed[at].0);
        let mut renamed = entry.clone();
        renamed[at].0 = "other".to_owned();
        assert!(Claim::read(&renamed).is_err() || !made(&renamed, "worker"));
    }
    let mut more = entry.clone();
    more.push(("force".to_owned(), b"true".to_vec()));
    assert!(!made(&more, "worker"));
    let other = Key::new(&KEY.replace('0', "1")).unwrap();
    let claim = Claim::read(&entry).unwrap().unwrap();
    assert!(!other.made(&claim.signature, "worker", &entry));
}

#[test]
fn the_order_of_fields_and_the_case_of_digits_mean_nothing() {
    let mut entry = signed(&[("b", "2"), ("a", "1")]);
    entry.reverse();
    let written = Claim::read(&entry).unwrap().unwrap();
    for (_, value) in entry.iter_mut().filter(|(name, _)| name == SIGNATURE) {
        value.make_ascii_uppercase();
    }
    assert!(made(&entry, "worker"));
    assert_eq!(Claim::read(&entry).unwrap().unwrap().signature_text(), written.signature_text());
}

#[test]
fn what_is_wrong_with_a_claim_is_named() {
    let good = "ab".repeat(32);
    let claim = |caller, at, signature| {
        let entry = pairs(&[(CALLER, caller), (SIGNED_AT, at), (SIGNATURE, signature)]);
        Claim::read(&entry).map(|claim| claim.unwrap())
    };
    assert_eq!(claim("a", "1000", &good).unwrap().signed_at, Timestamp::from_second(1).unwrap());
    assert_eq!(
        claim("a", "1970-01-01T01:00:01+01:00", &good).unwrap().signed_at,
        Timestamp::from_second(1).unwrap()
    );
    for (caller, at, signature, part) in [
        ("A", "1000", good.as_str(), "caller's name"),
        ("a", "today", &good, "`signed_at` must be a moment"),
        ("a", "1000", "abc", "64 hexadecimal digits"),
        ("a", "1000", &"+a".repeat(32), "64 hexadecimal digits"),
    ] {
        let message = claim(caller, at, signature).unwrap_err().message;
        assert!(message.contains(part), "{message}");
    }
    let message = Claim::read(&pairs(&[(CALLER, "a")])).unwrap_err().message;
    assert!(message.contains("`signed_at` is missing"), "{message}");
    assert_eq!(Claim::read(&pairs(&[("command", "ping")])), Ok(None));
}

#[test]
fn a_key_is_long_enough_and_is_not_shown() {
    assert_eq!(Key::new("short"), None);
    assert_eq!(Key::new(&format!("  {KEY}\n")), Key::new(KEY));
    assert!(!format!("{:?}", signer()).contains(KEY));
}

proptest! {
    #[test]
    fn no_two_entries_are_signed_alike(
        a in proptest::collection::btree_map("[a-c:\n0-9]{0,4}", "[a-c:\n0-9]{0,4}", 0..4),
        b in proptest::collection::btree_map("[a-c:\n0-9]{0,4}", "[a-c:\n0-9]{0,4}", 0..4),
    ) {
        let entry = |map: &std::collections::BTreeMap<String, String>| -> Vec<Pair> {
            map.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect()
        };
        let key = Key::new(KEY).unwrap();
        let signature = key.mac("worker", &entry(&a)).unwrap().finalize().into_bytes();
        prop_assert_eq!(key.made(&signature, "worker", &entry(&b)), a == b);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        entry in proptest::collection::vec(
            (proptest::sample::select(&FIELDS[..]), proptest::collection::vec(any::<u8>(), 0..80)),
            0..6,
        ),
    ) {
        let entry: Vec<Pair> =
            entry.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let _ = Claim::read(&entry);
    }
}
