//! Waits for several things of one kind at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls all until each has ended; their outcomes in order.
pub(super) struct JoinAll<F: Future> {
    running: Vec<Pin<Box<F>>>,
    done: Vec<Option<F::Output>>,
}

/// Waits for all of `futures`.
pub(super) fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> JoinAll<F> {
    let running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let done = running.iter().map(|_| None).collect();
    JoinAll { running, done }
}

impl<F: Future> Unpin for JoinAll<F> {}

impl<F: Future> Future for JoinAll<F> {
    type Output = Vec<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<F::Output>> {
        let this = self.get_mut();
        let mut pending = false;
        for (future, done) in this.running.iter_mut().zip(&mut this.done) {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *done = Some(output),
                    Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return Poll::Pending;
        }
        Poll::Ready(this.done.iter_mut().map(|done| done.take().expect("all have ended")).collect())
    }
}
