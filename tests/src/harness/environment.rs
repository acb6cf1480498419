//! What `scripts/test` says about this machine.

use std::path::{Path, PathBuf};

/// Services and programs that the tests use.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Redis, with credentials.
    pub redis_url: String,
    /// Redis as the gateway reaches it.
    pub worker_redis_url: String,
    /// The network that leads outside.
    pub network: String,
    /// What images build on.
    pub base_image: String,
    /// Certificates that builds and workers trust.
    pub ca_bundle: Option<String>,
    /// `worker-manager`.
    pub manager: PathBuf,
    /// `worker-manager` with its failpoints, which only the tests that need it ask for.
    pub failpoints: PathBuf,
    /// `worker-wrapper`.
    pub wrapper: PathBuf,
    /// `worker-gateway`.
    pub gateway: PathBuf,
    /// The sandbox-agent CLI, which the bench measures beside the wrapper, where it can be had.
    pub sandbox_agent: Option<PathBuf>,
    /// Of the engine, where it is not the usual one.
    pub docker_host: Option<String>,
    /// Where programs are found.
    pub path: String,
}

impl Environment {
    /// Reads it; a test without it fails, since one that skips proves nothing.
    pub fn read() -> Self {
        let dist = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist").join(name);
        let program = |variable: &str, name: &str| {
            let path = variable_of(variable).map_or_else(|| dist(name), PathBuf::from);
            assert!(
                path.is_file(),
                "{} is missing; run `make test`, which builds it",
                path.display()
            );
            path
        };
        Self {
            redis_url: required("REDIS_URL"),
            worker_redis_url: required("WORKER_REDIS_URL"),
            network: required("WORKER_NETWORK"),
            base_image: required("WORKER_BASE_IMAGE"),
            ca_bundle: variable_of("WORKER_CA_BUNDLE"),
            manager: program("WORKER_MANAGER_BIN", "worker-manager"),
            failpoints: variable_of("WORKER_FAILPOINTS_BIN")
                .map_or_else(|| dist("worker-manager-failpoints"), PathBuf::from),
            wrapper: program("WORKER_WRAPPER", "worker-wrapper"),
            gateway: program("WORKER_GATEWAY", "worker-gateway"),
            sandbox_agent: variable_of("SANDBOX_AGENT").map(PathBuf::from),
            docker_host: variable_of("DOCKER_HOST"),
            path: required("PATH"),
        }
    }

    /// The address of this machine on the network that leads outside: where the gateway finds Redis,
    /// and anything else that a test serves.
    pub fn host_address(&self) -> &str {
        let rest = self.worker_redis_url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        host.rsplit_once(':').map_or(host, |(host, _)| host)
    }
}

fn required(name: &str) -> String {
    variable_of(name).unwrap_or_else(|| {
        panic!("{name} is not set; run `make test`, which starts the services that the tests need")
    })
}

#[expect(clippy::disallowed_methods, reason = "the one place where the tests read the environment")]
fn variable_of(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
