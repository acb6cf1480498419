//! One program for all targets: `fuzz --target=NAME`, and libFuzzer's own arguments after it.
#![no_main]

use std::sync::OnceLock;
use worker_fuzz::{TARGETS, Target, target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// libFuzzer passes over what begins with `--`.
fn chosen() -> Target {
    let named = std::env::args().find_map(|word| word.strip_prefix("--target=").and_then(target));
    named.unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("--target=NAME must be one of {}", names.join(", "))
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (CHOSEN.get_or_init(chosen).run)(data);
});
