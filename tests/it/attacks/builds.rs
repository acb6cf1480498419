//! What is shut must not be in the way of work: code is built, debugged and run as elsewhere.

use worker_tests::harness::{Installation, Options, Templates};

/// A compiler, a debugger and a program for each thing that a strict list of system calls, a
/// read-only root or limits could spoil.
const WORK: &str = r#"
set -e
cd /workspace
cat >hello.c <<'END'
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
extern char **environ;
static void *thread(void *unused) { return unused; }
int main(void) {
  pthread_t one;
  if (pthread_create(&one, 0, thread, 0) || pthread_join(one, 0)) return 1;
  char *program[] = {"/bin/true", 0};
  pid_t child;
  int status = 1;
  if (posix_spawn(&child, program[0], 0, 0, program, environ)) return 2;
  if (waitpid(child, &status, 0) != child || status) return 3;
  if (sem_open("/own", 0100, 0600, 1) == SEM_FAILED) return 4;
  int memory = shmget(IPC_PRIVATE, 4096, 0600);
  if (memory < 0 || shmat(memory, 0, 0) == (void *)-1) return 5;
  if (mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return 6;
  puts("hello from C");
  return 0;
}
END
gcc -O2 -pthread -o hello hello.c && ./hello
gcc -g -fsanitize=address,leak -pthread -o checked hello.c && ./checked | sed 's/^/checked: /'
strace -f -o /tmp/trace ./hello >/dev/null && grep -q execve /tmp/trace && echo traced
printf 'all: ; @echo made by $(shell uname)\n' >Makefile && make
tar -cJf hello.tar.xz hello && tar -tJf hello.tar.xz
python3 - <<'END'
import asyncio, ctypes, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
sqlite3.connect("/workspace/own.db").execute("create table t (x)")
pair = socket.socketpair()
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname())
assert subprocess.run(["/bin/echo", "x"], capture_output=True).stdout == b"x\n"
asyncio.run(asyncio.sleep(0))
tempfile.TemporaryFile().write(b"x")
print("hello from Python")
END
python3 -m venv --without-pip own && own/bin/python -c 'print("hello from its own environment")'
echo all done
exec cat
"#;

#[test]
fn code_is_compiled_checked_traced_and_run_as_elsewhere() {
    let packages = r#""gcc" "libc6-dev" "make" "strace" "xz-utils" "python3" "python3-venv""#;
    let templates =
        Templates::empty().module("TOOLCHAIN", &format!(": toolchain\n{{{{apt {packages}}}}}"));
    let it = Installation::start_with(Options::default().templates(&templates));
    let command = serde_json::json!(["/bin/bash", "-c", WORK]).to_string();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", &command),
        ("modules", "TOOLCHAIN"),
    ]);
    worker.prints("all done");
    let stdout = worker.stdout();
    for line in [
        "hello from C",
        "checked: hello from C",
        "traced",
        "made by Linux",
        "hello from Python",
        "hello from its own environment",
    ] {
        assert!(stdout.lines().any(|said| said == line), "{line:?} is missing in\n{stdout}");
    }
}
