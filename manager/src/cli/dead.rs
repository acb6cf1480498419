//! Commands that were put aside: what they were, and what is to become of them.

use clap::{Args, Subcommand};
use std::process::ExitCode;
use worker_manager::store::{DeadEntry, Retried, Store};
use worker_manager::terminal::print;

use super::Error;
use super::table::Table;

#[derive(Subcommand)]
pub(crate) enum DeadVerb {
    /// List the commands that could not be understood or handled
    List {
        /// Print each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Put them among the commands again, as if they came for the first time
    Retry(Which),
    /// Forget them
    Drop(Which),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Ids, from the first column of the list
    ids: Vec<String>,
    /// All that there are
    #[arg(long)]
    all: bool,
}

pub(super) async fn dead(store: &Store, verb: DeadVerb) -> Result<ExitCode, Error> {
    let entries = store.dead().await?;
    match verb {
        DeadVerb::List { json } => {
            list(&entries, json);
            Ok(ExitCode::SUCCESS)
        }
        DeadVerb::Retry(which) => retry(store, &chosen(entries, &which)?).await,
        DeadVerb::Drop(which) => {
            let chosen = chosen(entries, &which)?;
            for entry in &chosen {
                store.drop_dead(entry).await?;
            }
            println!("{} dropped", chosen.len());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Nothing is done when one that was named is not there.
fn chosen(entries: Vec<DeadEntry>, which: &Which) -> Result<Vec<DeadEntry>, Error> {
    let is_there = |id: &&String| !entries.iter().any(|entry| entry.id == **id);
    let missing: Vec<_> = which.ids.iter().filter(is_there).map(String::as_str).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(
            format!("nothing dead has the id {missing}: see `worker-manager dead list`").into()
        );
    }
    let is_chosen = |entry: &DeadEntry| which.all || which.ids.contains(&entry.id);
    Ok(entries.into_iter().filter(is_chosen).collect())
}

fn list(entries: &[DeadEntry], json: bool) {
    if json {
        for entry in entries {
            let mut line = serde_json::json!(entry.fields);
            line["id"] = entry.id.as_str().into();
            print(line);
        }
        return;
    }
    let mut table = Table::new(&["ID", "WHEN", "COMMAND", "REQUEST", "ERROR", "MESSAGE"]);
    for entry in entries {
        let when: String = entry.text("timestamp").chars().take(19).collect();
        let text = |name: &str| entry.text(name).to_owned();
        let (command, request) = (text("command"), text("request_id"));
        let when = when.replace('T', " ");
        table.row([entry.id.clone(), when, command, request, text("error"), text("message")]);
    }
    print!("{table}");
}

/// Goes on after one that cannot be tried again.
async fn retry(store: &Store, entries: &[DeadEntry]) -> Result<ExitCode, Error> {
    let mut code = ExitCode::SUCCESS;
    for entry in entries {
        let why = match store.retry_dead(entry).await? {
            Retried::As(id) => {
                println!("{} is tried again as {id}", entry.id);
                continue;
            }
            Retried::Gone if entry.text("entry_id").is_empty() => "it is no command".to_owned(),
            Retried::Gone => format!(
                "its entry {} is not in `{}` any more: send the command again",
                entry.text("entry_id"),
                store.keys().commands()
            ),
            Retried::Blocked => format!(
                "the key `{}` is not a hash: move it out of the way first",
                store.keys().request(&entry.request())
            ),
        };
        eprintln!("worker-manager: {}: {why}", entry.id);
        code = ExitCode::FAILURE;
    }
    Ok(code)
}
