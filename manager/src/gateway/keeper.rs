//! Has the gateway run, as it is to be now: whoever leads keeps it.
//!
//! Nothing of it is remembered but what stands on its instance. One that fits is left alone, so that
//! a manager can be replaced without a worker noticing; one that ended, or was told something else,
//! is made anew.

use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;
use worker_protocol::{Problem, rfc3339};

use super::trial::{self, Verdict};
use super::{Standing, document, image};
use crate::act::Hands;
use crate::chain::chain;
use crate::driver::Write;
use crate::engine::{Found, GatewayPlan, InstanceName, InstanceState};
use crate::label;
use crate::store::{Admission, Store, StoreError};

/// How often it is looked at, whatever the engine tells.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A network that something gets out of is not mended by itself.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Keeps the gateway until `over`. It goes on afterwards.
pub(crate) async fn keep(
    hands: Hands,
    writes: UnboundedSender<Vec<Write>>,
    over: CancellationToken,
) {
    let mut keeper = Keeper { hands, writes, tried: false, told: None };
    over.run_until_cancelled(keeper.run()).await;
}

struct Keeper {
    hands: Hands,
    writes: UnboundedSender<Vec<Write>>,
    /// Whether the one that runs was tried out.
    tried: bool,
    /// How it was said to stand.
    told: Option<Standing>,
}

impl Keeper {
    async fn run(&mut self) {
        let own = [(label::GATEWAY.to_owned(), self.hands.settings.keys.namespace().to_owned())];
        loop {
            let mut events = self.hands.engine.watch(&own, Timestamp::now());
            let pause = match self.look().await {
                Ok(Verdict::Tight) => {
                    self.stands(Standing::Open, "nothing gets past it");
                    LOOK_EVERY
                }
                Ok(Verdict::Leaks(why)) => {
                    self.stands(Standing::Shut(why.clone()), &why);
                    TRY_AGAIN_AFTER
                }
                Err(problem) => {
                    self.stands(Standing::Shut(problem.message.clone()), &problem.message);
                    LOOK_EVERY
                }
            };
            // An engine that is away ends the stream, and says nothing.
            let said = async {
                if events.next().await.is_none() {
                    std::future::pending::<()>().await;
                }
            };
            let _ = tokio::time::timeout(pause, said).await;
        }
    }

    /// Makes it what it is to be.
    async fn look(&mut self) -> Result<Verdict, Problem> {
        let boot = document::compose(&self.hands)?;
        let seal = document::seal(&self.hands, &boot)?;
        let (password, admission) = Store::new_gateway_password();
        let plan = plan(&self.hands, seal, &admission);
        let engine = &self.hands.engine;
        let found = engine.inspect(&plan.name).await.map_err(|error| Problem::from(&error))?;
        if let Some(why) = misfit(found.as_ref(), &plan) {
            tracing::info!(gateway = %plan.name, "opening the gateway: {why}");
            self.tried = false;
            self.hands.gateway.stands(Standing::Opening);
            let network = engine.ensure_network(&plan.network).await;
            network.map_err(|error| Problem::from(&error))?;
            self.admit(&admission).await?;
            let document = document::write(boot, password)?;
            let opened = engine.open_gateway(&plan, &document).await;
            opened.map_err(|error| Problem::from(&error))?;
            self.tell("STARTED", &why);
        } else {
            let joined = engine.join_enclosures(&plan).await;
            joined.map_err(|error| Problem::from(&error))?;
            self.admit_again(found.as_ref()).await?;
        }
        if self.tried {
            return Ok(Verdict::Tight);
        }
        let verdict = trial::try_out(&self.hands, &plan).await?;
        self.tried = verdict == Verdict::Tight;
        Ok(verdict)
    }

    async fn admit(&self, admission: &Admission) -> Result<(), Problem> {
        self.hands.store.admit_gateway(admission).await.map_err(|error| store_problem(&error))
    }

    /// Redis forgets users when it is restarted.
    async fn admit_again(&self, found: Option<&Found>) -> Result<(), Problem> {
        let known = self.hands.store.knows_gateway().await;
        if known.map_err(|error| store_problem(&error))? {
            return Ok(());
        }
        let admission = found.and_then(|found| found.labels.get(label::ADMISSION));
        match admission {
            Some(admission) => self.admit(&Admission(admission.clone())).await,
            None => Ok(()),
        }
    }

    /// Tells those who start workers; and everybody else, when it is new.
    fn stands(&mut self, standing: Standing, message: &str) {
        if self.told.as_ref() != Some(&standing) {
            match &standing {
                Standing::Shut(why) => {
                    tracing::warn!("no worker is started: {why}");
                    self.tell("SHUT", message);
                }
                Standing::Open => {
                    tracing::info!("the gateway is open");
                    self.tell("OPEN", message);
                }
                Standing::Opening => {}
            }
            self.told = Some(standing.clone());
        }
        self.hands.gateway.stands(standing);
    }

    fn tell(&self, status: &str, message: &str) {
        let fields = [
            ("type", json!("gateway")),
            ("timestamp", json!(rfc3339(Timestamp::now()))),
            ("status", json!(status)),
            ("message", json!(message)),
        ];
        let event: Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let _ = self.writes.send(vec![Write::Event(event)]);
    }
}

fn plan(hands: &Hands, seal: String, admission: &Admission) -> GatewayPlan {
    let settings = &hands.settings;
    let image = image::order(settings);
    let labels = [
        (label::GATEWAY, settings.keys.namespace().to_owned()),
        (label::IMAGE, image.tag.clone()),
        (label::DOCUMENT, seal),
        (label::ADMISSION, admission.0.clone()),
    ];
    GatewayPlan {
        name: InstanceName(settings.keys.gateway_name()),
        image,
        labels: BTreeMap::from(labels.map(|(name, value)| (name.to_owned(), value))),
        network: settings.network.clone(),
        enclosures: hands.own(),
    }
}

/// Why the one that there is has to be made anew.
fn misfit(found: Option<&Found>, plan: &GatewayPlan) -> Option<String> {
    let Some(found) = found else { return Some("there was none".to_owned()) };
    let same = |name: &str| found.labels.get(name) == plan.labels.get(name);
    match &found.state {
        InstanceState::Ended(end) => return Some(format!("it ended with exit code {}", end.code)),
        InstanceState::Created | InstanceState::Paused => return Some("it did not run".to_owned()),
        InstanceState::Running => {}
    }
    if !same(label::IMAGE) {
        return Some("its program changed".to_owned());
    }
    if !same(label::DOCUMENT) {
        return Some("what it is told changed".to_owned());
    }
    let outside = found.networks.contains(&plan.network);
    (!outside).then(|| format!("it was not on the network {}", plan.network))
}

fn store_problem(error: &StoreError) -> Problem {
    Problem::new(worker_protocol::ErrorKind::StartFailed, chain(error))
}
