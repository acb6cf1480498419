//! Which images go, and why each of the others stays: a plain function of what there is.
//!
//! The least recently used goes first. An image that an instance uses, that a worker in the making
//! waits for, that is pinned or that is young is never a candidate, whatever the rules say.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::ImageHash;
use crate::engine::{Disk, Layer};

/// When images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Unused for longer than this.
    pub unused: Duration,
    /// More images than this.
    pub most_images: Option<usize>,
    /// More bytes on disk than this, layers that are shared counted once.
    pub most_bytes: Option<u64>,
    /// Less of the disk free than this, in percent.
    pub least_free: Option<u8>,
    /// Not while they are younger than this.
    pub youngest: Duration,
    /// What builds left behind and nothing has used for longer than this goes too.
    pub cache_unused: Duration,
    /// Hashes, or what they begin with, that stay.
    pub pinned: Vec<String>,
}

/// An image of this installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub hash: ImageHash,
    /// Its name on the engine.
    pub tag: String,
    /// Agent, modules, and base image where it is the caller's, as [`super::ImageWish`] is written.
    pub holds: String,
    /// The name of what it builds on.
    pub base: String,
    /// Bytes, shared ones included.
    pub size: u64,
    /// What it consists of.
    pub layers: Vec<Layer>,
    /// When it was built.
    pub built_at: Option<Timestamp>,
    /// When it was last used; of one that nobody has a memory of, when it was first seen.
    pub last_used: Timestamp,
    /// Whether an instance uses it.
    pub used: bool,
}

/// What a plan is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Every image of this installation.
    pub images: Vec<Stored>,
    /// Layers that other images of the engine have as well: what these build on, those of another
    /// installation, those that somebody gave a name of his own.
    pub others: BTreeSet<String>,
    /// The disk that they are on, where it can be seen.
    pub disk: Option<Disk>,
    /// Bytes that builds left behind and nothing has used for long.
    pub cache: u64,
    /// The operator's rules.
    pub rules: Rules,
}

/// What keeps an image, beside the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shield {
    /// A worker that runs or is being made needs it.
    Wanted,
    /// It is built in advance.
    Prebuilt,
}

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, because.
    Keep(String),
    /// It goes, because.
    Remove(String),
}

/// An image with what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The image.
    pub image: Stored,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Bytes that its removal frees: layers that no image which stays has, of whomever.
    pub frees: u64,
}

/// Judges every image, the least recently used first.
#[must_use]
pub fn plan(
    inventory: &Inventory,
    shields: &BTreeMap<ImageHash, Shield>,
    now: Timestamp,
) -> Vec<Judged> {
    let mut images: Vec<&Stored> = inventory.images.iter().collect();
    images.sort_by_key(|image| (image.last_used, &image.hash));
    let mut left = Left::of(inventory);
    let judge = |image: &Stored| {
        let kept = shield(image, shields, &inventory.rules, now);
        let verdict = match kept {
            Some(reason) => Verdict::Keep(reason),
            None => left.verdict(image, &inventory.rules, now),
        };
        let frees = match verdict {
            Verdict::Remove(_) => left.take(image),
            Verdict::Keep(_) => 0,
        };
        Judged { image: image.clone(), verdict, frees }
    };
    images.into_iter().map(judge).collect()
}

/// Bytes of images on disk, layers that are shared counted once.
#[must_use]
pub fn bytes_on_disk<'a>(images: impl IntoIterator<Item = &'a [Layer]>) -> u64 {
    let layers: HashMap<&str, u64> =
        images.into_iter().flatten().map(|layer| (layer.id.as_str(), layer.size)).collect();
    layers.values().sum()
}

/// Why an image stays whatever the rules say.
fn shield(
    image: &Stored,
    shields: &BTreeMap<ImageHash, Shield>,
    rules: &Rules,
    now: Timestamp,
) -> Option<String> {
    if image.used {
        return Some("a worker uses it".to_owned());
    }
    match shields.get(&image.hash) {
        Some(Shield::Wanted) => return Some("a worker needs it".to_owned()),
        Some(Shield::Prebuilt) => return Some("it is in the list of prebuilt images".to_owned()),
        None => {}
    }
    if rules.pinned.iter().any(|pin| image.hash.as_str().starts_with(pin.as_str())) {
        return Some("it is pinned".to_owned());
    }
    let age = now.duration_since(image.built_at.unwrap_or(image.last_used).max(image.last_used));
    let young = age < signed(rules.youngest);
    young.then(|| {
        format!("it is new or was used {} ago, within {}", ago(age), plain(rules.youngest))
    })
}

/// What is left as the plan goes on.
struct Left {
    images: usize,
    bytes: u64,
    disk: Option<Disk>,
    owners: HashMap<String, usize>,
}

impl Left {
    fn of(inventory: &Inventory) -> Self {
        let mut owners: HashMap<String, usize> = HashMap::new();
        let own = inventory.images.iter().flat_map(|image| &image.layers).map(|layer| &layer.id);
        for layer in own.chain(&inventory.others) {
            *owners.entry(layer.clone()).or_default() += 1;
        }
        Self {
            images: inventory.images.len(),
            bytes: bytes_on_disk(inventory.images.iter().map(|image| image.layers.as_slice())),
            disk: inventory.disk,
            owners,
        }
    }

    fn verdict(&self, image: &Stored, rules: &Rules, now: Timestamp) -> Verdict {
        let unused = now.duration_since(image.last_used);
        if unused > signed(rules.unused) {
            let limit = plain(rules.unused);
            return Verdict::Remove(format!("unused for {}, over {limit}", ago(unused)));
        }
        if let Some(most) = rules.most_images.filter(|most| self.images > *most) {
            return Verdict::Remove(format!("{} images, over {most}", self.images));
        }
        if let Some(most) = rules.most_bytes.filter(|most| self.bytes > *most) {
            let (all, most) = (bytes(self.bytes), bytes(most));
            return Verdict::Remove(format!("{all} of images, over {most}"));
        }
        if let Some((free, least)) = self.short_of_disk(rules) {
            return Verdict::Remove(format!("{free} % of the disk free, below {least} %"));
        }
        Verdict::Keep(format!("last used {} ago, within {}", ago(unused), plain(rules.unused)))
    }

    fn short_of_disk(&self, rules: &Rules) -> Option<(u64, u8)> {
        let (disk, least) = (self.disk?, rules.least_free?);
        let free = percent_free(disk);
        (free < u64::from(least)).then_some((free, least))
    }

    /// Takes an image away, and gives the bytes that only it had.
    fn take(&mut self, image: &Stored) -> u64 {
        let mut freed = 0;
        for layer in &image.layers {
            if let Some(count) = self.owners.get_mut(&layer.id) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    freed += layer.size;
                }
            }
        }
        self.images -= 1;
        self.bytes = self.bytes.saturating_sub(freed);
        if let Some(disk) = &mut self.disk {
            disk.free += freed;
        }
        freed
    }
}

/// How much of a disk is free, in whole percent.
#[must_use]
pub fn percent_free(disk: Disk) -> u64 {
    disk.free.saturating_mul(100) / disk.total.max(1)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// A duration in its largest unit: `8d`, `3h`, `20s`.
#[must_use]
pub fn ago(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn plain(duration: Duration) -> String {
    ago(signed(duration))
}

/// Bytes for people.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
