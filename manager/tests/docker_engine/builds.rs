//! Builds, with each builder.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use worker_manager::engine::{
    BuildError, BuildOrder, BuildStep, Builder, CacheMounts, DockerEngine, Engine, EngineError,
    InstanceState,
};

use crate::trial::{base_image, connect, on_each_builder, until};

#[tokio::test]
async fn a_build_tells_its_steps_and_ends_in_an_image() {
    on_each_builder(|trial| async move {
        let steps = trial.build("RUN echo hello && echo oops >&2\nRUN true").await.unwrap();
        let named = |wanted: &str| steps.iter().find(|step| step.line.ends_with(wanted)).cloned();
        let first = named("RUN echo hello && echo oops >&2").expect("the step");
        let hello = steps.iter().find(|step| step.line == "hello").cloned();
        let (step, of) = (first.step, steps.last().unwrap().of);
        assert_eq!(hello, Some(BuildStep { step, of, line: "hello".into() }), "{steps:?}");
        assert!(named("oops").is_some_and(|oops| oops.step == step), "{steps:?}");
        assert_eq!(named("RUN true").map(|step| step.step), Some(step + 1), "{steps:?}");
        assert!(steps.iter().all(|step| step.step <= step.of), "{steps:?}");
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
    on_each_builder(|trial| async move {
        let error = trial.build("RUN echo before; echo because >&2; exit 3").await.unwrap_err();
        let BuildError::Failed { reason, last_lines } = error else { panic!("{error:?}") };
        assert!(reason.starts_with("step ") && reason.contains(" failed: "), "{reason}");
        assert!(reason.contains("exit 3") && reason.ends_with("code: 3"), "{reason}");
        // Two streams: their order is not certain.
        assert!(last_lines.contains(&"before".into()), "{last_lines:?}");
        assert!(last_lines.contains(&"because".into()), "{last_lines:?}");

        let error = trial.build("RUM true").await.unwrap_err();
        let BuildError::Failed { reason, .. } = error else { panic!("{error:?}") };
        assert!(reason.contains("RUM"), "{reason}");
        assert_eq!(trial.engine.image(&trial.tag()).await.unwrap(), None);
    })
    .await;
}

/// The step's own process on this machine, by an argument that nothing else has.
fn runs(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

#[tokio::test]
async fn a_build_that_is_dropped_ends_on_the_daemon() {
    on_each_builder(|trial| async move {
        let unique = format!("600.{}", uuid::Uuid::new_v4().as_u128());
        let order = trial.order(&trial.dockerfile(&format!("RUN sleep {unique}")));
        let building = tokio::spawn(async move { trial.engine.build(order, &|_| ()).await });
        until("the step runs", || async { runs(&unique).then_some(()) }).await;
        building.abort();
        until("the step was ended", || async { (!runs(&unique)).then_some(()) }).await;
        assert_eq!(trial.engine.image(&trial.tag()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_step_that_says_nothing_for_too_long_is_ended() {
    on_each_builder(|trial| async move {
        let unique = format!("600.{}", uuid::Uuid::new_v4().as_u128());
        let order = BuildOrder {
            silence: Duration::from_secs(3),
            ..trial.order(&trial.dockerfile(&format!("RUN echo begins; sleep {unique}")))
        };
        let error = trial.run(order).await.unwrap_err();
        let BuildError::Failed { reason, last_lines } = error else { panic!("{error:?}") };
        assert!(reason.contains("no output for 3 s"), "{reason}");
        assert!(last_lines.contains(&"begins".into()), "{last_lines:?}");
        until("the step was ended", || async { (!runs(&unique)).then_some(()) }).await;
    })
    .await;
}

/// Nothing that makes a layer: what is left is the configuration.
const SHAPE: &str = "ENV A=b C=d\nUSER nobody\nSTOPSIGNAL SIGINT\nEXPOSE 80\nVOLUME /data\n\
    LABEL from=dockerfile\nENTRYPOINT [\"sh\", \"-c\"]\nCMD [\"exit 7\"]";

#[tokio::test]
async fn both_builders_make_the_same_image() {
    let identities = Mutex::new(Vec::new());
    on_each_builder(|trial| {
        let identities = &identities;
        async move {
            let order = BuildOrder {
                labels: BTreeMap::from([("from".into(), "order".into()), ("x".into(), "y".into())]),
                ..trial.order(&format!("FROM {}\n{SHAPE}", base_image()))
            };
            trial.run(order).await.unwrap();
            let identity = trial.engine.base_identity(&trial.tag()).await.unwrap();
            identities.lock().unwrap().push(identity);

            trial.engine.create(&trial.plan()).await.unwrap();
            trial.engine.start(&trial.plan().name, b"").await.unwrap();
            let code = until("it ended", || async {
                match trial.found().await?.state {
                    InstanceState::Ended(end) => Some(end.code),
                    _ => None,
                }
            })
            .await;
            assert_eq!(code, 7);
        }
    })
    .await;
    let identities = identities.into_inner().unwrap();
    assert!(identities[0].starts_with("sha256:") && identities[0].len() == 71, "{identities:?}");
    assert_eq!(identities[0], identities[1]);
}

#[tokio::test]
async fn what_a_step_downloads_is_kept_where_the_engine_says_so() {
    on_each_builder(|trial| async move {
        let facts = trial.engine.describe().await.unwrap();
        assert!(facts.runtimes.contains(&"runc".to_owned()), "{facts:?}");
        if trial.builder == Builder::Classic {
            assert_eq!(facts.cache_mounts, CacheMounts::No);
            return;
        }
        assert_eq!(facts.cache_mounts, CacheMounts::Yes);
        let append = |command: &str| {
            let (name, mount) = (&trial.name, "type=cache,target=/kept");
            format!("RUN --mount={mount},id={name} : {name}; date >> /kept/times{command}")
        };
        let lines = format!("{}\n{}", append(""), append("; echo lines $(wc -l < /kept/times)"));
        let steps = trial.build(&lines).await.unwrap();
        assert!(steps.iter().any(|step| step.line == "lines 2"), "{steps:?}");
        // Nothing of it is in the image.
        let own = trial.engine.image(&trial.tag()).await.unwrap().expect("the image");
        let base = trial.engine.image(&base_image()).await.unwrap().expect("the base image");
        assert_eq!(own.size, base.size);
    })
    .await;
}

/// BuildKit of engines before 27.0 hangs or dies when builds with common steps end early.
#[tokio::test]
async fn builds_of_an_old_buildkit_come_one_after_another_whoever_asks() {
    on_each_builder(|trial| async move {
        let version = trial.engine.describe().await.unwrap().details.version;
        let major: u32 = version.split('.').next().unwrap().parse().unwrap();
        if trial.builder != Builder::BuildKit || major >= 27 {
            return;
        }
        // As two managers.
        let other = connect(Builder::BuildKit);
        let step = |n| {
            let kept = format!("--mount=type=cache,target=/kept,id={}", trial.name);
            let line = format!("echo begin {n} >> /kept/times; sleep 2; echo end >> /kept/times");
            trial.order(&trial.dockerfile(&format!("RUN {kept} : {}; {line}", trial.name)))
        };
        let lines = Mutex::new(Vec::new());
        let tell = |step: BuildStep| lines.lock().unwrap().push(step.line);
        let (one, two) = tokio::join!(
            trial.engine.build(step(1), &tell),
            other.build(BuildOrder { tag: trial.second_tag(), ..step(2) }, &tell)
        );
        one.and(two).unwrap();
        // One of the two at least: other tests build, too.
        let lines = lines.into_inner().unwrap();
        let waited = |line: &String| line.starts_with("waiting for other builds");
        assert!(lines.iter().any(waited), "{lines:?}");
        let mount = format!("--mount=type=cache,target=/kept,id={}", trial.name);
        let show = format!("RUN {mount} : {}; cut -d ' ' -f 1 /kept/times | xargs", trial.name);
        let steps = trial.build(&show).await.unwrap();
        assert!(steps.iter().any(|step| step.line == "begin end begin end"), "{steps:?}");
    })
    .await;
}

/// Answers what is asked before a build, begins to answer the build, and is gone.
async fn die_in_a_build(listener: tokio::net::UnixListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut asked, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = asked.read(&mut request).await.unwrap();
        let build = request[..read].starts_with(b"POST ");
        let body = "{\"Version\": \"20.10.24\", \"ApiVersion\": \"1.41\", \"Os\": \"linux\"}";
        let answer = if build {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"stream\": \"x\\n\"}\n\r\n".into()
        } else {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        asked.write_all(answer.as_bytes()).await.unwrap();
        if build {
            return;
        }
    }
}

#[tokio::test]
async fn a_daemon_that_dies_in_a_build_is_no_failure_of_the_build() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    for builder in [Builder::Classic, Builder::BuildKit] {
        let daemon = tokio::spawn(die_in_a_build(tokio::net::UnixListener::bind(&socket).unwrap()));
        let engine = DockerEngine::connect(Some(&host), builder).unwrap();
        let order = BuildOrder {
            tag: "worker-trial:never".to_owned(),
            context: Vec::new(),
            labels: BTreeMap::new(),
            silence: Duration::from_secs(20),
        };
        let error = engine.build(order, &|_| ()).await.unwrap_err();
        let expected = matches!(&error, BuildError::Engine(EngineError::Unavailable { .. }));
        assert!(expected, "{builder:?}: {error:?}");
        daemon.await.unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}
