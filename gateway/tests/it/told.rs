//! Refusals in the stream of events.

use crate::gateway::{Gateway, hosts, status};
use crate::redis_server::until;

#[test]
fn a_host_that_is_tried_again_and_again_is_told_once_for_now() {
    let gateway = Gateway::start();
    let worker = gateway.worker(1, hosts(&[]));
    for _ in 0..50 {
        assert_eq!(worker.tunnel_status("secret.evil.test:443"), 403);
    }
    // One of another host comes after all of the first.
    assert_eq!(worker.tunnel_status("last.evil.test:443"), 403);
    gateway.told_of(&worker, "last.evil.test");
    let told = gateway.told(&worker);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0]["timestamp"].ends_with('Z') && told[0]["port"] == "443", "{told:?}");
}

#[test]
fn a_worker_does_not_flood_the_events() {
    let gateway = Gateway::start();
    let worker = gateway.worker(1, hosts(&[]));
    for n in 0..100 {
        let (_, answer) = worker.tunnel(&format!("n{n}.evil.test:443"));
        assert_eq!(status(&answer), 403);
    }
    gateway.told_of(&worker, "*");
    assert_eq!(gateway.told(&worker).len(), 21);
    // It takes the room of no other worker.
    let other = gateway.worker(9, hosts(&[]));
    assert_eq!(other.tunnel_status("n99.evil.test:443"), 403);
    gateway.told_of(&other, "n99.evil.test");
}

#[test]
fn what_could_not_be_told_is_told_later() {
    let mut gateway = Gateway::start();
    let worker = gateway.worker(1, hosts(&[]));
    assert_eq!(worker.tunnel_status("first.evil.test:443"), 403);
    gateway.told_of(&worker, "first.evil.test");
    gateway.redis.kill();
    assert_eq!(worker.tunnel_status("second.evil.test:443"), 403);
    gateway.redis.restart();
    gateway.allow_again();
    until("it", || (!gateway.told(&worker).is_empty()).then_some(()));
    assert_eq!(gateway.told_of(&worker, "second.evil.test")["times"], "1");
}
