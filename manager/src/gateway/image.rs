//! What the gateway is made from: its program, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Settings;
use crate::engine::BuildOrder;
use crate::image::Archive;
use crate::label;

const DOCKERFILE: &str = "FROM scratch\n\
    COPY worker-gateway /worker-gateway\n\
    USER 65534:65534\n\
    ENTRYPOINT [\"/worker-gateway\"]\n";
/// One file is copied.
const SILENCE: Duration = Duration::from_secs(120);
/// Of a digest, in the tag: as many as a worker's image has.
const DIGITS: usize = 12;

/// How its image is made. The tag names the program, so that another program is another image.
pub(super) fn order(settings: &Settings) -> BuildOrder {
    let program = &settings.gateway;
    let mut archive = Archive::new();
    archive.file("Dockerfile", 0o644, DOCKERFILE.as_bytes());
    archive.file("worker-gateway", 0o755, program.bytes());
    let digest = program.sha256();
    let digits = digest.get(..DIGITS).unwrap_or(digest);
    let namespace = settings.keys.namespace().to_owned();
    BuildOrder {
        tag: format!("{}:{digits}", settings.keys.gateway_name()),
        context: archive.into_bytes(),
        labels: BTreeMap::from([(label::GATEWAY.to_owned(), namespace)]),
        silence: SILENCE,
    }
}
