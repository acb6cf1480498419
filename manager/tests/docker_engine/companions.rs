//! Companions of instances.

use futures_util::StreamExt;
use jiff::Timestamp;
use std::process::Command;
use std::time::Duration;
use worker_manager::engine::{
    CompanionPlan, Confinement, Engine, EngineError, EngineEvent, InstanceName, InstancePlan,
    InstanceState,
};

use crate::trial::{DEADLINE, SLEEP, Trial, on_daemon, until};

/// What is not ready until it has told its network to the one beside it.
const TELLS_ITS_NETWORK: &str =
    "readlink /proc/self/ns/net > /shared/new; mv /shared/new /shared/ready; exec sleep 600";

fn plan(trial: &Trial, script: &str) -> InstancePlan {
    let companion = CompanionPlan {
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        shared: "/shared".to_owned(),
        env: [].into(),
        ready: "ready".to_owned(),
        state: "/state".to_owned(),
        // Of every engine. All rights of the host's root are more than a machine for tests may have.
        confinement: Confinement::Runtime("runc".to_owned()),
    };
    InstancePlan { companion: Some(companion), ..trial.plan() }
}

fn companion(trial: &Trial) -> InstanceName {
    InstanceName(format!("{}-companion", trial.name))
}

async fn exit_code(trial: &Trial) -> i64 {
    until("it ended", || async {
        match trial.found().await?.state {
            InstanceState::Ended(end) => Some(end.code),
            _ => None,
        }
    })
    .await
}

#[tokio::test]
async fn a_companion_shares_network_and_folder_and_keeps_its_state_and_rights() {
    on_daemon(|trial| async move {
        let checks = "test $(cat /shared/ready) = $(readlink /proc/self/ns/net) || exit 1; \
            test -e /state && exit 2; echo x > /shared/answer || exit 3; \
            grep -q ^NoNewPrivs:.*1 /proc/self/status || exit 4; \
            chown 7 /shared/answer 2>/dev/null && exit 5; exit 7";
        trial.build(&format!("CMD [\"sh\", \"-c\", \"{checks}\"]")).await.unwrap();
        let script = format!("chown 7 /state && {TELLS_ITS_NETWORK}");
        let plan = plan(trial, &script);
        trial.engine.create(&plan).await.unwrap();
        trial.engine.start(&plan.name, b"").await.unwrap();
        assert_eq!(exit_code(trial).await, 7);
    })
    .await;
}

#[tokio::test]
async fn a_companion_comes_and_goes_with_its_instance_and_is_none_itself() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let (engine, name) = (&trial.engine, &trial.plan().name);
        // What an earlier life left would be seen.
        let script = format!("test -e /state/old && exit 1; touch /state/old; {TELLS_ITS_NETWORK}");
        let plan = plan(trial, &script);
        for _ in 0..2 {
            let plan = InstancePlan { enclosure: trial.enclose().await, ..plan.clone() };
            let mut events = engine.watch(&trial.labels(), Timestamp::now());
            for _ in 0..2 {
                engine.create(&plan).await.unwrap();
            }
            // The first event shows that the watch has begun.
            let (event, ()) = tokio::join!(tokio::time::timeout(DEADLINE, events.next()), async {
                for _ in 0..2 {
                    engine.start(name, b"").await.unwrap();
                }
            });
            assert_eq!(event.unwrap(), Some(EngineEvent::Started(name.clone())));
            let listed = engine.list(&trial.labels()).await.unwrap();
            assert_eq!(listed.len(), 1, "{listed:?}");
            assert_eq!((&listed[0].name, &listed[0].state), (name, &InstanceState::Running));
            let beside = engine.inspect(&companion(trial)).await.unwrap().expect("the companion");
            assert_eq!(beside.state, InstanceState::Running);
            assert!(beside.ip_address.is_some());
            assert_eq!(listed[0].ip_address, beside.ip_address);

            engine.stop(name, Duration::from_secs(1)).await.unwrap();
            let beside = engine.inspect(&companion(trial)).await.unwrap().expect("the companion");
            assert!(matches!(beside.state, InstanceState::Ended(_)), "{beside:?}");
            for _ in 0..2 {
                engine.remove(name).await.unwrap();
            }
            let ended = events.next().await;
            assert_eq!(ended, Some(EngineEvent::Ended(name.clone())));
            assert_eq!(events.next().await, Some(EngineEvent::Removed(name.clone())));
            assert_eq!(engine.inspect(&companion(trial)).await.unwrap(), None);
        }
    })
    .await;
}

async fn refused_start(trial: &Trial) -> String {
    let error = trial.engine.start(&trial.plan().name, b"").await.unwrap_err();
    assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
    assert_eq!(trial.found().await.map(|found| found.ip_address), Some(None));
    error.to_string()
}

#[tokio::test]
async fn one_that_does_not_get_ready_says_why_and_the_instance_does_not_start() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let plan = plan(trial, "echo it cannot >&2; exit 3");
        trial.engine.create(&plan).await.unwrap();
        let error = refused_start(trial).await;
        assert!(error.contains(&companion(trial).0), "{error}");
        assert!(error.contains("it ended") && error.contains("it cannot"), "{error}");
        assert_eq!(trial.found().await.unwrap().state, InstanceState::Created);
    })
    .await;
}

#[tokio::test]
async fn what_an_earlier_run_made_does_not_make_it_ready() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let script =
            "test -e /state/second && exit 4; touch /state/second /shared/ready; sleep 600";
        let plan = plan(trial, script);
        trial.engine.create(&plan).await.unwrap();
        trial.engine.start(&plan.name, b"").await.unwrap();
        trial.engine.stop(&plan.name, Duration::from_secs(1)).await.unwrap();
        let error = refused_start(trial).await;
        assert!(error.contains("it ended"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_half_of_a_pair_is_removed_as_the_whole_is() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let (engine, plan) = (&trial.engine, plan(trial, TELLS_ITS_NETWORK));
        // The companion is lost.
        engine.create(&plan).await.unwrap();
        engine.remove(&companion(trial)).await.unwrap();
        assert!(engine.start(&plan.name, b"").await.is_err());
        // Made again by the same call, both are there.
        engine.create(&plan).await.unwrap();
        engine.start(&plan.name, b"").await.unwrap();
        engine.remove(&plan.name).await.unwrap();

        // The instance could not be made, since its name is taken.
        let stranger = InstancePlan { labels: [].into(), ..trial.plan() };
        engine.create(&stranger).await.unwrap();
        let mut wanted = plan.clone();
        wanted.labels.insert("io.worker-manager.trial.more".to_owned(), "1".to_owned());
        engine.create(&wanted).await.unwrap_err();
        assert!(engine.inspect(&companion(trial)).await.unwrap().is_some());
        engine.remove(&plan.name).await.unwrap();
        assert_eq!(engine.inspect(&companion(trial)).await.unwrap(), None);
        assert_eq!(trial.found().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_pair_stands_still_together_and_what_one_leaves_is_found() {
    on_daemon(|trial| async move {
        trial.build(&format!("CMD {SLEEP}")).await.unwrap();
        let (engine, plan) = (&trial.engine, plan(trial, TELLS_ITS_NETWORK));
        let states = async || {
            let beside = engine.inspect(&companion(trial)).await.unwrap();
            (trial.found().await.map(|one| one.state), beside.map(|one| one.state))
        };
        engine.create(&plan).await.unwrap();
        engine.start(&plan.name, b"").await.unwrap();
        engine.pause(&plan.name).await.unwrap();
        assert_eq!(states().await, (Some(InstanceState::Paused), Some(InstanceState::Paused)));
        engine.resume(&plan.name).await.unwrap();
        assert_eq!(states().await, (Some(InstanceState::Running), Some(InstanceState::Running)));
        assert_eq!(engine.leftovers(&trial.labels()).await.unwrap(), []);

        // Somebody removes the container, and not by the manager.
        let removed =
            Command::new("docker").args(["rm", "--force", &plan.name.0]).output().unwrap();
        assert!(removed.status.success(), "{removed:?}");
        let left = engine.leftovers(&trial.labels()).await.unwrap();
        assert!(left.iter().all(|leftover| leftover.of == plan.name), "{left:?}");
        let whats: Vec<_> = left.iter().map(|leftover| leftover.what.as_str()).collect();
        let name = &plan.name;
        let expected = [
            format!("volume {name}-shared"),
            format!("volume {name}-state"),
            format!("companion {name}-companion"),
        ];
        assert!(expected.iter().all(|what| whats.contains(&what.as_str())), "{whats:?}");
        engine.clear(&plan.name).await.unwrap();
        assert_eq!(engine.leftovers(&trial.labels()).await.unwrap(), []);
        assert_eq!(states().await, (None, None));
    })
    .await;
}
