//! What the manager and the wrapper add to what they stand on, measured beside it in one run.
//!
//! ```text
//! scripts/bench [PART…]    # or, with services up: cargo run --release -p worker-tests --bin bench
//! ```
//!
//! Parts: `times`, `footprint`, `bridge`, `scale`; without any, all four. `outage` takes ten minutes.
//! Floor and ours take turns, so that whatever else the machine does meets both. Prints tables in
//! Markdown for `docs/performance.md`.

mod bare;
mod bridge;
mod echo;
mod footprint;
mod images;
mod launch;
mod process;
mod scale;
mod table;

use worker_tests::harness::Installation;

use table::Table;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    if chosen.iter().any(|word| word == bridge::AGENT) {
        return bridge::be_an_agent_that_floods();
    }
    let is_chosen = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    let it = Installation::start();
    let mut table = Table::default();
    if is_chosen("times") {
        launch::measure(&it, &mut table);
        echo::measure(&it, &mut table);
    }
    if is_chosen("times") || is_chosen("images") {
        images::measure(&it, &mut table);
        println!("{table}");
    }
    if is_chosen("footprint") {
        println!("{}", footprint::measure(&it));
    }
    if chosen.iter().any(|word| word == "outage") {
        println!("{}", bridge::outage(&it));
    }
    if is_chosen("bridge") {
        println!("{}", bridge::measure(&it));
    }
    drop(it);
    if is_chosen("scale") {
        println!("{}", scale::measure());
    }
}
