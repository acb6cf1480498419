//! Which image does a worker need, and does the host have it?

use std::sync::Arc;
use worker_protocol::{Create, ErrorKind, Problem};

use super::Hands;
use crate::driver::Resolution;
use crate::engine::EngineError;
use crate::image::{BaseOwner, ImageSpec};
use crate::world::Image;

pub(super) async fn resolve(hands: &Hands, spec: &Create) -> Result<Resolution, Problem> {
    let settings = &hands.settings;
    let (base_image, base_owner) = match &spec.base_image {
        Some(own) => (own, BaseOwner::Caller),
        None => (&settings.base_image, BaseOwner::Operator),
    };
    let base_identity =
        hands.engine.base_identity(base_image).await.map_err(|error| no_image(&error))?;
    let host = hands.host().await.map_err(|error| no_image(&error))?;
    let rendered = ImageSpec {
        agent: spec.agent_type,
        modules: spec.modules.clone(),
        base_image: base_image.clone(),
        base_owner,
        base_identity,
        architecture: host.architecture.clone(),
        ca_bundle: settings.ca_bundle.clone(),
        wrapper: Arc::clone(&settings.wrapper),
    }
    .render(&hands.catalogue)?;
    let hash = rendered.hash.clone();
    let image = Image { tag: hash.tag(hands.store.keys().namespace()), hash };
    let present = hands.engine.image(&image.tag).await.map_err(|error| no_image(&error))?.is_some();
    Ok(Resolution { image, rendered: Arc::new(rendered), present })
}

fn no_image(error: &EngineError) -> Problem {
    match error {
        EngineError::Unavailable { .. } => error.into(),
        EngineError::Refused { .. } | EngineError::NoImage { .. } => {
            Problem::new(ErrorKind::BuildFailed, error.to_string())
        }
    }
}
