//! The program: reads its boot document, and passes on what workers may reach.

use serde_json::json;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use worker_gateway::guests::Door;
use worker_gateway::http::HEALTH_PATH;
use worker_gateway::refusals;
use worker_gateway::serve::{Gateway, attend};
use worker_gateway::store::Store;
use worker_link::Link;
use worker_protocol::gateway::{GatewayBoot, HTTP_PORT, REDIS_PORT};

/// See `docs/decisions/0011-speed-of-the-wrapper.md`.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The boot document or the command line is wrong: EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;
/// A gateway that lives answers at once.
const HEALTHY_WITHIN: Duration = Duration::from_secs(5);
/// It moves bytes: four processors move more of them than a network card.
const MOST_THREADS: usize = 4;
/// Names are looked up by one each.
const LOOKUP_THREADS: usize = 32;
/// For what is not written yet, at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
const USE: &str = "use: worker-gateway [--http ADDRESS] [--redis ADDRESS] < boot document, which \
                   prints where it listens; or: worker-gateway --check [ADDRESS], whether \
                   one serves here";

/// Where to listen. Other addresses than the usual ones are for tests.
struct Doors {
    http: SocketAddr,
    redis: SocketAddr,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let problem = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--check"] => return check(SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT))),
        ["--check", address] => return address.parse().map_or(ExitCode::from(CONFIG), check),
        ["--version"] => {
            println!("worker-gateway {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        ref rest => doors(rest).ok_or_else(|| USE.to_owned()).and_then(|doors| run(&doors)),
    };
    match problem {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("worker-gateway: {problem}");
            ExitCode::from(CONFIG)
        }
    }
}

fn doors(arguments: &[&str]) -> Option<Doors> {
    let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let mut doors = Doors { http: any(HTTP_PORT), redis: any(REDIS_PORT) };
    for pair in arguments.chunks(2) {
        match pair {
            ["--http", address] => doors.http = address.parse().ok()?,
            ["--redis", address] => doors.redis = address.parse().ok()?,
            _ => return None,
        }
    }
    Some(doors)
}

fn run(doors: &Doors) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("the boot document on stdin: {error}");
    let mut document = Vec::new();
    std::io::stdin().read_to_end(&mut document).map_err(|error| wrong(&error))?;
    // What is wrong is told by its place, since the text may hold a key.
    let boot: GatewayBoot = serde_json::from_slice(&document).map_err(|error| {
        wrong(&format_args!("wrong at line {}, column {}", error.line(), error.column()))
    })?;
    drop(document);
    let runtime = runtime().map_err(|error| error.to_string())?;
    let ended = runtime.block_on(serve(boot, doors));
    // Connections and lookups that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Few threads, whatever the machine: its container may have no more than some tens.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(processors.min(MOST_THREADS))
        .max_blocking_threads(LOOKUP_THREADS)
        .enable_all()
        .build()
}

/// Serves until it is told to end. Connections are cut then: there is no other way for them.
async fn serve(boot: GatewayBoot, doors: &Doors) -> Result<(), String> {
    let handler = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut term, mut int) =
        (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let link = Link::new(&boot.redis).map_err(|error| error.to_string())?;
    let store = Arc::new(Store::new(link, boot.keys.clone(), boot.events_entries));
    let (reports, telling) = refusals::start(Arc::clone(&store));
    let gateway = Gateway::new(boot, store, reports).map_err(|error| error.to_string())?;
    let gateway = Arc::new(gateway);
    let (http, redis) = (listen(doors.http).await?, listen(doors.redis).await?);
    tell_doors(&http, &redis).map_err(|error| error.to_string())?;
    tokio::spawn(telling);
    tokio::spawn(attend(Arc::clone(&gateway), http, Door::Http));
    tokio::spawn(attend(Arc::clone(&gateway), redis, Door::Redis));
    let keeper = Arc::clone(&gateway);
    tokio::spawn(async move { keeper.ledger.keep().await });
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    info!("told to end");
    let _ = tokio::time::timeout(LAST_WORDS, gateway.ledger.write_owed()).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen at {address}: {error}"))
}

/// One line on stdout: it serves, and where.
fn tell_doors(http: &TcpListener, redis: &TcpListener) -> std::io::Result<()> {
    let doors = json!({ "http": http.local_addr()?, "redis": redis.local_addr()? });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{doors}")?;
    stdout.flush()
}

/// Of the gateway in the same container: it answers this to nobody else.
fn check(gateway: SocketAddr) -> ExitCode {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&gateway, HEALTHY_WITHIN)?;
        stream.set_read_timeout(Some(HEALTHY_WITHIN))?;
        write!(stream, "GET {HEALTH_PATH} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    match ask() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("worker-gateway: no gateway serves here: {error}");
            ExitCode::FAILURE
        }
    }
}
