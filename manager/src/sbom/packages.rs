//! Texts that tell of packages, read.

use serde_json::Value;
use std::collections::BTreeSet;

/// The most bytes of a licence's name: longer ones are its text.
const NAME: usize = 64;

/// A package, as far as its own text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// Of the machine, where the package names it.
    pub(super) architecture: Option<String>,
    pub(super) licences: BTreeSet<Licence>,
}

/// What a package says of its licence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Licence {
    /// In the words of SPDX.
    Expression(String),
    /// In others.
    Name(String),
}

/// Packages that dpkg has installed. Source: deb-control(5), and dpkg's own list.
pub(super) fn debian(status: &str) -> Vec<Package> {
    let installed = |stanza: &str| {
        let state = field(stanza, "Status").unwrap_or("install ok installed");
        // A list of a single package, as images without dpkg have, tells no state.
        state.split_whitespace().nth(2) == Some("installed")
    };
    let package = |stanza: &str| {
        Some(Package {
            name: field(stanza, "Package")?.to_owned(),
            version: field(stanza, "Version")?.to_owned(),
            architecture: field(stanza, "Architecture").map(str::to_owned),
            licences: BTreeSet::new(),
        })
    };
    status.split("\n\n").filter(|stanza| installed(stanza)).filter_map(package).collect()
}

/// What a Debian package's file `copyright` names, where it is written for machines to read
/// (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).
pub(super) fn debian_licences(copyright: &str) -> BTreeSet<Licence> {
    if !copyright.trim_start().starts_with("Format:") {
        return BTreeSet::new();
    }
    let names = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    names.map(str::trim).filter_map(name).collect()
}

/// A Python package's `METADATA` or `PKG-INFO` (the core metadata of Python's packages).
pub(super) fn python(text: &str) -> Option<Package> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let licence = match field(head, "License-Expression") {
        Some(expression) => Some(Licence::Expression(expression.to_owned())),
        None => field(head, "License").filter(|text| *text != "UNKNOWN").and_then(name),
    };
    let classified = || {
        let all = head.lines().filter_map(|line| line.strip_prefix("Classifier: License :: "));
        all.filter_map(|words| name(words.rsplit(" :: ").next()?)).collect()
    };
    Some(Package {
        name: field(head, "Name")?.to_owned(),
        version: field(head, "Version")?.to_owned(),
        architecture: None,
        licences: licence.map_or_else(classified, |licence| BTreeSet::from([licence])),
    })
}

/// An npm package's `package.json`. One without a version is a part of another.
pub(super) fn npm(text: &[u8]) -> Option<Package> {
    let package: Value = serde_json::from_slice(text).ok()?;
    let word = |name: &str| package.get(name)?.as_str().filter(|text| !text.is_empty());
    let licence = package.get("license");
    let licence = licence.and_then(|one| one.as_str().or_else(|| one.get("type")?.as_str()));
    let licence = licence.map(str::trim).filter(|text| !text.is_empty()).map(|text| {
        // npm wants an expression, or one of these.
        if text.len() > NAME || text.starts_with("SEE ") || text.starts_with("UNLICENSED") {
            Licence::Name(text.chars().take(NAME).collect())
        } else {
            Licence::Expression(text.to_owned())
        }
    });
    Some(Package {
        name: word("name")?.to_owned(),
        version: word("version")?.to_owned(),
        architecture: None,
        licences: licence.into_iter().collect(),
    })
}

/// Name and version of a distribution. Source: os-release(5).
pub(super) fn distribution(os_release: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix('=')).map(|text| text.trim_matches(['"', '\'']))
    };
    Some((value("ID")?.to_owned(), value("VERSION_ID").unwrap_or_default().to_owned()))
}

/// A field of a stanza, in one line; what goes on in others is left out.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let value = value.trim();
    (!value.is_empty()).then_some(value)
}

fn name(text: &str) -> Option<Licence> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= NAME && !text.contains(char::is_control);
    fits.then(|| Licence::Name(text.to_owned()))
}

#[cfg(test)]
#[path = "packages_tests.rs"]
mod tests;
