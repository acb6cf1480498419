//! Whatever reads bytes from outside, given bytes that nobody thought of.
//!
//! A target takes bytes and must neither panic nor break the promise that stands beside it.
//! libFuzzer makes the bytes up (`make fuzz`, docs/fuzzing.md); those in `corpus/<target>/` go
//! through each target in every test run, without it.

mod agents;
mod commands;
mod gateways;
mod masks;
mod operators;

/// One reader.
#[derive(Clone, Copy)]
pub struct Target {
    /// Of the target, and of its folder in `corpus`.
    pub name: &'static str,
    /// Hands it these bytes.
    pub run: fn(&[u8]),
}

/// Every reader.
pub const TARGETS: &[Target] = &[
    // What clients write.
    Target { name: "command", run: commands::command },
    Target { name: "input", run: commands::input },
    Target { name: "signature", run: commands::signature },
    Target { name: "value", run: commands::value },
    Target { name: "pattern", run: commands::pattern },
    Target { name: "wish", run: commands::wish },
    Target { name: "shell", run: commands::shell },
    // What agents print.
    Target { name: "acp", run: agents::acp },
    Target { name: "claude", run: agents::claude },
    Target { name: "droid", run: agents::droid },
    Target { name: "lines", run: agents::lines },
    Target { name: "pty", run: agents::pty },
    Target { name: "stream-json", run: agents::stream_json },
    Target { name: "frame", run: agents::frame },
    Target { name: "mask", run: masks::mask },
    // What workers write to Redis, and stands on their instances.
    Target { name: "output", run: commands::output },
    Target { name: "pulse", run: commands::pulse },
    Target { name: "label", run: commands::label },
    Target { name: "passage", run: commands::passage },
    // Where workers get, and what models' services answer.
    Target { name: "egress", run: gateways::egress },
    Target { name: "meter", run: gateways::meter },
    // What stands in images, which may be built on a caller's own.
    Target { name: "sbom", run: operators::sbom },
    // What operators write.
    Target { name: "template", run: operators::template },
    Target { name: "config", run: operators::config },
    Target { name: "policy", run: operators::policy },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

/// Bytes as the fields of a stream's entry: name, value, name, value, with zero bytes between.
fn pairs(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut parts = data.split(|byte| *byte == 0);
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        pairs.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    pairs
}
