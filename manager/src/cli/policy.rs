//! What a policy file says, before a manager reads it.

use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use worker_manager::caller::Refusal;
use worker_manager::policy::Policy;
use worker_protocol::{CallerName, Command, Keys, parse_command};

use super::Error;

#[derive(Subcommand)]
pub(crate) enum PolicyVerb {
    /// Look for mistakes, and ask what a caller may do: `check policy.toml --as team-a create
    /// agent_type=CLAUDE modules=GIT`
    Check {
        /// The policy
        file: PathBuf,
        /// Who asks; `anonymous` for whoever does not sign
        #[arg(long = "as", value_name = "CALLER", requires = "command")]
        caller: Option<String>,
        /// A command, and its fields as NAME=VALUE
        #[arg(requires = "caller")]
        command: Vec<String>,
    },
}

pub(super) fn policy(verb: PolicyVerb) -> Result<ExitCode, Error> {
    let PolicyVerb::Check { file, caller, command } = verb;
    let policy = read(&file)?;
    let Some(caller) = caller else {
        let callers: Vec<_> = policy.callers().collect();
        println!("{}: no mistake; callers: {}", file.display(), callers.join(", "));
        return Ok(ExitCode::SUCCESS);
    };
    let who = match caller.as_str() {
        CallerName::ANONYMOUS => None,
        name => Some(CallerName::parse(name)?),
    };
    match policy.judge(who.as_ref(), &parse(&command)?) {
        Ok(()) => {
            println!("allowed");
            Ok(ExitCode::SUCCESS)
        }
        Err(Refusal { problem, .. }) => {
            println!("refused: {problem}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn read(file: &Path) -> Result<Policy, Error> {
    let place = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: {error}"))?;
    // As compilers write it, so that editors find the line.
    let fault = |fault: worker_manager::policy::Fault| {
        format!("{place}:{}: {}", fault.line, fault.problem).into()
    };
    Policy::parse(&text).map_err(fault)
}

fn parse(words: &[String]) -> Result<Command, Error> {
    let (command, fields) = words.split_first().ok_or("which command?")?;
    let mut pairs = vec![("command".to_owned(), command.clone().into_bytes())];
    for field in fields {
        let (name, value) = field.split_once('=').ok_or("fields must be like NAME=VALUE")?;
        pairs.push((name.to_owned(), value.into()));
    }
    let keys = Keys::new(worker_manager::config::Defaults::NAMESPACE)?;
    Ok(parse_command("0-0", &pairs, &keys).1?)
}
