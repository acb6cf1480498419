//! What the manager writes on every instance: the memory of what exists.

use jiff::Timestamp;
use std::collections::BTreeMap;
use worker_protocol::{Create, WorkerId};

use crate::store::Admission;

/// The installation that made it.
pub const NAMESPACE: &str = "io.worker-manager.namespace";
/// The worker's id.
pub const WORKER: &str = "io.worker-manager.worker";
const REQUEST: &str = "io.worker-manager.request";
const CORRELATION: &str = "io.worker-manager.correlation";
const CREATED: &str = "io.worker-manager.created";
/// The image: of an instance its tag, of an image its hash.
pub const IMAGE: &str = "io.worker-manager.image";
/// That a build of this program made the image, or what came before it.
pub const BUILD: &str = "io.worker-manager.build";
/// What stands there: the templates' frame writes the same.
pub const BUILD_MARK: &str = "1";
/// Of an image: agent and modules, as people write them.
pub const HOLDS: &str = "io.worker-manager.holds";
/// Of an image: what it builds on, by name.
pub const BASE: &str = "io.worker-manager.base";
/// Who asked for it.
const CALLER: &str = "io.worker-manager.caller";
/// What lets the worker's Redis user in again.
pub const ADMISSION: &str = "io.worker-manager.admission";
/// What the gateway compares the worker's token with.
const TOKEN: &str = "io.worker-manager.token";
/// The installation whose gateway it is, or whose gateway's image.
pub const GATEWAY: &str = "io.worker-manager.gateway";
/// Tells apart what gateways were told, and tells nothing of it.
pub const DOCUMENT: &str = "io.worker-manager.document";
/// The wish without secrets and without long texts.
const SPEC: &str = "io.worker-manager.spec";

/// What labels tell about a worker.
pub struct Known {
    /// Its id.
    pub id: WorkerId,
    /// The request that made it.
    pub request_id: String,
    /// The caller's id.
    pub correlation_id: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The tag of its image.
    pub image: String,
    /// What lets its Redis user in again.
    pub admission: Admission,
    /// What lets it use models; none, of a worker from before there was a gateway.
    pub token: Option<Admission>,
    /// The wish, as far as it is written.
    pub spec: Create,
}

impl Known {
    /// As labels.
    #[must_use]
    pub fn write(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (NAMESPACE.to_owned(), namespace.to_owned()),
            (WORKER.to_owned(), self.id.to_string()),
            (REQUEST.to_owned(), self.request_id.clone()),
            (CREATED.to_owned(), self.created_at.to_string()),
            (IMAGE.to_owned(), self.image.clone()),
            (ADMISSION.to_owned(), self.admission.0.clone()),
            (SPEC.to_owned(), spec_text(&self.spec)),
        ]);
        if let Some(token) = &self.token {
            labels.insert(TOKEN.to_owned(), token.0.clone());
        }
        if let Some(id) = &self.correlation_id {
            labels.insert(CORRELATION.to_owned(), id.clone());
        }
        if let Some(caller) = &self.spec.caller {
            labels.insert(CALLER.to_owned(), caller.to_string());
        }
        labels
    }
}

/// A wish as labels and records hold it.
#[must_use]
pub fn spec_text(spec: &Create) -> String {
    serde_json::to_string(spec).unwrap_or_default()
}

/// The worker that labels name.
#[must_use]
pub fn worker_id(labels: &BTreeMap<String, String>) -> Option<WorkerId> {
    WorkerId::parse(labels.get(WORKER)?).ok()
}

/// Reads labels back; none, when they are not of this program.
#[must_use]
pub fn read(labels: &BTreeMap<String, String>) -> Option<Known> {
    Some(Known {
        id: worker_id(labels)?,
        request_id: labels.get(REQUEST)?.clone(),
        correlation_id: labels.get(CORRELATION).cloned(),
        created_at: labels.get(CREATED)?.parse().ok()?,
        image: labels.get(IMAGE)?.clone(),
        admission: Admission(labels.get(ADMISSION)?.clone()),
        token: labels.get(TOKEN).cloned().map(Admission),
        spec: serde_json::from_str(labels.get(SPEC)?).ok()?,
    })
}
