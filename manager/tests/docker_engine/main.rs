//! The Docker engine, tried on a real daemon: the one at `DOCKER_HOST`, or the machine's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod builds;
mod companions;
mod enclosures;
mod images;
mod instances;
mod leftovers;
mod trial;
