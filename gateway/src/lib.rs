//! The only way out of a worker's network.
//!
//! Reading order: [`serve`] takes connections and knows whose they are ([`passages`], with
//! [`store`] for Redis and [`link`] to reach it; [`guests`] limits them). [`http`] is what comes to
//! one door, [`redis_door`] what comes to the other. [`host`] and [`address`] judge where something
//! may go, [`way`] leads there, with what [`surroundings`] says of the networks that the gateway is
//! on, and [`relay`] passes bytes on. [`refusals`] tells of what was refused.

pub mod address;
pub mod guests;
pub mod host;
pub mod http;
pub mod link;
pub mod passages;
pub mod redis_door;
pub mod refusals;
pub mod relay;
pub mod serve;
pub mod store;
pub mod surroundings;
pub mod way;
