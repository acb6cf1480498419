//! What one worker's image is made of, and what follows from it: a Dockerfile, a build context,
//! and the hash that names the image.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use worker_protocol::problem::Shown;
use worker_protocol::{AgentType, ErrorKind, ModuleName, Problem};

use super::catalogue::Catalogue;
use super::context::{Archive, ContextFile, hex};
use super::frame::{FRAME, OWN_BASE, Text};
use super::source::FILES;
use crate::engine::CacheMounts;

/// Part of every hash. Raise it when an image changes by something that the hash does not hold.
const FORMAT: &str = "worker-image/2";

/// Where the frame expects what it copies.
const DOCKERFILE: &str = "Dockerfile";
const CA_BUNDLE: &str = "ca-bundle.pem";
const WRAPPER: &str = "worker-wrapper";
/// Empty folders: copying what is around them makes them in an image that has no shell, and gives
/// those that are there already the right owner. The agent's user gets the first.
const WORKSPACE: &str = "users/workspace";
const TMP: &str = "roots/tmp";

/// All that decides what an image holds.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Which agent it is for.
    pub agent: AgentType,
    /// The modules that were asked for; those that they need come along.
    pub modules: BTreeSet<ModuleName>,
    /// What it builds on, by name.
    pub base_image: String,
    /// Who chose that.
    pub base_owner: BaseOwner,
    /// What that name stands for, as [`Engine::base_identity`](crate::engine::Engine) tells.
    pub base_identity: String,
    /// The host's architecture.
    pub architecture: String,
    /// Certificates that are trusted while it is built and in it.
    pub ca_bundle: Option<Arc<ContextFile>>,
    /// The first process of the worker.
    pub wrapper: Arc<ContextFile>,
}

/// Who chose the base image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseOwner {
    /// The operator: it is prepared for agents and modules.
    Operator,
    /// The caller: it is complete, and may lack everything else. Where no module is to be
    /// installed, nothing is added but the wrapper.
    Caller,
}

/// The name of an image's content: the same wish gives the same hash on every machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageHash(String);

impl ImageHash {
    /// 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a hash; none, when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// The hash in an image's name.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        tag.rsplit_once(':').and_then(|(_, hash)| Self::parse(hash))
    }

    /// The image's name in an engine.
    #[must_use]
    pub fn tag(&self, repository: &str) -> String {
        format!("{repository}:{}", self.0)
    }
}

impl fmt::Display for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a spec comes to.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its name.
    pub hash: ImageHash,
    text: Text,
    ca_bundle: Option<Arc<ContextFile>>,
    wrapper: Arc<ContextFile>,
    files: BTreeMap<String, Arc<ContextFile>>,
}

impl ImageSpec {
    /// Renders the Dockerfile and computes the hash.
    ///
    /// # Errors
    /// When an agent or a module is not known or not to be had, or the base image's name is none.
    pub fn render(&self, catalogue: &Catalogue) -> Result<Rendered, Problem> {
        let agent = catalogue.agent(self.agent)?;
        catalogue.check_modules(agent, &self.modules)?;
        check_reference(&self.base_image)?;
        let ca_bundle = self.ca_bundle.is_some();
        let parts = catalogue.parts(agent, &self.modules, &self.base_image, ca_bundle);
        let bare = parts.foundation.is_empty() && parts.modules.is_empty();
        let (frame, files) = match self.base_owner {
            BaseOwner::Caller if bare => (OWN_BASE, BTreeMap::new()),
            _ => (FRAME, catalogue.files_of(agent, &self.modules)),
        };
        let text = catalogue.frames.render(frame, &parts).map_err(|reason| {
            let message = format!("the templates of {} do not render: {reason}", self.agent);
            Problem::new(ErrorKind::Internal, message)
        })?;
        Ok(Rendered {
            hash: self.hash(&text, &files),
            text,
            ca_bundle: self.ca_bundle.clone(),
            wrapper: Arc::clone(&self.wrapper),
            files,
        })
    }

    /// Each field goes in with its length before it, so that none can run into the next. Of the
    /// two texts the classic one counts, whichever is built: both give the same image.
    fn hash(&self, text: &Text, files: &BTreeMap<String, Arc<ContextFile>>) -> ImageHash {
        let ca_bundle = self.ca_bundle.as_ref().map_or("", |file| file.sha256());
        let fields = [
            FORMAT,
            text.with(CacheMounts::No),
            &self.base_identity,
            &self.architecture,
            ca_bundle,
            self.wrapper.sha256(),
        ];
        let files = files.iter().flat_map(|(name, file)| [name.as_str(), file.sha256()]);
        let mut digest = Sha256::new();
        for field in fields.into_iter().chain(files) {
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        ImageHash(hex(&digest.finalize()))
    }
}

impl Rendered {
    /// The text for such a builder.
    #[must_use]
    pub fn dockerfile(&self, mounts: CacheMounts) -> &str {
        self.text.with(mounts)
    }

    /// The files that its steps copy, and the digest of each.
    pub(crate) fn copied_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.sha256()))
    }

    /// The build context for such a builder as a tar archive: the same bytes each time.
    #[must_use]
    pub fn context(&self, mounts: CacheMounts) -> Vec<u8> {
        let mut archive = Archive::new();
        archive.file(DOCKERFILE, 0o644, self.dockerfile(mounts).as_bytes());
        if let Some(file) = &self.ca_bundle {
            archive.file(CA_BUNDLE, 0o644, file.bytes());
        }
        for (name, file) in &self.files {
            let mode = if file.bytes().starts_with(b"#!") { 0o755 } else { 0o644 };
            archive.file(&format!("{FILES}{name}"), mode, file.bytes());
        }
        archive.folder(WORKSPACE, 0o755);
        archive.folder(TMP, 0o1777);
        archive.file(WRAPPER, 0o755, self.wrapper.bytes());
        archive.into_bytes()
    }
}

/// The name goes into the Dockerfile as it is; it must not bring lines of its own.
fn check_reference(name: &str) -> Result<(), Problem> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    if !name.is_empty() && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Problem::refused(format!(
        "`base_image` must be an image's name such as debian:bookworm-slim, not {}",
        Shown(name)
    )))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
