//! From a wish to the first output, with an image that is there.
//!
//! Ours: `XADD` of a `create`, until a blocked reader has the worker's first entry. The floor: the
//! same container (its configuration is read from one of ours), created, attached to and started
//! by the same client library, with the same wrapper, which writes the same first entry. Redis is
//! prepared before the clock starts. What is between the two is what the manager adds.

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    StartContainerOptions,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use worker_protocol::boot::{BootAgent, BootKeys, Bounds, RedisAccess};
use worker_protocol::create::{Life, Restart};
use worker_protocol::{AgentProtocol, AgentType, Boot, Secret, WorkerId};
use worker_tests::harness::{Installation, Worker, docker};

use crate::echo::Reader;
use crate::table::{Series, Table};

const RUNS: usize = 40;
const CAT: &[(&str, &str)] =
    &[("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

pub(crate) fn measure(it: &Installation, table: &mut Table) {
    let bare = Bare::like(it);
    let (mut floor, mut ours) = (Series::default(), Series::default());
    for run in 0..=RUNS {
        // In turns, since each leaves the engine something to clear away for the next.
        let (bare, managed) = if run % 2 == 0 {
            let bare = bare.start(it);
            (bare, managed(it))
        } else {
            let managed = managed(it);
            (bare.start(it), managed)
        };
        // The first of each warms what both have in common.
        if run > 0 {
            floor.push(bare);
            ours.push(managed);
        }
    }
    table.add("`create` with a cached image, until the first output", floor, ours, 15.0);
}

fn managed(it: &Installation) -> Duration {
    let worker = Worker::of(it, &WorkerId::new().to_string());
    let reader = Reader::follow(it, &worker.key("output"), "0", "ready");
    let fields = [CAT, &[("worker_id", &worker.id)]].concat();
    let begin = Instant::now();
    it.send(&fields);
    let seen = reader.join().expect("a reader");
    worker.becomes("RUNNING");
    worker.delete();
    seen - begin
}

/// The engine without a manager.
struct Bare {
    client: Docker,
    runtime: Runtime,
    body: ContainerCreateBody,
}

impl Bare {
    /// Reads what one of ours looks like.
    fn like(it: &Installation) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = Docker::connect_with_defaults().expect("a Docker client");
        let worker = it.worker(&CAT[1..]);
        let name = worker.name();
        let inspect = client.inspect_container(&name, None::<InspectContainerOptions>);
        let found = runtime.block_on(inspect).expect("our container");
        worker.delete();
        let mut body = json!(found.config);
        body["HostConfig"] = json!(found.host_config);
        // The engine filled these in.
        for name in ["Hostname", "Env", "Entrypoint", "WorkingDir", "Cmd"] {
            body.as_object_mut().expect("an object").remove(name);
        }
        let body =
            serde_json::from_value(without_nulls(body)).expect("a container's configuration");
        Self { client, runtime, body }
    }

    fn start(&self, it: &Installation) -> Duration {
        let id = WorkerId::new();
        let worker = Worker::of(it, &id.to_string());
        let name = worker.name();
        let boot = boot(it, &worker, id);
        let reader = Reader::follow(it, &worker.key("output"), "0", "ready");
        let begin = Instant::now();
        self.runtime.block_on(self.launch(&name, &boot));
        let seen = reader.join().expect("a reader");
        docker(&["rm", "--force", &name]);
        let _: i64 = it.redis.run(&["ACL", "DELUSER", &name]);
        seen - begin
    }

    async fn launch(&self, name: &str, boot: &[u8]) {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.client.create_container(Some(options), self.body.clone()).await;
        created.expect("a container");
        let options = AttachContainerOptionsBuilder::new().stdin(true).stream(true).build();
        let attached = self.client.attach_container(name, Some(options)).await;
        let mut stdin = attached.expect("an attachment").input;
        let write = async {
            stdin.write_all(boot).await?;
            stdin.shutdown().await
        };
        let start = self.client.start_container(name, None::<StartContainerOptions>);
        let (started, written) = tokio::join!(start, write);
        started.expect("a start");
        written.expect("the wrapper's input");
    }
}

/// What the manager would do in Redis, and what it would tell the wrapper.
fn boot(it: &Installation, worker: &Worker<'_>, id: WorkerId) -> Vec<u8> {
    let (user, password) = (worker.name(), "bench");
    let all = ["reset", "on", ">bench", "~*", "+@all"];
    let words = [&["ACL", "SETUSER", &user][..], &all[..]].concat();
    let _: String = it.redis.run(&words);
    let input = worker.key("input");
    let _: String = it.redis.run(&["XGROUP", "CREATE", &input, "wrapper", "0", "MKSTREAM"]);
    let boot = Boot {
        worker_id: id,
        redis: RedisAccess {
            url: it.environment.worker_redis_url.clone(),
            username: user,
            password: Secret::new(password),
        },
        keys: BootKeys { input, output: worker.key("output"), heartbeat: worker.key("heartbeat") },
        agent: BootAgent {
            agent_type: AgentType::Custom,
            version: None,
            protocol: AgentProtocol::Lines,
            command: vec!["cat".to_owned()],
            env: BTreeMap::new(),
            system_prompt_file: None,
            model: None,
            mcp_file: None,
            uid: 1000,
            workspace: "/workspace".to_owned(),
        },
        life: Life::Interactive,
        restart: Restart::Never,
        files: Vec::new(),
        policy: None,
        bounds: Bounds::default(),
        operators: BTreeSet::new(),
    };
    serde_json::to_vec(&boot).expect("JSON")
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        other => other,
    }
}
