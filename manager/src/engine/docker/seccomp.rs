//! Which system calls a worker may make.
//!
//! The engine's own profile lets through whatever any container may need. This one names what
//! programs, compilers, package managers and debuggers need; a call that is not named fails with
//! EPERM. It holds what the engine's refuses too (mounts, namespaces, kernel modules, keys, BPF, …),
//! since an instance has one profile. Names that a machine does not have are passed over, and calls by
//! another machine's interface (32 bits) end the process: no architecture is named but the machine's
//! own.
//!
//! Not named on purpose, though engines' own profiles have it, or some of them:
//!
//! | what | why |
//! | --- | --- |
//! | `io_uring_*` | half of the kernel behind a queue that no filter sees; a source of many ways out |
//! | sockets of other families (`AF_VSOCK`, `AF_ALG`, `AF_PACKET`, …) | rarely used, and so little tested, parts of the kernel; with `AF_VSOCK` a way to the host past the network |
//! | `name_to_handle_at`, `fanotify_*`, `quotactl*` | look at file systems as a whole |
//! | `process_vm_*`, `kcmp`, `pidfd_getfd` | look into other processes; debuggers need `ptrace` alone |
//! | `modify_ldt`, `vm86*`, `iopl`, `ioperm` | for programs of another age |
//! | `adjtimex`, `clock_adjtime`, `vhangup`, `remap_file_pages`, `mbind`, `move_pages`, … | nothing that is built or run in a worker needs them |

use serde_json::{Value, json};
use std::sync::LazyLock;

/// Files and folders: to open, read, write, look at, lock, move and remove them.
const FILES: &[&str] = &[
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "close_range",
    "copy_file_range",
    "creat",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futimesat",
    "getcwd",
    "getdents",
    "getdents64",
    "getxattr",
    "lchown",
    "lgetxattr",
    "link",
    "linkat",
    "listxattr",
    "llistxattr",
    "lremovexattr",
    "lseek",
    "lsetxattr",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readahead",
    "readlink",
    "readlinkat",
    "readv",
    "removexattr",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "setxattr",
    "splice",
    "stat",
    "statfs",
    "statx",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "tee",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "utime",
    "utimensat",
    "utimes",
    "vmsplice",
    "write",
    "writev",
];

/// Memory of the process itself.
const MEMORY: &[&str] = &[
    "brk",
    "cachestat",
    "get_mempolicy",
    "madvise",
    "map_shadow_stack",
    "memfd_create",
    "memfd_secret",
    "mincore",
    "mlock",
    "mlock2",
    "mlockall",
    "mmap",
    "mprotect",
    "mremap",
    "mseal",
    "msync",
    "munlock",
    "munlockall",
    "munmap",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
];

/// Processes and threads: to start them, wait for them, schedule and end them. `clone` is apart.
const PROCESSES: &[&str] = &[
    "arch_prctl",
    "capget",
    "capset",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "get_robust_list",
    "get_thread_area",
    "getcpu",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getresgid",
    "getresuid",
    "getrlimit",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "ioprio_get",
    "ioprio_set",
    "kill",
    "membarrier",
    "pidfd_open",
    "pidfd_send_signal",
    "prctl",
    "prlimit64",
    "process_madvise",
    "process_mrelease",
    "rseq",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getaffinity",
    "sched_getattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_rr_get_interval",
    "sched_setaffinity",
    "sched_setattr",
    "sched_setparam",
    "sched_setscheduler",
    "sched_yield",
    "set_robust_list",
    "set_thread_area",
    "set_tid_address",
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setpgid",
    "setpriority",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setrlimit",
    "setsid",
    "setuid",
    "tgkill",
    "times",
    "tkill",
    "vfork",
    "wait4",
    "waitid",
    "waitpid",
];

/// Debuggers, `strace` and the leak checker of compilers. The wrapper is another user's and keeps its
/// memory to itself, so that this reaches the agent's own processes only.
const DEBUGGING: &[&str] = &["ptrace"];

/// Signals, timers and clocks that are read.
const SIGNALS_AND_TIME: &[&str] = &[
    "alarm",
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "getitimer",
    "gettimeofday",
    "nanosleep",
    "pause",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigqueueinfo",
    "rt_sigreturn",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_tgsigqueueinfo",
    "setitimer",
    "sigaltstack",
    "signalfd",
    "signalfd4",
    "sigreturn",
    "time",
    "timer_create",
    "timer_delete",
    "timer_getoverrun",
    "timer_gettime",
    "timer_settime",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
];

/// Waiting for many things at once, and being told of changes to files.
const WAITING: &[&str] = &[
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "futex",
    "futex_requeue",
    "futex_wait",
    "futex_waitv",
    "futex_wake",
    "inotify_add_watch",
    "inotify_init",
    "inotify_init1",
    "inotify_rm_watch",
    "io_cancel",
    "io_destroy",
    "io_getevents",
    "io_pgetevents",
    "io_setup",
    "io_submit",
    "poll",
    "ppoll",
    "pselect6",
    "select",
];

/// Pipes, messages and memory between processes, and what is done with a socket that there is.
/// `socket` is apart.
const TALKING: &[&str] = &[
    "accept",
    "accept4",
    "bind",
    "connect",
    "getpeername",
    "getsockname",
    "getsockopt",
    "ioctl",
    "listen",
    "mq_getsetattr",
    "mq_notify",
    "mq_open",
    "mq_timedreceive",
    "mq_timedsend",
    "mq_unlink",
    "msgctl",
    "msgget",
    "msgrcv",
    "msgsnd",
    "pipe",
    "pipe2",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "semctl",
    "semget",
    "semop",
    "semtimedop",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
    "shutdown",
    "socketpair",
];

/// A process that confines itself further, as the wrapper does with the agent, and agents with what
/// they run. `chroot` and namespaces are not among it: they need rights that nobody has.
const SELF_CONFINEMENT: &[&str] =
    &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"];

/// What a program may ask of its machine.
const MACHINE: &[&str] = &["getrandom", "sysinfo", "uname"];

/// Unix, IPv4, IPv6, and netlink, by which programs learn of network devices.
const SOCKET_FAMILIES: [u32; 4] = [1, 2, 10, 16];

/// Ways of running programs that change nothing for others: Linux as usual, that of 32-bit Linux by
/// its name alone, both with the kernel's older numbering of versions, and asking which one it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Every `CLONE_NEW…`: mounts, control groups, names, IPC, users, processes, network.
const CLONE_NEW_ANYTHING: u32 = 0x7e02_0000;

/// ENOSYS: the C library then takes `clone`, whose flags can be looked at.
const NO_SUCH_CALL: u32 = 38;

/// The profile, as the daemon reads it.
pub(super) static STRICT: LazyLock<String> = LazyLock::new(|| profile().to_string());

fn profile() -> Value {
    let plain = [
        FILES,
        MEMORY,
        PROCESSES,
        DEBUGGING,
        SIGNALS_AND_TIME,
        WAITING,
        TALKING,
        SELF_CONFINEMENT,
        MACHINE,
    ];
    let mut calls = vec![
        json!({"names": plain.concat(), "action": ALLOW}),
        allow_if(
            "clone",
            json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ",
            "value": CLONE_NEW_ANYTHING, "valueTwo": 0}),
        ),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": NO_SUCH_CALL}),
    ];
    calls.extend(SOCKET_FAMILIES.map(|family| allow_if("socket", first_is(family))));
    calls.extend(PERSONALITIES.map(|one| allow_if("personality", first_is(one))));
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": calls})
}

const ALLOW: &str = "SCMP_ACT_ALLOW";

fn allow_if(call: &str, condition: Value) -> Value {
    json!({"names": [call], "action": ALLOW, "args": [condition]})
}

fn first_is(value: u32) -> Value {
    json!({"index": 0, "op": "SCMP_CMP_EQ", "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Each of these opens a way out, or onto other processes, or has no use in a worker.
    const NEVER: [&str; 37] = [
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "delete_module",
        "fanotify_init",
        "finit_module",
        "fsconfig",
        "fsmount",
        "fsopen",
        "init_module",
        "io_uring_enter",
        "io_uring_register",
        "io_uring_setup",
        "iopl",
        "kexec_file_load",
        "kexec_load",
        "keyctl",
        "mount",
        "mount_setattr",
        "move_mount",
        "name_to_handle_at",
        "open_by_handle_at",
        "open_tree",
        "perf_event_open",
        "pidfd_getfd",
        "pivot_root",
        "process_vm_readv",
        "process_vm_writev",
        "reboot",
        "request_key",
        "setns",
        "swapon",
        "syslog",
        "umount2",
        "unshare",
        "userfaultfd",
    ];

    #[test]
    fn what_is_dangerous_is_not_in_the_list_and_nothing_is_in_it_twice() {
        let profile = profile();
        let calls = profile["syscalls"].as_array().unwrap();
        let allowed = calls.iter().filter(|call| call["action"] == ALLOW);
        let names: Vec<_> = allowed
            .filter(|call| call.get("args").is_none())
            .flat_map(|call| call["names"].as_array().unwrap())
            .map(|name| name.as_str().unwrap())
            .collect();
        let set: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(set.len(), names.len());
        assert_eq!(NEVER.iter().find(|name| set.contains(**name)), None);
        for conditional in ["clone", "clone3", "socket", "personality"] {
            assert!(!set.contains(conditional), "{conditional} would be allowed in every case");
        }
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    }
}
