//! The command line.

mod dead;
mod doctor;
mod images;
mod policy;
mod table;

use clap::{Args, Parser, Subcommand};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use worker_manager::act::{Hands, check_runtime};
use worker_manager::chain::chain;
use worker_manager::client::Client;
use worker_manager::config::{RawConfig, RedisSource, Settings};
use worker_manager::engine::DockerEngine;
use worker_manager::image::Catalogue;
use worker_manager::run::{Ending, Print, Task, run};
use worker_manager::serve::serve;
use worker_manager::store::{Retention, Store};
use worker_manager::telemetry::{http, log};
use worker_manager::terminal::{self, tell};
use worker_protocol::ErrorKind;

use dead::DeadVerb;
use doctor::Form;
use images::ImagesVerb;
use policy::PolicyVerb;

/// Runs coding agents in containers, commanded by a Redis stream.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    /// Configuration file [default: worker-manager.toml here or in the user's configuration folder]
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Redis, as redis://user:password@host:6379/0 [environment: REDIS_URL]
    #[arg(long, global = true)]
    redis_url: Option<String>,
    /// The word before all keys [environment: WORKER_NAMESPACE] [default: worker]
    #[arg(long, global = true)]
    namespace: Option<String>,
    /// Sign commands as this caller [environment: WORKER_CALLER]
    #[arg(long, global = true)]
    caller: Option<String>,
    /// With the key in this file [environment: WORKER_CALLER_KEY_FILE]
    #[arg(long, global = true)]
    caller_key_file: Option<PathBuf>,
    /// A step at which the manager is to die, such as `Written` or `Written:2` (of tests)
    #[cfg(feature = "failpoints")]
    #[arg(long, global = true)]
    die_at: Option<worker_manager::failpoint::Death>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run the service
    Serve,
    /// Run one headless task, and exit as it did
    Run(RunArguments),
    /// Ask whether a manager answers, and how busy it is
    Ping,
    /// Look at Redis, the engine and the configuration, and tell what is wrong and how to mend it
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the modules and agents that a worker can have
    Modules,
    /// Remove images that are not used any more: each image with its reason
    Gc {
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// See the commands that were put aside, and try them again or forget them
    Dead {
        #[command(subcommand)]
        verb: DeadVerb,
    },
    /// Look at what callers may do
    Policy {
        #[command(subcommand)]
        verb: PolicyVerb,
    },
    /// Look at images, and move them
    Images {
        #[command(subcommand)]
        verb: ImagesVerb,
    },
}

#[derive(Args)]
struct RunArguments {
    /// CLAUDE, CODEX, FACTORY, GEMINI, OPENCODE, or CUSTOM with --agent-command
    #[arg(long)]
    agent: String,
    /// What the image is to hold besides the agent: GIT, CURL, … (again for more)
    #[arg(long = "module")]
    modules: Vec<String>,
    /// A program in place of an agent: a shell line, or argv as a JSON array
    #[arg(long)]
    agent_command: Option<String>,
    /// Text of the agent's instruction file
    #[arg(long)]
    instructions: Option<String>,
    /// A command that the agent may run (again for more; default: all)
    #[arg(long = "allow")]
    allowed_commands: Vec<String>,
    /// NAME=VALUE for the agent's environment (again for more)
    #[arg(long = "env")]
    env: Vec<String>,
    /// The agent's model
    #[arg(long)]
    model: Option<String>,
    /// Print every event as a line of JSON
    #[arg(long)]
    json: bool,
    /// What to do; `-` reads it from stdin
    prompt: String,
}

/// Wrong use or wrong configuration.
const USAGE: u8 = 2;
/// Ended by Ctrl-C, as a shell says it.
const STOPPED: u8 = 130;

/// Does what the command line says. What is wrong goes to stderr, with its causes.
pub(crate) fn main(arguments: Arguments) -> ExitCode {
    #[cfg(feature = "failpoints")]
    arguments.die_at.into_iter().for_each(worker_manager::failpoint::arm);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    let code = runtime.block_on(async {
        let raw = raw_config(&arguments)?;
        match arguments.verb {
            Verb::Serve => serve_until_stopped(raw).await,
            Verb::Run(task) => run_task(raw, task).await,
            Verb::Ping => ping(raw).await,
            Verb::Doctor { json } => {
                doctor::doctor(raw, if json { Form::Json } else { Form::Table }).await
            }
            Verb::Modules => {
                images::modules(&Catalogue::load(raw.templates.as_deref(), &raw.offer()?)?);
                Ok(ExitCode::SUCCESS)
            }
            Verb::Gc { dry_run } => images::gc(&client(&raw)?, dry_run).await,
            Verb::Policy { verb } => policy::policy(verb),
            Verb::Dead { verb } => dead::dead(&store(&raw)?, verb).await,
            Verb::Images { verb } => images::images(&hands(raw)?, verb).await,
        }
    });
    code.unwrap_or_else(|error: Error| complain(&*error))
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn complain(error: &dyn std::error::Error) -> ExitCode {
    tell(format_args!("worker-manager: {}", chain(error)));
    ExitCode::from(USAGE)
}

fn raw_config(arguments: &Arguments) -> Result<RawConfig, Error> {
    let mut raw = RawConfig::read(arguments.config.as_deref())?;
    raw.redis_url = arguments.redis_url.clone().or(raw.redis_url);
    raw.namespace = arguments.namespace.clone().or(raw.namespace);
    raw.caller = arguments.caller.clone().or(raw.caller);
    raw.caller_key_file = arguments.caller_key_file.clone().or(raw.caller_key_file);
    Ok(raw)
}

async fn serve_until_stopped(raw: RawConfig) -> Result<ExitCode, Error> {
    let export = log::open(&raw)?;
    let (hands, stop) = (hands(raw)?, stop_signal()?);
    match check_runtime(&hands).await {
        Err(problem) if problem.kind == ErrorKind::EngineUnavailable => {
            tracing::warn!(%problem, "cannot see whether the engine has the runtime for workers");
        }
        checked => checked.map_err(|problem| problem.message)?,
    }
    http::listen(&hands, &stop).await?;
    let served = serve(hands, stop).await;
    if let Some(export) = export {
        export.finish().await;
    }
    served?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that acts, as it is configured.
fn hands(mut raw: RawConfig) -> Result<Hands, Error> {
    let catalogue = Catalogue::load(raw.templates.as_deref(), &raw.offer()?)?;
    raw.take_credentials(
        catalogue.agents().flat_map(|a| a.head.credentials.iter().map(String::as_str)),
    );
    let settings = Settings::check(raw, &std::env::current_exe()?)?;
    for name in settings.terms.without_agent(&catalogue) {
        tracing::warn!(%name, "no agent's template takes this credential");
    }
    for wish in &settings.prebuild {
        let agent = catalogue.agent(wish.agent);
        let known = agent.and_then(|agent| catalogue.check_modules(agent, &wish.modules));
        known.map_err(|problem| format!("prebuild: {wish}: {}", problem.message))?;
    }
    let (keys, keep) = (settings.keys.clone(), settings.retention.clone());
    let store = Store::open(&settings.redis, keys, keep)?;
    let engine = DockerEngine::connect(settings.docker_host.as_deref(), settings.builder)?;
    Ok(Hands::new(Arc::new(engine), store, catalogue, settings))
}

/// Cancelled by SIGTERM or Ctrl-C.
fn stop_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let stop = stop.clone();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

fn client(raw: &RawConfig) -> Result<Client, Error> {
    Ok(Client::open(raw)?.signing(raw.signer()?))
}

fn store(raw: &RawConfig) -> Result<Store, Error> {
    let (redis, keys) = RedisSource::check(raw)?;
    Ok(Store::open(&redis, keys, Retention::default())?)
}

async fn ping(raw: RawConfig) -> Result<ExitCode, Error> {
    let reply = client(&raw)?.ping().await?;
    terminal::print(reply.to_json());
    Ok(if reply.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_task(raw: RawConfig, arguments: RunArguments) -> Result<ExitCode, Error> {
    let client = client(&raw)?;
    let print = if arguments.json { Print::Json } else { Print::Text };
    let task = Task { fields: fields(arguments)?, print };
    Ok(match run(&client, task, &stop_signal()?).await? {
        Ending::Done => ExitCode::SUCCESS,
        Ending::Failed => ExitCode::FAILURE,
        Ending::Stopped => ExitCode::from(STOPPED),
    })
}

fn fields(arguments: RunArguments) -> Result<Vec<(&'static str, String)>, Error> {
    let mut env = serde_json::Map::new();
    for pair in &arguments.env {
        let (name, value) = pair.split_once('=').ok_or("--env must be like NAME=VALUE")?;
        env.insert(name.to_owned(), value.into());
    }
    let prompt = match arguments.prompt.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
        _ => arguments.prompt,
    };
    let list = |items: &[String]| serde_json::Value::from(items).to_string();
    let optional = [
        ("agent_command", arguments.agent_command),
        ("instructions", arguments.instructions),
        ("model", arguments.model),
        ("env", (!env.is_empty()).then(|| serde_json::Value::Object(env).to_string())),
    ];
    let mut fields = vec![
        ("agent_type", arguments.agent),
        ("modules", list(&arguments.modules)),
        ("allowed_commands", list(&arguments.allowed_commands)),
        ("prompt", prompt),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(fields)
}
