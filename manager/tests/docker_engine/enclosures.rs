//! Networks of instances, with the gateway on each.

use std::time::Duration;
use worker_manager::engine::{Engine, InstanceName};

use crate::trial::on_daemon;

/// Milliseconds after which a removal begins: making a network and putting the gateway on it takes
/// a hundred, so these meet each of its steps.
const MOMENTS: std::ops::Range<u64> = 0..24;
const STEP: u64 = 8;

#[tokio::test]
async fn a_network_can_be_removed_while_the_gateway_is_put_on_it() {
    on_daemon(|trial| async move {
        for moment in MOMENTS {
            let name = InstanceName(format!("{}-{moment}", trial.name));
            let removal = async {
                tokio::time::sleep(Duration::from_millis(moment * STEP)).await;
                trial.engine.remove(&name).await
            };
            // Whether it is made in time does not matter.
            let (_made, removed) = tokio::join!(trial.try_to_enclose(&name), removal);
            removed.unwrap();
            trial.engine.remove(&name).await.unwrap();
            assert_eq!(trial.engine.enclosure(&name).await.unwrap(), None);
        }
    })
    .await;
}
