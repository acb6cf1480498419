//! How single values are written: booleans, lists, durations, sizes.

use serde_json::Value;
use std::time::Duration;

/// `true` or `false`, in any case.
#[must_use]
pub fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(yes) => Some(*yes),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A JSON array of strings, or words between commas. No words give an empty list.
#[must_use]
pub fn list(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<String>>(text).ok()
        }
        Value::String(text) => Some(
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        ),
        _ => None,
    }
}

/// A JSON object, or the text of one.
#[must_use]
pub fn object(value: &Value) -> Option<serde_json::Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// `90s`, `15m`, `2h`, `7d`, `500ms`, or a number of seconds; more than nothing, at most ten years.
#[must_use]
pub fn duration(value: &Value) -> Option<Duration> {
    const TEN_YEARS: f64 = 10.0 * 366.0 * 86_400.0;
    let seconds =
        quantity(value, &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)])?;
    (seconds > 0.0 && seconds <= TEN_YEARS).then(|| Duration::from_secs_f64(seconds))
}

/// `512m`, `2g`, `64k`, `1t` (powers of 1024, a final `b` may follow) or bytes; below 2^50.
#[must_use]
pub fn size(value: &Value) -> Option<u64> {
    const KIB: f64 = 1024.0;
    const LARGEST: f64 = KIB * KIB * KIB * KIB * KIB;
    let units = [
        ("kb", KIB),
        ("mb", KIB * KIB),
        ("gb", KIB * KIB * KIB),
        ("tb", KIB * KIB * KIB * KIB),
        ("k", KIB),
        ("m", KIB * KIB),
        ("g", KIB * KIB * KIB),
        ("t", KIB * KIB * KIB * KIB),
        ("b", 1.0),
    ];
    let bytes = quantity(value, &units)?;
    (1.0..LARGEST).contains(&bytes).then_some(bytes as u64)
}

/// A finite number, plain or as text.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    quantity(value, &[])
}

fn quantity(value: &Value, units: &[(&str, f64)]) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            let (digits, factor) = units
                .iter()
                .find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)))
                .unwrap_or((&text, 1.0));
            let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            digits.parse::<f64>().ok().filter(|_| plain)? * factor
        }
        _ => return None,
    };
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn booleans() {
        assert_eq!(boolean(&json!("TRUE")), Some(true));
        assert_eq!(boolean(&json!(false)), Some(false));
        assert_eq!(boolean(&json!("yes")), None);
        assert_eq!(boolean(&json!(1)), None);
    }

    #[test]
    fn lists_are_words_or_arrays() {
        let words = Some(vec!["GIT".to_owned(), "CURL".to_owned()]);
        assert_eq!(list(&json!("GIT, CURL,")), words);
        assert_eq!(list(&json!(r#"["GIT","CURL"]"#)), words);
        assert_eq!(list(&json!(["GIT", "CURL"])), words);
        assert_eq!(list(&json!("")), Some(vec![]));
        assert_eq!(list(&json!(["GIT", 1])), None);
        assert_eq!(list(&json!("[GIT")), None);
    }

    #[test]
    fn durations() {
        assert_eq!(duration(&json!("90s")), Some(Duration::from_secs(90)));
        assert_eq!(duration(&json!("15m")), Some(Duration::from_secs(900)));
        assert_eq!(duration(&json!("7d")), Some(Duration::from_secs(604_800)));
        assert_eq!(duration(&json!("250ms")), Some(Duration::from_millis(250)));
        assert_eq!(duration(&json!(30)), Some(Duration::from_secs(30)));
        assert_eq!(duration(&json!("1.5h")), Some(Duration::from_secs(5400)));
        for bad in [
            json!("0"),
            json!("-1s"),
            json!("soon"),
            json!("1e9d"),
            json!("9999999d"),
            json!("inf"),
        ] {
            assert_eq!(duration(&bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size(&json!("512m")), Some(512 << 20));
        assert_eq!(size(&json!("2G")), Some(2 << 30));
        assert_eq!(size(&json!("2gb")), Some(2 << 30));
        assert_eq!(size(&json!(4096)), Some(4096));
        for bad in
            [json!("0"), json!("9999999t"), json!("-2g"), json!("lots"), json!([]), json!("nan")]
        {
            assert_eq!(size(&bad), None, "{bad}");
        }
    }
}
