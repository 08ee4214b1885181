//! Waits for several things of one kind at once.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::error::Result;

/// Things that [`each`] does beside each other.
const AT_ONCE: usize = 16;

/// Does something with each, several at once; the first error, when what was begun has ended.
pub(super) async fn each<T>(all: &[T], run: impl AsyncFn(&T) -> Result<()>) -> Result<()> {
    let next = Cell::new(0);
    workers(AT_ONCE.min(all.len()), async || {
        while let Some(one) = all.get(next.replace(next.get() + 1)) {
            run(one).await?;
        }
        Ok(())
    })
    .await
}

/// Runs so many workers to their ends; the first error. Each is polled only when it is itself woken, as in [`JoinAll`] it is
/// not: they take thousands of steps.
pub(super) async fn workers(count: usize, work: impl AsyncFn() -> Result<()>) -> Result<()> {
    let mut running: FuturesUnordered<_> = (0..count).map(|_| work()).collect();
    let mut outcome = Ok(());
    while let Some(ended) = running.next().await {
        outcome = outcome.and(ended);
    }
    outcome
}

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

/// Waits for both.
pub(super) async fn join2<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let mut first = std::pin::pin!(first);
    let mut second = std::pin::pin!(second);
    let (mut a, mut b) = (None, None);
    std::future::poll_fn(|context| {
        if a.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            a = Some(output);
        }
        if b.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            b = Some(output);
        }
        match a.is_some() && b.is_some() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    (a.expect("it has ended"), b.expect("it has ended"))
}
