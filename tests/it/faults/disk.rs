//! The engine's disk is full.

use super::{CREATE, assert_recovered};
use worker_tests::harness::{Installation, Options, PrivateEngine, Templates};

#[test]
fn on_a_full_disk_a_create_says_so_and_when_there_is_room_it_works() {
    let engine = PrivateEngine::small("400m");
    let templates = Templates::quick();
    let it = Installation::start_with(Options::default().engine(&engine).templates(&templates));
    it.script("exec cat").delete();
    let greedy = it.script("head --bytes=2G /dev/zero >~/large; echo took all; exec cat");
    greedy.prints("took all");

    let reply = it.command(&CREATE);
    assert_eq!((reply.is_ok(), reply.get("status")), (false, "FAILED".into()), "{reply:?}");
    assert!(reply.get("message").contains("no space left on device"), "{reply:?}");
    let failed = reply.get("worker_id");
    assert_eq!(it.containers().len(), 1, "the greedy one alone");
    assert!(it.command(&[("command", "delete"), ("worker_id", &failed)]).is_ok());
    greedy.turn("still here");
    greedy.prints("still here");

    greedy.delete();
    it.settles();
    assert_recovered(&it);
}
