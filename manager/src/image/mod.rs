//! From a wish to the text of an image: which templates there are, what they give, and the hash
//! that names the result. No engine and no I/O here, besides reading the operator's templates.
//!
//! Reading order: [`template`] is one file, `source` is where files come from, `helpers` is what
//! their text can call; [`load`] makes [`catalogue`] of all of them, checked; `frame` puts the
//! pieces of one image together; [`spec`] is what one worker needs, and comes to a Dockerfile, a
//! build context and a hash. `wish` is how people name it, `policy` what
//! holds an agent to its commands. [`collect`] judges which of the images
//! that were built go again, [`layers`] tells what they have in common.

pub mod catalogue;
mod check;
pub mod collect;
mod context;
mod frame;
mod helpers;
pub mod layers;
pub mod load;
#[cfg(test)]
mod pinned_tests;
mod policy;
mod source;
pub mod spec;
pub mod template;
mod wish;

pub use catalogue::{AgentTemplate, Catalogue, Module};
pub(crate) use context::Archive;
pub use context::ContextFile;
pub(crate) use context::{hex, sha256};
pub use load::{AgentOverride, CatalogueError, Companions, Offer};
pub use spec::{BaseOwner, ImageHash, ImageSpec, Rendered};
pub use template::{AgentHead, Companion, ModelHead, SizeClass};
pub use wish::ImageWish;
