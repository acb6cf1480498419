//! Networks of instances, with the gateway on each.

use futures_util::future::join_all;
use worker_manager::engine::{Engine, InstanceName};

use crate::trial::{gateway_plan, on_daemon};

const MANY: usize = 12;

/// The gateway is looked at all the time, and put on the networks on which it is not.
#[tokio::test]
async fn a_network_goes_though_the_gateway_is_being_put_on_it_again() {
    on_daemon(|trial| async move {
        let engine = &trial.engine;
        let names: Vec<_> =
            (0..MANY).map(|n| InstanceName(format!("{}-{n}", trial.name))).collect();
        for name in &names {
            trial.enclose_for(name).await;
        }
        let gateway = gateway_plan(&trial.name);
        let look = async {
            loop {
                engine.join_enclosures(&gateway).await.expect("the gateway joins");
            }
        };
        let removals = join_all(names.iter().map(|name| engine.remove(name)));
        let removed = tokio::select! {
            removed = removals => removed,
            () = look => unreachable!("it has no end"),
        };
        for removed in removed {
            removed.unwrap();
        }
        for name in &names {
            assert_eq!(engine.enclosure(name).await.unwrap(), None);
        }
    })
    .await;
}
