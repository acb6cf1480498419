//! The engine without a manager: containers like ours, made by the client library alone, with the
//! same wrapper, volumes and boot document, but on a network that all share, and so without a
//! gateway. Their Redis users and streams are made before a clock starts. What is between such a
//! start and ours is what the manager adds, with a network for each worker in it.

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, InspectContainerOptions,
    StartContainerOptions,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;
use worker_protocol::boot::{BootAgent, BootKeys, Bounds, RedisAccess};
use worker_protocol::create::{Life, Restart};
use worker_protocol::{AgentProtocol, AgentType, Boot, Secret, WorkerId};
use worker_tests::harness::{Installation, Worker, docker};

/// The engine, and what one of our containers looks like.
pub(crate) struct Bare {
    client: Docker,
    runtime: Runtime,
    body: Value,
    /// The name that stands in `body`.
    like: String,
}

/// A container that is only to be made.
pub(crate) struct Prepared {
    /// The stream that its wrapper writes to.
    pub(crate) output: String,
    name: String,
    body: ContainerCreateBody,
    boot: Vec<u8>,
}

impl Bare {
    /// Reads what one of ours looks like whose agent is `cat`.
    pub(crate) fn like(it: &Installation) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = Docker::connect_with_defaults().expect("a Docker client");
        let worker = it.worker(&[("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)]);
        let like = worker.name();
        let inspect = client.inspect_container(&like, None::<InspectContainerOptions>);
        let found = runtime.block_on(inspect).expect("our container");
        worker.delete();
        let mut body = json!(found.config);
        body["HostConfig"] = json!(found.host_config);
        body["HostConfig"]["NetworkMode"] = json!(it.environment.network);
        // The engine filled these in; and by its labels, a manager would take it for its own.
        for name in ["Hostname", "Env", "Entrypoint", "WorkingDir", "Cmd", "Labels"] {
            body.as_object_mut().expect("an object").remove(name);
        }
        Self { client, runtime, body: without_nulls(body), like }
    }

    /// Does what comes before the engine's part.
    pub(crate) fn prepare(&self, it: &Installation) -> Prepared {
        let id = WorkerId::new();
        let worker = Worker::of(it, &id.to_string());
        let name = worker.name();
        let body = self.body.to_string().replace(&self.like, &name);
        let body = serde_json::from_str(&body).expect("a container's configuration");
        let boot = boot(it, &worker, id);
        Prepared { output: worker.key("output"), name, body, boot }
    }

    /// Starts one.
    pub(crate) fn start(&self, worker: &Prepared) {
        self.start_all(std::slice::from_ref(worker), 1);
    }

    /// Starts many, so many at once.
    pub(crate) fn start_all(&self, workers: &[Prepared], at_once: usize) {
        let starts = stream::iter(workers).map(|worker| self.launch(worker));
        self.runtime.block_on(starts.buffer_unordered(at_once).collect::<Vec<()>>());
    }

    /// Takes one away.
    pub(crate) fn remove(&self, it: &Installation, worker: &Prepared) {
        docker(&["rm", "--force", &worker.name]);
        let volumes =
            docker(&["volume", "ls", "--quiet", "--filter", &format!("name=^{}-", worker.name)]);
        let volumes: Vec<_> = volumes.split_whitespace().collect();
        docker(&[&["volume", "rm", "--force"], &volumes[..]].concat());
        let _: i64 = it.redis.run(&["ACL", "DELUSER", &worker.name]);
    }

    async fn launch(&self, worker: &Prepared) {
        let Prepared { name, body, boot, .. } = worker;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let created = self.client.create_container(Some(options), body.clone()).await;
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
        token: None,
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
