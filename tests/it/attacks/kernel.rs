//! The kernel: what it does for a worker is what builds need, and no more.

use worker_tests::harness::{Installation, Options};

use super::{assert_held, tries};

/// Names, numbers and first arguments of calls that have no place in a worker.
const REFUSED: &str = "
    mount 165 0, umount2 166 0, pivot_root 155 0, chroot 161 0, fsopen 430 0, fsmount 432 0,
    open_tree 428 0, move_mount 429 0, mount_setattr 442 0, unshare-user 272 0x10000000,
    unshare-mount 272 0x20000, clone-user 56 0x10000011, setns 308 0, init_module 175 0,
    finit_module 313 0, delete_module 176 0, kexec_load 246 0, kexec_file_load 320 0, reboot 169 0,
    swapon 167 0, acct 163 0, bpf 321 0, perf_event_open 298 0, userfaultfd 323 0,
    io_uring_setup 425 1, io_uring_enter 426 0, keyctl 250 0, add_key 248 0, request_key 249 0,
    name_to_handle_at 303 0, open_by_handle_at 304 0, process_vm_readv 310 1, kcmp 312 1,
    pidfd_getfd 438 0, fanotify_init 300 0, quotactl 179 0, settimeofday 164 0,
    clock_settime 227 0, syslog 103 3, iopl 172 3, ioperm 173 0, modify_ldt 154 0,
    socket-vsock 41 40, socket-alg 41 38, socket-packet 41 17, socket-bluetooth 41 31,
    socket-can 41 29, socket-key 41 15, socket-rds 41 21, socket-tipc 41 30";

/// Says for each call which number its error has; 1 is EPERM.
fn ask_for(calls: &str) -> String {
    format!(
        "perl -e 'for (split /,/, $ARGV[0]) {{
           my ($name, $number, $first) = split \" \";
           $! = 0;
           my $got = syscall($number, $first =~ /^0x/ ? oct($first) : $first + 0, 0, 0, 0, 0, 0);
           exit 0 if $got == 0 && $number == 56;
           print \"$name \", $got >= 0 ? \"done\" : $! + 0, \"\\n\";
         }}' '{}'",
        calls.replace('\n', " ")
    )
}

#[test]
fn calls_that_reach_beyond_a_worker_are_refused() {
    let it = Installation::start();
    let worker = tries(&it, &ask_for(REFUSED));
    let stdout = worker.stdout();
    for call in REFUSED.split(',') {
        let name = call.split_whitespace().next().expect("a name");
        let line = format!("{name} 1");
        assert!(stdout.lines().any(|said| said == line), "{line:?} is missing in\n{stdout}");
    }
}

#[test]
fn calls_that_programs_need_are_made() {
    let it = Installation::start();
    // clone3 is not there, so that `clone` is taken, whose flags can be looked at.
    let calls = "getpid 39 0, clone3 435 0, socket-unix 41 1, memfd_create 319 0, epoll 291 0,
        inotify 294 0, landlock 444 0, seccomp 317 2";
    let worker = tries(
        &it,
        &format!(
            "{}
             perl -MSocket -e 'socket(S, $_, SOCK_STREAM, 0) or die for AF_INET, AF_INET6; print \"inet\\n\"'
             grep Seccomp: /proc/self/status",
            ask_for(calls)
        ),
    );
    let stdout = worker.stdout();
    let said = |line: &str| stdout.lines().any(|said| said == line);
    for line in ["getpid done", "clone3 38", "socket-unix 94", "epoll done", "inotify done", "inet"]
    {
        // There is no Unix socket of this type, which the filter does not look at.
        assert!(said(line), "{line:?} is missing in\n{stdout}");
    }
    for refused in ["memfd_create 1", "landlock 1", "seccomp 1"] {
        assert!(!said(refused), "{stdout}");
    }
    assert!(said("Seccomp:\t2"), "{stdout}");
}

/// Shows that it is the profile which refuses them.
#[test]
fn with_the_engines_own_profile_some_of_them_get_further() {
    let it = Installation::start_with(Options::default().set("WORKER_SECCOMP", "engine"));
    let worker = tries(&it, &ask_for("modify_ldt 154 0, socket-alg 41 38, bpf 321 0"));
    let stdout = worker.stdout();
    let said = |line: &str| stdout.lines().any(|said| said == line);
    assert!(!said("modify_ldt 1") && !said("socket-alg 1"), "{stdout}");
    assert!(said("bpf 1"), "the engine's profile holds: {stdout}");
}

#[test]
fn the_kernels_own_files_are_shut_to_the_agent_and_to_root() {
    let it = Installation::start();
    let attempts = r#"
        try() { sh -c "$2" >/dev/null 2>&1 && echo "got $1"; }
        try mem 'head -c 1 /dev/mem'
        try kmsg 'head -c 1 /dev/kmsg'
        try kcore 'head -c 1 /proc/kcore | grep -q .'
        try device 'mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk'
        try sysrq 'echo h >/proc/sysrq-trigger'
        try core 'echo "|/tmp/x" >/proc/sys/kernel/core_pattern'
        try modprobe 'echo /tmp/x >/proc/sys/kernel/modprobe'
        try release 'for f in /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/release_agent; do
            echo /tmp/x >$f && exit 0; done; exit 1'
        try limit 'for f in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do
            echo max >$f && exit 0; done; exit 1'
        try uevent 'echo /tmp/x >/sys/kernel/uevent_helper'
        try mount 'mount -t tmpfs none /mnt'
        try bind 'mount --bind /workspace /usr'
        try remount 'mount -o remount,rw /'
        try proc 'mount -t proc none /mnt'
        try chroot 'chroot / /bin/true'
        try unshare 'unshare --user --map-root-user /bin/true'
        try nsenter 'nsenter --target 1 --mount /bin/true'
        sh -c 'echo 500 >/proc/self/oom_score_adj' && echo may make its own place worse
        head -c 1 /dev/zero >/dev/null && echo may read devices of its own"#;
    let worker = tries(&it, attempts);
    assert_held(&worker, &["may make its own place worse", "may read devices of its own"]);
    // Root in the worker, which nobody becomes, would not get there either.
    let root = worker.root(attempts);
    assert!(!root.contains("got ") && root.contains("may read devices"), "{root}");
}
