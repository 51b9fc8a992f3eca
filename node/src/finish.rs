//! Changes that are finished once they are begun, whether or not the client waits for them.
//!
//! A client that goes away drops the future of its request wherever that happens to stand. For a change that takes
//! several steps (files, then names) that would leave half of it; such a change runs as a task of its own.

use std::time::Duration;

use crate::error::{ApiError, Result};
use crate::pool::{Deadline, PoolError};

/// For the steps inside such a change: only its client is told about time, the change is not stopped by it.
pub fn however_long() -> Deadline {
    Deadline::after(Duration::MAX)
}

/// Runs `work` to its end and waits for it until the deadline; `operation` is what the error of a time-out calls it.
pub async fn to_the_end<T: Send + 'static>(
    operation: &'static str,
    deadline: Deadline,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::time::timeout(deadline.left(), tokio::spawn(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(ApiError::from(PoolError::Panicked)),
        Err(_) => Err(ApiError::from(deadline.error(operation))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_finished_without_its_client() {
        let (release, wait) = oneshot::channel::<()>();
        let (finished, seen) = oneshot::channel();
        let work = async move {
            wait.await.expect("released");
            finished.send(()).expect("somebody looks");
            Ok(())
        };
        let answer = to_the_end("Change", Deadline::after(Duration::from_millis(10)), work).await;
        assert_eq!(answer.expect_err("too late").code, 408);
        release.send(()).expect("the change goes on");
        seen.await.expect("and comes to its end");
    }

    #[tokio::test]
    async fn a_result_or_a_panic_is_the_answer() {
        let soon = || Deadline::after(Duration::from_secs(30));
        assert_eq!(to_the_end("Change", soon(), async { Ok(1) }).await, Ok(1));
        let failed = to_the_end::<()>("Change", soon(), async { panic!("a defect") }).await;
        assert_eq!(failed.expect_err("it failed").code, 500);
    }
}
