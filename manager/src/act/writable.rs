//! Where a worker may write: see `docs/decisions/0018-what-a-worker-may-write.md`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::engine::{Begins, Writable};

/// The agent's: where users live, its workspace, and what is for everybody. Each is kept apart, and
/// begins as the image has it, with the owners that stand there.
const AGENTS: [(&str, &[&str]); 3] =
    [("home", &["/home"]), ("workspace", &["/workspace"]), ("tmp", &["/tmp", "/var/tmp"])];
/// What the wrapper keeps for later starts. It begins empty: nothing that an image brings is taken
/// for what a wrapper has noted down.
const KEPT: &str = "/var/lib/worker";
/// Where hooks find the wrapper.
const SOCKETS: &str = "/run/worker";

/// All of these, and the folders of the `files` that root writes for the agent to read: an image may
/// have files of its own there.
pub(super) fn writable<'a>(files: impl IntoIterator<Item = &'a str>) -> Vec<Writable> {
    let kept = |word: &str, folders: &[&str], begins| Writable::Kept {
        word: word.to_owned(),
        folders: folders.iter().map(|&folder| folder.to_owned()).collect(),
        begins,
    };
    let mut places: Vec<_> =
        AGENTS.iter().map(|(word, at)| kept(word, at, Begins::AsInImage)).collect();
    places.push(kept("kept", &[KEPT], Begins::Empty));
    places.push(Writable::Fleeting { folder: SOCKETS.to_owned() });
    let own = AGENTS.iter().flat_map(|(_, folders)| *folders).chain([&KEPT, &SOCKETS]);
    let own: Vec<_> = own.map(Path::new).collect();
    let folders: BTreeSet<&Path> =
        files.into_iter().filter_map(|file| Path::new(file).parent()).collect();
    let is_below = |folder: &Path, other: &Path| folder != other && folder.starts_with(other);
    let outermost = folders.iter().filter(|folder| {
        !own.iter().any(|own| folder.starts_with(own))
            && !folders.iter().any(|other| is_below(folder, other))
    });
    places.extend(outermost.enumerate().map(|(number, folder)| {
        kept(&format!("files{number}"), &[&folder.to_string_lossy()], Begins::AsInImage)
    }));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_of_files_is_one_place_and_none_is_within_another() {
        let files = [
            "/etc/vendor/AGENTS.md",
            "/etc/vendor/policies/worker.toml",
            "/etc/worker/mcp.json",
            "/etc/worker/system-prompt.md",
            "/home/worker/of-the-agent",
            "/etc/vendor-2/AGENTS.md",
        ];
        let places = writable(files);
        let kept: Vec<_> = places
            .iter()
            .filter_map(|place| match place {
                Writable::Kept { word, folders, .. } => Some((word.as_str(), folders.join(" "))),
                Writable::Fleeting { .. } => None,
            })
            .collect();
        let expected = [
            ("home", "/home"),
            ("workspace", "/workspace"),
            ("tmp", "/tmp /var/tmp"),
            ("kept", "/var/lib/worker"),
            ("files0", "/etc/vendor"),
            ("files1", "/etc/vendor-2"),
            ("files2", "/etc/worker"),
        ];
        assert_eq!(kept, expected.map(|(word, folders)| (word, folders.to_owned())));
    }
}
