//! An agent that takes all it can get: what is limited, and that the limit holds. Memory and
//! processes are in `processes.rs`.

use worker_tests::harness::Installation;

use super::tries;

#[test]
fn open_files_end_at_the_limit_and_the_wrapper_goes_on() {
    let it = Installation::start();
    let worker = tries(
        &it,
        r#"ulimit -Hn | sed 's/^/files /'
           ulimit -Hc | sed 's/^/core /'
           ulimit -c unlimited 2>/dev/null && echo got dumps
           ulimit -n 1000000 2>/dev/null && echo got files
           perl -e 'my @all; while (open my $f, "<", "/dev/null") { push @all, $f }
             print "opened ", scalar(@all) > 16000 ? "many" : scalar(@all), " then $!\n"'"#,
    );
    let stdout = worker.stdout();
    assert!(!stdout.contains("got "), "{stdout}");
    for line in ["files 16384", "core 0", "opened many then Too many open files"] {
        assert!(stdout.lines().any(|said| said == line), "{line:?} is missing in\n{stdout}");
    }
}

#[test]
fn a_program_that_crashes_leaves_no_dump() {
    let it = Installation::start();
    let worker = tries(
        &it,
        "cd /workspace; sh -c 'kill -SEGV $$'; echo crashed with $?
         find /workspace /tmp /home -name 'core*' | sed 's/^/got /'",
    );
    let stdout = worker.stdout();
    assert!(stdout.contains("crashed with 139"), "{stdout}");
    assert!(!stdout.contains("got "), "{stdout}");
}

#[test]
fn memory_that_poses_as_files_ends_too() {
    let it = Installation::start();
    let worker = tries(
        &it,
        "dd if=/dev/zero of=/dev/shm/all bs=1M 2>&1 | grep -o 'No space left on device'
         stat -c 'shm %s' /dev/shm/all; rm /dev/shm/all
         head -c 1000 /dev/zero >/dev/shm/little && echo may share memory",
    );
    let stdout = worker.stdout();
    for line in ["No space left on device", "shm 67108864", "may share memory"] {
        assert!(stdout.lines().any(|said| said == line), "{line:?} is missing in\n{stdout}");
    }
}
