//! What the manager and the wrapper add to what they stand on, measured beside it in one run.
//!
//! ```text
//! scripts/bench            # or, with services up: cargo run --release -p worker-tests --bin bench
//! ```
//!
//! Floor and ours take turns, so that whatever else the machine does meets both. Prints tables in
//! Markdown for `docs/performance.md`.

mod echo;
mod footprint;
mod images;
mod launch;
mod table;

use worker_tests::harness::Installation;

use table::Table;

fn main() {
    let it = Installation::start();
    let mut table = Table::default();
    launch::measure(&it, &mut table);
    echo::measure(&it, &mut table);
    images::measure(&it, &mut table);
    println!("{table}");
    println!("{}", footprint::measure(&it));
}
