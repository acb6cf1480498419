//! What a `create` spends on its image.
//!
//! Finding one that is there. Ours: the base image's identity, rendering, hashing, and asking for
//! the tag. The floor: the two questions to the engine that this takes, by the client library
//! alone. Rendering and hashing by itself has the hashing of as many bytes as its floor.
//!
//! After a change of the wrapper. Ours: a `create` of a manager that was just started with it, so
//! that the image has a new last layer. The floor: the same of a manager that was just started with
//! the wrapper that the image has.

use bollard::Docker;
use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use worker_manager::engine::{Builder, CacheMounts, DockerEngine, Engine};
use worker_manager::image::{BaseOwner, Catalogue, ContextFile, ImageSpec, Offer};
use worker_protocol::{AgentType, ModuleName};
use worker_tests::harness::{Environment, Installation, Options};

use crate::table::{Series, Table};

const RUNS: usize = 200;
const REBUILDS: usize = 5;
const MODULES: [&str; 2] = ["GIT", "CURL"];

pub(crate) fn measure(it: &Installation, table: &mut Table) {
    let worker = it.worker(&[("agent_type", "CLAUDE"), ("modules", &MODULES.join(","))]);
    let tag = worker.record()["image"].clone();
    worker.delete();
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(find(it, &tag, table));
    after_a_new_wrapper(table);
}

async fn find(it: &Installation, tag: &str, table: &mut Table) {
    let host = it.environment.docker_host.as_deref();
    let engine = DockerEngine::connect(host, Builder::Auto).expect("an address");
    let bare = Docker::connect_with_defaults().expect("an address");
    let catalogue = Catalogue::load(None, &Offer::default()).expect("templates");
    let (wrapper, ca_bundle) = files(it);
    let architecture = engine.describe().await.expect("an engine").architecture;
    let base = &it.environment.base_image;
    let spec = |base_identity: String| ImageSpec {
        agent: AgentType::Claude,
        modules: MODULES.map(|name| ModuleName::parse(name).expect("a name")).into(),
        base_image: base.clone(),
        base_owner: BaseOwner::Operator,
        base_identity,
        architecture: architecture.clone(),
        ca_bundle: ca_bundle.clone(),
        wrapper: Arc::clone(&wrapper),
    };
    let (mut asked, mut found) = (Series::default(), Series::default());
    let (mut hashed, mut rendered) = (Series::default(), Series::default());
    for run in 0..RUNS + 20 {
        let begin = Instant::now();
        bare.inspect_image(base).await.expect("the base image");
        bare.inspect_image(tag).await.expect("the image");
        let floor = begin.elapsed();
        let begin = Instant::now();
        let spec = spec(engine.base_identity(base).await.expect("the base image"));
        let begin_rendering = Instant::now();
        let image = spec.render(&catalogue).expect("a Dockerfile");
        let rendering = begin_rendering.elapsed();
        let namespace = tag.rsplit_once(':').expect("a tag").0;
        assert!(engine.image(&image.hash.tag(namespace)).await.expect("an answer").is_some());
        let ours = begin.elapsed();
        let hashing = hashing(image.context(CacheMounts::No).len().min(64 << 10));
        if run >= 20 {
            asked.push(floor);
            found.push(ours);
            hashed.push(hashing);
            rendered.push(rendering);
        }
    }
    table.add("finding a cached image", asked, found, 5.0);
    table.add("of that, rendering and hashing", hashed, rendered, 1.0);
}

/// So many bytes as a Dockerfile with its files has.
fn hashing(bytes: usize) -> Duration {
    let text = vec![b'x'; bytes];
    let begin = Instant::now();
    black_box(ContextFile::new(text));
    begin.elapsed()
}

fn files(it: &Installation) -> (Arc<ContextFile>, Option<Arc<ContextFile>>) {
    let read = |path: &std::path::Path| ContextFile::new(fs::read(path).expect("a file"));
    let ca_bundle = it.environment.ca_bundle.as_ref().map(|path| read(path.as_ref()));
    (read(&it.environment.wrapper), ca_bundle)
}

fn after_a_new_wrapper(table: &mut Table) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("worker-wrapper");
    let program = fs::read(Environment::read().wrapper).expect("the wrapper");
    fs::write(&path, &program).expect("a wrapper");
    let options = Options::default().set("WORKER_WRAPPER", &path.to_string_lossy());
    let it = Installation::start_with(options);
    create(&it);
    let (mut cached, mut rebuilt) = (Series::default(), Series::default());
    for run in 0..REBUILDS {
        cached.push(create_of_a_new_manager(&it));
        // What stands behind a program's end does not change what it does.
        let end = format!("{}-{run}", it.namespace);
        fs::write(&path, [&program, end.as_bytes()].concat()).expect("a wrapper");
        rebuilt.push(create_of_a_new_manager(&it));
    }
    table.add("`create` after a change of the wrapper, until it runs", cached, rebuilt, 10_000.0);
}

fn create_of_a_new_manager(it: &Installation) -> Duration {
    it.manager().stop();
    it.start_manager();
    create(it)
}

fn create(it: &Installation) -> Duration {
    let begin = Instant::now();
    let worker = it.worker(&[("agent_type", "CLAUDE"), ("modules", &MODULES.join(","))]);
    let taken = begin.elapsed();
    worker.delete();
    taken
}
