//! `CONNECT`: a way for bytes of any kind.

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tracing::debug;

use worker_protocol::gateway::Passage;

use super::answer::{Answer, empty, refused, text};
use crate::host::{Host, is_self_test};
use crate::relay::{IDLE, relay};
use crate::serve::{Gateway, Visit};
use crate::way::{self, NoWay, Target};

pub(super) async fn connect(
    gateway: Arc<Gateway>,
    visit: Arc<Visit>,
    passage: &Passage,
    request: Request<Incoming>,
) -> Answer {
    let authority = request.uri().authority();
    let asked = authority.and_then(|a| Some((Host::parse(a.host())?, a.port_u16()?)));
    let Some((host, port)) = asked.filter(|_| authority.is_some_and(|a| !a.as_str().contains('@')))
    else {
        return text(StatusCode::BAD_REQUEST, "CONNECT needs a host and a port: example.com:443.");
    };
    let target = Target { host, port };
    let way = if is_self_test(&target.host) {
        target.judge(&passage.egress).map(|_| None)
    } else {
        way::open(&target, &passage.egress, &gateway.ground, &visit.guest).await.map(Some)
    };
    match way {
        Ok(None) => empty(StatusCode::NO_CONTENT),
        Ok(Some(stream)) => {
            tokio::spawn(async move {
                match hyper::upgrade::on(request).await {
                    // However it ends, both sides know.
                    Ok(worker) => drop(relay(TokioIo::new(worker), stream, IDLE).await),
                    Err(error) => debug!(%error, "a connection ended before it was one"),
                }
                drop(visit);
            });
            empty(StatusCode::OK)
        }
        Err(no) => refuse(&gateway, &visit, passage, &target, &no),
    }
}

/// Tells the worker, and if a rule forbids it, everybody.
pub(super) fn refuse(
    gateway: &Gateway,
    visit: &Visit,
    passage: &Passage,
    target: &Target,
    no: &NoWay,
) -> Answer {
    match no {
        NoWay::Refused(reason) => {
            let to = (target.host.to_string(), target.port);
            visit.report(gateway, passage, (&to.0, to.1), reason);
            refused(target, reason)
        }
        NoWay::Failed(why) => text(StatusCode::BAD_GATEWAY, &format!("{why}.")),
    }
}
