//! How Redis is reached: with TLS, by sentinels, in a cluster; and what is said when it is not.

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use worker_manager::chain::chain;
use worker_manager::config::{RawConfig, RedisSource};
use worker_manager::store::{Retention, Store};

use crate::CUSTOM;
use crate::servers::{Authority, Server, Signed, free_port};
use crate::stage::{Stage, until};

const VALID: i32 = 4000;
const PAST: i32 = 2000;

/// What a server is told to speak TLS with `own`, and to ask for certificates of `authority`.
fn tls_lines(port: u16, own: &Signed, authority: &Authority, clients: &str) -> Vec<String> {
    vec![
        format!("port 0\ntls-port {port}\ntls-auth-clients {clients}"),
        format!("tls-cert-file {}", own.certificate.display()),
        format!("tls-key-file {}", own.key.display()),
        format!("tls-ca-cert-file {}", authority.certificate.display()),
    ]
}

fn strs(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

/// What is said when a manager with this configuration looks for Redis.
async fn said(raw: RawConfig) -> String {
    let (source, keys) = match RedisSource::check(&raw) {
        Ok(checked) => checked,
        Err(error) => return chain(&error),
    };
    match Store::open(&source, keys, Retention::default()) {
        Ok(store) => store.check().await.map_or_else(|error| chain(&error), |()| "ok".to_owned()),
        Err(error) => chain(&error),
    }
}

fn at(url: &str, ca: Option<&Path>) -> RawConfig {
    RawConfig {
        redis_url: Some(url.to_owned()),
        redis_ca: ca.map(Path::to_owned),
        ..RawConfig::default()
    }
}

#[tokio::test]
async fn a_manager_works_over_tls_with_its_certificate_and_a_password_from_a_file_that_changes() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "own");
    let (server, client) = (authority.sign("localhost", VALID), authority.sign("manager", VALID));
    let port = free_port();
    let stage = Stage::open_with(&strs(&tls_lines(port, &server, &authority, "yes")), "t:").await;
    let file = folder.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    stage.redis(&["ACL", "SETUSER", "manager", "on", ">first", "~*", "+@all"]).await;
    let configure = |raw: &mut RawConfig| {
        raw.redis_url = Some(format!("rediss://manager@localhost:{port}/0"));
        raw.redis_password_file = Some(file.clone());
        raw.redis_ca = Some(authority.certificate.clone());
        raw.redis_cert = Some(client.certificate.clone());
        raw.redis_key = Some(client.key.clone());
    };
    let manager = stage.manager_with(configure);
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!(created["status"], "RUNNING", "{created}");

    std::fs::write(&file, "second\n").unwrap();
    let changed = ["ACL", "SETUSER", "manager", "resetpass", ">second"];
    stage.redis(&changed).await;
    stage.redis(&["CLIENT", "KILL", "USER", "manager"]).await;
    let id = created["worker_id"].as_str().unwrap();
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    manager.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_said_with_the_key_to_change() {
    let folder = TempDir::new().unwrap();
    let (own, foreign) =
        (Authority::new(folder.path(), "own"), Authority::new(folder.path(), "foreign"));
    let start = |name: &str, signed: Signed, clients: &str| {
        let port = free_port();
        let lines = tls_lines(port, &signed, &own, clients);
        (Server::start(&folder.path().join(name), &strs(&lines)), port)
    };
    let (_good, good) = start("good", own.sign("localhost", VALID), "no");
    let (_old, old) = start("old", own.sign("localhost", PAST), "no");
    let (_strict, strict) = start("strict", own.sign("localhost", VALID), "yes");
    let plain = free_port();
    let _plain = Server::start(&folder.path().join("plain"), &[&format!("port {plain}")]);
    let ca = Some(own.certificate.as_path());
    let localhost = |port: u16| format!("rediss://localhost:{port}");
    for port in [good, old, strict, plain] {
        until("they listen", async || {
            tokio::net::TcpStream::connect(("localhost", port)).await.is_ok()
        })
        .await;
    }
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let cases: [(RawConfig, &[&str]); 9] = [
        (at(&localhost(good), ca), &["ok"]),
        (at(&localhost(good), None), &["nobody that is trusted", "redis_ca"]),
        (at(&localhost(good), Some(&foreign.certificate)), &["nobody that is trusted"]),
        (at(&format!("rediss://127.0.0.1:{good}"), ca), &["another name", "redis_url"]),
        (at(&localhost(old), ca), &["expired"]),
        (at(&localhost(strict), ca), &["certificate", "redis_cert"]),
        (at(&localhost(plain), ca), &["port for TLS"]),
        (at(&format!("redis://localhost:{good}"), None), &["redis at localhost"]),
        (at(&localhost(good), Some(&empty)), &["redis_ca", "no certificate in PEM"]),
    ];
    for (raw, words) in cases {
        let url = raw.redis_url.clone().unwrap();
        let said = said(raw).await;
        assert!(words.iter().all(|word| said.contains(word)), "{url}: {said}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_change() {
    let stage = Stage::open().await;
    stage.redis(&["ACL", "SETUSER", "default", "resetpass", ">right"]).await;
    let with = |credentials: &str| stage.url().replace("://", &format!("://{credentials}"));
    for (url, words) in [
        (with(":right@"), ["ok", "ok"]),
        (with(":hunter2@"), ["does not let a nameless user in", "redis_password_file"]),
        (with("me:hunter2@"), ["does not let `me` in", "redis_password_file"]),
        (stage.url(), ["asks for a password", "redis_password_file"]),
    ] {
        let said = said(at(&url, None)).await;
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let missing = PathBuf::from("/none/password");
    let raw = RawConfig { redis_password_file: Some(missing), ..at(&stage.url(), None) };
    assert!(said(raw).await.contains("redis_password_file /none/password"));
}

/// Three sentinels that watch the Redis at `port` under the name `main`.
fn sentinels(folder: &Path, port: u16) -> (Vec<Server>, Vec<u16>) {
    let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    let start = |own: &u16| {
        let lines = [
            &*format!("port {own}\nbind 127.0.0.1\nrequirepass of-sentinels"),
            &*format!("sentinel monitor main 127.0.0.1 {port} 2"),
            "sentinel sentinel-pass of-sentinels",
            "sentinel down-after-milliseconds main 1500",
            "sentinel failover-timeout main 5000",
        ];
        Server::sentinel(&folder.join(format!("sentinel-{own}")), &lines)
    };
    (ports.iter().map(start).collect(), ports)
}

#[tokio::test]
async fn a_manager_follows_its_sentinels_to_the_new_master_and_lets_its_workers_in_there() {
    let folder = TempDir::new().unwrap();
    let (first, second) = (free_port(), free_port());
    let mut stage = Stage::open_with(&[&format!("port {first}\nbind 127.0.0.1")], "t:").await;
    let replica = [&*format!("port {second}\nbind 127.0.0.1\nreplicaof 127.0.0.1 {first}")];
    let replica = Server::start(&folder.path().join("replica"), &replica);
    let socket = replica.url();
    until("the replica has all", async || {
        stage.redis(&["INFO", "replication"]).await.contains("state=online")
    })
    .await;
    let (watching, ports) = sentinels(folder.path(), first);
    let password = folder.path().join("password");
    std::fs::write(&password, "of-sentinels").unwrap();
    // The first one is never there.
    let nobody = free_port();
    let hosts: Vec<_> =
        [nobody].iter().chain(&ports).map(|port| format!("127.0.0.1:{port}")).collect();
    let url = |name: &str| Some(format!("redis+sentinel://{}/{name}", hosts.join(",")));
    let raw = |name| RawConfig {
        redis_url: url(name),
        redis_sentinel_password_file: Some(password.clone()),
        ..RawConfig::default()
    };
    until("the sentinels know the master", async || said(raw("main")).await == "ok").await;
    let unknown = said(raw("other")).await;
    assert!(unknown.contains("knows no master `other`"), "{unknown}");
    let locked = said(RawConfig { redis_sentinel_password_file: None, ..raw("main") }).await;
    assert!(locked.contains("password"), "{locked}");
    for sentinel in &watching {
        // Enough of them must have met to agree on a failover.
        let (url, ask) = (sentinel.url_with("of-sentinels"), ["SENTINEL", "MASTER", "main"]);
        until("they know each other", async || {
            let told = stage.ask_at(&url, &ask).await.unwrap_or_default();
            told.contains("num-other-sentinels 2") && told.contains("num-slaves 1")
        })
        .await;
    }

    let manager = stage.manager_with(|own| {
        own.redis_url = url("main");
        own.redis_sentinel_password_file = Some(password.clone());
    });
    let created = stage.ask(&[&CUSTOM[..], &[("wait", "running")]].concat()).await;
    assert_eq!(created["status"], "RUNNING", "{created}");
    let id = created["worker_id"].as_str().unwrap();
    stage.lose_redis(&socket);
    // Whoever is connected is cut off when it becomes the master.
    until("the replica is master, and has the worker's user", async || {
        let users = stage.ask_at(&socket, &["ACL", "USERS"]).await;
        users.is_some_and(|users| users.contains(id))
    })
    .await;
    assert!(stage.redis(&["ROLE"]).await.starts_with("master"));
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    assert_eq!(stage.workers_users().await, 0);
    manager.stop().await;
}

/// The slot of `{t}:…` is 15891, in the last third.
const OTHERS: usize = 2;

#[tokio::test]
async fn a_manager_works_in_a_cluster_and_follows_its_slot_to_another_node() {
    let folder = TempDir::new().unwrap();
    let lines = |port: u16| {
        format!(
            "port {port}\nbind 127.0.0.1\ncluster-enabled yes\ncluster-node-timeout 3000\n\
             cluster-config-file nodes.conf\ncluster-require-full-coverage no"
        )
    };
    let (own, ports): (_, Vec<_>) = (free_port(), (0..OTHERS + 3).map(|_| free_port()).collect());
    let mut stage = Stage::open_with(&[&lines(own)], "{t}:").await;
    let others: Vec<_> = ports
        .iter()
        .map(|port| Server::start(&folder.path().join(port.to_string()), &[&lines(*port)]))
        .collect();
    for server in &others {
        until("it answers", async || stage.ask_at(&server.url(), &["PING"]).await.is_some()).await;
    }
    let mut nodes = ports.clone();
    nodes.insert(OTHERS, own);
    let hosts: Vec<_> = nodes.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let made = Command::new("redis-cli")
        .env_remove("REDISCLI_AUTH") // of the Redis that other tests share
        .args(["--cluster", "create"])
        .args(&hosts)
        .args(["--cluster-replicas", "1", "--cluster-yes"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    // Whoever is asked first knows the others, and a node that is not there is passed over.
    let url = format!("redis+cluster://127.0.0.1:{},{}", free_port(), hosts[0]);
    until("the cluster is complete", async || said(at(&url, None)).await == "ok").await;
    until("the replicas have all", async || {
        stage.redis(&["INFO", "replication"]).await.contains("state=online")
    })
    .await;

    let manager = stage.manager_with(|raw| {
        raw.redis_url = Some(url.clone());
        raw.worker_redis_url = Some(url.clone());
    });
    let create = [&CUSTOM[..], &[("wait", "running"), ("prompt", "hi"), ("request_id", "r")]];
    let created = stage.ask(&create.concat()).await;
    assert_eq!(created["status"], "RUNNING", "{created}");
    let id = created["worker_id"].as_str().unwrap();
    assert_eq!(stage.redis(&["XLEN", &format!("{{t}}:{id}:input")]).await, "1");
    assert_eq!(stage.redis(&["EXISTS", "{t}:request:r", "{t}:index", "{t}:events"]).await, "3");

    // Its replica takes over.
    stage.end_redis();
    let mut owner = None;
    until("another node owns the slot, and has the worker's user", async || {
        for server in &others {
            let users = stage.ask_at(&server.url(), &["ACL", "USERS"]).await.unwrap_or_default();
            if users.contains(&format!("t-{id}")) {
                owner = Some(server.url());
            }
        }
        owner.is_some()
    })
    .await;
    stage.lose_redis(&owner.unwrap());
    assert_eq!(stage.workers_users().await, 1);
    let again = stage.ask(&create.concat()).await;
    assert_eq!(again["worker_id"], created["worker_id"], "it is remembered");
    let deleted = stage.ask(&[("command", "delete"), ("worker_id", id)]).await;
    assert_eq!(deleted["ok"], true, "{deleted}");
    manager.stop().await;
}
