//! Signed commands: HMAC-SHA256 (RFC 2104) over all fields of an entry but the signature itself.
//!
//! What is signed is a sequence of texts, each written as its length in bytes, a colon, the text
//! and a line feed: first [`PURPOSE`] and the namespace, then name and value of each field, by name.
//! So no text can pass for another, or for two.

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use std::fmt::Write;

use crate::caller::CallerName;
use crate::problem::Problem;
use crate::secret::Secret;

/// What a signature is for: no other text that is signed by the same key begins so.
pub const PURPOSE: &str = "worker-manager/command/1";
/// Who signed.
pub const CALLER: &str = "caller";
/// When.
pub const SIGNED_AT: &str = "signed_at";
/// Whatever makes two commands of one moment differ.
pub const NONCE: &str = "nonce";
/// The signature, in hexadecimal digits.
pub const SIGNATURE: &str = "signature";
/// The fields that say who signed. They stand beside the command, also where it is a document.
pub const FIELDS: [&str; 4] = [CALLER, SIGNED_AT, NONCE, SIGNATURE];
/// The most bytes of each of them.
const FIELD_LIMIT: usize = 200;

/// A field of an entry, as it stands there.
pub type Pair = (String, Vec<u8>);

/// What a caller shares with the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Secret);

impl Key {
    /// As many bytes as the signature has.
    pub const SHORTEST: usize = 32;

    /// The key that a text is, without white space around it; none, when it is too short.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (text.len() >= Self::SHORTEST).then(|| Self(Secret::new(text)))
    }

    fn mac(&self, namespace: &str, pairs: &[Pair]) -> Option<Hmac<Sha256>> {
        // A key may have any length, so this does not fail.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.reveal().as_bytes()).ok()?;
        let mut text = |bytes: &[u8]| {
            mac.update(format!("{}:", bytes.len()).as_bytes());
            mac.update(bytes);
            mac.update(b"\n");
        };
        text(PURPOSE.as_bytes());
        text(namespace.as_bytes());
        let mut signed: Vec<_> = pairs.iter().filter(|(name, _)| name != SIGNATURE).collect();
        signed.sort();
        for (name, value) in signed {
            text(name.as_bytes());
            text(value);
        }
        Some(mac)
    }

    /// Whether this key made the signature. Takes the same time wherever they differ.
    #[must_use]
    pub fn made(&self, signature: &[u8], namespace: &str, pairs: &[Pair]) -> bool {
        self.mac(namespace, pairs).is_some_and(|mac| mac.verify_slice(signature).is_ok())
    }
}

/// Somebody who signs.
#[derive(Clone, Debug)]
pub struct Signer {
    /// By name.
    pub caller: CallerName,
    /// With this.
    pub key: Key,
}

impl Signer {
    /// Adds the fields of a signature to an entry. `nonce` is a text that was not used before.
    pub fn sign(&self, pairs: &mut Vec<Pair>, namespace: &str, now: Timestamp, nonce: &str) {
        let fields = [
            (CALLER, self.caller.to_string()),
            (SIGNED_AT, crate::rfc3339(now)),
            (NONCE, nonce.to_owned()),
        ];
        pairs.extend(fields.map(|(name, value)| (name.to_owned(), value.into_bytes())));
        if let Some(mac) = self.key.mac(namespace, pairs) {
            let signature = hex(&mac.finalize().into_bytes());
            pairs.push((SIGNATURE.to_owned(), signature.into_bytes()));
        }
    }
}

/// What an entry says of who signed it: not proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub caller: CallerName,
    /// When.
    pub signed_at: Timestamp,
    /// The signature's bytes.
    pub signature: Vec<u8>,
}

impl Claim {
    /// Reads it; none, where nothing is said.
    ///
    /// # Errors
    /// When a part is missing or malformed.
    pub fn read(pairs: &[Pair]) -> Result<Option<Self>, Problem> {
        if !pairs.iter().any(|(name, _)| FIELDS.contains(&name.as_str())) {
            return Ok(None);
        }
        text(pairs, NONCE)?;
        Ok(Some(Self {
            caller: CallerName::parse(needed(pairs, CALLER)?)?,
            signed_at: moment(needed(pairs, SIGNED_AT)?)?,
            signature: bytes(needed(pairs, SIGNATURE)?)?,
        }))
    }

    /// The signature as it is remembered, however its digits were written.
    #[must_use]
    pub fn signature_text(&self) -> String {
        hex(&self.signature)
    }
}

/// The entry without what says who signed it.
#[must_use]
pub fn unsigned(pairs: &[Pair]) -> Vec<Pair> {
    pairs.iter().filter(|(name, _)| !FIELDS.contains(&name.as_str())).cloned().collect()
}

fn needed<'a>(pairs: &'a [Pair], name: &str) -> Result<&'a str, Problem> {
    text(pairs, name)?.ok_or_else(|| {
        Problem::malformed(format!(
            "the field `{name}` is missing: a signed command has `{CALLER}`, `{SIGNED_AT}` and \
             `{SIGNATURE}`"
        ))
    })
}

fn text<'a>(pairs: &'a [Pair], name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = pairs.iter().filter(|(given, _)| given == name).map(|(_, value)| value);
    let wrong =
        || Problem::malformed(format!("`{name}` must be one text of at most {FIELD_LIMIT} bytes"));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.len() <= FIELD_LIMIT => {
            std::str::from_utf8(value).map(Some).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// RFC 3339, or milliseconds since 1970.
fn moment(text: &str) -> Result<Timestamp, Problem> {
    let millis = text.parse().ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    millis.or_else(|| text.parse().ok()).ok_or_else(|| {
        Problem::malformed(format!(
            "`{SIGNED_AT}` must be a moment such as 2026-01-31T12:00:00Z, or milliseconds since 1970"
        ))
    })
}

fn bytes(text: &str) -> Result<Vec<u8>, Problem> {
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.filter(|bytes| bytes.len() == 32 && text.len() == 64).ok_or_else(|| {
        Problem::malformed(format!("`{SIGNATURE}` must be 64 hexadecimal digits (HMAC-SHA256)"))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
