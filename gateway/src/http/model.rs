//! `/model/<NAME>/…`: a model's service, with the operator's key in place of the worker's token.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{HeaderMap, Method, Request, StatusCode, Version};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use worker_link::chain::chain as reason;
use worker_protocol::WorkerId;
use worker_protocol::gateway::{MODEL_PATH, Passage};

use super::answer::{Answer, BodyError, problem};
use super::hop;
use crate::model::price::cost;
use crate::model::token;
use crate::model::upstream::Service;
use crate::model::usage::{Ended, Form, Meter};
use crate::serve::{Gateway, Visit};

/// These only count; they make no answer that costs.
const FREE: [&str; 2] = ["/count_tokens", ":countTokens"];

pub(super) async fn model(
    gateway: Arc<Gateway>,
    visit: Arc<Visit>,
    passage: &Passage,
    mut request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path().to_owned();
    let (name, rest) = split(&path);
    let query = request.uri().query().map(str::to_owned);
    let taken =
        token::take(request.headers_mut(), query.as_deref(), passage.token_sha256.as_deref());
    if !taken.good {
        return problem(StatusCode::UNAUTHORIZED, "This is not the worker's token.");
    }
    let service = gateway.upstreams.get(name).filter(|_| passage.models.contains(name));
    let Some(service) = service else {
        let what = format!("{name} is not among the worker's `credentials`.");
        return problem(StatusCode::FORBIDDEN, &what);
    };
    let Some(address) = service.address(rest, taken.query.as_deref()) else {
        return problem(StatusCode::BAD_REQUEST, "A path may not lead upwards.");
    };
    if request.headers().contains_key(UPGRADE) {
        let what = "The gateway passes on requests to models, and no other protocols.";
        return problem(StatusCode::NOT_IMPLEMENTED, what);
    }
    // Without it, a worker could have any number of requests under way before the first is paid.
    let Ok(place) = Arc::clone(&visit.guest.models).acquire_owned().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "The gateway ends.");
    };
    if let Err(over) = gateway.ledger.admit(passage).await {
        if over.first {
            visit.report(&gateway, passage, (service.host(), service.port()), &over.what);
        }
        return problem(StatusCode::TOO_MANY_REQUESTS, &format!("This worker is stopped: {over}."));
    }
    let priced = request.method() == Method::POST && !FREE.iter().any(|end| rest.ends_with(end));
    *request.uri_mut() = address;
    *request.version_mut() = Version::HTTP_11;
    prepare(request.headers_mut(), service);
    let bill = Bill { worker: passage.worker_id, name: name.to_owned(), priced, _place: place };
    pass_on(gateway, request, bill).await
}

/// Who pays, for what.
struct Bill {
    worker: WorkerId,
    name: String,
    priced: bool,
    _place: OwnedSemaphorePermit,
}

async fn pass_on(gateway: Arc<Gateway>, request: Request<Incoming>, bill: Bill) -> Answer {
    let sent = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&sent);
    let request = request.map(|body| {
        let counted = body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            counts.fetch_add(bytes, Ordering::Relaxed);
            frame
        });
        counted.map_err(Into::into).boxed_unsync()
    });
    let mut answer = match gateway.upstreams.send(request).await {
        Ok(answer) => answer,
        Err(error) => {
            debug!(model = bill.name, error = reason(&error), "a model's service does not answer");
            let what = format!("The service of {} cannot be reached.", bill.name);
            return problem(StatusCode::BAD_GATEWAY, &what);
        }
    };
    hop::remove(answer.headers_mut());
    if bill.priced && answer.headers().contains_key(CONTENT_ENCODING) {
        warn!(model = bill.name, "an answer is packed though nobody asked: its cost is a guess");
    }
    let priced = bill.priced && answer.status().is_success();
    let meter = priced.then(|| Meter::new(form(answer.headers())));
    answer.map(|body| {
        Metered { body, meter, ended: Ended::Early, sent, bill, gateway }.boxed_unsync()
    })
}

/// The credential's name, and what comes after it.
fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix(MODEL_PATH).unwrap_or_default();
    path.split_at(path.find('/').unwrap_or(path.len()))
}

fn prepare(headers: &mut HeaderMap, service: &Service) {
    hop::remove(headers);
    headers.remove(HOST);
    // What is packed could not be read.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    service.open(headers);
}

fn form(headers: &HeaderMap) -> Form {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("text/event-stream") { Form::Events } else { Form::Json }
}

/// An answer that is charged when it has ended, or when nobody wants it any more.
struct Metered {
    body: Incoming,
    meter: Option<Meter>,
    ended: Ended,
    sent: Arc<AtomicU64>,
    bill: Bill,
    gateway: Arc<Gateway>,
}

impl hyper::body::Body for Metered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(meter), Some(bytes)) = (&mut self.meter, frame.data_ref()) {
                    meter.take(bytes);
                }
            }
            None => self.ended = Ended::Whole,
            Some(Err(_)) => {}
        }
        if self.body.is_end_stream() {
            self.ended = Ended::Whole;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let Some(meter) = &self.meter else { return };
        let Some(service) = self.gateway.upstreams.get(&self.bill.name) else { return };
        let usage = meter.usage(self.sent.load(Ordering::Relaxed), self.ended);
        self.gateway.ledger.charge(self.bill.worker, cost(&service.prices, meter.model(), usage));
    }
}
