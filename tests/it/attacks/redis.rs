//! Redis: without credentials nothing is told, and those of a wrapper, which an agent would have to
//! be root to get, open its own three keys in one way each, and nothing when it is gone.

use serde_json::{Value, json};
use worker_tests::harness::{Installation, Redis, Worker};

use super::assert_held;

/// What a wrapper has in its keeping, as one has it who became root in its container.
struct Stolen {
    host: String,
    port: String,
    user: String,
    password: String,
}

fn steal(worker: &Worker<'_>) -> Stolen {
    let kept = worker.root("cat /var/lib/worker/boot.json");
    let kept: Value = serde_json::from_str(&kept).expect("the boot document");
    let text = |name: &str| kept["redis"][name].as_str().expect("a text").to_owned();
    let url = text("url");
    let authority = url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').expect("a port");
    let (host, port) = (host.to_owned(), port.to_owned());
    Stolen { host, port, user: text("username"), password: text("password") }
}

impl Stolen {
    /// What Redis says to these lines, one answer each, from inside the worker after these
    /// credentials.
    fn answers(&self, worker: &Worker<'_>, lines: &[String]) -> Vec<String> {
        let Self { host, port, user, password } = self;
        let sent = format!("AUTH {user} {password}\\r\\n{}\\r\\nQUIT\\r\\n", lines.join("\\r\\n"));
        let said = worker.root(&format!(
            "printf '{sent}' \
             | bash -c 'exec 3<>/dev/tcp/{host}/{port}; cat >&3; timeout 20 cat <&3'"
        ));
        let mut said: Vec<_> = said.lines().map(|line| line.trim_end().to_owned()).collect();
        assert!(said.len() == lines.len() + 2, "one answer each: {said:?}");
        assert_eq!((said.remove(0), said.pop()), ("+OK".to_owned(), Some("+OK".to_owned())));
        said
    }
}

#[test]
fn an_agent_that_speaks_to_redis_is_told_nothing_without_a_password() {
    let it = Installation::start();
    let script = r#"
      read host port user
      say() { printf '%b' "$*QUIT\r\n" | (exec 3<>/dev/tcp/$host/$port; cat >&3; timeout 20 cat <&3); }
      say 'PING\r\n' | grep -q NOAUTH && echo may speak to redis
      for line in PING INFO 'KEYS *' 'CLIENT LIST' 'ACL LIST' 'CONFIG GET requirepass' MONITOR; do
        say "$line\r\n" | grep -v -e '^-NOAUTH' -e '^+OK' && echo "got $line"
      done
      for name in default manager worker $user; do
        for guess in '' password redis worker $user 0000; do
          say "AUTH $name $guess\r\nPING\r\n" | grep PONG && echo "got in as $name"
        done
      done
      say "HELLO 3 AUTH $user x\r\nPING\r\n" | grep PONG && echo got in by hello
      echo all tried; exec cat"#;
    let command = json!(["/bin/bash", "-c", script]).to_string();
    let worker = it.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command)]);
    let Stolen { host, port, .. } = steal(&worker);
    worker.prompt(&format!("{host} {port} {}", worker.name()));
    worker.prints("all tried");
    assert_held(&worker, &["may speak to redis"]);
}

#[test]
fn a_wrappers_credentials_open_its_own_keys_in_one_way_each_and_nothing_when_it_is_gone() {
    let it = Installation::start();
    let (worker, other) = (it.script("exec cat"), it.script("exec cat"));
    let stolen = steal(&worker);
    let [input, output, heartbeat] = ["input", "output", "heartbeat"].map(|name| worker.key(name));
    let key = |rest: &str| it.key(rest);
    let forbidden = [
        format!("XADD {input} * prompt forged"),
        format!("XRANGE {input} - +"),
        format!("XGROUP DESTROY {input} wrapper"),
        format!("DEL {output}"),
        format!("XTRIM {output} MAXLEN 0"),
        format!("XSETID {output} 9-9"),
        format!("GET {heartbeat}"),
        format!("HSET {} status COMPLETED", key(&worker.id)),
        format!("HGETALL {}", key(&worker.id)),
        format!("XADD {} * prompt forged", other.key("input")),
        format!("XADD {} * type message", other.key("output")),
        format!("XREVRANGE {} + -", other.key("output")),
        format!("XREADGROUP GROUP wrapper x STREAMS {} >", other.key("input")),
        format!("SET {} x", other.key("heartbeat")),
        format!("HGETALL {}", key("gateway")),
        format!("HGETALL {}", key("gateway:spent")),
        format!("XADD {} * command ping", key("commands")),
        format!("XADD {} * type forged", key("events")),
        format!("SET {} me", key("fence:local")),
        "KEYS *".to_owned(),
        "SCAN 0".to_owned(),
        "DBSIZE".to_owned(),
        "CONFIG GET requirepass".to_owned(),
        "EVAL 1 0".to_owned(),
        "SCRIPT LOAD x".to_owned(),
        "FUNCTION LIST".to_owned(),
        "ACL LIST".to_owned(),
        "ACL SETUSER me on nopass ~* +@all".to_owned(),
        "SUBSCRIBE all".to_owned(),
        "PSUBSCRIBE *".to_owned(),
        "PUBLISH all x".to_owned(),
        "MONITOR".to_owned(),
        "CLIENT LIST".to_owned(),
        "CLIENT KILL TYPE normal".to_owned(),
        "CLIENT SETNAME manager".to_owned(),
        "INFO".to_owned(),
        "ROLE".to_owned(),
        "SLAVEOF localhost 1".to_owned(),
        "PSYNC ? -1".to_owned(),
        "MULTI".to_owned(),
        "MIGRATE localhost 1 x 0 1".to_owned(),
    ];
    let answers = stolen.answers(&worker, &forbidden);
    for (line, answer) in forbidden.iter().zip(answers) {
        assert!(answer.starts_with("-NOPERM"), "{line}: {answer}");
    }
    assert_eq!(stolen.answers(&worker, &["PING".to_owned()]), ["+PONG"], "what it may");
    let others = format!("XADD {output} * type message");
    let denied = steal(&other).answers(&other, &[others]);
    assert!(denied[0].starts_with("-NOPERM"), "{denied:?}");

    // As it would be used from elsewhere, if it came out.
    let url = &it.environment.worker_redis_url;
    let url = url.replace("//", &format!("//{}:{}@", stolen.user, stolen.password));
    let outside = Redis::try_connect(&url).expect("it opens the worker's keys");
    worker.delete();
    assert!(outside.ask::<String>(&["PING"]).is_err(), "its connections are cut");
    assert!(Redis::try_connect(&url).is_err(), "it opens nothing");
}
