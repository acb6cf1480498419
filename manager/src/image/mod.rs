//! From a wish to the text of an image: which templates there are, what they give, and the hash
//! that names the result. No engine and no I/O here, besides reading the operator's templates.
//!
//! Reading order: [`template`] is one file, `source` is where files come from; [`catalogue`] is
//! all of them, checked; [`spec`] is what one worker needs, and renders to a Dockerfile, a build
//! context and a hash.

pub mod catalogue;
mod source;
pub mod spec;
pub mod template;

pub use catalogue::{AgentTemplate, Catalogue, CatalogueError, Module};
pub use spec::{ContextFile, ImageHash, ImageSpec, Rendered};
