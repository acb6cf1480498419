//! Reading a policy file. Every mistake is told with its line, and a name that is not known with the
//! nearest one that is.

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use worker_protocol::limits::Limits;
use worker_protocol::problem::{Shown, did_you_mean};
use worker_protocol::{AgentType, CallerName, Command, Host, ModuleName};

use super::words::Words;
use super::{Grant, Hosts, Labels, Policy, Role, Section};

const TOP: [&str; 2] = ["default", "callers"];
const KEYS: [&str; 12] = [
    "operator",
    "commands",
    "agents",
    "modules",
    "base_images",
    "egress",
    "credentials",
    "workspace",
    "workers_of",
    "workers",
    "limits",
    "labels",
];
const OF_LABELS: [&str; 3] = ["allowed", "required", "forced"];

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In this line, counted from 1.
    pub line: usize,
    /// And what would be right.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for Fault {}

/// A mistake, at these bytes of the file.
struct Wrong(Range<usize>, String);

type Value<'a> = Spanned<DeValue<'a>>;

pub(super) fn parse(text: &str) -> Result<Policy, Fault> {
    let fault = |at: usize, problem: String| {
        let before = text.as_bytes().iter().take(at);
        Fault { line: 1 + before.filter(|byte| **byte == b'\n').count(), problem }
    };
    let table = DeTable::parse(text).map_err(|error| {
        fault(error.span().map_or(0, |span| span.start), error.message().to_owned())
    })?;
    policy(table.get_ref()).map_err(|Wrong(span, problem)| fault(span.start, problem))
}

fn policy(table: &DeTable<'_>) -> Result<Policy, Wrong> {
    only(table, &TOP, "")?;
    let mut policy = Policy::default();
    if let Some(section_value) = table.get("default") {
        policy.default = Some(section("default".to_owned(), section_value)?);
    }
    let Some(callers) = table.get("callers") else { return Ok(policy) };
    for (name, value) in as_table(callers, "callers")? {
        let caller = name.get_ref();
        if caller != CallerName::ANONYMOUS {
            CallerName::parse(caller).map_err(|p| Wrong(name.span(), p.message))?;
        }
        policy.sections.insert(caller.to_string(), section(format!("callers.{caller}"), value)?);
    }
    Ok(policy)
}

fn section(name: String, value: &Value<'_>) -> Result<Section, Wrong> {
    let table = as_table(value, &name)?;
    only(table, &KEYS, &name)?;
    if let Some(value) = table.get("operator") {
        let operator = value.get_ref().as_bool();
        let operator = operator.ok_or_else(|| wrong(value, &name, "operator", "true or false"))?;
        if operator && table.len() > 1 {
            let problem = format!("`{name}.operator` allows everything, so other keys say nothing");
            return Err(Wrong(value.span(), problem));
        }
        if operator {
            return Ok(Section { name, role: Role::Operator });
        }
    }
    let grant = grant(&name, table)?;
    Ok(Section { name, role: Role::Tenant(Box::new(grant)) })
}

fn grant(name: &str, table: &DeTable<'_>) -> Result<Grant, Wrong> {
    let list = |key: &str| table.get(key).map_or(Ok(Vec::new()), |value| texts(value, name, key));
    let known = |key: &str, known: &[&str], case: fn(&str) -> String| {
        let one = |(span, text): (Range<usize>, String)| {
            let text = case(&text);
            if text == "*" || known.contains(&text.as_str()) {
                return Ok(text);
            }
            let near = did_you_mean(&text, known.iter().copied());
            let (shown, known) = (Shown(&text), known.join(", "));
            Err(Wrong(span, format!("`{name}.{key}` holds {shown}{near} (known: {known}, *)")))
        };
        list(key)?.into_iter().map(one).collect::<Result<Vec<_>, _>>().map(Words::new)
    };
    let words =
        |key: &str| list(key).map(|items| Words::new(items.into_iter().map(|(_, text)| text)));
    Ok(Grant {
        commands: known("commands", &Command::NAMES, str::to_ascii_lowercase)?,
        agents: known("agents", &AgentType::ALL.map(AgentType::as_str), str::to_ascii_uppercase)?,
        modules: modules(list("modules")?)?,
        base_images: words("base_images")?,
        egress: hosts(name, list("egress")?)?,
        credentials: words("credentials")?,
        workspace: folders(name, list("workspace")?)?,
        workers_of: words("workers_of")?,
        workers: table.get("workers").map(|value| number(value, name)).transpose()?,
        limits: table.get("limits").map_or(Ok(Limits::default()), |value| limits(value, name))?,
        labels: table.get("labels").map_or(Ok(Labels::default()), |value| labels(value, name))?,
    })
}

fn modules(items: Vec<(Range<usize>, String)>) -> Result<Words, Wrong> {
    let one = |(span, text): (Range<usize>, String)| match text.as_str() {
        "*" => Ok(text),
        name => ModuleName::parse(name)
            .map(|name| name.as_str().to_owned())
            .map_err(|problem| Wrong(span, problem.message)),
    };
    items.into_iter().map(one).collect::<Result<Vec<_>, _>>().map(Words::new)
}

fn hosts(name: &str, items: Vec<(Range<usize>, String)>) -> Result<Hosts, Wrong> {
    let mut hosts = Hosts::default();
    for (span, text) in items {
        if text.eq_ignore_ascii_case("open") {
            hosts.open = true;
            continue;
        }
        let host = Host::parse(&text);
        hosts.named.insert(host.map_err(|why| Wrong(span, format!("`{name}.egress` {why}")))?);
    }
    Ok(hosts)
}

fn folders(name: &str, items: Vec<(Range<usize>, String)>) -> Result<BTreeSet<PathBuf>, Wrong> {
    let one = |(span, text): (Range<usize>, String)| {
        let path = PathBuf::from(&text);
        if is_plain(&path) {
            return Ok(path);
        }
        let shown = Shown(&text);
        let right = "a folder's path from the root on, without `..`";
        Err(Wrong(span, format!("`{name}.workspace` must hold {right}, not {shown}")))
    };
    items.into_iter().map(one).collect()
}

/// Whether a path says itself where it leads, but for symbolic links.
pub(super) fn is_plain(path: &Path) -> bool {
    use std::path::Component;
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(plain)
}

fn number(value: &Value<'_>, name: &str) -> Result<usize, Wrong> {
    let number = value.get_ref().as_integer();
    let number = number.and_then(|n| usize::from_str_radix(n.as_str(), n.radix()).ok());
    number.ok_or_else(|| wrong(value, name, "workers", "a whole number"))
}

/// In the notations of a `create`.
fn limits(value: &Value<'_>, name: &str) -> Result<Limits, Wrong> {
    let mut limits = serde_json::Map::new();
    for (key, value) in as_table(value, &format!("{name}.limits"))? {
        let given = match value.get_ref() {
            DeValue::String(text) => json!(text),
            DeValue::Integer(number) => json!(number.as_str()),
            DeValue::Float(number) => json!(number.as_str()),
            _ => return Err(wrong(value, name, "limits", "texts and numbers")),
        };
        let one = serde_json::Map::from_iter([(key.get_ref().to_string(), given)]);
        Limits::from_object(&one)
            .map_err(|p| Wrong(key.span(), format!("`{name}`: {}", p.message)))?;
        limits.extend(one);
    }
    Limits::from_object(&limits).map_err(|problem| Wrong(value.span(), problem.message))
}

fn labels(value: &Value<'_>, name: &str) -> Result<Labels, Wrong> {
    let name = format!("{name}.labels");
    let table = as_table(value, &name)?;
    only(table, &OF_LABELS, &name)?;
    let list = |key: &str| {
        let items = table.get(key).map_or(Ok(Vec::new()), |value| texts(value, &name, key))?;
        Ok(items.into_iter().map(|(_, text)| text))
    };
    let mut forced = BTreeMap::new();
    if let Some(value) = table.get("forced") {
        for (key, value) in as_table(value, &format!("{name}.forced"))? {
            let text = value.get_ref().as_str();
            let text = text.ok_or_else(|| wrong(value, &name, "forced", "texts"))?;
            forced.insert(key.get_ref().to_string(), text.to_owned());
        }
    }
    let required = list("required")?.collect();
    Ok(Labels { allowed: Words::new(list("allowed")?), required, forced })
}

fn as_table<'a, 'b>(value: &'a Value<'b>, name: &str) -> Result<&'a DeTable<'b>, Wrong> {
    let problem = || Wrong(value.span(), format!("`{name}` must be a table"));
    value.get_ref().as_table().ok_or_else(problem)
}

fn only(table: &DeTable<'_>, known: &[&str], name: &str) -> Result<(), Wrong> {
    let unknown = table.keys().find(|key| !known.contains(&key.get_ref().as_ref()));
    let Some(key) = unknown else { return Ok(()) };
    let whole = if name.is_empty() { "the file".to_owned() } else { format!("`{name}`") };
    let near = did_you_mean(key.get_ref(), known.iter().copied());
    let (shown, known) = (Shown(key.get_ref()), known.join(", "));
    let problem = format!("{whole} has no key {shown}{near} (known: {known})");
    Err(Wrong(key.span(), problem))
}

/// One text, or a list.
fn texts(value: &Value<'_>, name: &str, key: &str) -> Result<Vec<(Range<usize>, String)>, Wrong> {
    let text = |value: &Value<'_>| {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.map(|text| (value.span(), text)).ok_or_else(|| wrong(value, name, key, "texts"))
    };
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(text).collect(),
        _ => text(value).map(|one| vec![one]),
    }
}

fn wrong(value: &Value<'_>, name: &str, key: &str, right: &str) -> Wrong {
    Wrong(value.span(), format!("`{name}.{key}` must be {right}"))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
pub(super) mod tests;
