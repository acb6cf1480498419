//! Models' services: who may use them, what they cost, and how much a worker has used.
//!
//! [`upstream`] is the service and its key, [`token`] what a worker shows instead. [`scan`] finds in
//! an answer, as it passes, what it says of its own size; [`usage`] reads that, [`price`] makes money
//! of it, and [`ledger`] holds a worker to its limits.

pub mod ledger;
pub mod price;
pub mod scan;
pub mod token;
pub mod upstream;
pub mod usage;
