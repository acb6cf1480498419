//! What builds leave behind. Each test has a mark of its own, so that it neither sees nor removes
//! what others left.

use std::cell::Cell;
use std::time::Duration;
use worker_manager::engine::{Builder, DockerEngine, Engine, Pruning};

use crate::trial::{Trial, base_image, on_daemon, on_each_builder, until};

/// A stage that the image copies from, and a step that only the image has.
fn stages(trial: &Trial) -> String {
    let name = &trial.name;
    format!(
        "RUN : {name}; mkdir /out; echo x > /out/small; head -c 300000 /dev/urandom > /big\n\
         FROM {base}\nLABEL io.{name}.build=1\n\
         RUN : {name}; head -c 100 /dev/urandom > /own\n\
         COPY --from=0 /out/ /",
        base = base_image(),
    )
}

async fn count(engine: &DockerEngine, older_than: Duration) -> u64 {
    engine.prune_cache(older_than, Pruning::Count).await.unwrap()
}

/// BuildKit lets go of what it used some moments after the build, and holds records again for a
/// moment whenever anybody asks for the disk usage.
async fn count_at_least(engine: &DockerEngine, expected: u64) -> u64 {
    until("BuildKit let go", || async {
        let counted = count(engine, Duration::ZERO).await;
        (counted >= expected).then_some(counted)
    })
    .await
}

/// What goes until this much has gone: in more than one round where BuildKit holds records.
async fn remove(engine: &DockerEngine, expected: u64) -> u64 {
    let freed = Cell::new(0);
    until("all of it is freed", || async {
        let more = engine.prune_cache(Duration::ZERO, Pruning::Remove).await.unwrap();
        freed.set(freed.get() + more);
        (freed.get() >= expected).then_some(freed.get())
    })
    .await
}

#[tokio::test]
async fn what_a_build_left_is_counted_and_removed_and_the_image_stays() {
    on_each_builder(|trial| async move {
        let engine = &trial.engine;
        assert_eq!(count(engine, Duration::ZERO).await, 0);
        trial.build(&stages(trial)).await.unwrap();
        assert_eq!(count(engine, Duration::from_secs(3600)).await, 0, "it was just used");

        let counted = count_at_least(engine, 300_000).await;
        assert_eq!(count_at_least(engine, counted).await, counted, "counting removes nothing");
        assert_eq!(remove(engine, counted).await, counted);
        assert_eq!(count(engine, Duration::ZERO).await, 0);
        assert!(engine.image(&trial.tag()).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn what_others_left_is_not_touched() {
    on_each_builder(|trial| async move {
        trial.build(&stages(trial)).await.unwrap();
        let counted = count_at_least(&trial.engine, 300_000).await;
        let other = trial.engine.clone().marked(&format!("{}-other", trial.name));
        assert_eq!(other.prune_cache(Duration::ZERO, Pruning::Remove).await.unwrap(), 0);
        assert_eq!(count_at_least(&trial.engine, counted).await, counted);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_was_removed_leaves_nothing_that_cannot_be_removed() {
    on_each_builder(|trial| async move {
        trial.build(&stages(trial)).await.unwrap();
        trial.engine.remove_image(&trial.tag()).await.unwrap();
        // The classic builder keeps an image's own steps only as long as the image.
        let own = if trial.builder == Builder::BuildKit { 102 } else { 0 };
        let kept = count_at_least(&trial.engine, 300_002 + own).await;
        let freed = remove(&trial.engine, kept).await;
        assert_eq!((freed, count(&trial.engine, Duration::ZERO).await), (kept, 0));
    })
    .await;
}

#[tokio::test]
async fn what_a_container_uses_stays() {
    on_daemon(|trial| async move {
        // An image that lost its name to another, and has a container.
        trial.build("RUN head -c 300000 /dev/urandom > /big").await.unwrap();
        trial.engine.create(&trial.plan()).await.unwrap();
        trial.build("RUN true").await.unwrap();
        let freed = trial.engine.prune_cache(Duration::ZERO, Pruning::Remove).await.unwrap();
        assert_eq!(freed, 0);
        trial.engine.remove(&trial.plan().name).await.unwrap();
        let freed = trial.engine.prune_cache(Duration::ZERO, Pruning::Remove).await.unwrap();
        assert!(freed >= 300_000, "{freed}");
    })
    .await;
}
