//! Waits for several futures of one kind on this thread: for all of them, or for the first.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A future of this thread.
pub(crate) type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The outcomes of all, in the order of the futures. They are first polled in that order too.
pub(crate) async fn all<T>(mut futures: Vec<LocalFuture<T>>) -> Vec<T> {
    let mut outcomes: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut pending = false;
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *outcome = Some(value),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outcomes.into_iter().map(|outcome| outcome.expect("every one has ended")).collect()
}

/// Returns when one of them has ended; never if there are none.
pub(crate) async fn any<T>(mut futures: Vec<LocalFuture<T>>) -> T {
    poll_fn(|cx| {
        for future in &mut futures {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(value);
            }
        }
        Poll::Pending
    })
    .await
}
