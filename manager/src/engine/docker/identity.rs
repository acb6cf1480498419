//! Telling two images apart by what they are, wherever they are kept.

use bollard::models::{HealthConfig, ImageConfig, ImageInspect};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::layers::digest;

/// What is built on an image gets its layers and its configuration, and nothing else: the name is a
/// digest of these two. Ids and a registry's digests differ with the way the image came here and
/// with the store that keeps it.
pub(super) fn identity(image: &ImageInspect) -> String {
    let layers = image.root_fs.as_ref().and_then(|root| root.layers.as_ref());
    let nothing = ImageConfig::default();
    let config = inherited(image.config.as_ref().unwrap_or(&nothing));
    digest(json!([layers, config]).to_string().as_bytes())
}

/// In the order of the names, and without what is empty: one store writes an empty list where
/// another writes none.
fn inherited(config: &ImageConfig) -> BTreeMap<&'static str, Value> {
    let labels: Option<BTreeMap<_, _>> = config.labels.as_ref().map(|map| map.iter().collect());
    let all = [
        ("cmd", json!(config.cmd)),
        ("entrypoint", json!(config.entrypoint)),
        ("env", json!(config.env)),
        ("exposed_ports", json!(sorted(config.exposed_ports.as_ref()))),
        ("healthcheck", config.healthcheck.as_ref().map_or(Value::Null, health)),
        ("labels", json!(labels)),
        ("on_build", json!(config.on_build)),
        ("shell", json!(config.shell)),
        ("stop_signal", json!(config.stop_signal)),
        ("user", json!(config.user)),
        ("volumes", json!(sorted(config.volumes.as_ref()))),
        ("working_dir", json!(config.working_dir)),
    ];
    all.into_iter().filter(|(_, value)| !is_empty(value)).collect()
}

/// Times that are not set are 0 for one engine and not there for another.
fn health(check: &HealthConfig) -> Value {
    let times =
        [check.interval, check.timeout, check.retries, check.start_period, check.start_interval];
    let test = check.test.as_deref().unwrap_or_default();
    if test.is_empty() {
        return Value::Null;
    }
    json!([test, times.map(Option::unwrap_or_default)])
}

fn sorted(list: Option<&Vec<String>>) -> Option<Vec<&String>> {
    let mut list: Vec<_> = list?.iter().collect();
    list.sort_unstable();
    Some(list)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ImageInspectRootFs;

    fn texts(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&text| text.to_owned()).collect())
    }

    fn image() -> ImageInspect {
        let labels = [("b", "2"), ("a", "1"), ("c", "3")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let config = ImageConfig {
            env: texts(&["PATH=/bin", "A=1"]),
            cmd: texts(&["bash"]),
            volumes: texts(&["/b", "/a"]),
            labels: Some(labels.into()),
            ..Default::default()
        };
        let root =
            ImageInspectRootFs { layers: texts(&["sha256:1", "sha256:2"]), ..Default::default() };
        ImageInspect {
            id: Some("sha256:one".into()),
            config: Some(config),
            root_fs: Some(root),
            ..Default::default()
        }
    }

    /// Images in use are named by this: another value means that every image is built again.
    #[test]
    fn the_name_is_known() {
        let text = r#"[["sha256:1","sha256:2"],{"cmd":["bash"],"env":["PATH=/bin","A=1"],"labels":{"a":"1","b":"2","c":"3"},"volumes":["/a","/b"]}]"#;
        assert_eq!(identity(&image()), digest(text.as_bytes()));
        assert_eq!(
            identity(&image()),
            "sha256:cddaaa11725fb73d56058316f1376a6b41697baf651dafcd6f0537d75a1cb053"
        );
    }

    #[test]
    fn how_it_came_here_and_how_it_is_stored_do_not_matter() {
        let mut other = image();
        other.id = Some("sha256:other".into());
        other.repo_digests = texts(&["debian@sha256:3"]);
        other.size = Some(7);
        let config = other.config.as_mut().unwrap();
        config.volumes = texts(&["/a", "/b"]);
        config.entrypoint = Some(Vec::new());
        config.user = Some(String::new());
        config.healthcheck = Some(HealthConfig::default());
        assert_eq!(identity(&other), identity(&image()));
    }

    #[test]
    fn whatever_reaches_a_child_matters() {
        let changes: [fn(&mut ImageConfig); 11] = [
            |config| config.env.as_mut().unwrap().reverse(),
            |config| config.cmd = texts(&["sh"]),
            |config| config.entrypoint = texts(&["bash"]),
            |config| config.user = Some("nobody".into()),
            |config| config.working_dir = Some("/".into()),
            |config| config.volumes = None,
            |config| config.labels = None,
            |config| config.on_build = texts(&["RUN true"]),
            |config| config.shell = texts(&["bash", "-c"]),
            |config| config.exposed_ports = texts(&["80/tcp"]),
            |config| config.stop_signal = Some("SIGINT".into()),
        ];
        let mut seen = vec![identity(&image())];
        for change in changes {
            let mut changed = image();
            change(changed.config.as_mut().unwrap());
            seen.push(identity(&changed));
        }
        let mut changed = image();
        changed.root_fs.as_mut().unwrap().layers.as_mut().unwrap().reverse();
        seen.push(identity(&changed));
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }
}
