//! What an image consists of, layer by layer.

use bollard::models::{ImageHistoryResponseItem, ImageInspect};
use sha2::{Digest, Sha256};

use crate::engine::Layer;

/// The layers of an image that take space, the lowest first.
///
/// The daemon tells the digests of an image's layers in one place and sizes in another, where steps
/// that made no layer stand too; which size belongs to which digest it does not tell when a layer
/// is empty. So a layer is named by what is told beside its size: when it was made and by which
/// step, and all that below it. A layer that is stored once has one such history, since a step that
/// is not repeated keeps its time. Empty steps are left out of the name: a label or a variable
/// between two layers does not part them.
pub(super) fn layers(image: &ImageInspect, history: Vec<ImageHistoryResponseItem>) -> Vec<Layer> {
    let digests = image.root_fs.as_ref().and_then(|root| root.layers.as_deref());
    // Images from different roots have no layer in common, whatever their steps say.
    let mut below = digests.and_then(<[_]>::first).cloned().unwrap_or_default();
    let mut layers: Vec<Layer> = Vec::new();
    for step in history.into_iter().rev() {
        let size = u64::try_from(step.size).unwrap_or_default();
        if size > 0 {
            let step = format!("{below}\n{}\n{size}\n{}", step.created, step.created_by);
            below = digest(step.as_bytes());
            layers.push(Layer { id: below.clone(), size });
        }
    }
    let told: u64 = layers.iter().map(|layer| layer.size).sum();
    let whole = size(image);
    // A store that counts more than its layers keeps the rest for this image alone.
    if whole > told {
        let own = format!("{below}\n{}", image.id.as_deref().unwrap_or_default());
        layers.push(Layer { id: digest(own.as_bytes()), size: whole - told });
    }
    layers
}

/// Bytes of an image, those shared with other images included.
pub(super) fn size(image: &ImageInspect) -> u64 {
    image.size.unwrap_or_default().try_into().unwrap_or_default()
}

/// `sha256:` and the digest in hexadecimal figures.
pub(super) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ImageInspectRootFs;

    fn image(size: i64) -> ImageInspect {
        let root =
            ImageInspectRootFs { layers: Some(vec!["sha256:root".into()]), ..Default::default() };
        ImageInspect {
            id: Some("sha256:image".into()),
            size: Some(size),
            root_fs: Some(root),
            ..Default::default()
        }
    }

    /// As the daemon tells it: the last step first.
    fn history(steps: &[(i64, &str, i64)]) -> Vec<ImageHistoryResponseItem> {
        let item = |&(created, created_by, size): &(i64, &str, i64)| ImageHistoryResponseItem {
            created,
            created_by: created_by.to_owned(),
            size,
            ..Default::default()
        };
        steps.iter().rev().map(item).collect()
    }

    const ROOT: (i64, &str, i64) = (10, "", 700);
    const APT: (i64, &str, i64) = (20, "RUN apt", 200);

    #[test]
    fn images_share_what_they_have_in_common_from_below() {
        let one = layers(&image(1000), history(&[ROOT, APT, (30, "RUN one", 100)]));
        let other = layers(&image(950), history(&[ROOT, APT, (31, "RUN other", 50)]));
        assert_eq!(one.iter().map(|layer| layer.size).collect::<Vec<_>>(), [700, 200, 100]);
        assert_eq!(one[..2], other[..2]);
        assert_ne!(one[2].id, other[2].id);
    }

    #[test]
    fn a_step_that_was_repeated_made_a_layer_of_its_own_and_all_above_it_too() {
        let first = layers(&image(1000), history(&[ROOT, APT, (30, "RUN one", 100)]));
        let again =
            layers(&image(1000), history(&[ROOT, (25, "RUN apt", 200), (30, "RUN one", 100)]));
        assert_eq!(first[0], again[0]);
        assert!(first[1].id != again[1].id && first[2].id != again[2].id);
    }

    #[test]
    fn a_step_without_a_layer_parts_nothing() {
        let with =
            layers(&image(900), history(&[ROOT, (15, "LABEL a=1", 0), APT, (21, "CMD x", 0)]));
        assert_eq!(with, layers(&image(900), history(&[ROOT, APT])));
    }

    #[test]
    fn sizes_sum_to_the_image_and_what_is_not_told_is_its_own() {
        let mut other = image(1000);
        other.id = Some("sha256:other".into());
        let one = layers(&image(1000), history(&[ROOT, APT]));
        let other = layers(&other, history(&[ROOT, APT]));
        assert_eq!(one.iter().map(|layer| layer.size).sum::<u64>(), 1000);
        assert_eq!(one[..2], other[..2]);
        assert_ne!(one[2].id, other[2].id);
    }

    #[test]
    fn another_root_shares_nothing() {
        let mut elsewhere = image(900);
        elsewhere.root_fs.as_mut().unwrap().layers = Some(vec!["sha256:elsewhere".into()]);
        let here = layers(&image(900), history(&[ROOT, APT]));
        let there = layers(&elsewhere, history(&[ROOT, APT]));
        assert!(here.iter().zip(&there).all(|(one, other)| one.id != other.id));
    }
}
