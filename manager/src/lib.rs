//! The control plane: reads commands, makes workers, watches them, tells what happened.
//!
//! It never carries a prompt or a line of output; workers go on while it is down.
//!
//! How a command flows: [`inbox`] takes it from Redis and looks up what is known of it; [`driver`]
//! hands it to [`decide`], changes the [`world`] and says what is to be done; [`act`] does it, by
//! way of the [`engine`] and with an [`image`], by the `gateway` alone out into the world and as far
//! as its [`passage`] goes; [`outbox`] writes reply, record and event.
//! `sources` are what happens without a command, and `sleepers` what comes for workers that are
//! paused. [`serve`] runs all of it, while this manager has the `lease`. [`client`] is the other
//! side, for [`run`] and for other programs; [`archive`] moves images to other machines, [`sbom`] lists what is in one,
//! [`telemetry`] shows what goes on and [`doctor`] what is wrong; [`terminal`] is how people see what
//! workers say.

pub mod act;
pub mod archive;
pub mod caller;
mod caught;
pub use worker_link::chain;
pub mod client;
pub mod config;
pub mod decide;
mod disk_limits;
pub mod doctor;
pub mod driver;
pub mod engine;
pub mod failpoint;
mod gateway;
pub mod image;
mod inbox;
pub mod label;
mod lease;
pub mod orphan;
mod outbox;
pub mod passage;
pub mod policy;
pub mod run;
pub mod sbom;
pub mod serve;
mod sleepers;
mod sources;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod world;
