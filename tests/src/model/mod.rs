//! The scripted model: a small server that speaks Anthropic's Messages API, OpenAI's Responses
//! API and Google's Gemini API, and plays what the
//! prompt or a script file says, so that a real agent can be driven without a real model.
//!
//! It keeps no conversation. Every request carries the whole conversation; the prompt in it
//! names the plan, and the answers after the prompt say how far the plan has been played. So
//! the server can be stopped and started in the middle of a task, and any number of agents can
//! talk to one.
//!
//! ```text
//! request ─► conversation: which prompt, how many answers since
//!                 │
//!            directives in the prompt │ script file │ echo  ─► plan ─► step
//!                 │
//!            compose: step ─► beats (frames, pauses, a break)  ─► server: plays them
//! ```
//!
//! To read in this order: [`plan`], [`directives`] (the grammar), [`script`] (the file),
//! [`conversation`], [`compose`], [`answer`] (all of these together), [`server`].

pub mod answer;
pub mod compose;
pub mod conversation;
pub mod directives;
pub mod gemini;
pub mod plan;
pub mod responses;
mod schema;
pub mod script;
pub mod server;
#[cfg(test)]
mod socket_tests;

pub use script::Script;
pub use server::{ScriptedModel, SeenRequest};
