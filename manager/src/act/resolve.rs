//! Which image does a worker need, and does the host have it?

use std::sync::Arc;
use worker_protocol::{ErrorKind, Problem};

use super::Hands;
use crate::driver::Resolution;
use crate::engine::{Confinement, EngineError, HostFacts};
use crate::failpoint::{Failpoint, pass};
use crate::image::{BaseOwner, Companions, ImageSpec, ImageWish, Rendered};
use crate::world::{Image, Prebuild};

pub(super) async fn resolve(hands: &Hands, wish: &ImageWish) -> Result<Resolution, Problem> {
    pass(Failpoint::ResolveBegins);
    let rendered = render(hands, wish).await?;
    let hash = rendered.hash.clone();
    let image = Image { tag: hash.tag(hands.store.keys().namespace()), hash };
    let present = hands.engine.image(&image.tag).await.map_err(|error| no_image(&error))?.is_some();
    pass(Failpoint::ImageResolved);
    Ok(Resolution { image, rendered: Arc::new(rendered), present })
}

/// What an image is made from, and so its name.
pub async fn render(hands: &Hands, wish: &ImageWish) -> Result<Rendered, Problem> {
    let settings = &hands.settings;
    let (base_image, base_owner) = match &wish.base_image {
        Some(own) => (own, BaseOwner::Caller),
        None => (&settings.base_image, BaseOwner::Operator),
    };
    let base_identity =
        hands.engine.base_identity(base_image).await.map_err(|error| no_image(&error))?;
    let host = hands.host().await.map_err(|error| no_image(&error))?;
    check_companion(hands, host, wish)?;
    ImageSpec {
        agent: wish.agent,
        modules: wish.modules.clone(),
        base_image: base_image.clone(),
        base_owner,
        base_identity,
        architecture: host.architecture.clone(),
        ca_bundle: settings.ca_bundle.clone(),
        wrapper: Arc::clone(&settings.wrapper),
    }
    .render(&hands.catalogue)
}

/// Whether this host can run what a module brings, before it is built in vain.
fn check_companion(hands: &Hands, host: &HostFacts, wish: &ImageWish) -> Result<(), Problem> {
    let catalogue = &hands.catalogue;
    let Companions::Allowed(Confinement::Runtime(runtime)) = catalogue.companions() else {
        return Ok(());
    };
    let agent = catalogue.agent(wish.agent)?;
    if catalogue.companion(agent, &wish.modules).is_none() || host.runtimes.contains(runtime) {
        return Ok(());
    }
    Err(Problem::refused(format!(
        "the configuration (`docker`, WORKER_DOCKER) wants the runtime {runtime} for an engine \
         beside the worker, and {} has only {}: install it on the engine's machine",
        host.engine,
        host.runtimes.join(", ")
    )))
}

/// Looks at the images that are to be built in advance. One that cannot be looked at is told of in
/// the log, and looked at again the next time.
pub async fn in_advance(hands: &Hands) -> Vec<Prebuild> {
    let mut list = Vec::new();
    for wish in &hands.settings.prebuild {
        match resolve(hands, wish).await {
            Ok(Resolution { image, rendered, present }) => {
                list.push(Prebuild { wish: wish.clone(), image, rendered, present });
            }
            Err(problem) => tracing::warn!(image = %wish, %problem, "cannot be built in advance"),
        }
    }
    list
}

fn no_image(error: &EngineError) -> Problem {
    match error {
        EngineError::Unavailable { .. } => error.into(),
        EngineError::Refused { .. } | EngineError::NoImage { .. } => {
            Problem::new(ErrorKind::BuildFailed, error.to_string())
        }
    }
}
