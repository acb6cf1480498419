//! What `doctor` found, for people and for programs.

use std::process::ExitCode;
use worker_manager::config::RawConfig;
use worker_manager::doctor::{Finding, Level, examine};
use worker_manager::terminal::print;

use super::Error;
use super::table::Table;

/// How findings are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Table,
    Json,
}

/// Fails when there is a problem; a warning is none.
pub(super) async fn doctor(raw: RawConfig, form: Form) -> Result<ExitCode, Error> {
    let findings = examine(raw, &std::env::current_exe()?).await;
    match form {
        Form::Json => print(serde_json::to_string_pretty(&findings)?),
        Form::Table => show(&findings),
    }
    let bad = findings.iter().any(|finding| finding.level == Level::Problem);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(findings: &[Finding]) {
    let mut table = Table::new(&["", "ABOUT", "FINDING"]);
    for finding in findings {
        let word = match finding.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        table.row([word.to_owned(), finding.check.to_owned(), finding.text.clone()]);
        if let Some(mend) = &finding.mend {
            table.row([String::new(), String::new(), format!("→ {mend}")]);
        }
    }
    print!("{table}");
    let count = |level, what| {
        let count = findings.iter().filter(|finding| finding.level == level).count();
        format!("{count} {what}{}", if count == 1 { "" } else { "s" })
    };
    println!("{}, {}", count(Level::Problem, "problem"), count(Level::Warning, "warning"));
}
