//! What images have in common: their bytes as if each stood alone, and as they are stored.

use std::collections::HashMap;

use crate::engine::Layer;

/// One image of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Those that no other image of the set has.
    pub own: u64,
}

/// A set of images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Each of them.
    pub images: Vec<Share>,
    /// Their bytes, if each stood alone.
    pub separate: u64,
    /// Their bytes as they are stored.
    pub on_disk: u64,
}

impl Shares {
    /// Looks at a set.
    #[must_use]
    pub fn of(images: &[(String, Vec<Layer>)]) -> Self {
        let mut owners: HashMap<&str, (u64, usize)> = HashMap::new();
        for layer in images.iter().flat_map(|(_, layers)| layers) {
            owners.entry(&layer.id).or_insert((layer.size, 0)).1 += 1;
        }
        let alone = |layer: &&Layer| owners.get(layer.id.as_str()).is_some_and(|o| o.1 == 1);
        let share = |(name, layers): &(String, Vec<Layer>)| Share {
            name: name.clone(),
            size: layers.iter().map(|layer| layer.size).sum(),
            own: layers.iter().filter(alone).map(|layer| layer.size).sum(),
        };
        let images: Vec<_> = images.iter().map(share).collect();
        Self {
            separate: images.iter().map(|image| image.size).sum(),
            on_disk: owners.values().map(|(size, _)| size).sum(),
            images,
        }
    }

    /// The part of all their bytes, from 0 to 1, that an image has in common with another.
    #[must_use]
    pub fn shared(&self) -> f64 {
        let own: u64 = self.images.iter().map(|image| image.own).sum();
        if self.separate == 0 { 0.0 } else { 1.0 - own as f64 / self.separate as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, layers: &[(&str, u64)]) -> (String, Vec<Layer>) {
        let layer = |(id, size): &(&str, u64)| Layer { id: (*id).to_owned(), size: *size };
        (name.to_owned(), layers.iter().map(layer).collect())
    }

    #[test]
    fn a_layer_that_two_have_is_stored_once_and_is_nobodys_own() {
        let shares = Shares::of(&[
            image("a", &[("base", 80), ("agent", 10), ("a", 10)]),
            image("b", &[("base", 80), ("agent", 10), ("b", 10)]),
            image("c", &[("base", 80), ("c", 20)]),
        ]);
        assert_eq!((shares.separate, shares.on_disk), (300, 130));
        assert_eq!(shares.images.iter().map(|image| image.own).collect::<Vec<_>>(), [10, 10, 20]);
        assert!((shares.shared() - 260.0 / 300.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_shares_nothing() {
        assert_eq!(Shares::of(&[]).shared().to_string(), "0");
        assert_eq!(Shares::of(&[image("a", &[("x", 5)])]).shared().to_string(), "0");
    }
}
