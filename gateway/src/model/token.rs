//! A worker's own token, where its agent believes the service's key to be.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Where the vendors' clients put a key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const GOOG_API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// The same, in a query.
const QUERY_KEY: &str = "key";

/// Takes all tokens out of a request's headers and query, and tells whether one of them is the
/// worker's. `sha256` is its digest in hexadecimal; without one, none is.
pub fn take(headers: &mut HeaderMap, query: Option<&str>, sha256: Option<&str>) -> Taken {
    let mut shown: Vec<Vec<u8>> = Vec::new();
    for name in [API_KEY, GOOG_API_KEY] {
        shown.extend(headers.get_all(&name).iter().map(|value| value.as_bytes().to_vec()));
        headers.remove(&name);
    }
    let bearers = headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
    shown.extend(bearers.filter_map(bearer));
    headers.remove(AUTHORIZATION);
    let mut rest = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((QUERY_KEY, key)) => shown.push(key.as_bytes().to_vec()),
            _ => rest.push(pair),
        }
    }
    let good = sha256.is_some_and(|digest| shown.iter().any(|token| is(token, digest)));
    Taken { good, query: (!rest.is_empty()).then(|| rest.join("&")) }
}

/// What is left of a request's query, and whether its token was good.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whether one of the tokens is the worker's.
    pub good: bool,
    /// The query without keys.
    pub query: Option<String>,
}

/// RFC 9110, 11.1: the scheme is read without regard to case.
fn bearer(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii().to_vec())
}

fn is(token: &[u8], digest: &str) -> bool {
    let own: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    own.as_bytes().ct_eq(digest.to_ascii_lowercase().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`.
    const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn taken(header: Option<(&'static str, &str)>, query: Option<&str>) -> (Taken, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "*/*".parse().unwrap());
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        (take(&mut headers, query, Some(DIGEST)), headers)
    }

    #[test]
    fn a_token_is_found_wherever_clients_put_it_and_does_not_stay() {
        for (name, value) in [
            ("x-api-key", "secret"),
            ("x-goog-api-key", "secret"),
            ("authorization", "Bearer secret"),
            ("authorization", "bearer  secret"),
        ] {
            let (taken, headers) = taken(Some((name, value)), Some("a=b&c"));
            assert!(taken.good, "{name}: {value}");
            assert_eq!(taken.query.as_deref(), Some("a=b&c"));
            assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        }
        let (taken, _) = taken(None, Some("alt=sse&key=secret&key=other"));
        assert_eq!(taken, Taken { good: true, query: Some("alt=sse".to_owned()) });
    }

    #[test]
    fn another_token_is_none_and_does_not_stay_either() {
        for header in [
            Some(("x-api-key", "")),
            Some(("x-api-key", "Secret")),
            Some(("authorization", "secret")),
            Some(("authorization", "Basic secret")),
            Some(("cookie", "secret")),
            None,
        ] {
            let (taken, headers) = taken(header, Some("key=wrong"));
            assert_eq!(taken, Taken { good: false, query: None }, "{header:?}");
            assert!(!headers.contains_key("authorization") && !headers.contains_key("x-api-key"));
        }
    }

    #[test]
    fn a_worker_without_a_token_has_none_that_is_good() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "secret".parse().unwrap());
        assert!(!take(&mut headers, None, None).good);
    }
}
