use super::*;
use crate::frame::Framer;
use crate::random::Random;
use serde_json::json;
use worker_protocol::{OutputKind, Source};

fn masks(pairs: &[(&str, &str)]) -> Masks {
    let mut secrets = Secrets::default();
    for (name, value) in pairs {
        secrets.consider(name, value);
    }
    Masks::new(secrets)
}

fn line(text: &str, cut: bool) -> Line {
    Line { text: text.to_owned(), full_bytes: text.len(), cut }
}

fn masked(masks: &Masks, text: &str) -> String {
    let mut line = line(text, false);
    masks.line(&mut line);
    line.text
}

#[test]
fn every_text_of_an_entry_is_masked() {
    let masks = masks(&[
        ("API_KEY", "sk-12345678"),
        ("PIN_TOKEN", "12345678901"),
        ("PATH", "/usr/bin:/bin"),
    ]);
    let mut output =
        Output::new(OutputKind::Stdout, Source::Agent, "key sk-12345678 /usr/bin:/bin")
            .with_data(json!({"a": ["xsk-12345678x"], "sk-12345678": 12_345_678_901_u64}));
    output.raw = Some("sk-12345678".to_owned());
    masks.output(&mut output);
    assert_eq!(output.content, "key ***API_KEY*** /usr/bin:/bin");
    assert_eq!(
        output.data,
        Some(json!({"a": ["x***API_KEY***x"], "***API_KEY***": "***PIN_TOKEN***"}))
    );
    assert_eq!(output.raw.as_deref(), Some("***API_KEY***"));
}

#[test]
fn a_secret_is_found_as_json_writes_it_and_by_its_lines() {
    let masks = masks(&[("DEPLOY_KEY", "-----BEGIN-----\nab\"cdefgh\nshort\n")]);
    for text in [r#"{"x":"-----BEGIN-----\nab\"cdefgh"}"#, "-----BEGIN-----", "ab\"cdefgh"] {
        let masked = masked(&masks, text);
        assert!(masked.contains("***DEPLOY_KEY***"), "{masked}");
        assert!(!masked.contains("cdefgh"), "{masked}");
    }
    // A line that is too short to be a secret by itself.
    assert_eq!(masked(&masks, "short"), "short");
}

#[test]
fn a_secret_is_found_in_base64_and_in_addresses() {
    let long = "0123456789".repeat(10);
    let masks = masks(&[("A_TOKEN", "top secret+value?"), ("B_TOKEN", &long)]);
    for (text, expected) in [
        // printf and echo through base64, with and without padding
        ("x dG9wIHNlY3JldCt2YWx1ZT8= y", "x ***A_TOKEN***= y"),
        ("dG9wIHNlY3JldCt2YWx1ZT8K", "***A_TOKEN***"),
        ("?q=top%20secret%2Bvalue%3F&", "?q=***A_TOKEN***&"),
        // the two lines in which `base64` writes the longer one
        (
            "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2",
            "***B_TOKEN***",
        ),
        ("Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1Njc4OQ==", "***B_TOKEN***=="),
    ] {
        assert_eq!(masked(&masks, text), expected);
    }
}

#[test]
fn what_looks_like_a_token_is_secret_whatever_its_name() {
    let masks = masks(&[
        ("WHATEVER", "ghp_0123456789abcdefghij"),
        ("DATABASE_URL", "postgres://app:s3cr3tpass@db/x"),
    ]);
    assert_eq!(masked(&masks, "ghp_0123456789abcdefghij"), "***WHATEVER***");
    assert_eq!(
        masked(&masks, "postgres://app:s3cr3tpass@db/x"),
        "postgres://app:***DATABASE_URL***@db/x"
    );
}

#[test]
fn secrets_that_overlap_go_together() {
    let masks = masks(&[("A_TOKEN", "abcdefgh"), ("B_TOKEN", "efghijkl"), ("C_TOKEN", "bcdefghi")]);
    assert_eq!(masked(&masks, "-abcdefghijkl-"), "-***A_TOKEN***-");
    assert_eq!(masked(&masks, "abcdefgh bcdefghi"), "***A_TOKEN*** ***C_TOKEN***");
}

#[test]
fn the_head_of_a_secret_at_the_end_of_a_cut_line_goes_too() {
    let masks = masks(&[("TOKEN", "tökensecret")]);
    for (text, masked) in [("a tökense", "a ***TOKEN***"), ("a tö", "a tö")] {
        let mut line = line(text, true);
        masks.line(&mut line);
        assert_eq!(line.text, masked);
    }
}

#[test]
fn short_values_are_left_alone() {
    let masks = masks(&[("USE_TOKEN", "true"), ("KEY", "1"), ("PASSWORD", " \n")]);
    assert_eq!(masked(&masks, "true 1  "), "true 1  ");
}

const SECRETS: [(&str, &str); 4] = [
    ("A_TOKEN", "aabbaabbaab"),
    ("B_TOKEN", "zürich€\"quote\""),
    ("DEPLOY_KEY", "first-line-of-key\nsecond-line-of-key\nx"),
    ("C_PASSWORD", "bbaabbcc"),
];

/// Pieces of text among which whole secrets stand.
fn stream(random: &mut Random, with_secrets: bool) -> Vec<u8> {
    let plain = ["a", "b", "aab", "ü", "\n", "\r", "€", "{\"x\":\"", "\u{1b}[0m", "first-line"];
    let mut bytes = Vec::new();
    for _ in 0..random.below(60) {
        if with_secrets && random.below(3) == 0 {
            let (_, secret) = SECRETS[random.below(SECRETS.len())];
            let quoted = Value::from(secret).to_string();
            let form = [secret, quoted.as_str()][random.below(2)];
            bytes.extend_from_slice(form.as_bytes());
        } else {
            bytes.extend_from_slice(plain[random.below(plain.len())].as_bytes());
        }
    }
    bytes
}

/// The lines of a stream that was read in random pieces.
fn lines(random: &mut Random, bytes: &[u8], limit: usize) -> Vec<Line> {
    let mut framer = Framer::new(limit);
    let mut lines = Vec::new();
    for piece in random.pieces(bytes) {
        lines.extend(framer.feed(piece));
    }
    lines.extend(framer.finish());
    lines
}

#[test]
fn however_a_stream_is_read_no_secret_comes_through() {
    let masks = masks(&SECRETS);
    let parts: Vec<_> = SECRETS.iter().flat_map(|(_, value)| value.lines()).collect();
    let mut random = Random::new(7);
    for round in 0..3000 {
        let bytes = stream(&mut random, true);
        let limit = 1 + random.below(80);
        for mut line in lines(&mut random, &bytes, limit) {
            let cut = line.cut;
            masks.line(&mut line);
            for part in parts.iter().filter(|part| part.len() >= 8) {
                assert!(!line.text.contains(part), "round {round}: {}", line.text);
                // Nor the greater part of one that a line's limit has cut.
                let head = &part[..part.char_indices().nth(6).unwrap().0];
                assert!(!(cut && line.text.ends_with(head)), "round {round}: {}", line.text);
            }
        }
    }
}

#[test]
fn without_secrets_nothing_changes() {
    let masks = masks(&[("A_TOKEN", "not-in-there"), ("B_KEY", "nor is this one")]);
    let mut random = Random::new(8);
    for _ in 0..1000 {
        let bytes = stream(&mut random, false);
        for line in lines(&mut random, &bytes, 1000) {
            let mut after = line.clone();
            masks.line(&mut after);
            assert_eq!(after, line);
        }
    }
}
