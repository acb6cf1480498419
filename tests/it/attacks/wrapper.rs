//! The first process knows what the agent is not to know: its environment, memory and descriptors
//! stay its own, and it does not go when the agent wants it to.

use worker_tests::harness::Installation;

use super::{assert_held, tries};

/// Looks into a process whose number is in `$1`, in each way that there is. 101 is `ptrace`: 16
/// attaches, 0x4206 seizes; 310 is `process_vm_readv`, 434 `pidfd_open`, 438 `pidfd_getfd`.
const LOOK_INTO: &str = r#"
look_into() {
  cat /proc/$1/environ >/dev/null 2>&1 && echo "$2 environ"
  ls /proc/$1/fd >/dev/null 2>&1 && echo "$2 fd"
  readlink /proc/$1/exe >/dev/null 2>&1 && echo "$2 exe"
  cat /proc/$1/maps 2>/dev/null | grep -q . && echo "$2 maps"
  (: <>/proc/$1/mem) 2>/dev/null && echo "$2 mem"
  perl -e 'exit(syscall(101, 16, $ARGV[0] + 0, 0, 0) == 0 ? 0 : 1)' $1 && echo "$2 ptrace"
  perl -e 'exit(syscall(101, 0x4206, $ARGV[0] + 0, 0, 0) == 0 ? 0 : 1)' $1 && echo "$2 seize"
  perl -e '$b = "x" x 16; $v = pack("PQ", $b, 16); $r = pack("QQ", 0x400000, 16);
    exit(syscall(310, $ARGV[0] + 0, $v, 1, $r, 1, 0) > 0 ? 0 : 1)' $1 && echo "$2 vm_readv"
  perl -e '$f = syscall(434, $ARGV[0] + 0, 0); exit($f >= 0 && syscall(438, $f, 0, 0) >= 0 ? 0 : 1)' $1 \
    && echo "$2 getfd"
}
"#;

#[test]
fn the_first_processs_environment_memory_and_descriptors_cannot_be_seen() {
    let it = Installation::start();
    let worker = tries(
        &it,
        &format!(
            "{LOOK_INTO}
             look_into 1 got
             tail -f /dev/null & own=$!
             look_into $own may
             kill -9 $own
             perl -e 'if (my $child = fork) {{
               print \"may ptrace its child\\n\" if syscall(101, 16, $child, 0, 0) == 0; kill 9, $child
             }} else {{ sleep 60 }}'"
        ),
    );
    assert_held(
        &worker,
        &["may environ", "may fd", "may exe", "may maps", "may mem", "may ptrace its child"],
    );
}

#[test]
fn no_signal_ends_the_first_process() {
    let it = Installation::start();
    let worker = tries(
        &it,
        "for signal in $(seq 1 31) $(seq 34 64); do
           kill -$signal 1 2>/dev/null && echo got signal $signal
         done
         perl -e 'print syscall(434, 1, 0) < 0 ? \"no pidfd\\n\" : \"may pidfd\\n\"'
         perl -e '$f = syscall(434, 1, 0); print \"got pidfd signal\\n\" if syscall(424, $f, 9, 0, 0) == 0'
         tail -f /dev/null & kill -9 $! && echo may kill its own",
    );
    assert_held(&worker, &["may kill its own", "may pidfd"]);
    assert_eq!(worker.status().get("status"), "RUNNING");
}

#[test]
fn who_kills_all_that_can_be_killed_ends_the_agent_and_the_wrapper_tells() {
    let it = Installation::start();
    let worker = it.script("read go; tail -f /dev/null & sh -c 'kill -9 -1'; echo got through");
    worker.prompt("go");
    let exit = worker.comes_to("exit");
    assert_eq!(exit.get("source"), "wrapper", "{exit:?}");
    let record = worker.becomes("FAILED");
    assert_eq!(record["exit_code"], "137", "{record:?}");
    assert!(!worker.stdout().contains("got "), "{}", worker.stdout());
}
