//! What operators write, and what stands in images. A mistake is told in words.

use worker_manager::config::RawConfig;
use worker_manager::image::{Catalogue, Offer};
use worker_manager::policy::Policy;
use worker_manager::sbom;

/// A template beside or in the place of one that travels inside the manager. The first line is its
/// name.
pub(crate) fn template(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, text) = text.split_once('\n').unwrap_or(("modules/fuzz.hbs", &text));
    if let Err(error) = Catalogue::load_with(file, text.into(), &Offer::default()) {
        assert!(!error.to_string().is_empty());
    }
}

/// The configuration file.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match toml::from_str::<RawConfig>(text) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(config) => drop(config.offer()),
    }
}

/// The policy file. A mistake is in one of its lines.
pub(crate) fn policy(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Err(fault) = Policy::parse(text) {
        assert!(!fault.problem.is_empty() && fault.line <= text.lines().count() + 1);
    }
}

/// An image as an engine saves it: an archive of archives.
pub(crate) fn sbom(data: &[u8]) {
    match sbom::read_archive(data) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(document) => assert!(document.to_string().contains("CycloneDX")),
    }
}
