//! What one test has: an engine, and names of its own on it.

use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use worker_manager::engine::{
    BuildError, BuildOrder, BuildStep, Builder, DockerEngine, Enclosure, EnclosurePlan, Engine,
    EngineError, Found, GatewayPlan, InstanceName, InstancePlan, Pruning, Quotas, SystemCalls,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough that nothing here waits for its end.
pub(crate) const SLEEP: &str = "[\"sleep\", \"600\"]";

#[expect(
    clippy::disallowed_methods,
    reason = "which daemon and image to try is the caller's choice"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) fn base_image() -> String {
    setting("WORKER_BASE_IMAGE").unwrap_or_else(|| "worker-base:bookworm".to_owned())
}

/// A manager's own view of the daemon.
pub(crate) fn connect(builder: Builder) -> DockerEngine {
    DockerEngine::connect(setting("DOCKER_HOST").as_deref(), builder).unwrap()
}

/// What one test makes carries its name; all of it is removed at the end.
pub(crate) struct Trial {
    pub(crate) engine: DockerEngine,
    pub(crate) builder: Builder,
    pub(crate) name: String,
    pub(crate) enclosure: Enclosure,
}

impl Trial {
    pub(crate) fn tag(&self) -> String {
        format!("{}:test", self.name)
    }

    /// A second image; it is removed at the end, too.
    pub(crate) fn second_tag(&self) -> String {
        format!("{}:second", self.name)
    }

    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        vec![("io.worker-manager.trial".to_owned(), self.name.clone())]
    }

    pub(crate) fn order(&self, dockerfile: &str) -> BuildOrder {
        let mut context = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        context.append_data(&mut header, "Dockerfile", dockerfile.as_bytes()).unwrap();
        BuildOrder {
            tag: self.tag(),
            context: context.into_inner().unwrap(),
            labels: self.labels().into_iter().collect(),
            silence: DEADLINE,
        }
    }

    /// On the base image. The first step has the test's name in it, so that what the build leaves
    /// can be told and removed.
    pub(crate) fn dockerfile(&self, lines: &str) -> String {
        format!(
            "FROM {}\nLABEL io.{}.build=1\nRUN : {}\n{lines}\n",
            base_image(),
            self.name,
            self.name
        )
    }

    pub(crate) async fn build(&self, lines: &str) -> Result<Vec<BuildStep>, BuildError> {
        self.run(self.order(&self.dockerfile(lines))).await
    }

    pub(crate) async fn run(&self, order: BuildOrder) -> Result<Vec<BuildStep>, BuildError> {
        let steps = Mutex::new(Vec::new());
        self.engine.build(order, &|step| steps.lock().unwrap().push(step)).await?;
        Ok(steps.into_inner().unwrap())
    }

    pub(crate) fn plan(&self) -> InstancePlan {
        InstancePlan {
            name: InstanceName(self.name.clone()),
            image: self.tag(),
            labels: self.labels().into_iter().collect(),
            enclosure: self.enclosure.clone(),
            quotas: Quotas { memory: Some(64 << 20), cpus: Some(0.5), pids: Some(50) },
            stop_grace_seconds: 5,
            companion: None,
            writable: Vec::new(),
            system_calls: SystemCalls::Strict,
            runtime: None,
        }
    }

    pub(crate) async fn found(&self) -> Option<Found> {
        self.engine.inspect(&InstanceName(self.name.clone())).await.unwrap()
    }

    /// Makes its network, again if it has gone with an instance.
    pub(crate) async fn enclose(&self) -> Enclosure {
        enclose(&self.engine, &self.name).await
    }

    /// Makes the network of one more instance.
    pub(crate) async fn try_to_enclose(&self, of: &InstanceName) -> Result<Enclosure, EngineError> {
        self.engine.enclose(&enclosure_plan(&self.name, of)).await
    }

    async fn clean_up(&self) {
        for found in self.engine.list(&self.labels()).await.unwrap() {
            self.engine.remove(&found.name).await.unwrap();
        }
        self.engine.remove(&self.plan().name).await.unwrap();
        for left in self.engine.leftovers(&self.labels()).await.unwrap() {
            self.engine.clear(&left.of).await.unwrap();
        }
        self.engine.remove(&gateway_of(&self.name)).await.unwrap();
        for tag in [self.tag(), self.second_tag()] {
            self.engine.remove_image(&tag).await.unwrap();
        }
        until("nothing is left of its builds", || async {
            self.engine.prune_cache(Duration::ZERO, Pruning::Remove).await.unwrap();
            let left = self.engine.prune_cache(Duration::ZERO, Pruning::Count).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
    }
}

/// Runs a test on the daemon, with its classic builder, and cleans up, also after a panic.
pub(crate) async fn on_daemon<Test: Future<Output = ()>>(
    test: impl FnOnce(&'static Trial) -> Test,
) {
    on_daemon_with(Builder::Classic, test).await;
}

/// Runs a test with each builder that a daemon may have.
pub(crate) async fn on_each_builder<Test: Future<Output = ()>>(
    test: impl Fn(&'static Trial) -> Test,
) {
    for builder in [Builder::Classic, Builder::BuildKit] {
        on_daemon_with(builder, &test).await;
    }
}

async fn on_daemon_with<Test: Future<Output = ()>>(
    builder: Builder,
    test: impl FnOnce(&'static Trial) -> Test,
) {
    let name = format!("worker-trial-{}", uuid::Uuid::new_v4().simple());
    let engine = connect(builder);
    let engine = engine.marked(&name);
    if let Err(error) = engine.describe().await {
        panic!("these tests need a Docker daemon (scripts/services up): {error}");
    }
    engine.base_identity(&base_image()).await.expect("these tests need a base image");
    // A test's tasks may outlive it by a moment.
    let opened = engine.open_gateway(&gateway_plan(&name), b"exec sleep 600\n").await;
    opened.expect("a gateway");
    let enclosure = enclose(&engine, &name).await;
    let trial: &'static Trial = Box::leak(Box::new(Trial { engine, builder, name, enclosure }));
    let outcome = AssertUnwindSafe(test(trial)).catch_unwind().await;
    trial.clean_up().await;
    if let Err(panic) = outcome {
        eprintln!("with the builder {builder:?}");
        std::panic::resume_unwind(panic);
    }
}

fn gateway_of(name: &str) -> InstanceName {
    InstanceName(format!("{name}-gateway"))
}

/// What plays the gateway of a test, on the base image.
pub(crate) fn gateway_plan(name: &str) -> GatewayPlan {
    let labels = BTreeMap::from([("io.worker-manager.trial.gateway".to_owned(), name.to_owned())]);
    GatewayPlan {
        name: gateway_of(name),
        image: BuildOrder {
            tag: base_image(),
            context: Vec::new(),
            labels: labels.clone(),
            silence: DEADLINE,
        },
        labels,
        network: "bridge".to_owned(),
        enclosures: vec![("io.worker-manager.trial".to_owned(), name.to_owned())],
    }
}

/// The network of a test's instance.
async fn enclose(engine: &DockerEngine, name: &str) -> Enclosure {
    let plan = enclosure_plan(name, &InstanceName(name.to_owned()));
    engine.enclose(&plan).await.expect("a network")
}

fn enclosure_plan(name: &str, of: &InstanceName) -> EnclosurePlan {
    let gateway = gateway_plan(name);
    EnclosurePlan {
        of: of.clone(),
        gateway: gateway.name,
        labels: gateway.enclosures.into_iter().collect(),
        range: "10.213.0.0/16".parse().unwrap(),
    }
}

/// Asks until the answer is there; panics at the deadline.
pub(crate) async fn until<T, Asked: Future<Output = Option<T>>>(
    what: &str,
    ask: impl Fn() -> Asked,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
