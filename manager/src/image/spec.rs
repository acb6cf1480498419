//! What one worker's image is made of, and what follows from it: a Dockerfile, a build context,
//! and the hash that names the image.

use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use worker_protocol::problem::Shown;
use worker_protocol::{AgentType, ErrorKind, ModuleName, Problem};

use super::catalogue::{Catalogue, FrameData};

/// Part of every hash. Raise it when an image changes by something that the hash does not hold.
const FORMAT: &str = "worker-image/1";

/// Where the frame expects what it copies.
const DOCKERFILE: &str = "Dockerfile";
const CA_BUNDLE: &str = "ca-bundle.pem";
const WRAPPER: &str = "worker-wrapper";

/// A file that goes into images, with its digest, which is computed once.
pub struct ContextFile {
    bytes: Vec<u8>,
    sha256: String,
}

impl ContextFile {
    /// Takes the file's content.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        let sha256 = hex(&Sha256::digest(&bytes));
        Arc::new(Self { bytes, sha256 })
    }

    /// The digest in lower-case hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl fmt::Debug for ContextFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.bytes.len(), self.sha256)
    }
}

/// All that decides what an image holds.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// Which agent it is for.
    pub agent: AgentType,
    /// The modules that were asked for; those that they need come along.
    pub modules: BTreeSet<ModuleName>,
    /// What it builds on, by name.
    pub base_image: String,
    /// What that name stands for, as [`Engine::base_identity`](crate::engine::Engine) tells.
    pub base_identity: String,
    /// The host's architecture.
    pub architecture: String,
    /// Certificates that are trusted while it is built and in it.
    pub ca_bundle: Option<Arc<ContextFile>>,
    /// The first process of the worker.
    pub wrapper: Arc<ContextFile>,
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
    /// The text that the engine builds.
    pub dockerfile: String,
    /// Its name.
    pub hash: ImageHash,
    ca_bundle: Option<Arc<ContextFile>>,
    wrapper: Arc<ContextFile>,
}

impl ImageSpec {
    /// Renders the Dockerfile and computes the hash.
    ///
    /// # Errors
    /// When an agent or a module is not known, or the base image's name is none.
    pub fn render(&self, catalogue: &Catalogue) -> Result<Rendered, Problem> {
        catalogue.check_modules(&self.modules)?;
        check_reference(&self.base_image)?;
        let agent = catalogue.agent(self.agent)?;
        let data = FrameData {
            base_image: &self.base_image,
            ca_bundle: self.ca_bundle.is_some(),
            agent,
            modules: catalogue.layers(agent, &self.modules),
        };
        let dockerfile = catalogue.render_frame(&data).map_err(|reason| {
            let message = format!("the templates of {} do not render: {reason}", self.agent);
            Problem::new(ErrorKind::Internal, message)
        })?;
        Ok(Rendered {
            hash: self.hash(&dockerfile),
            dockerfile,
            ca_bundle: self.ca_bundle.clone(),
            wrapper: Arc::clone(&self.wrapper),
        })
    }

    /// Each field goes in with its length before it, so that none can run into the next.
    fn hash(&self, dockerfile: &str) -> ImageHash {
        let ca_bundle = self.ca_bundle.as_ref().map_or("", |file| file.sha256());
        let fields = [
            FORMAT,
            dockerfile,
            &self.base_identity,
            &self.architecture,
            ca_bundle,
            self.wrapper.sha256(),
        ];
        let mut digest = Sha256::new();
        for field in fields {
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        ImageHash(hex(&digest.finalize()))
    }
}

impl Rendered {
    /// The build context as a tar archive: the same bytes each time.
    #[must_use]
    pub fn context(&self) -> Vec<u8> {
        let mut archive = Archive(tar::Builder::new(Vec::new()));
        archive.add(DOCKERFILE, 0o644, self.dockerfile.as_bytes());
        if let Some(file) = &self.ca_bundle {
            archive.add(CA_BUNDLE, 0o644, &file.bytes);
        }
        archive.add(WRAPPER, 0o755, &self.wrapper.bytes);
        archive.0.into_inner().expect("writing to memory does not fail")
    }
}

struct Archive(tar::Builder<Vec<u8>>);

impl Archive {
    fn add(&mut self, path: &str, mode: u32, bytes: &[u8]) {
        let mut header = tar::Header::new_ustar(); // owner, group and time are 0
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes).expect("writing to memory does not fail");
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

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::source::Sources;
    use std::time::Instant;

    const FRAME: &str = "FROM {{base_image}} AS base\n{{#if ca_bundle}}COPY ca-bundle.pem /\n{{/if}}\
        FROM base AS agent\n{{agent.body}}\nFROM base\n{{#each modules}}{{body}}\n{{/each}}\
        COPY worker-wrapper /\n";

    fn module(position: u32, needs: &str, body: &str) -> String {
        format!(
            "+++\nsummary = \"s\"\nversion = \"1\"\nsize = \"small\"\nposition = {position}\n\
             needs = [{needs}]\n+++\n{body}\n"
        )
    }

    fn sources() -> Sources {
        let agent = "+++\nsummary = \"s\"\nversion = \"7\"\nprotocol = \"lines\"\ncommand = []\n\
                     instructions = \"/i\"\n+++\nRUN install-{{version}}\n";
        Sources::from([
            ("frame.hbs".into(), FRAME.into()),
            ("agents/custom.hbs".into(), agent.into()),
            ("modules/early.hbs".into(), module(10, "", "RUN early && \"$HOME\" <x>")),
            ("modules/late.hbs".into(), module(20, "\"early\"", "RUN late")),
            ("modules/also.hbs".into(), module(20, "", "RUN also")),
        ])
    }

    fn modules(names: &[&str]) -> BTreeSet<ModuleName> {
        names.iter().map(|name| ModuleName::parse(name).unwrap()).collect()
    }

    fn spec() -> ImageSpec {
        ImageSpec {
            agent: AgentType::Custom,
            modules: modules(&["LATE", "ALSO"]),
            base_image: "debian:bookworm-slim".into(),
            base_identity: "sha256:1".into(),
            architecture: "amd64".into(),
            ca_bundle: None,
            wrapper: ContextFile::new(b"wrapper".to_vec()),
        }
    }

    fn render(spec: &ImageSpec) -> Rendered {
        spec.render(&Catalogue::from_sources(&sources()).unwrap()).unwrap()
    }

    #[test]
    fn modules_come_with_what_they_need_in_the_order_of_their_layers() {
        assert_eq!(
            render(&spec()).dockerfile,
            "FROM debian:bookworm-slim AS base\nFROM base AS agent\nRUN install-7\nFROM base\n\
             RUN early && \"$HOME\" <x>\nRUN also\nRUN late\nCOPY worker-wrapper /\n"
        );
    }

    #[test]
    fn a_known_wish_has_a_known_hash() {
        let golden = "e48fd2785106872fba9c3ee38de4c63d7a0e353cb4ec77faae7a801db974076c";
        assert_eq!(render(&spec()).hash.to_string(), golden);
        assert_eq!(render(&spec()).hash.tag("worker"), format!("worker:{golden}"));
    }

    #[test]
    fn order_and_duplicates_and_needs_that_are_named_do_not_matter() {
        let hash = render(&spec()).hash;
        for names in
            [vec!["ALSO", "LATE"], vec!["late", "also", "LATE"], vec!["EARLY", "LATE", "ALSO"]]
        {
            assert_eq!(render(&ImageSpec { modules: modules(&names), ..spec() }).hash, hash);
        }
    }

    #[test]
    fn whatever_changes_the_image_changes_the_hash() {
        let file = |text: &str| ContextFile::new(text.as_bytes().to_vec());
        let changed = [
            ImageSpec { modules: modules(&["LATE"]), ..spec() },
            ImageSpec { modules: modules(&[]), ..spec() },
            ImageSpec { base_image: "debian:trixie-slim".into(), ..spec() },
            ImageSpec { base_identity: "sha256:2".into(), ..spec() },
            ImageSpec { architecture: "arm64".into(), ..spec() },
            ImageSpec { ca_bundle: Some(file("ca")), ..spec() },
            ImageSpec { ca_bundle: Some(file("another ca")), ..spec() },
            ImageSpec { wrapper: file("another wrapper"), ..spec() },
            // The same bytes, divided in another way.
            ImageSpec { base_identity: "sha256:1a".into(), architecture: "md64".into(), ..spec() },
        ];
        let mut hashes: BTreeSet<_> = changed.iter().map(|spec| render(spec).hash).collect();
        for file in ["frame.hbs", "agents/custom.hbs", "modules/late.hbs", "modules/early.hbs"] {
            let mut sources = sources();
            sources.get_mut(file).unwrap().push_str("RUN more\n");
            hashes.insert(spec().render(&Catalogue::from_sources(&sources).unwrap()).unwrap().hash);
        }
        assert!(!hashes.contains(&render(&spec()).hash));
        assert_eq!(hashes.len(), changed.len() + 4);
    }

    #[test]
    fn the_context_holds_what_the_dockerfile_copies_and_is_the_same_each_time() {
        let spec = ImageSpec { ca_bundle: Some(ContextFile::new(b"ca".to_vec())), ..spec() };
        let context = render(&spec).context();
        assert_eq!(context, render(&spec).context());
        let mut archive = tar::Archive::new(context.as_slice());
        let files: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let header = entry.as_ref().unwrap().header();
                (
                    header.path().unwrap().display().to_string(),
                    header.mode().unwrap(),
                    header.mtime(),
                )
            })
            .map(|(path, mode, mtime)| (path, mode, mtime.unwrap()))
            .collect();
        let expected =
            [("Dockerfile", 0o644, 0), ("ca-bundle.pem", 0o644, 0), ("worker-wrapper", 0o755, 0)];
        assert_eq!(files, expected.map(|(path, mode, mtime)| (path.to_owned(), mode, mtime)));
    }

    #[test]
    fn a_base_image_cannot_bring_lines_of_its_own() {
        for name in ["", "debian\nRUN evil", "debian evil"] {
            let spec = ImageSpec { base_image: name.into(), ..spec() };
            let problem = spec.render(&Catalogue::from_sources(&sources()).unwrap()).unwrap_err();
            assert!(problem.message.starts_with("`base_image` must be"), "{problem}");
        }
    }

    #[test]
    fn every_agent_renders_with_every_module_and_nothing_is_left_to_fill_in() {
        let catalogue = Catalogue::load(None).unwrap();
        let modules: BTreeSet<_> = catalogue.modules().map(|module| module.name.clone()).collect();
        for template in catalogue.agents() {
            let ca_bundle = Some(ContextFile::new(b"ca".to_vec()));
            let spec =
                ImageSpec { agent: template.agent, modules: modules.clone(), ca_bundle, ..spec() };
            let rendered = spec.render(&catalogue).unwrap();
            assert!(!rendered.dockerfile.contains("{{"), "{}", rendered.dockerfile);
            for name in &modules {
                assert!(rendered.dockerfile.contains(&format!("# module {name}\n")));
            }
        }
    }

    #[test]
    fn rendering_and_hashing_take_no_time_to_speak_of() {
        let catalogue = Catalogue::load(None).unwrap();
        let wrapper = ContextFile::new(vec![7; 4 << 20]);
        let spec = ImageSpec { modules: modules(&["GIT", "CURL"]), wrapper, ..spec() };
        let fastest = (0..20)
            .map(|_| {
                let start = Instant::now();
                spec.render(&catalogue).unwrap();
                start.elapsed()
            })
            .min()
            .unwrap();
        assert!(
            fastest.as_millis() < 5,
            "{fastest:?} in an unoptimised build; under 1 ms otherwise"
        );
    }
}
