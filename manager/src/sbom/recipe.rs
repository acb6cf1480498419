//! What an image is made from, which its content does not tell: the names and versions of
//! templates, and the digests that downloads were compared with.

use std::collections::BTreeMap;

use super::packages::Package;
use crate::act::Hands;
use crate::engine::CacheMounts;
use crate::image::{ImageWish, Rendered, sha256};

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recipe {
    /// Named texts for the image, by name and value; a name may stand there twice.
    pub(super) about: Vec<(&'static str, String)>,
    /// Packages that were fetched from npm, each with the SHA-512 of its file.
    pub(super) fetched: Vec<(Package, Option<String>)>,
    /// Programs that came by way of a stage: names and versions.
    pub(super) copied: Vec<(String, String)>,
    /// The version of the wrapper.
    pub(super) wrapper: Option<&'static str>,
}

impl Recipe {
    /// Of the image for this wish.
    pub(super) fn of(
        hands: &Hands,
        wish: &ImageWish,
        rendered: &Rendered,
        architecture: &str,
    ) -> Self {
        let dockerfile = rendered.dockerfile(CacheMounts::No);
        let base = wish.base_image.as_ref().unwrap_or(&hands.settings.base_image);
        let mut about = vec![
            ("holds", wish.to_string()),
            ("base:name", base.clone()),
            ("dockerfile:sha256", sha256(dockerfile.as_bytes())),
        ];
        let mut copied = Vec::new();
        if let Ok(agent) = hands.catalogue.agent(wish.agent) {
            about.push(("agent", format!("{} {}", wish.agent, agent.head.version)));
            for module in hands.catalogue.modules_of(agent, &wish.modules) {
                about.push(("module", format!("{} {}", module.name, module.head.version)));
            }
            let stages = hands.catalogue.copied_stages(agent, &wish.modules);
            copied.extend(stages.map(|(name, version)| (name.to_owned(), version.to_owned())));
        }
        for (name, digest) in rendered.copied_files() {
            about.push(("file:sha256", format!("{name} {digest}")));
        }
        Self {
            about,
            fetched: fetched(dockerfile, architecture),
            copied,
            wrapper: Some(env!("CARGO_PKG_VERSION")),
        }
    }
}

/// The packages that a Dockerfile's steps fetch by `npm-package`, whose words are a package and
/// digests, each for an architecture as npm calls it.
fn fetched(dockerfile: &str, architecture: &str) -> Vec<(Package, Option<String>)> {
    let arch = if architecture == "amd64" { "x64" } else { architecture };
    let joined = dockerfile.replace("\\\n", " ");
    let steps = joined.split("&&").filter_map(|step| step.trim().strip_prefix("npm-package "));
    let package = |step: &str| {
        let mut words = step.split_whitespace();
        let spec = words.next()?.replace("{arch}", arch);
        let (name, version) = spec.rsplit_once('@')?;
        let digests: BTreeMap<_, _> = words.filter_map(|word| word.split_once('=')).collect();
        let digest = digests.get(arch).or_else(|| digests.get("all"));
        let package =
            Package { name: name.to_owned(), version: version.to_owned(), ..Package::default() };
        Some((package, digest.map(|digest| (*digest).to_owned())))
    };
    steps.filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_stands_in_the_steps() {
        let text = "RUN cd /tmp \\\n && npm-package @a/b-{arch}@1.2 arm64=ff x64=ab \\\n && rm x\n\
                    RUN cd /tmp && npm-package c@3-{arch} && true\n";
        let read = |architecture| {
            let all = fetched(text, architecture);
            all.into_iter().map(|(p, digest)| (p.name, p.version, digest)).collect::<Vec<_>>()
        };
        let entry = |name: &str, version: &str, digest: Option<&str>| {
            (name.to_owned(), version.to_owned(), digest.map(str::to_owned))
        };
        assert_eq!(
            read("amd64"),
            [entry("@a/b-x64", "1.2", Some("ab")), entry("c", "3-x64", None)]
        );
        assert_eq!(
            read("arm64"),
            [entry("@a/b-arm64", "1.2", Some("ff")), entry("c", "3-arm64", None)]
        );
    }
}
