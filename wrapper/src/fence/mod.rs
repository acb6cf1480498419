//! Landlock: the agent, and whatever it starts, can execute a list of files and no other.
//!
//! The list is made once, before the agent starts, of files and not of names: a copy, a link with
//! another name or a program that the agent writes itself is not in it. The kernel has asked about
//! Landlock since 5.13; where it cannot, the agent runs without, and `ready` says so.

mod elf;
mod programs;

use landlock::{
    AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError,
};
use nix::libc;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

pub use programs::Needs;

/// The rules, ready to be entered by a child.
pub struct Fence {
    rules: OwnedFd,
}

impl Fence {
    /// Rules that allow to execute what is needed, and nothing else; none where the kernel knows no
    /// such rules.
    #[must_use]
    pub fn around(needs: &Needs) -> Option<Self> {
        match rules(&needs.files()) {
            Ok(created) => Option::<OwnedFd>::from(created).map(|rules| Self { rules }),
            Err(error) => {
                let error = crate::chain(&error);
                crate::log(format_args!("no rules of Landlock can be had: {error}"));
                None
            }
        }
    }

    /// What [`enter`] needs.
    pub(crate) fn raw(&self) -> RawFd {
        self.rules.as_raw_fd()
    }
}

fn rules(files: &[PathBuf]) -> Result<RulesetCreated, RulesetError> {
    let mut created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Execute)?
        .create()?;
    for file in files {
        // One that has gone meanwhile cannot be executed either.
        if let Ok(path) = PathFd::new(file) {
            created = created.add_rule(PathBeneath::new(path, AccessFs::Execute))?;
        }
    }
    Ok(created)
}

/// Puts the calling process behind the rules, for good. For use between fork and exec.
///
/// # Errors
/// When the kernel refuses: then the agent must not start.
pub(crate) fn enter(rules: RawFd) -> io::Result<()> {
    // SAFETY: both calls take integers and touch no memory.
    let entered = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_landlock_restrict_self, rules, 0) == 0
    };
    if entered { Ok(()) } else { Err(io::Error::last_os_error()) }
}
