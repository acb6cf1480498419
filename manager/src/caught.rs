//! A panic in a task is a failure of what it did, and of nothing else.

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use worker_protocol::{ErrorKind, Problem};

/// What a future gives, unless it panics. Nothing that it left half done is looked at again but by
/// way of Redis and the engine.
pub(crate) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, Problem> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|_| {
        let message = "this failed by a defect of worker-manager; its log says more";
        Problem::new(ErrorKind::Internal, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_to_tell_of() {
        assert_eq!(caught(async { 1 }).await, Ok(1));
        let problem = caught(async { panic!("secret") }).await.unwrap_err();
        assert_eq!(problem.kind, ErrorKind::Internal);
        assert!(!problem.message.contains("secret"));
    }
}
