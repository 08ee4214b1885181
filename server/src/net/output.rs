//! The answers a connection has yet to send: parts of memory, sent by vectored writes and never copied together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

use crate::protocol::Frame;

/// Parts in one write. Linux takes up to 1024; more than these gain nothing.
const PARTS_PER_WRITE: usize = 64;

/// Bytes waiting to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Output {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Output {
    /// The bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether none wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a frame behind the others.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.len += frame.len;
        self.parts.extend(frame.parts.into_iter().filter(|part| !part.is_empty()));
    }

    /// Sends as much as the stream takes; ready when there is nothing left. The number is what was sent by this call.
    pub(crate) fn poll_send<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while self.len > 0 {
            let slices: SmallVec<[IoSlice<'_>; PARTS_PER_WRITE]> =
                self.parts.iter().take(PARTS_PER_WRITE).map(|part| IoSlice::new(part)).collect();
            let written = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(slices);
            *sent += written;
            self.consume(written);
        }
        if self.parts.capacity() > PARTS_PER_WRITE {
            self.parts = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn consume(&mut self, mut bytes: usize) {
        self.len -= bytes;
        while bytes > 0 {
            let part = self.parts.front_mut().expect("as many bytes are in parts as are counted");
            if part.len() > bytes {
                part.advance(bytes);
                return;
            }
            bytes -= part.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes a few bytes of each write.
    struct Narrow(Vec<u8>, usize);

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut left = self.1;
            for slice in slices {
                let taken = slice.len().min(left);
                self.0.extend_from_slice(&slice[..taken]);
                left -= taken;
            }
            Poll::Ready(Ok(self.1 - left))
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn parts_are_sent_in_order_whatever_a_write_takes() {
        for width in [1, 2, 3, 5, 100] {
            let mut output = Output::default();
            let parts = [&b"abc"[..], b"", b"de", b"f", b"ghijkl"];
            let frame = Frame { parts: parts.iter().map(|part| Bytes::from_static(part)).collect(), len: 12 };
            output.push(frame.clone());
            output.push(frame);
            let (mut narrow, mut sent) = (Narrow(Vec::new(), width), 0);
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(output.poll_send(&mut cx, &mut narrow, &mut sent), Poll::Ready(Ok(()))));
            assert_eq!((narrow.0.as_slice(), sent, output.is_empty()), (&b"abcdefghijklabcdefghijkl"[..], 24, true));
        }
    }
}
