//! The engine and the host: nothing of them is in a worker.

use serde_json::{Value, json};
use std::path::Path;
use worker_tests::harness::{Installation, docker};

use super::{assert_held, tries};

fn inspect(name: &str) -> Value {
    let text = docker(&["inspect", name]);
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[0].clone()
}

/// As the engine itself says it of a real worker.
#[test]
fn a_workers_container_has_nothing_of_the_hosts_and_every_limit() {
    let it = Installation::start();
    let command = json!(["cat"]).to_string();
    let limits = json!({"memory": "256m", "cpus": 1.5, "pids": 300}).to_string();
    let worker =
        it.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command), ("limits", &limits)]);
    let container = inspect(&worker.name());
    let host = &container["HostConfig"];
    for (key, value) in [
        ("Privileged", json!(false)),
        ("ReadonlyRootfs", json!(true)),
        ("CapDrop", json!(["ALL"])),
        ("PidMode", json!("")),
        ("UTSMode", json!("")),
        ("UsernsMode", json!("")),
        ("IpcMode", json!("private")),
        ("CgroupnsMode", json!("private")),
        ("PublishAllPorts", json!(false)),
        ("Memory", json!(256 << 20)),
        ("MemorySwap", json!(256 << 20)),
        ("NanoCpus", json!(1_500_000_000)),
        ("PidsLimit", json!(300)),
        ("OomKillDisable", json!(false)),
    ] {
        assert_eq!(host[key], value, "{key}");
    }
    for none in [
        "Binds",
        "Devices",
        "DeviceRequests",
        "DeviceCgroupRules",
        "GroupAdd",
        "VolumesFrom",
        "PortBindings",
        "Links",
    ] {
        let is_empty = match &host[none] {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        assert!(is_empty, "{none}: {}", host[none]);
    }
    assert_no_more_rights_than_needed(host);
    let limits = |name: &str| {
        let all = host["Ulimits"].as_array().expect("a list");
        all.iter().find(|limit| limit["Name"] == name).map(|limit| limit["Hard"].clone())
    };
    assert_eq!((limits("nofile"), limits("core")), (Some(json!(16384)), Some(json!(0))));
    assert!(host["MaskedPaths"].as_array().is_some_and(|all| all.contains(&json!("/proc/kcore"))));
    let mounts = container["Mounts"].as_array().expect("a list");
    let own = format!("{}-", worker.name());
    for mount in mounts {
        assert_eq!(mount["Type"], "volume", "{mount}");
        assert!(mount["Name"].as_str().is_some_and(|name| name.starts_with(&own)), "{mount}");
    }
    let mut places: Vec<_> = mounts.iter().filter_map(|m| m["Destination"].as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, ["/home", "/tmp", "/var/lib/worker", "/var/tmp", "/workspace"]);

    worker.delete();
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &format!("name=^{own}")]);
    assert_eq!(volumes, "", "they go with their worker");
}

fn assert_no_more_rights_than_needed(host: &Value) {
    let mut added: Vec<_> = host["CapAdd"].as_array().into_iter().flatten().cloned().collect();
    added.sort_by_key(Value::to_string);
    let added: Vec<_> =
        added.iter().map(|right| right.as_str().unwrap_or("").trim_start_matches("CAP_")).collect();
    assert_eq!(added, ["KILL", "SETGID", "SETUID"]);
    let options = host["SecurityOpt"].as_array().expect("a list");
    assert!(options.contains(&json!("no-new-privileges")), "{options:?}");
    let profile = options.iter().filter_map(|option| option.as_str()?.strip_prefix("seccomp="));
    let profile: Vec<Value> =
        profile.map(|text| serde_json::from_str(text).expect("a profile")).collect();
    assert_eq!(profile[0]["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn the_engines_socket_is_nowhere_in_a_worker() {
    let places = [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/docker/containerd/containerd.sock",
        "/var/run/dockershim.sock",
        "/run/podman/podman.sock",
        "/run/crio/crio.sock",
        "/run/buildkit/buildkitd.sock",
    ];
    let on_host = |place: &&str| Path::new(place).exists();
    assert!(places.iter().any(on_host), "one of these is the engine's: {places:?}");
    let it = Installation::start();
    let worker = tries(
        &it,
        &format!(
            "for place in {}; do [ -e $place ] && echo got $place; done
             find / -xdev -type s 2>/dev/null | sed 's/^/got /'
             perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"/tmp/own\")) or die'
             find /tmp -type s | sed 's/^/may make /'
             gateway=$(perl -ne '@f = split; print join \".\", reverse unpack \"C4\", pack \"H*\", $f[2] \
               if $f[1] eq \"00000000\"' /proc/net/route)
             for at in $gateway 127.0.0.1 172.17.0.1; do for port in 2375 2376; do
               timeout 5 bash -c \"exec 3<>/dev/tcp/$at/$port\" 2>/dev/null && echo got $at:$port
             done; done; true",
            places.join(" ")
        ),
    );
    assert_held(&worker, &["may make /tmp/own"]);
}
