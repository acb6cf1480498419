//! What is kept of the corpus goes through every target.

use std::collections::BTreeSet;
use std::path::Path;
use worker_fuzz::TARGETS;

/// The most bytes of a file that is kept.
const SMALL: usize = 16 << 10;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn every_target_takes_every_file_of_the_corpus() {
    let mut files = 0;
    for folder in std::fs::read_dir(corpus()).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes.len() <= SMALL, "{} is too large to be kept", path.display());
            TARGETS.iter().for_each(|target| (target.run)(&bytes));
            files += 1;
        }
    }
    assert!(files >= 2 * TARGETS.len(), "only {files} files");
}

#[test]
fn each_target_has_a_folder_and_each_folder_a_target() {
    let folders: BTreeSet<_> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let targets: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, targets);
}
