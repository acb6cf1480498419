//! The list as a document: CycloneDX 1.6 in JSON (<https://cyclonedx.org/docs/1.6/json/>).
//!
//! No time stands in it, and its number is made from what it holds: the same image gives the same
//! bytes.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::content::{Content, WRAPPER};
use super::packages::{self, Licence, Package};
use super::purl;
use super::recipe::Recipe;

/// Before the names of properties that are this program's own.
const OWN: &str = "worker-manager:";

/// The document, as text.
#[derive(Clone, Debug, PartialEq)]
pub struct Document(Value);

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Alternate: in lines.
        write!(f, "{:#}", self.0)
    }
}

/// One thing that the image holds.
#[derive(Default)]
struct Part {
    /// CycloneDX' word.
    kind: &'static str,
    name: String,
    version: String,
    purl: String,
    licences: BTreeSet<Licence>,
    /// The algorithm, and the digest in hexadecimal.
    digest: Option<(&'static str, String)>,
    /// Where it was found.
    places: BTreeSet<String>,
}

/// Parts by what names them, which are in the document once and in this order.
#[derive(Default)]
struct Parts(BTreeMap<String, Part>);

impl Parts {
    /// Notes a part; what is known of it twice is put together.
    fn add(&mut self, part: Part) {
        let known = self.0.entry(part.purl.clone()).or_insert_with(|| Part {
            licences: BTreeSet::new(),
            places: BTreeSet::new(),
            digest: None,
            kind: part.kind,
            name: part.name.clone(),
            version: part.version.clone(),
            purl: part.purl.clone(),
        });
        known.licences.extend(part.licences);
        known.places.extend(part.places);
        known.digest = known.digest.take().or(part.digest);
    }

    fn package(&mut self, package: Package, purl: String, place: Option<&str>) {
        let Package { name, version, licences, .. } = package;
        let places = place.into_iter().map(|place| format!("/{place}")).collect();
        self.add(Part { kind: "library", name, version, purl, licences, digest: None, places });
    }
}

/// The document of an image with this tag and this id.
pub(super) fn write(tag: &str, id: &str, recipe: &Recipe, content: &Content) -> Document {
    let (vendor, release) = distribution(content);
    let mut parts = Parts::default();
    debian(&mut parts, content, &vendor, &release);
    found(&mut parts, content);
    of_recipe(&mut parts, recipe, content);
    let mut components = Vec::new();
    if !vendor.is_empty() {
        components.push(json!({
            "type": "operating-system", "bom-ref": "distribution", "name": vendor,
            "version": release,
        }));
    }
    components.extend(parts.0.into_values().map(Part::into_json));
    let mut about =
        vec![("image:id", id.to_owned()), ("architecture", content.architecture.clone())];
    about.extend(recipe.about.iter().cloned());
    let properties: Vec<_> = about
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| json!({"name": format!("{OWN}{name}"), "value": value}))
        .collect();
    let (name, version) = tag.rsplit_once(':').unwrap_or((tag, ""));
    let image = json!({
        "type": "container", "bom-ref": "image", "name": name, "version": version,
        "properties": properties,
    });
    let tool = json!({
        "type": "application", "name": "worker-manager", "version": env!("CARGO_PKG_VERSION"),
    });
    let metadata = json!({"tools": {"components": [tool]}, "component": image});
    let number = number(&metadata, &components);
    Document(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": number,
        "version": 1,
        "metadata": metadata,
        "components": components,
        // What is packed into a program, as the agents' own packages are, is in no list.
        "compositions": [{"aggregate": "incomplete", "assemblies": ["image"]}],
    }))
}

fn distribution(content: &Content) -> (String, String) {
    let text = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| str::from_utf8(content.files.get(*path)?).ok());
    text.and_then(packages::distribution).unwrap_or_default()
}

fn debian(parts: &mut Parts, content: &Content, vendor: &str, release: &str) {
    let vendor = if vendor.is_empty() { "debian" } else { vendor };
    let lists = content.files.iter().filter(|(path, _)| path.starts_with("var/lib/dpkg/"));
    for (_, bytes) in lists {
        for mut package in packages::debian(&String::from_utf8_lossy(bytes)) {
            let path = format!("usr/share/doc/{}/copyright", package.name);
            if let Some(text) = content.files.get(&path) {
                package.licences = packages::debian_licences(&String::from_utf8_lossy(text));
            }
            let architecture = package.architecture.as_deref();
            let purl = purl::debian(vendor, release, &package.name, &package.version, architecture);
            parts.package(package, purl, None);
        }
    }
}

/// Packages of Python and npm, each where it was found.
fn found(parts: &mut Parts, content: &Content) {
    for (path, bytes) in &content.files {
        let (package, purl): (_, fn(&str, &str) -> String) = if path.ends_with("/package.json") {
            (packages::npm(bytes), purl::npm)
        } else if path.ends_with("/METADATA") || path.ends_with("/PKG-INFO") {
            (packages::python(&String::from_utf8_lossy(bytes)), purl::python)
        } else {
            continue;
        };
        if let Some(package) = package {
            let purl = purl(&package.name, &package.version);
            parts.package(package, purl, Some(path));
        }
    }
}

fn of_recipe(parts: &mut Parts, recipe: &Recipe, content: &Content) {
    for (package, digest) in &recipe.fetched {
        let purl = purl::npm(&package.name, &package.version);
        let digest = digest.clone().map(|digest| ("SHA-512", digest));
        let (name, version) = (package.name.clone(), package.version.clone());
        parts.add(Part { kind: "application", name, version, purl, digest, ..Part::default() });
    }
    for (name, version) in &recipe.copied {
        let purl = purl::generic(name, version);
        let (name, version) = (name.clone(), version.clone());
        parts.add(Part { kind: "application", name, version, purl, ..Part::default() });
    }
    if let Some(digest) = content.files.get(WRAPPER) {
        let version = recipe.wrapper.unwrap_or_default().to_owned();
        let digest = String::from_utf8_lossy(digest).into_owned();
        parts.add(Part {
            kind: "application",
            name: "worker-wrapper".to_owned(),
            purl: purl::generic("worker-wrapper", &version),
            version,
            digest: Some(("SHA-256", digest)),
            places: BTreeSet::from([format!("/{WRAPPER}")]),
            ..Part::default()
        });
    }
}

impl Part {
    fn into_json(self) -> Value {
        let mut part = Map::new();
        let mut put = |name: &str, value: Value| drop(part.insert(name.to_owned(), value));
        put("type", json!(self.kind));
        put("bom-ref", json!(self.purl));
        match self.name.strip_prefix('@').and_then(|name| name.split_once('/')) {
            Some((scope, name)) => {
                put("group", json!(format!("@{scope}")));
                put("name", json!(name));
            }
            None => put("name", json!(self.name)),
        }
        put("version", json!(self.version));
        put("purl", json!(self.purl));
        if let Some((algorithm, digest)) = self.digest {
            put("hashes", json!([{"alg": algorithm, "content": digest}]));
        }
        if !self.licences.is_empty() {
            put("licenses", licences(self.licences));
        }
        if !self.places.is_empty() {
            let places: Vec<_> =
                self.places.into_iter().map(|place| json!({"location": place})).collect();
            put("evidence", json!({"occurrences": places}));
        }
        Value::Object(part)
    }
}

/// One expression, or a list of names: the standard has no place for both.
fn licences(all: BTreeSet<Licence>) -> Value {
    let mut all: Vec<_> = all.into_iter().collect();
    if let [Licence::Expression(expression)] = all.as_slice() {
        return json!([{ "expression": expression }]);
    }
    let named = all.drain(..).map(|licence| match licence {
        Licence::Expression(text) | Licence::Name(text) => json!({"license": {"name": text}}),
    });
    named.collect()
}

/// A number for the document, made from what is in it.
fn number(metadata: &Value, components: &[Value]) -> String {
    let mut digest = Sha256::new();
    digest.update(metadata.to_string());
    components.iter().for_each(|component| digest.update(component.to_string()));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    format!("urn:uuid:{}", uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
