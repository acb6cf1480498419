//! What keeps an instance from the host, from others, and from what root in it has put there.

use bollard::models::{HostConfig, HostConfigCgroupnsModeEnum, ResourcesUlimits};
use std::collections::HashMap;

use super::seccomp::STRICT;
use crate::engine::{InstancePlan, SystemCalls, Writable};

/// What PID 1 needs: to become the agent's user, and to signal it afterwards.
const CAPABILITIES: [&str; 3] = ["SETUID", "SETGID", "KILL"];

/// Of one process. Package managers and databases take thousands; some programs close every number
/// up to this one when they start another, which with an engine's usual million takes a second. An
/// engine that is confined itself cannot give more than it has, and some have 20 000.
const OPEN_FILES: i64 = 16_384;

/// For sockets and a few small files.
const FLEETING: &str = "rw,nosuid,nodev,noexec,mode=0755,size=4m";

/// Nothing of the host's is in it: no device, no folder, no namespace.
pub(super) fn hardened(plan: &InstancePlan, rest: HostConfig) -> HostConfig {
    let mut options = vec!["no-new-privileges".to_owned()];
    if plan.system_calls == SystemCalls::Strict {
        options.push(format!("seccomp={}", *STRICT));
    }
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(options),
        readonly_rootfs: Some(true),
        tmpfs: Some(fleeting(plan)),
        // A dump would hold what the process had in memory.
        ulimits: Some(vec![ulimit("nofile", OPEN_FILES), ulimit("core", 0)]),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        runtime: plan.runtime.clone(),
        ..rest
    }
}

fn fleeting(plan: &InstancePlan) -> HashMap<String, String> {
    let folders = plan.writable.iter().filter_map(|place| match place {
        Writable::Fleeting { folder } => Some(folder.clone()),
        Writable::Kept { .. } => None,
    });
    folders.map(|folder| (folder, FLEETING.to_owned())).collect()
}

fn ulimit(name: &str, most: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(most), hard: Some(most) }
}
