//! A way to Redis that can be cut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Passes connections on, while it is whole.
pub struct Proxy {
    addr: SocketAddr,
    way: Arc<Mutex<Way>>,
}

struct Way {
    whole: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// Listens at `host`, on any free port, and passes on to `target`.
    pub fn start(host: &str, target: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let way = Arc::new(Mutex::new(Way { whole: true, streams: Vec::new() }));
        let (accepted, target) = (Arc::clone(&way), target.to_owned());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accept(&accepted, stream, &target);
            }
        });
        Self { addr, way }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts every connection, and lets no new one through.
    pub fn cut(&self) {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        way.whole = false;
        for stream in way.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).whole = true;
    }
}

fn accept(way: &Mutex<Way>, client: TcpStream, target: &str) {
    let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
    if !way.whole {
        return;
    }
    let Ok(server) = TcpStream::connect(target) else { return };
    let ends = [client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone()];
    let Ok([from_client, to_server, to_client, from_server]) = all(ends) else { return };
    way.streams.extend([client, server]);
    thread::spawn(move || pump(from_client, to_server));
    thread::spawn(move || pump(from_server, to_client));
}

fn all<const N: usize>(streams: [io::Result<TcpStream>; N]) -> io::Result<[TcpStream; N]> {
    let streams = streams.into_iter().collect::<io::Result<Vec<_>>>()?;
    streams.try_into().map_err(|_| io::ErrorKind::Other.into())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
