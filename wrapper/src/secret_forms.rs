//! What is secret, and in which forms it may appear.
//!
//! | secret is | hidden as |
//! | --- | --- |
//! | a variable whose name or value looks so | its value |
//! | the same in the file of MCP servers | its value |
//! | the password in an address | the password |
//! | the worker's password for Redis, and its token | its value |
//!
//! The forms are the value itself and each of its lines, both also as JSON writes them, and the
//! whole value percent-encoded and in base64. Base64 of a longer text that holds the value is
//! another text, and passes.

use serde_json::Value;
use worker_protocol::Boot;

/// A shorter value is no secret worth the name, and would be found in ordinary text.
const SHORTEST: usize = 8;
/// What the name of a secret variable contains.
const TELLING: [&str; 9] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "COOKIE",
    "BEARER",
];
/// What it ends with; in its middle these are parts of other words, as in `GIT_AUTHOR_NAME`.
const TELLING_ENDS: [&str; 5] = ["_AUTH", "_PASS", "_PAT", "_PWD", "AUTHORIZATION"];
/// How tokens of well-known services begin.
const TOKENS: [&str; 22] = [
    "sk-",
    "sk_",
    "rk_",
    "pk_",
    "fk-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "hf_",
    "npm_",
    "pypi-",
    "eyJ",
];
/// Tokens are longer than words.
const SHORTEST_TOKEN: usize = 20;
/// The width at which `base64` breaks its lines.
const BASE64_LINE: usize = 76;

/// Names and values of what is secret.
#[derive(Default)]
pub(crate) struct Secrets {
    forms: Vec<(String, String)>,
}

/// All that is secret in a boot document.
pub(crate) fn of_boot(boot: &Boot) -> Secrets {
    let mut secrets = Secrets::default();
    for (name, value) in &boot.agent.env {
        secrets.consider(name, value.reveal());
    }
    let mcp = boot.files.iter().filter(|file| Some(&file.path) == boot.agent.mcp_file.as_ref());
    for file in mcp {
        if let Ok(value) = serde_json::from_str(&file.text) {
            secrets.consider_json("", &value);
        }
    }
    secrets.hide("REDIS_PASSWORD", boot.redis.password.reveal());
    if let Some(token) = &boot.token {
        secrets.hide("TOKEN", token.reveal());
    }
    secrets
}

impl Secrets {
    /// Hides a value that looks secret by its name or by its shape.
    pub(crate) fn consider(&mut self, name: &str, value: &str) {
        if name_tells(name) || shape_tells(value.trim()) {
            self.hide(name, value);
        } else if let Some(password) = password_of_address(value) {
            self.hide(name, password);
        }
    }

    fn consider_json(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => {
                // A header says first what kind of secret follows.
                let token = text.strip_prefix("Bearer ").unwrap_or(text);
                self.consider(name, token);
            }
            Value::Array(items) => items.iter().for_each(|item| self.consider_json(name, item)),
            Value::Object(map) => {
                map.iter().for_each(|(name, value)| self.consider_json(name, value));
            }
            _ => {}
        }
    }

    fn hide(&mut self, name: &str, value: &str) {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mark = format!("***{name}***");
        let whole = value.trim();
        if whole.len() < SHORTEST {
            return;
        }
        let lines = whole.lines().map(str::trim).filter(|line| line.len() >= SHORTEST);
        let mut forms: Vec<_> = std::iter::once(whole)
            .chain(lines)
            .flat_map(|text| [text.to_owned(), as_json(text)])
            .collect();
        forms.push(percent_encoded(whole));
        forms.extend(in_base64(whole));
        for form in forms {
            let known = self.forms.iter().any(|(other, _)| *other == form);
            // A value that its own name tells cannot be hidden by that name. What is left of a
            // broken line of base64 may be too short to tell it from ordinary text.
            if !known && form.len() >= SHORTEST && !mark.contains(&form) {
                self.forms.push((form, mark.clone()));
            }
        }
    }

    /// The texts to hide, each with its mark.
    pub(crate) fn into_forms(self) -> Vec<(String, String)> {
        self.forms
    }
}

fn name_tells(name: &str) -> bool {
    let name = name.to_ascii_uppercase().replace('-', "_");
    TELLING.iter().any(|word| name.contains(word))
        || TELLING_ENDS.iter().any(|word| name.ends_with(word))
}

fn shape_tells(value: &str) -> bool {
    let token = value.len() >= SHORTEST_TOKEN
        && !value.contains(char::is_whitespace)
        && TOKENS.iter().any(|begin| value.starts_with(begin));
    token || (value.starts_with("-----BEGIN ") && value.contains("PRIVATE KEY"))
}

/// The password in `scheme://user:password@host`.
fn password_of_address(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

fn as_json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned()
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Of the value alone and with a line end, as `echo` writes it; in both alphabets; and the lines
/// of a long one.
fn in_base64(text: &str) -> Vec<String> {
    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const FOR_URLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut forms = Vec::new();
    for text in [text.to_owned(), format!("{text}\n")] {
        for alphabet in [STANDARD, FOR_URLS] {
            let whole = base64(text.as_bytes(), alphabet);
            let lines =
                whole.as_bytes().chunks(BASE64_LINE).skip(usize::from(whole.len() <= BASE64_LINE));
            let lines: Vec<_> =
                lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect();
            forms.push(whole);
            forms.extend(lines);
        }
    }
    forms
}

/// Without padding, which comes after it or not.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|n| u32::from(chunk.get(n).copied().unwrap_or(0)));
        let bits = a << 16 | b << 8 | c;
        for n in 0..=chunk.len() {
            let digit = (bits >> (18 - 6 * n)) & 63;
            text.push(char::from(alphabet[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for (text, encoded) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes(), alphabet), encoded);
        }
        assert_eq!(base64(b"\xfb\xff", alphabet), "+/8");
    }

    #[test]
    fn names_and_shapes_tell() {
        for name in ["API_KEY", "gh_token", "DB_PASSWORD", "NPM_AUTH", "DEPLOY_PAT", "x-api-key"] {
            assert!(name_tells(name), "{name}");
        }
        for name in ["PATH", "GIT_AUTHOR_NAME", "SSH_AUTH_SOCK", "PWD", "COMPASS", "LANG"] {
            assert!(!name_tells(name), "{name}");
        }
        for value in [
            "ghp_0123456789abcdefghij",
            "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        ] {
            assert!(shape_tells(value), "{value}");
        }
        for value in ["sk-short", "skeleton-of-a-long-sentence", "sk- with blanks in its middle"] {
            assert!(!shape_tells(value), "{value}");
        }
    }

    #[test]
    fn of_an_address_only_the_password_is_secret() {
        let address = "postgres://app:s3cr3t:x@db:5432/x?a=b@c";
        assert_eq!(password_of_address(address), Some("s3cr3t:x"));
        for plain in ["https://host/a:b@c", "https://user@host/", "a:b@c"] {
            assert_eq!(password_of_address(plain), None, "{plain}");
        }
    }
}
