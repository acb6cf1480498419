//! Images as a whole: listing, the disk, tags, and moving them.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use worker_manager::engine::{
    BuildOrder, Engine, EngineError, HeldImage, InstanceName, InstancePlan,
};

use crate::trial::{SLEEP, Trial, base_image, on_daemon, on_each_builder};

async fn held(trial: &Trial) -> Vec<HeldImage> {
    let mut held = trial.engine.images(&trial.labels()).await.unwrap();
    held.sort_by(|one, other| one.tag.cmp(&other.tag));
    held
}

/// Two images with a step in common and one of their own each.
async fn build_two(trial: &Trial) {
    let common = "RUN head -c 200000 /dev/urandom > /common";
    trial.build(&format!("{common}\nLABEL a=1\nRUN head -c 1000 /dev/zero > /one")).await.unwrap();
    let lines = format!("{common}\nLABEL a=2\nRUN head -c 500 /dev/zero > /other\nCMD {SLEEP}");
    let dockerfile = trial.dockerfile(&lines);
    let order = BuildOrder { tag: trial.second_tag(), ..trial.order(&dockerfile) };
    trial.run(order).await.unwrap();
}

#[tokio::test]
async fn images_share_the_layers_that_are_stored_once() {
    on_each_builder(|trial| async move {
        build_two(trial).await;
        let held = held(trial).await;
        let tags: Vec<_> = held.iter().map(|image| image.tag.clone()).collect();
        assert_eq!(tags, [trial.second_tag(), trial.tag()]);
        let base = trial.engine.image(&base_image()).await.unwrap().expect("the base image");
        for (image, own) in held.iter().zip([500, 1000]) {
            let sum: u64 = image.layers.iter().map(|layer| layer.size).sum();
            assert_eq!((sum, image.size), (base.size + 200_000 + own, sum), "{image:?}");
            assert!(image.created_at.is_some() && !image.used, "{image:?}");
            let label = &trial.labels()[0];
            assert_eq!(image.labels.get(&label.0), Some(&label.1));
        }
        let shared: Vec<_> =
            held[0].layers.iter().filter(|layer| held[1].layers.contains(layer)).collect();
        let sizes: u64 = shared.iter().map(|layer| layer.size).sum();
        assert_eq!(sizes, base.size + 200_000, "{held:?}");
    })
    .await;
}

#[tokio::test]
async fn an_image_is_used_as_long_as_a_container_is_made_from_it() {
    on_daemon(|trial| async move {
        build_two(trial).await;
        let used = async || -> Vec<bool> {
            held(trial).await.into_iter().map(|image| image.used).collect()
        };
        // One that is no worker's, by the image's second tag.
        let plan = InstancePlan {
            name: InstanceName(format!("{}-other", trial.name)),
            image: trial.second_tag(),
            ..trial.plan()
        };
        trial.engine.create(&plan).await.unwrap();
        assert_eq!(used().await, [true, false]);
        trial.engine.tag_image(&trial.second_tag(), &trial.tag()).await.unwrap();
        assert_eq!(used().await, [true, true]);
        trial.engine.remove(&plan.name).await.unwrap();
        assert_eq!(used().await, [false, false]);
    })
    .await;
}

#[tokio::test]
async fn the_disk_of_images_has_room() {
    on_daemon(|trial| async move {
        let disk = trial.engine.disk().await.unwrap().expect("a daemon on this machine");
        assert!(disk.free > 0 && disk.free <= disk.total, "{disk:?}");
    })
    .await;
}

#[tokio::test]
async fn images_that_were_saved_can_be_loaded_and_are_the_same() {
    on_each_builder(|trial| async move {
        build_two(trial).await;
        let engine = &trial.engine;
        let tags = [trial.tag(), trial.second_tag()];
        let before = (held(trial).await, engine.base_identity(&tags[0]).await.unwrap());
        let pieces: Vec<Bytes> =
            engine.save_images(&tags).await.unwrap().try_collect().await.unwrap();
        assert!(pieces.len() > 100, "it does not come as a whole");
        for tag in &tags {
            engine.remove_image(tag).await.unwrap();
        }
        assert_eq!(held(trial).await, []);

        let archive = stream::iter(pieces.into_iter().map(Ok)).boxed();
        engine.load_images(archive).await.unwrap();
        assert_eq!((held(trial).await, engine.base_identity(&tags[0]).await.unwrap()), before);
    })
    .await;
}

async fn load(trial: &Trial, pieces: Vec<Result<Bytes, std::io::Error>>) -> String {
    let error = trial.engine.load_images(stream::iter(pieces).boxed()).await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn an_archive_that_cannot_be_saved_or_loaded_is_refused() {
    on_daemon(|trial| async move {
        let missing = trial.engine.save_images(&[trial.tag()]).await.err().expect("an error");
        assert!(matches!(missing, EngineError::Refused { .. }), "{missing:?}");
        assert!(missing.to_string().contains(&trial.tag()), "{missing}");

        let nonsense = load(trial, vec![Ok(Bytes::from(vec![b'x'; 4096]))]).await;
        assert!(nonsense.contains("load images"), "{nonsense}");
        let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
        let empty = load(trial, vec![Ok(Bytes::from(empty))]).await;
        assert!(empty.contains("load images"), "{empty}");
        let broken = Err(std::io::Error::other("the other side is gone"));
        let broken = load(trial, vec![Ok(Bytes::from(vec![0; 4096])), broken]).await;
        assert!(broken.contains("the other side is gone"), "{broken}");

        trial.build("RUN true").await.unwrap();
        let archive = trial.engine.save_images(&[trial.tag()]).await.unwrap();
        let pieces: Vec<Bytes> = archive.try_collect().await.unwrap();
        let half = pieces.len() / 2;
        let cut = load(trial, pieces.into_iter().take(half).map(Ok).collect()).await;
        assert!(cut.contains("load images"), "{cut}");
    })
    .await;
}
