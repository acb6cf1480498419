//! The Docker engine, tried on a real daemon: the one at `DOCKER_HOST`, or the machine's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use futures_util::{FutureExt, StreamExt};
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use worker_manager::engine::{
    BuildError, BuildOrder, BuildStep, DockerEngine, Engine, EngineError, EngineEvent, Found,
    InstanceName, InstancePlan, InstanceState, Quotas,
};

const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough that nothing here waits for its end.
const SLEEP: &str = "[\"sleep\", \"600\"]";

#[expect(
    clippy::disallowed_methods,
    reason = "which daemon and image to try is the caller's choice"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn base_image() -> String {
    setting("WORKER_BASE_IMAGE").unwrap_or_else(|| "worker-base:bookworm".to_owned())
}

/// What one test makes carries its name; all of it is removed at the end.
struct Trial {
    engine: DockerEngine,
    name: String,
}

impl Trial {
    fn tag(&self) -> String {
        format!("{}:test", self.name)
    }

    fn labels(&self) -> Vec<(String, String)> {
        vec![("io.worker-manager.trial".to_owned(), self.name.clone())]
    }

    fn order(&self, dockerfile: &str) -> BuildOrder {
        let mut context = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        context.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
        BuildOrder {
            tag: self.tag(),
            context: context.into_inner().unwrap(),
            labels: self.labels().into_iter().collect(),
            silence: Duration::from_secs(60),
        }
    }

    async fn build(&self, lines: &str) -> Result<Vec<BuildStep>, BuildError> {
        let steps = Mutex::new(Vec::new());
        let order = self.order(&format!("FROM {}\n{lines}\n", base_image()));
        self.engine.build(order, &|step| steps.lock().unwrap().push(step)).await?;
        Ok(steps.into_inner().unwrap())
    }

    fn plan(&self) -> InstancePlan {
        InstancePlan {
            name: InstanceName(self.name.clone()),
            image: self.tag(),
            labels: self.labels().into_iter().collect(),
            network: "bridge".to_owned(),
            quotas: Quotas { memory: Some(64 << 20), cpus: Some(0.5), pids: Some(50) },
            stop_grace_seconds: 5,
            companion: None,
        }
    }

    async fn found(&self) -> Option<Found> {
        self.engine.inspect(&InstanceName(self.name.clone())).await.unwrap()
    }

    async fn clean_up(&self) {
        for found in self.engine.list(&self.labels()).await.unwrap() {
            self.engine.remove(&found.name).await.unwrap();
        }
        self.engine.remove_image(&self.tag()).await.unwrap();
    }
}

/// Runs a test on the daemon and cleans up, also after a panic.
async fn on_daemon<Test: Future<Output = ()>>(test: impl FnOnce(&'static Trial) -> Test) {
    let engine = DockerEngine::connect(setting("DOCKER_HOST").as_deref()).unwrap();
    if let Err(error) = engine.describe().await {
        panic!("these tests need a Docker daemon (scripts/services up): {error}");
    }
    engine.base_identity(&base_image()).await.expect("these tests need a base image");
    let name = format!("worker-trial-{}", uuid::Uuid::new_v4().simple());
    // A test's tasks may outlive it by a moment.
    let trial: &'static Trial = Box::leak(Box::new(Trial { engine, name }));
    let outcome = AssertUnwindSafe(test(trial)).catch_unwind().await;
    trial.clean_up().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Asks until the answer is there; panics at the deadline.
async fn until<T, Asked: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> Asked) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_build_tells_its_steps_and_ends_in_an_image() {
    on_daemon(|trial| async move {
        let steps = trial.build("RUN echo hello && echo oops >&2\nCMD [\"true\"]").await.unwrap();
        let said = |wanted: &str| steps.iter().find(|step| step.line == wanted).cloned();
        let of = steps[0].of;
        assert_eq!(said("hello"), Some(BuildStep { step: 2, of, line: "hello".into() }));
        assert!(said("oops").is_some() && said("CMD [\"true\"]").is_some(), "{steps:?}");
        let image = trial.engine.image(&trial.tag()).await.unwrap().expect("the image");
        assert!(image.id.starts_with("sha256:") && image.size > 1 << 20, "{image:?}");
        trial.engine.remove_image(&trial.tag()).await.unwrap();
        trial.engine.remove_image(&trial.tag()).await.unwrap();
        assert_eq!(trial.engine.image(&trial.tag()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_failed_build_tells_the_step_and_the_last_lines() {
    on_daemon(|trial| async move {
        let error = trial.build("RUN echo before; echo because >&2; exit 3").await.unwrap_err();
        let BuildError::Failed { reason, last_lines } = error else { panic!("{error:?}") };
        assert!(reason.starts_with("step 2 of ") && reason.ends_with("code: 3"), "{reason}");
        // Two streams: their order is not certain.
        assert!(last_lines.contains(&"before".into()) && last_lines.contains(&"because".into()));

        let error = trial.build("RUM true").await.unwrap_err();
        let BuildError::Failed { reason, .. } = error else { panic!("{error:?}") };
        assert!(reason.contains("RUM"), "{reason}");
        assert_eq!(trial.engine.image(&trial.tag()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_build_that_is_dropped_ends_on_the_daemon() {
    on_daemon(|trial| async move {
        // The build's own container has the labels of what it builds on, and is found by them.
        trial.build("CMD true").await.unwrap();
        let order = BuildOrder {
            tag: format!("{}:never", trial.name),
            ..trial.order(&format!("FROM {}\nRUN sleep 600", trial.tag()))
        };
        let building = tokio::spawn(async move { trial.engine.build(order, &|_| ()).await });
        let running = || async {
            let found = trial.engine.list(&trial.labels()).await.unwrap();
            found.into_iter().find(|found| found.state == InstanceState::Running)
        };
        until("the step runs", running).await;
        building.abort();
        until("the step was ended", || async {
            let left = trial.engine.list(&trial.labels()).await.unwrap();
            left.is_empty().then_some(())
        })
        .await;
        let never = format!("{}:never", trial.name);
        assert_eq!(trial.engine.image(&never).await.unwrap(), None);
    })
    .await;
}

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
        let mut events = engine.watch(&trial.labels());
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
        let lost = InstancePlan { network: format!("{}-net", trial.name), ..plan.clone() };
        let error = match engine.create(&lost).await {
            Ok(()) => engine.start(&plan.name, b"").await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, EngineError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(&lost.network), "{error}");

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
        let engine = DockerEngine::connect(Some(host)).unwrap();
        let error = engine.image("worker:none").await.unwrap_err();
        assert!(matches!(error, EngineError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains(host), "{error}");
        assert_eq!(engine.watch(&[]).next().await, None);
    }
}
