//! A bound on the wait for the rest of a request.
//!
//! The body of a request usually stands in the connection's buffer already, and comes when it has been asked for: such a request must pay
//! neither for a timer nor for a place among those who wait for the node's end.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What became of the wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited<T> {
    /// It is there.
    For(T),
    /// It did not come in time.
    TooLong,
    /// The node ends.
    NodeEnds,
}

/// Waits for `work`, at most `patience` and not beyond the node's end.
pub(super) async fn wait<F: Future>(
    work: F,
    patience: Duration,
    end: &CancellationToken,
) -> Waited<F::Output> {
    let mut work = pin!(work);
    // Twice: the first question only tells the connection that somebody wants the body. The second comes by itself, in the same turn of
    // the task where nothing is missing.
    for last in [false, true] {
        let polled = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(done) = polled.await {
            return Waited::For(done);
        }
        if !last {
            next_turn().await;
        }
    }
    match end
        .run_until_cancelled(Box::pin(tokio::time::timeout(patience, work)))
        .await
    {
        None => Waited::NodeEnds,
        Some(Err(_)) => Waited::TooLong,
        Some(Ok(done)) => Waited::For(done),
    }
}

/// Comes back when the task is polled again, which it asks for.
async fn next_turn() {
    let mut asked = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn waits_no_longer_than_it_may() {
        let end = CancellationToken::new();
        assert_eq!(wait(ready(1), SECOND, &end).await, Waited::For(1));
        assert_eq!(wait(next_turn(), SECOND, &end).await, Waited::For(()));
        let (tell, told) = tokio::sync::oneshot::channel();
        let telling = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            tell.send(2)
        };
        let (waited, _) = tokio::join!(wait(told, SECOND, &end), telling);
        assert_eq!(waited, Waited::For(Ok(2)));
        let brief = Duration::from_millis(10);
        assert_eq!(wait(pending::<()>(), brief, &end).await, Waited::TooLong);
        end.cancel();
        assert_eq!(wait(pending::<()>(), SECOND, &end).await, Waited::NodeEnds);
    }
}
