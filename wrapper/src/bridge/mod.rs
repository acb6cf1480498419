//! The one owner of the wrapper's state: everything that happens comes in as an [`Event`], and what
//! is to be done goes out as [`Effect`]s.
//!
//! ```text
//! agent's lines ─┐                       ┌─► output entries, acknowledgements, sign of life
//! input entries ─┼─► handle(event, now) ─┼─► bytes and signals for the agent
//! signals, time ─┘                       └─► the end
//! ```
//! `input` takes what clients send, `turns` runs prompts one at a time, `run` is
//! an agent's process that lives for one of them, `past` what is known of earlier runs, `repeat` what
//! a later one does again,
//! `permission` decides what the agent may, `limits` holds time and cost, `shortage` tells of memory
//! and processes, `ending` brings agent and worker to their end.

mod ending;
mod event;
mod input;
mod limits;
mod past;
mod permission;
mod repeat;
mod run;
mod shortage;
mod state;
mod turns;

#[cfg(test)]
mod transcript;

pub(crate) use ending::LAST_WORDS_IN_HASTE;
pub use event::{Delivery, Effect, Event, Now};
pub use permission::Asker;
pub use state::Bridge;
