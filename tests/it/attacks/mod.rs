//! A hostile agent gets nowhere. Each test is an agent that really tries, and shows beside it that
//! the same means do work where they may: an attempt that fails for want of a program shows nothing.
//!
//! Raw system calls are made by `perl`, which every Debian has. Its numbers are those of x86-64.

mod builds;
mod greed;
mod image;
mod kernel;
mod outside;
mod places;
mod redis;
mod repository;
mod terminal;
mod wrapper;

use worker_tests::harness::{Installation, Worker};

/// An agent that does this in its shell, and then only repeats what it is told. It has come to the
/// end of its attempts when this returns; a line `got …` is one that succeeded and should not have.
fn tries<'a>(it: &'a Installation, script: &str) -> Worker<'a> {
    let worker = it.script(&format!("{script}\nexec cat"));
    worker.prompt("all tried");
    worker.prints("all tried");
    worker
}

/// None of its attempts succeeded, and these things it may do.
fn assert_held(worker: &Worker<'_>, may: &[&str]) {
    let stdout = worker.stdout();
    assert!(!stdout.lines().any(|line| line.starts_with("got ")), "{stdout}");
    for line in may {
        assert!(stdout.lines().any(|said| said == *line), "{line:?} is missing in\n{stdout}");
    }
}
