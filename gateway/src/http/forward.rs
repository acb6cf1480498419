//! Requests with an absolute address: `GET http://example.com/ HTTP/1.1`.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Request, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use std::sync::Arc;

use worker_protocol::gateway::Passage;

use super::answer::{Answer, empty, text};
use super::{connect::refuse, hop};
use crate::host::{Host, is_self_test};
use crate::serve::{Gateway, Visit};
use crate::way::{self, Target};

const HTTP_PORT: u16 = 80;

pub(super) async fn forward(
    gateway: Arc<Gateway>,
    visit: Arc<Visit>,
    passage: &Passage,
    mut request: Request<Incoming>,
) -> Answer {
    let Some(target) = target(request.uri()) else {
        let what = "The gateway passes on requests to http://host/…; others need CONNECT.";
        return text(StatusCode::BAD_REQUEST, what);
    };
    let way = if is_self_test(&target.host) {
        target.judge(&passage.egress).map(|_| None)
    } else {
        way::open(&target, &passage.egress, &gateway.ground, &visit.guest).await.map(Some)
    };
    let stream = match way {
        Ok(None) => return empty(StatusCode::NO_CONTENT),
        Ok(Some(stream)) => stream,
        Err(no) => return refuse(&gateway, &visit, passage, &target, &no),
    };
    let failed = |error: hyper::Error| {
        text(StatusCode::BAD_GATEWAY, &format!("{target} did not answer as it should: {error}."))
    };
    address(&mut request);
    let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
        Ok(both) => both,
        Err(error) => return failed(error),
    };
    // It ends with the answer, or with whoever waits for it.
    tokio::spawn(connection);
    match sender.send_request(request).await {
        Ok(mut answer) => {
            hop::remove(answer.headers_mut());
            answer.map(|body| body.map_err(Into::into).boxed_unsync())
        }
        Err(error) => failed(error),
    }
}

fn target(address: &Uri) -> Option<Target> {
    let authority = address.authority().filter(|a| !a.as_str().contains('@'))?;
    let host = Host::parse(authority.host())?;
    let http = address.scheme() == Some(&Scheme::HTTP);
    http.then(|| Target { host, port: authority.port_u16().unwrap_or(HTTP_PORT) })
}

/// From the form for a gateway to that for the last server. The address decides who that is, not
/// what the request says beside it (RFC 9112, 3.2.2).
fn address(request: &mut Request<Incoming>) {
    hop::remove(request.headers_mut());
    *request.version_mut() = Version::HTTP_11;
    let host = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if let Ok(path) = path.parse() {
        *request.uri_mut() = path;
    }
}
