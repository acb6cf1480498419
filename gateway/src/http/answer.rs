//! Answers of the gateway's own.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::way::Target;

/// What a body may fail with.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body of any origin.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
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

/// What a model's client is told, in a form in which each vendor's finds the message. It is not to
/// try again, where it listens to that.
pub(crate) fn problem(status: StatusCode, message: &str) -> Answer {
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::BAD_REQUEST => "invalid_request_error",
        _ => "api_error",
    };
    let error = json!({ "type": kind, "code": status.as_u16(), "message": message });
    let mut answer = Response::new(whole(json!({ "type": "error", "error": error }).to_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status.is_client_error() {
        let no_more = HeaderName::from_static("x-should-retry");
        headers.insert(no_more, HeaderValue::from_static("false"));
    }
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
