//! Commands about images: what there is, what goes, and moving it.

use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt};
use worker_manager::act::{self, Hands};
use worker_manager::archive::{self, Fits};
use worker_manager::chain::chain;
use worker_manager::client::Client;
use worker_manager::image::collect::bytes;
use worker_manager::image::layers::Shares;
use worker_manager::image::{Catalogue, ImageWish};
use worker_manager::sbom;
use worker_manager::terminal;
use worker_protocol::{Problem, Reply};

use super::Error;
use super::table::Table;

/// An image is removed in a second or two, and there may be hundreds.
const GC: Duration = Duration::from_secs(3600);
/// Digits of a hash that tell it from others.
const SHORT: usize = 12;

#[derive(Subcommand)]
pub(crate) enum ImagesVerb {
    /// List the images of this installation
    List,
    /// Tell what images have in common: bytes as if separate, bytes on disk, and the shared part
    Layers {
        /// CLAUDE, CLAUDE+GIT+CURL, … (all that are built, when none is named)
        images: Vec<ImageWish>,
    },
    /// List what is in an image, as CycloneDX 1.6 in JSON: packages, licences, digests
    Sbom {
        /// CLAUDE, CLAUDE+GIT+CURL, …: one that is built
        image: ImageWish,
    },
    /// Write images and what is known about them to a file, for a machine without network
    Export {
        /// The file; `-` is stdout
        file: PathBuf,
        /// CLAUDE, CLAUDE+GIT+CURL, … (all that are built, when none is named)
        images: Vec<ImageWish>,
    },
    /// Take the images of a file that `images export` wrote
    Import {
        /// The file; `-` is stdin
        file: PathBuf,
    },
}

pub(super) async fn images(hands: &Hands, verb: ImagesVerb) -> Result<ExitCode, Error> {
    match verb {
        ImagesVerb::List => list(hands).await?,
        ImagesVerb::Layers { images } => return layers(hands, &images).await,
        ImagesVerb::Sbom { image } => terminal::print(sbom::of_image(hands, &image).await?),
        ImagesVerb::Export { file, images } => export(hands, &file, &images).await?,
        ImagesVerb::Import { file } => import(hands, &file).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(hands: &Hands) -> Result<(), Error> {
    let images = act::images(hands).await.map_err(said)?;
    let mut table = Table::new(&["IMAGE", "HOLDS", "SIZE", "BUILT", "LAST USED", "IN USE"]);
    for image in images {
        let built = image.built_at.map(|at| at.strftime("%F %R").to_string()).unwrap_or_default();
        table.row([
            short(image.hash.as_str()),
            image.holds,
            bytes(image.size),
            built,
            image.last_used.strftime("%F %R").to_string(),
            if image.used { "yes" } else { "no" }.to_owned(),
        ]);
    }
    print!("{table}");
    Ok(())
}

/// Fails when an image that was named is not built: its bytes are then not in the sum.
async fn layers(hands: &Hands, wishes: &[ImageWish]) -> Result<ExitCode, Error> {
    let all = act::images(hands).await.map_err(said)?;
    let mut set = Vec::new();
    let mut missing = Vec::new();
    for wish in wishes {
        let hash = act::render(hands, wish).await.map_err(said)?.hash;
        match all.iter().find(|image| image.hash == hash) {
            Some(image) => set.push((wish.to_string(), image.layers.clone())),
            None => missing.push(wish.to_string()),
        }
    }
    if wishes.is_empty() {
        set.extend(all.into_iter().map(|image| (image.holds, image.layers)));
    }
    let shares = Shares::of(&set);
    let mut table = Table::new(&["IMAGE", "SIZE", "OWN", "SHARED"]);
    for image in &shares.images {
        let shared = 1.0 - image.own as f64 / image.size.max(1) as f64;
        let shared = format!("{:.1} %", shared * 100.0);
        table.row([image.name.clone(), bytes(image.size), bytes(image.own), shared]);
    }
    print!("{table}");
    println!(
        "{}: {} as if separate, {} on disk; {:.1} % of their bytes are shared",
        counted(shares.images.len()),
        bytes(shares.separate),
        bytes(shares.on_disk),
        shares.shared() * 100.0
    );
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("worker-manager: not built, and not in the sum: {}", missing.join(", "));
    Ok(ExitCode::FAILURE)
}

/// To a name of its own first, so that a file of the name that was asked for is complete.
async fn export(hands: &Hands, file: &Path, wishes: &[ImageWish]) -> Result<(), Error> {
    let holds = if file == Path::new("-") {
        archive::export(hands, wishes, &mut tokio::io::stdout()).await?
    } else {
        let partial = file.with_added_extension("partial");
        let at = |error| format!("failed to write {}: {error}", file.display());
        let mut to = File::create(&partial).await.map_err(at)?;
        let exported = archive::export(hands, wishes, &mut to).await;
        let synced = to.shutdown().await;
        match (exported, synced) {
            (Ok(holds), Ok(())) => {
                tokio::fs::rename(&partial, file).await?;
                holds
            }
            (exported, synced) => {
                let _ = tokio::fs::remove_file(&partial).await;
                synced?;
                exported?
            }
        }
    };
    eprintln!("exported {}: {}", counted(holds.len()), holds.join(", "));
    Ok(())
}

async fn import(hands: &Hands, file: &Path) -> Result<(), Error> {
    let from: Box<dyn AsyncRead + Send + Unpin> = if file == Path::new("-") {
        Box::new(tokio::io::stdin())
    } else {
        let opened = File::open(file).await;
        Box::new(opened.map_err(|error| format!("{}: {error}", file.display()))?)
    };
    let images = archive::import(hands, from).await;
    let images = images
        .map_err(|error| format!("failed to import {}: {}", file.display(), chain(&error)))?;
    for image in &images {
        println!("{} {}", short(&image.hash), image.holds);
    }
    eprintln!("imported {}", counted(images.len()));
    for image in images.iter().filter(|image| image.fits == Fits::No) {
        eprintln!(
            "worker-manager: {} was made from another configuration: a create here makes another \
             image. What goes into an image is its base image, the CA bundle, the wrapper, the \
             templates and the versions of agents.",
            image.holds
        );
    }
    Ok(())
}

/// Asks the manager, and shows what it tells: each image with its reason.
pub(super) async fn gc(client: &Client, dry_run: bool) -> Result<ExitCode, Error> {
    client.ping().await?;
    let fields = [("command", "gc".to_owned()), ("dry_run", dry_run.to_string())];
    let reply = client.request(&fields, GC).await?;
    if !reply.is_ok() {
        terminal::tell(format_args!("worker-manager: {}", reply.text("message")));
        return Ok(ExitCode::FAILURE);
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&reply.text("images"))?;
    let mut table =
        Table::new(&["IMAGE", "HOLDS", "SIZE", "FREES", "LAST USED", "OUTCOME", "REASON"]);
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let size = |name: &str| bytes(row[name].as_u64().unwrap_or_default());
        let why = if text("error").is_empty() { text("reason") } else { text("error") };
        let used = text("last_used").chars().take(16).collect::<String>().replace('T', " ");
        let image = short(&text("image"));
        table.row([image, text("holds"), size("size"), size("frees"), used, text("outcome"), why]);
    }
    print!("{table}");
    show_orphans(&reply)?;
    let number = |name: &str| reply.text(name).parse::<u64>().unwrap_or_default();
    let would = if dry_run { "would be " } else { "" };
    println!(
        "{} {would}removed, {} kept; {} of layers not needed any more; {} of build cache {would}removed",
        counted(number("removed") as usize),
        number("kept"),
        bytes(number("freed_bytes")),
        bytes(number("cache_bytes")),
    );
    if !reply.text("disk_free_after_bytes").is_empty() {
        let (before, after) = (number("disk_free_bytes"), number("disk_free_after_bytes"));
        println!("{} of the disk are free, {} before", bytes(after), bytes(before));
    }
    Ok(if number("not_removed") == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is left of workers that nobody knows, if there is any.
fn show_orphans(reply: &Reply) -> Result<(), Error> {
    let rows: Vec<serde_json::Value> = serde_json::from_str(&reply.text("orphans"))?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["ORPHAN", "LEFT", "SINCE", "OUTCOME", "REASON"]);
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let name = format!("{}{}", text("worker_id"), text("instance"));
        let left = row["left"].as_array().into_iter().flatten().filter_map(|left| left.as_str());
        let left = left.collect::<Vec<_>>().join(", ");
        let since = text("since").chars().take(16).collect::<String>().replace('T', " ");
        table.row([name, left, since, text("outcome"), text("reason")]);
    }
    print!("\n{table}\n");
    Ok(())
}

/// What a `create` can name.
pub(super) fn modules(catalogue: &Catalogue) {
    let mut table = Table::new(&["MODULE", "VERSION", "SIZE", "NEEDS", "WHAT IT IS"]);
    for module in catalogue.modules() {
        let head = &module.head;
        table.row([
            module.name.to_string(),
            head.version.clone(),
            head.size.to_string(),
            head.needs.join(", "),
            head.summary.clone(),
        ]);
    }
    print!("{table}");
    let mut table = Table::new(&["AGENT", "VERSION", "PROTOCOL", "NEEDS", "WHAT IT IS"]);
    for agent in catalogue.agents() {
        let head = &agent.head;
        table.row([
            agent.agent.to_string(),
            head.version.clone(),
            head.protocol.to_string(),
            head.needs.join(", "),
            head.summary.clone(),
        ]);
    }
    print!("\n{table}");
}

fn short(hash: &str) -> String {
    hash.chars().take(SHORT).collect()
}

fn counted(images: usize) -> String {
    if images == 1 { "1 image".to_owned() } else { format!("{images} images") }
}

fn said(problem: Problem) -> Error {
    problem.message.into()
}
