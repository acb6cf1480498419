//! Answers of the gateway's own.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::way::Target;

/// What a body may fail with.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body of any origin.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;
/// What a worker gets.
pub(crate) type Answer = Response<Body>;

/// A body that is there already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A line for people.
pub(crate) fn text(status: StatusCode, line: &str) -> Answer {
    let mut answer = Response::new(whole(format!("{line}\n")));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

/// Nothing but a status.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// What a worker is told that was refused a host.
pub(crate) fn refused(target: &Target, reason: &str) -> Answer {
    let line = format!(
        "{target} is refused: {reason}. Who creates the worker can allow a public host by its \
         `egress`, and the operator private addresses."
    );
    text(StatusCode::FORBIDDEN, &line)
}
