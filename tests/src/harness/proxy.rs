//! A way to Redis that can be cut, blocked and made long.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Passes connections on, while it is whole.
pub struct Proxy {
    addr: SocketAddr,
    way: Arc<Way>,
}

#[derive(Default)]
struct Way {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// No connection comes through.
    is_cut: bool,
    /// Nothing comes through, and nobody is told.
    is_blocked: bool,
    /// How long everything takes in each direction.
    delay: Duration,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Listens at `host`, on any free port, and passes on to `target`.
    pub fn start(host: &str, target: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let way = Arc::new(Way::default());
        let (accepted, target) = (Arc::clone(&way), target.to_owned());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (way, target) = (Arc::clone(&accepted), target.clone());
                thread::spawn(move || way.accept(stream, &target));
            }
        });
        Self { addr, way }
    }

    /// One in front of the Redis at an address that workers reach, and the address that leads
    /// through it.
    pub fn in_front_of(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, target) = authority.rsplit_once('@').unwrap_or(("", authority));
        let at = if credentials.is_empty() { "" } else { "@" };
        let (host, _) = target.rsplit_once(':').expect("a port");
        let proxy = Self::start(host, target);
        let url = format!("{scheme}://{credentials}{at}{}/{path}", proxy.addr());
        (proxy, url)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts every connection, and lets no new one through.
    pub fn cut(&self) {
        let mut state = self.way.lock();
        state.is_cut = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.way.changed.notify_all();
    }

    /// Holds all that is sent, as a lost route does: connections stay, nobody hears anything, and
    /// nobody is told. What was sent meanwhile arrives with [`Proxy::mend`], as when it is sent again.
    pub fn block(&self) {
        self.way.lock().is_blocked = true;
    }

    /// Everything takes this long in each direction.
    pub fn delay(&self, delay: Duration) {
        self.way.lock().delay = delay;
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        let mut state = self.way.lock();
        (state.is_cut, state.is_blocked, state.delay) = (false, false, Duration::ZERO);
        self.way.changed.notify_all();
    }
}

impl Way {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, client: TcpStream, target: &str) {
        self.wait();
        if self.lock().is_cut {
            return;
        }
        let Ok(server) = TcpStream::connect(target) else { return };
        let ends = [client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone()];
        let [Ok(from_client), Ok(to_server), Ok(to_client), Ok(from_server)] = ends else { return };
        {
            let mut state = self.lock();
            if state.is_cut {
                return;
            }
            state.streams.extend([client, server]);
        }
        let back = Arc::clone(&self);
        thread::spawn(move || back.pump(from_server, to_client));
        self.pump(from_client, to_server);
    }

    /// While nothing comes through, and then as long as everything takes.
    fn wait(&self) {
        let state = self.lock();
        let state = self.changed.wait_while(state, |state| state.is_blocked && !state.is_cut);
        let delay = state.unwrap_or_else(PoisonError::into_inner).delay;
        thread::sleep(delay);
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.wait();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        self.wait();
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
