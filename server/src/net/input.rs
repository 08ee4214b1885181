//! The bytes a connection has received, cut into frames.
//!
//! A frame is four bytes of length and that many more. A length that is claimed makes no room: the buffer grows as bytes
//! arrive, to at most twice what has come, or to what the same client has filled before.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The room for the first read of a connection.
const READ_BYTES_MIN: usize = 4 << 10;
/// The most room that is made for frames not yet begun.
const READ_BYTES_MAX: usize = 256 << 10;
/// The most that a frame is believed in advance, because the client has sent such a one before.
const LEARNED_BYTES_MAX: usize = 2 << 20;
/// The length prefix of a frame.
const PREFIX_BYTES: usize = 4;

/// A frame of a length that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Less than a request header has.
    #[error("a frame of {0} bytes is shorter than any request")]
    TooShort(i32),
    /// More than `socket.request.max.bytes`.
    #[error("a frame of {len} bytes is longer than socket.request.max.bytes, {max}")]
    TooLong { len: i32, max: usize },
}

/// Received bytes not yet handed on as frames.
#[derive(Debug)]
pub(crate) struct Input {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// The room to make when nothing is known of what comes.
    read_bytes: usize,
    /// The longest of the recent frames.
    learned_bytes: usize,
}

impl Input {
    /// Nothing yet, of a connection whose frames may be `frame_bytes_max` long.
    pub(crate) fn new(frame_bytes_max: usize) -> Input {
        Input { buffer: BytesMut::new(), frame_bytes_max, read_bytes: READ_BYTES_MIN, learned_bytes: 0 }
    }

    /// Receives what there is room for; 0 at the end of the stream.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let spare = self.buffer.capacity() - self.buffer.len();
        let polled = pin!(stream.read_buf(&mut self.buffer)).poll(cx);
        if let Poll::Ready(Ok(received)) = polled
            && received == spare
        {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        polled
    }

    /// The next whole frame, without its length.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(len) = self.claimed_len()? else { return Ok(None) };
        if self.buffer.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        // Forgotten slowly, so that a short frame between long ones costs nothing.
        self.learned_bytes = len.max(self.learned_bytes - self.learned_bytes / 8).min(LEARNED_BYTES_MAX);
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Gives back memory that holds nothing.
    pub(crate) fn release(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > READ_BYTES_MIN {
            self.buffer = BytesMut::new();
        }
    }

    /// The memory that it holds, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether the stream would end inside a frame.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn claimed_len(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let len = i32::from_be_bytes(*prefix);
        match usize::try_from(len) {
            // Key, version and correlation id.
            Ok(0..8) | Err(_) => Err(FrameError::TooShort(len)),
            Ok(bytes) if bytes > self.frame_bytes_max => Err(FrameError::TooLong { len, max: self.frame_bytes_max }),
            Ok(bytes) => Ok(Some(bytes)),
        }
    }

    fn make_room(&mut self) {
        let received = self.buffer.len();
        let spare = self.buffer.capacity() - received;
        let wanted = match self.claimed_len() {
            Ok(Some(len)) if PREFIX_BYTES + len > received => {
                let missing = PREFIX_BYTES + len - received;
                missing.min(received.max(self.learned_bytes).max(READ_BYTES_MIN))
            }
            _ => self.read_bytes,
        };
        if spare < wanted.min(READ_BYTES_MIN / 4) || (received > 0 && spare < wanted) {
            self.buffer.reserve(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn fill(input: &mut Input, mut bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            assert!(matches!(input.poll_fill(&mut cx, &mut bytes), Poll::Ready(Ok(1..))));
        }
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_torn() {
        let bodies: Vec<Vec<u8>> = [8usize, 9, 100, 5000, 70_000, 8].iter().map(|&len| vec![len as u8; len]).collect();
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        for tear in [1, 3, 4, 7, 1000, 80_000] {
            let mut input = Input::new(100_000);
            let mut frames = Vec::new();
            for piece in stream.chunks(tear) {
                fill(&mut input, piece);
                while let Some(frame) = input.next_frame().expect("honest") {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, bodies, "torn into {tear}");
            assert!(!input.is_inside_frame());
        }
    }

    #[test]
    fn a_claimed_length_makes_no_room() {
        let mut input = Input::new(100 << 20);
        fill(&mut input, &(100i32 << 20).to_be_bytes());
        fill(&mut input, &[0; 1000]);
        assert_eq!(input.next_frame(), Ok(None));
        assert!(input.buffer.capacity() <= 2 * READ_BYTES_MIN, "{}", input.buffer.capacity());
        fill(&mut input, &vec![0; 1 << 20]);
        input.make_room();
        assert!(input.buffer.capacity() <= 4 << 20, "{}", input.buffer.capacity());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for (len, error) in [
            (-1, FrameError::TooShort(-1)),
            (0, FrameError::TooShort(0)),
            (7, FrameError::TooShort(7)),
            (1001, FrameError::TooLong { len: 1001, max: 1000 }),
            (i32::MAX, FrameError::TooLong { len: i32::MAX, max: 1000 }),
        ] {
            let mut input = Input::new(1000);
            fill(&mut input, &i32::to_be_bytes(len));
            assert_eq!(input.next_frame(), Err(error));
        }
    }

    #[test]
    fn an_idle_connection_holds_no_large_buffer() {
        let mut input = Input::new(1 << 20);
        fill(&mut input, &frame(&vec![0; 100_000]));
        assert!(input.next_frame().expect("honest").is_some());
        input.release();
        assert_eq!(input.buffer.capacity(), 0);
    }
}
