//! The pieces of one image, put together to the text of a Dockerfile.

use handlebars::{Handlebars, RenderError, RenderErrorReason};
use serde::Serialize;
use worker_protocol::AgentType;

use super::helpers;
use super::load::CatalogueError;
use super::template::Body;
use crate::engine::CacheMounts;

/// The frame of an image for which modules or an agent are installed.
pub(super) const FRAME: &str = "frame.hbs";
/// The frame of an image to which nothing is added but the wrapper.
pub(super) const OWN_BASE: &str = "own-base.hbs";

/// A text as each kind of builder gets it.
#[derive(Clone, Debug)]
pub struct Text {
    classic: String,
    cached: String,
}

impl Text {
    /// Renders a template's text with what its file says about itself.
    pub(super) fn render(body: Body<'_>, head: &impl Serialize) -> Result<Self, String> {
        let render = |mounts| {
            let text = helpers::handlebars(mounts).render_template(body.text, head);
            text.map_err(|error| located(&error, body.above))
        };
        Ok(Self { classic: render(CacheMounts::No)?, cached: render(CacheMounts::Yes)? })
    }

    /// The text for such a builder.
    #[must_use]
    pub fn with(&self, mounts: CacheMounts) -> &str {
        match mounts {
            CacheMounts::No => &self.classic,
            CacheMounts::Yes => &self.cached,
        }
    }
}

/// Where in a file the mistake is, so many lines of which stand above the text, and which.
fn located(error: &RenderError, above: usize) -> String {
    let (place, reason) = match error.reason() {
        RenderErrorReason::TemplateError(error) => (error.pos(), error.reason().to_string()),
        reason => (error.line_no.zip(error.column_no), reason.to_string()),
    };
    match place {
        Some((line, column)) => format!("line {}, column {column}: {reason}", line + above),
        None => reason,
    }
}

/// A named part of a Dockerfile.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a Text,
}

/// What an image consists of, each list in the order of its layers.
pub(super) struct Parts<'a> {
    pub(super) base_image: &'a str,
    pub(super) ca_bundle: bool,
    /// Stages that the others copy from.
    pub(super) stages: Vec<Part<'a>>,
    /// Modules that the agent needs.
    pub(super) foundation: Vec<Part<'a>>,
    pub(super) agent: AgentType,
    /// The stage that the agent's begins with.
    pub(super) builder: &'a str,
    pub(super) agent_text: &'a Text,
    /// The other modules.
    pub(super) modules: Vec<Part<'a>>,
}

/// What the text of a frame can use.
#[derive(Serialize)]
struct FrameData<'a> {
    base_image: &'a str,
    ca_bundle: bool,
    stages: Vec<PartData<'a>>,
    foundation: Vec<PartData<'a>>,
    agent: AgentData<'a>,
    modules: Vec<PartData<'a>>,
}

#[derive(Serialize)]
struct PartData<'a> {
    name: &'a str,
    body: &'a str,
}

#[derive(Serialize)]
struct AgentData<'a> {
    agent: AgentType,
    builder: &'a str,
    body: &'a str,
}

impl<'a> Parts<'a> {
    fn data(&self, mounts: CacheMounts) -> FrameData<'a> {
        let all = |parts: &[Part<'a>]| {
            let data = |part: &Part<'a>| PartData { name: part.name, body: part.text.with(mounts) };
            parts.iter().map(data).collect()
        };
        FrameData {
            base_image: self.base_image,
            ca_bundle: self.ca_bundle,
            stages: all(&self.stages),
            foundation: all(&self.foundation),
            agent: AgentData {
                agent: self.agent,
                builder: self.builder,
                body: self.agent_text.with(mounts),
            },
            modules: all(&self.modules),
        }
    }

    /// Every text that must be in the frame's result, with what it is of.
    fn texts(&self) -> impl Iterator<Item = Part<'a>> {
        let agent = Part { name: self.agent.as_str(), text: self.agent_text };
        let lists = [&self.stages, &self.foundation, &self.modules];
        lists.map(Clone::clone).into_iter().flatten().chain([agent])
    }
}

/// The frames, for each kind of builder.
#[derive(Debug)]
pub(super) struct Frames {
    classic: Handlebars<'static>,
    cached: Handlebars<'static>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            classic: helpers::handlebars(CacheMounts::No),
            cached: helpers::handlebars(CacheMounts::Yes),
        }
    }

    pub(super) fn add(&mut self, file: &str, text: &str) -> Result<(), CatalogueError> {
        for handlebars in [&mut self.classic, &mut self.cached] {
            handlebars
                .register_template_string(file, text)
                .map_err(|error| CatalogueError::render(file, located(&error.into(), 0)))?;
        }
        Ok(())
    }

    /// A Dockerfile as each kind of builder gets it.
    pub(super) fn render(&self, frame: &str, parts: &Parts) -> Result<Text, String> {
        let one = |handlebars: &Handlebars, mounts| {
            handlebars.render(frame, &parts.data(mounts)).map_err(|error| located(&error, 0))
        };
        Ok(Text {
            classic: one(&self.classic, CacheMounts::No)?,
            cached: one(&self.cached, CacheMounts::Yes)?,
        })
    }

    /// Whether both frames render, and [`FRAME`] has all parts in its result.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), CatalogueError> {
        for frame in [FRAME, OWN_BASE] {
            let whole = self
                .render(frame, parts)
                .map_err(|reason| CatalogueError::render(frame, reason))?;
            let lost = |part: &Part| !whole.classic.contains(&part.text.classic);
            if let Some(part) = parts.texts().find(lost).filter(|_| frame == FRAME) {
                return Err(CatalogueError::render(
                    frame,
                    format!(
                        "the text of {} is not in its result; it must use all of `stages`, `foundation`, `agent` and `modules`",
                        part.name
                    ),
                ));
            }
        }
        Ok(())
    }
}
