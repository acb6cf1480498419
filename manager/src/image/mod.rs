//! From a wish to the text of an image: which templates there are, what they give, and the hash
//! that names the result. No engine and no I/O here, besides reading the operator's templates.
//!
//! Reading order: [`template`] is one file, `source` is where files come from; [`catalogue`] is
//! all of them, checked; [`spec`] is what one worker needs, and renders to a Dockerfile, a build
//! context and a hash. `wish` is how people name it. [`collect`] judges which of the images that
//! were built go again, [`layers`] tells what they have in common.

pub mod catalogue;
pub mod collect;
pub mod layers;
mod source;
pub mod spec;
pub mod template;
mod wish;

pub use catalogue::{AgentTemplate, Catalogue, CatalogueError, Module};
pub use spec::{ContextFile, ImageHash, ImageSpec, Rendered};
pub use wish::ImageWish;
