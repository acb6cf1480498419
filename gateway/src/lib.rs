//! The only way out of a worker's network.
//!
//! Reading order: [`serve`] takes connections and knows whose they are ([`passages`], with
//! [`store`] for Redis; [`guests`] limits them). [`http`] is what comes to
//! one door, [`redis_door`] what comes to the other. [`model`] is for requests to models' services. [`host`] and [`address`] judge where something
//! may go, [`way`] leads there, with what [`surroundings`] says of the networks that the gateway is
//! on, and [`relay`] passes bytes on. [`refusals`] tells of what was refused.

pub mod address;
pub mod guests;
pub mod host;
pub mod http;
pub mod model;
pub mod passages;
pub mod redis_door;
pub mod refusals;
pub mod relay;
pub mod serve;
pub mod store;
pub mod surroundings;
pub mod way;
