//! A Redis that is reached with TLS: by the manager, and by workers, who know nothing of it.

use std::time::Duration;
use worker_tests::harness::{Installation, Options, Persistence, RedisServer};

#[test]
fn a_worker_works_on_a_redis_with_tls_by_way_of_the_gateway() {
    let server = RedisServer::start_with_tls(Persistence::None);
    let password = server.folder().join("password");
    std::fs::write(&password, server.password()).expect("a file");
    let it = Installation::start_with(
        Options::default()
            .redis(&server)
            .set("REDIS_URL", &server.tls_url(""))
            .set("WORKER_REDIS_URL", &server.tls_url(""))
            .set("WORKER_REDIS_CA", &server.ca())
            .set("WORKER_REDIS_PASSWORD_FILE", &password.to_string_lossy()),
    );
    let worker = it.script("exec cat");
    worker.prompt("through TLS and back");
    worker.prints("through TLS and back");
    let kept = worker.root("cat /var/lib/worker/boot.json");
    assert!(!kept.contains(server.password()) && kept.contains("\"redis://"), "{kept}");
    for verb in [&["ping"][..], &["dead", "list"]] {
        let ended = it.program(verb[0], verb).finish(Duration::from_secs(60));
        assert!(ended.status.success(), "{ended:?}");
    }
    worker.delete();
    assert!(!it.users().contains(&worker.name()), "its user goes with it");
}
