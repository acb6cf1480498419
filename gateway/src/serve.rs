//! Takes connections, and knows from where each comes.

use socket2::{SockRef, TcpKeepalive};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use worker_link::{Link, LinkError};
use worker_protocol::gateway::{GatewayBoot, Passage};

use crate::address::Ground;
use crate::guests::{Door, Guest, Guests, Place};
use crate::host::Opening;
use crate::model::ledger::Ledger;
use crate::model::upstream::{UpstreamError, Upstreams};
use crate::passages::{self, NoPassage, Passages};
use crate::refusals::{Refused, Reports};
use crate::store::Store;
use crate::{http, redis_door};

/// A worker that is gone without a word is noticed after some of these.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// No connection can be taken for want of files: others will have ended after this time.
const BREATHE: Duration = Duration::from_millis(100);
/// One that is refused has so long to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is wrong with a boot document.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The address of Redis.
    #[error(transparent)]
    Redis(#[from] LinkError),
    /// A model's service.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An opening.
    #[error("{0:?} is no address, no address with a port, and no range")]
    Opening(String),
}

/// All that connections share.
pub struct Gateway {
    /// Bits of a worker's network.
    pub prefix: u8,
    /// What is refused whatever its name.
    pub ground: Ground,
    /// Redis, to ask.
    pub store: Arc<Store>,
    /// Redis, to pass on to.
    pub link: Link,
    /// What workers may reach.
    pub passages: Passages,
    /// What they take.
    pub guests: Guests,
    /// Where refusals go.
    pub reports: Reports,
    /// Models' services.
    pub upstreams: Upstreams,
    /// What workers have used of them.
    pub ledger: Ledger,
}

impl Gateway {
    /// What the boot document says, with the place for refusals.
    ///
    /// # Errors
    /// When the document cannot be used.
    pub fn new(boot: GatewayBoot, store: Arc<Store>, reports: Reports) -> Result<Self, BootError> {
        let opening =
            |text: &String| Opening::parse(text).ok_or_else(|| BootError::Opening(text.clone()));
        let private = boot.private.iter().map(opening).collect::<Result<_, _>>()?;
        Ok(Self {
            prefix: boot.prefix,
            ground: Ground { refused: boot.refused, private },
            link: Link::new(&boot.redis)?,
            upstreams: Upstreams::new(boot.upstreams, boot.ca_bundle.as_deref())?,
            ledger: Ledger::new(Arc::clone(&store)),
            passages: Passages::new(Arc::clone(&store)),
            store,
            guests: Guests::default(),
            reports,
        })
    }
}

/// One connection's origin. As long as it is there, the connection counts.
#[derive(Debug)]
pub struct Visit {
    /// Where the connection came to.
    pub local: SocketAddr,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The network that both are on.
    pub network: IpAddr,
    /// That network's share.
    pub guest: Arc<Guest>,
    _place: Place,
}

impl Visit {
    /// What the worker may reach that made the connection.
    ///
    /// # Errors
    /// When no worker has, or it is not known.
    pub async fn passage(&self, gateway: &Gateway) -> Result<Arc<Passage>, NoPassage> {
        gateway.passages.of(self.network).await
    }

    /// Tells that the worker was refused a host.
    pub fn report(&self, gateway: &Gateway, passage: &Passage, to: (&str, u16), reason: &str) {
        gateway.reports.report(Refused {
            worker: passage.worker_id,
            host: to.0.to_owned(),
            port: to.1,
            reason: reason.to_owned(),
        });
    }
}

/// Takes connections at one door, for ever.
pub async fn attend(gateway: Arc<Gateway>, listener: TcpListener, door: Door) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(BREATHE).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        receive(Arc::clone(&gateway), stream, local, peer, door);
    }
}

fn receive(
    gateway: Arc<Gateway>,
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    door: Door,
) {
    let _ = stream.set_nodelay(true);
    let alive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&alive);
    let Some(network) = passages::network(peer.ip(), local.ip(), gateway.prefix) else {
        let why = match door {
            Door::Http => http::NO_WORKER,
            Door::Redis => redis_door::NO_WORKER,
        };
        return turn_away(&gateway.guests.nobody(), stream, why);
    };
    let guest = gateway.guests.of(network);
    match (gateway.guests.enter(&guest, door), door) {
        (Some(place), _) => {
            let visit = Arc::new(Visit { local, peer, network, guest, _place: place });
            match door {
                Door::Http => drop(tokio::spawn(http::serve(gateway, visit, stream))),
                Door::Redis => drop(tokio::spawn(redis_door::serve(gateway, visit, stream))),
            }
        }
        (None, Door::Http) => turn_away(&guest, stream, http::TOO_MANY),
        (None, Door::Redis) => turn_away(&guest, stream, redis_door::TOO_MANY),
    }
}

/// Says why, and lets the other side read it: a connection that is closed with bytes unread is cut.
fn turn_away(guest: &Guest, mut stream: TcpStream, why: &'static str) {
    let Some(place) = guest.leave() else { return };
    tokio::spawn(async move {
        let say = async {
            stream.write_all(why.as_bytes()).await?;
            stream.shutdown().await?;
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(FAREWELL, say).await;
        drop(place);
    });
}
