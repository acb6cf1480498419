//! Which files have to be executable, so that some commands work and no others do.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::elf;

/// A script may be interpreted by a script, and so on; the kernel gives up at the fifth.
const INTERPRETERS: usize = 5;

/// What the agent and its commands need.
pub struct Needs {
    /// The agent's own program: a name, or a path.
    pub agent: String,
    /// Names and absolute paths of what may be run besides; a folder stands for all that is in it.
    pub programs: Vec<String>,
    /// Folders in which names are looked for, as in `PATH`.
    pub path: String,
    /// The agent's user and group.
    pub uid: u32,
}

impl Needs {
    /// The files, with whatever the kernel executes to start them, and folders.
    ///
    /// A file that the agent can write to is in it only as the agent's own program: it could be
    /// filled with another one.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = BTreeSet::new();
        if let Some(agent) = self.look_up(&self.agent, |_| true) {
            self.add(agent, INTERPRETERS, &mut files);
        }
        for program in &self.programs {
            if let Some(file) = self.look_up(program, |found| !self.may_write(found)) {
                self.add(file, INTERPRETERS, &mut files);
            }
        }
        files.into_iter().collect()
    }

    /// The file behind a name, with no link in its path.
    fn look_up(&self, name: &str, fits: impl Fn(&Metadata) -> bool) -> Option<PathBuf> {
        let candidates: Vec<_> = if name.contains('/') {
            vec![PathBuf::from(name)]
        } else {
            self.path.split(':').map(|folder| Path::new(folder).join(name)).collect()
        };
        candidates.into_iter().filter(|path| path.is_absolute()).find_map(|path| {
            let real = fs::canonicalize(path).ok()?;
            let found = fs::metadata(&real).ok()?;
            let can_run =
                if found.is_dir() { name.contains('/') } else { found.mode() & 0o111 != 0 };
            (can_run && fits(&found)).then_some(real)
        })
    }

    fn may_write(&self, found: &Metadata) -> bool {
        let mode = found.mode();
        (found.uid() == self.uid && mode & 0o200 != 0)
            || (found.gid() == self.uid && mode & 0o020 != 0)
            || mode & 0o002 != 0
    }

    fn add(&self, file: PathBuf, interpreters: usize, files: &mut BTreeSet<PathBuf>) {
        if interpreters > 0 {
            for interpreter in interpreters_of(&file) {
                if let Some(found) = self.look_up(&interpreter, |found| !self.may_write(found)) {
                    self.add(found, interpreters - 1, files);
                }
            }
        }
        files.insert(file);
    }
}

/// What the kernel executes first: the loader of a program, or what a script's first line names,
/// with the program that `env` is to look for.
fn interpreters_of(file: &Path) -> Vec<String> {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(elf::HEAD as u64).read_to_end(&mut head));
    if read.is_err() {
        return Vec::new();
    }
    let Some(line) = head.strip_prefix(b"#!") else {
        return elf::interpreter(&head).into_iter().collect();
    };
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let Some(program) = words.next() else { return Vec::new() };
    let sought = words.find(|word| !word.starts_with('-') && !word.contains('='));
    match sought {
        Some(sought) if program.ends_with("/env") => vec![program, sought],
        _ => vec![program],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn needs(agent: &str, programs: &[&str], path: &Path) -> Needs {
        Needs {
            agent: agent.to_owned(),
            programs: programs.iter().map(|&program| program.to_owned()).collect(),
            path: format!("{}:relative:/usr/bin:/bin", path.display()),
            uid: 12345,
        }
    }

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn real(path: &str) -> PathBuf {
        fs::canonicalize(path).unwrap()
    }

    #[test]
    fn a_program_comes_with_its_loader_and_a_script_with_its_interpreters() {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        put(&path.join("script"), "#!/usr/bin/env -S sh -e\n", 0o755);
        put(&path.join("outer"), &format!("#! {}/script\n", path.display()), 0o755);
        symlink(path.join("outer"), path.join("link")).unwrap();
        let files = needs("sh", &["link"], &path).files();
        let shell = real("/bin/sh");
        let loader = elf::interpreter(&fs::read(&shell).unwrap()[..elf::HEAD]).unwrap();
        for needed in
            [shell, real(&loader), real("/usr/bin/env"), path.join("script"), path.join("outer")]
        {
            assert!(files.contains(&needed), "{needed:?} is not in {files:?}");
        }
        assert!(!files.contains(&path.join("link")), "{files:?}");
    }

    #[test]
    fn what_the_agent_may_write_is_no_command_but_may_be_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        put(&path.join("git"), "\n", 0o777);
        put(&path.join("agent"), "\n", 0o777);
        let agent = path.join("agent");
        let files = needs(agent.to_str().unwrap(), &["git", "none-such"], path).files();
        assert!(files.contains(&fs::canonicalize(agent).unwrap()), "{files:?}");
        assert!(!files.contains(&fs::canonicalize(path.join("git")).unwrap()), "{files:?}");
    }

    #[test]
    fn a_folder_is_taken_by_its_path_and_a_file_without_the_right_mode_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        put(&path.join("data"), "\n", 0o644);
        fs::create_dir(path.join("bin")).unwrap();
        let bin = path.join("bin");
        let files = needs("none", &["data", "bin", bin.to_str().unwrap()], &path).files();
        assert_eq!(files, [bin]);
    }
}
