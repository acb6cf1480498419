//! Images are moved to a machine that can build none.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

use crate::build::builds;
use worker_tests::harness::{Finished, Installation, Options, PrivateEngine, Templates, Worker};

/// What is moved: an image that only these templates make.
const SPEC: &str = "CUSTOM+EXTRA";
const CREATE: &[(&str, &str)] = &[
    ("command", "create"),
    ("agent_type", "CUSTOM"),
    ("agent_command", r#"["cat"]"#),
    ("modules", "EXTRA"),
    ("wait", "running"),
];
/// Ten times what it takes to move 80 MB on a busy machine.
const MOVE: Duration = Duration::from_secs(120);

fn templates() -> Templates {
    Templates::quick().module("EXTRA", "echo extra >/etc/extra")
}

fn create(it: &Installation) -> Worker<'_> {
    let reply = it.command(CREATE);
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
    Worker::of(it, &reply.get("worker_id"))
}

/// An archive with the image, and the folder that it is in.
fn exported(templates: &Templates) -> (TempDir, PathBuf) {
    let it = Installation::start_with(Options::default().templates(templates));
    create(&it);
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("images.tar");
    let done = images(&it, &["export", path(&file), SPEC]);
    assert!(done.status.success(), "{done:?}");
    assert!(file.is_file(), "{done:?}");
    (folder, file)
}

/// `worker-manager images`, with what it said in a log of its own.
fn images(it: &Installation, arguments: &[&str]) -> Finished {
    let log = uuid::Uuid::new_v4().to_string();
    it.program(&log, &[&["images"], arguments].concat()).finish(MOVE)
}

fn path(file: &Path) -> &str {
    file.to_str().expect("a path in UTF-8")
}

#[test]
fn a_worker_starts_from_an_imported_image_where_nothing_can_be_built() {
    let templates = templates();
    let (_folder, file) = exported(&templates);
    let engine = PrivateEngine::empty();
    let it = Installation::start_with(Options::default().engine(&engine).templates(&templates));
    let done = images(&it, &["import", path(&file)]);
    assert!(done.status.success(), "{done:?}");

    let worker = create(&it);
    worker.prompt("from afar");
    worker.prints("from afar");
    assert_eq!(worker.root("cat /etc/extra"), "extra");
    assert_eq!(it.events().iter().filter(|event| event.kind() == "build").count(), 0);
}

#[test]
fn a_file_that_is_no_whole_archive_is_refused_by_name_and_brings_nothing() {
    let (folder, whole) = exported(&templates());
    let [text, half, none] =
        ["text", "half", "none"].map(|name| folder.path().join(format!("{name}.tar")));
    fs::write(&text, "these are no images\n").expect("a file");
    let bytes = fs::read(&whole).expect("the archive");
    fs::write(&half, &bytes[..bytes.len() / 2]).expect("a file");

    let it = Installation::start_with(Options::default().without_manager());
    for file in [&text, &half, &none] {
        let done = images(&it, &["import", path(file)]);
        assert!(!done.status.success(), "{done:?}");
        assert!(done.stderr.contains(path(file)), "the file is not named: {done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "one sentence is enough: {done:?}");
        assert_eq!(it.images(), Vec::<String>::new());
    }
}

#[test]
fn an_image_that_another_configuration_made_is_told_apart_and_not_used() {
    let (_folder, file) = exported(&templates());
    let other = Templates::quick().module("EXTRA", "echo other >/etc/extra");
    let it = Installation::start_with(Options::default().templates(&other));
    let done = images(&it, &["import", path(&file)]);
    let said = format!("{}{}", done.stdout, done.stderr);
    for word in [SPEC, "configuration"] {
        assert!(said.contains(word), "{word} is missing: {done:?}");
    }
    let worker = create(&it);
    assert_eq!(worker.root("cat /etc/extra"), "other");
    assert_eq!(builds(&it, "built"), 1, "its own image");
}
