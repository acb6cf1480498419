//! A relay between a worker and Redis, which can lose its way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    target: AtomicU16,
    /// Connections of an earlier generation than this pass nothing on, and stay open.
    silent_below: AtomicUsize,
    accepted: AtomicUsize,
    over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.target.store(target, Ordering::SeqCst);
        let own = Arc::clone(&shared);
        thread::spawn(move || own.accept(&listener));
        Self { port, shared }
    }

    /// New connections go there; those that stand stay where they are.
    pub(crate) fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Connections that stand carry nothing any more, and nobody is told.
    pub(crate) fn fall_silent(&self) {
        let accepted = self.shared.accepted.load(Ordering::SeqCst);
        self.shared.silent_below.store(accepted, Ordering::SeqCst);
    }

    /// How many connections there were.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { return };
            let Ok(server) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst)))
            else {
                continue;
            };
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let copies = [&client, &server].map(|stream| stream.try_clone().unwrap());
            self.open.lock().unwrap().extend(copies);
            let (back_from, back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (from, to) in [(client, server), (back_from, back_to)] {
                let shared = Arc::clone(&self);
                thread::spawn(move || shared.relay(number, from, to));
            }
        }
    }

    fn relay(&self, number: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let silent = number < self.silent_below.load(Ordering::SeqCst);
            if !silent && to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        if number >= self.silent_below.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in self.shared.open.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
