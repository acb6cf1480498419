//! The life of instances.

use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use worker_manager::engine::{
    Begins, Builder, DockerEngine, Enclosure, Engine, EngineError, EngineEvent, InstancePlan,
    InstanceState, Writable,
};

use crate::trial::{DEADLINE, SLEEP, on_daemon, until};

#[tokio::test]
async fn the_first_process_gets_its_input_to_the_end_each_time() {
    on_daemon(|trial| async move {
        // More than a pipe holds.
        let input = "secret\n".repeat(100_000);
        let count = format!("test $(wc -c) = {} || exit 9", input.len());
        trial.build(&format!("CMD [\"sh\", \"-c\", \"{count}\"]")).await.unwrap();
        let name = &trial.plan().name;
        trial.engine.create(&trial.plan()).await.unwrap();
        for _ in 0..2 {
            // Started again, it gets it again.
            trial.engine.start(name, input.as_bytes()).await.unwrap();
            let end = until("the count ended", || async {
                match trial.found().await?.state {
                    InstanceState::Ended(end) => Some(end),
                    _ => None,
                }
            })
            .await;
            assert_eq!(end.code, 0);
        }
    })
    .await;
}

#[tokio::test]
async fn an_instance_goes_through_its_life_and_every_verb_may_come_twice() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let (engine, plan) = (&trial.engine, trial.plan());
        let mut events = engine.watch(&trial.labels(), Timestamp::now());
        let mut next = async || {
            let event = tokio::time::timeout(DEADLINE, events.next()).await;
            event.expect("an event in time").expect("the stream goes on")
        };

        for _ in 0..2 {
            engine.create(&plan).await.unwrap();
        }
        let made = trial.found().await.unwrap();
        assert_eq!((made.state, made.ip_address), (InstanceState::Created, None));
        assert_eq!(made.started_at, None);

        // The first event shows that the watch has begun; before, it might miss one.
        let (first, ()) = tokio::join!(next(), async {
            until("an event comes", || async {
                engine.start(&plan.name, b"").await.unwrap();
                engine.start(&plan.name, b"").await.unwrap();
                Some(())
            })
            .await;
        });
        assert_eq!(first, EngineEvent::Started(plan.name.clone()));
        let listed = engine.list(&trial.labels()).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].name, &listed[0].state), (&plan.name, &InstanceState::Running));
        assert!(listed[0].ip_address.is_some() && listed[0].started_at.is_some(), "{listed:?}");

        // PID 1 without a handler does not hear SIGTERM: it is killed after the grace.
        for _ in 0..2 {
            engine.stop(&plan.name, Duration::from_secs(1)).await.unwrap();
        }
        assert_eq!(next().await, EngineEvent::Ended(plan.name.clone()));
        let InstanceState::Ended(end) = trial.found().await.unwrap().state else { panic!() };
        assert_eq!((end.code, end.oom_killed, end.at.is_some()), (137, false, true));

        for _ in 0..2 {
            engine.remove(&plan.name).await.unwrap();
        }
        assert_eq!(next().await, EngineEvent::Removed(plan.name.clone()));
        assert_eq!(trial.found().await, None);
        engine.stop(&plan.name, Duration::from_secs(1)).await.unwrap();
        assert!(engine.start(&plan.name, b"").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn an_instance_stands_still_goes_on_and_ends_in_order() {
    on_daemon(|trial| async move {
        trial
            .build("CMD [\"sh\", \"-c\", \"trap 'exit 7' TERM; sleep 600 & wait\"]")
            .await
            .unwrap();
        let (engine, plan) = (&trial.engine, trial.plan());
        let state = async || trial.found().await.map(|found| found.state);
        engine.create(&plan).await.unwrap();
        engine.start(&plan.name, b"").await.unwrap();
        for _ in 0..2 {
            engine.pause(&plan.name).await.unwrap();
            assert_eq!(state().await, Some(InstanceState::Paused));
        }
        assert!(trial.found().await.unwrap().ip_address.is_some());
        for _ in 0..2 {
            engine.resume(&plan.name).await.unwrap();
            assert_eq!(state().await, Some(InstanceState::Running));
        }
        engine.pause(&plan.name).await.unwrap();
        engine.stop(&plan.name, Duration::from_secs(60)).await.unwrap();
        let Some(InstanceState::Ended(end)) = state().await else { panic!() };
        assert_eq!(end.code, 7, "it heard that it was to end");
        engine.resume(&plan.name).await.unwrap();

        engine.start(&plan.name, b"").await.unwrap();
        engine.pause(&plan.name).await.unwrap();
        engine.remove(&plan.name).await.unwrap();
        assert_eq!(state().await, None);
        engine.resume(&plan.name).await.unwrap();
        assert!(engine.pause(&plan.name).await.is_err(), "there is none to pause");
    })
    .await;
}

#[tokio::test]
async fn what_happened_while_nobody_listened_is_told() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let (engine, plan) = (&trial.engine, trial.plan());
        let since = Timestamp::now();
        engine.create(&plan).await.unwrap();
        engine.start(&plan.name, b"").await.unwrap();
        engine.remove(&plan.name).await.unwrap();
        let events = engine.watch(&trial.labels(), since).take(3).collect::<Vec<_>>();
        let events = tokio::time::timeout(DEADLINE, events).await.unwrap();
        let name = plan.name;
        let expected = [
            EngineEvent::Started(name.clone()),
            EngineEvent::Ended(name.clone()),
            EngineEvent::Removed(name),
        ];
        assert_eq!(events, expected);
    })
    .await;
}

#[tokio::test]
async fn many_removals_at_once_all_succeed() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let plan = trial.plan();
        trial.engine.create(&plan).await.unwrap();
        trial.engine.start(&plan.name, b"").await.unwrap();
        let removals = (0..5).map(|_| trial.engine.remove(&plan.name));
        for removed in futures_util::future::join_all(removals).await {
            removed.unwrap();
        }
        assert_eq!(trial.found().await, None);
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    on_daemon(|trial| async move {
        let (engine, plan) = (&trial.engine, trial.plan());
        let error = engine.create(&plan).await.unwrap_err().to_string();
        assert!(error.contains(&format!("image {} is not on this host", plan.image)), "{error}");

        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let lost = Enclosure { name: format!("{}-net", trial.name), ..trial.enclosure.clone() };
        let lost = InstancePlan { enclosure: lost, ..plan.clone() };
        let error = match engine.create(&lost).await {
            Ok(()) => engine.start(&plan.name, b"").await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(&lost.enclosure.name), "{error}");

        engine.create(&plan).await.unwrap();
        let labels = BTreeMap::from([("io.worker-manager.trial".to_owned(), "other".to_owned())]);
        let error = engine.create(&InstancePlan { labels, ..plan }).await.unwrap_err().to_string();
        assert!(error.contains("another container has this name"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_base_image_that_cannot_be_had_is_refused_with_a_way_out() {
    on_daemon(|trial| async move {
        let error = trial.engine.base_identity("localhost:1/no/such:image").await.unwrap_err();
        assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
        let error = error.to_string();
        for part in ["localhost:1/no/such:image", "images/base/prepare", "WORKER_BASE_IMAGE"] {
            assert!(error.contains(part), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_is_away_is_unavailable_and_named() {
    for host in ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1"] {
        let engine = DockerEngine::connect(Some(host), Builder::Auto).unwrap();
        let error = engine.image("worker:none").await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains(host), "{error}");
        assert_eq!(engine.watch(&[], Timestamp::now()).next().await, None);
    }
}

#[tokio::test]
async fn a_home_begins_as_in_the_image_outlives_a_stop_and_goes_with_its_instance() {
    on_daemon(|trial| async move {
        let home = "/home/one";
        // Each visit by the user whose home it is leaves a line.
        let visit = "echo visited >> kept || exit 8; [ $(wc -l < kept) = 3 ] && exit 9";
        trial
            .build(&format!(
                "RUN mkdir -p {home} && echo image > {home}/kept && chown -R 1000 {home}\n\
                 USER 1000\nWORKDIR {home}\nCMD [\"sh\", \"-c\", \"{visit}\"]"
            ))
            .await
            .unwrap();
        let place = Writable::Kept {
            word: "home".to_owned(),
            folders: vec![home.to_owned()],
            begins: Begins::AsInImage,
        };
        let plan = InstancePlan { writable: vec![place], ..trial.plan() };
        let engine = &trial.engine;
        engine.create(&plan).await.unwrap();
        let mut codes = Vec::new();
        for _ in 0..2 {
            engine.start(&plan.name, b"").await.unwrap();
            let end = until("the visit ended", || async {
                match trial.found().await?.state {
                    InstanceState::Ended(end) => Some(end),
                    _ => None,
                }
            });
            codes.push(end.await.code);
        }
        assert_eq!(codes, [1, 9], "the image's line, and one of each visit");
        assert_eq!(engine.leftovers(&trial.labels()).await.unwrap(), []);
        // Somebody removes the container, and not by the manager.
        let removed = Command::new("docker").args(["rm", &plan.name.0]).status().unwrap();
        assert!(removed.success());
        let left = engine.leftovers(&trial.labels()).await.unwrap();
        assert!(left.iter().all(|left| left.of == plan.name), "{left:?}");
        let left: Vec<_> = left.iter().map(|left| left.what.as_str()).collect();
        let (volume, network) = ("volume {}-home", "network {}-network");
        let named = |what: &str| what.replace("{}", &plan.name.0);
        assert_eq!(left, [named(volume), named(network)]);
        for _ in 0..2 {
            engine.clear(&plan.name).await.unwrap();
        }
        assert_eq!(engine.leftovers(&trial.labels()).await.unwrap(), []);

        trial.enclose().await;
        engine.create(&plan).await.unwrap();
        engine.remove(&plan.name).await.unwrap();
        assert_eq!(engine.leftovers(&trial.labels()).await.unwrap(), []);
    })
    .await;
}
