//! The tests' own engine: what it can reach, and that it leaves nothing.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use worker_tests::harness::{Engine, Environment, PrivateEngine, processes_with};

/// What an engine has on this machine, as far as it can be seen from outside.
struct Traces {
    folder: PathBuf,
    device: PathBuf,
    control_groups: Vec<PathBuf>,
}

impl Traces {
    fn of(engine: &PrivateEngine) -> Self {
        Self {
            folder: engine.folder().to_owned(),
            device: engine.device(),
            control_groups: engine.control_groups(),
        }
    }

    fn files(&self) -> Vec<&Path> {
        let all = self.control_groups.iter().chain([&self.folder, &self.device]);
        all.filter(|path| path.exists()).map(PathBuf::as_path).collect()
    }

    /// Command lines of its processes: each of them names its folder.
    fn processes(&self) -> Vec<String> {
        processes_with(&self.folder.display().to_string())
    }
}

/// Starts a container that would run for long.
fn run(engine: &Engine) -> String {
    let image = Environment::read().base_image;
    let id = engine.ask(&["run", "--detach", &image, "sleep", "1000"]);
    assert!(!id.is_empty(), "no container was started");
    id
}

#[test]
fn a_private_engine_leaves_nothing_when_its_test_fails() {
    let mut traces = None;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut private = PrivateEngine::small("300m");
        let engine = private.engine();
        run(&engine);
        private.kill();
        assert!(!engine.answers());
        private.restart();
        run(&engine);
        let of = Traces::of(&private);
        assert!(of.files().len() > 2, "a folder, a device and control groups: {:?}", of.files());
        assert!(!of.processes().is_empty());
        traces = Some(of);
        panic!("as a failing test does");
    }));
    assert!(failed.is_err());
    let traces = traces.expect("it got as far as to the panic");
    assert_eq!(traces.files(), Vec::<&Path>::new());
    assert_eq!(traces.processes(), Vec::<String>::new());
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    assert!(!mounts.contains(&traces.folder.display().to_string()), "{mounts}");
}

#[test]
fn two_private_engines_reach_redis_but_not_the_internet_and_know_nothing_of_each_other() {
    let environment = Environment::read();
    let (one, other) = (PrivateEngine::start(), PrivateEngine::start());
    let host = environment.host_address();
    let redis = environment.worker_redis_url.rsplit(':').next().unwrap_or_default();
    let port = redis.split('/').next().unwrap_or_default();
    let reach = |engine: &PrivateEngine, address: &str, port: &str| {
        let line = format!("exec 3<>/dev/tcp/{address}/{port}");
        let image = &environment.base_image;
        let command = ["run", "--rm", image, "timeout", "10", "bash", "-c", &line];
        let output = engine.engine().run(&command);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for engine in [&one, &other] {
        assert_eq!(reach(engine, host, port), (true, String::new()));
        let (reached, said) = reach(engine, "192.0.2.1", "80");
        assert!(!reached && said.contains("Network is unreachable"), "{said}");
    }
    run(&one.engine());
    assert_eq!(other.engine().ask(&["ps", "--all", "--quiet"]), "");
}
