//! One client's connection: frames in, answers out, in the order of the requests.
//!
//! A connection is one task. A request is begun as soon as its frame is whole, so that the appends of pipelined requests
//! share a commit; from then on only the oldest unanswered one is driven, and whatever is ready is sent in one write.
//! A connection whose client does not read its answers, or asks for much at once, is not read from until that is worked
//! off: it never holds more than one frame of the longest kind, [`IN_FLIGHT_BYTES_MAX`] and the last answer. Where all
//! connections of the shard together hold too much, those that hold more than an even share are not read from, and are
//! closed if nothing of theirs moves.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use corelog_engine::io::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::futures::OwnedNotified;

use super::end::End;
use super::input::Input;
use super::output::Output;
use super::seats::Seat;
use crate::api::{self, Answer, Answering, Begun};
use crate::broker::ShardServer;
use crate::join::LocalFuture;
use crate::telemetry::Peer;

/// Requests of one connection that may be unanswered before more are read.
const IN_FLIGHT_MAX: usize = 128;
/// Bytes of unanswered requests at which no more are read.
const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;
/// Bytes of unsent answers at which no more requests are driven or read.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How often a connection may go on before it lets others run.
const TURNS_MAX: usize = 16;
/// How long a connection that is read no more may take to answer what it was asked before.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a producer is held back while much waits for the disk, before it is let on to be told so.
const ROOM_WAIT: Duration = Duration::from_millis(100);
/// How long a client may send nothing of a request that it has begun while its shard has no memory left.
const HALF_WAIT: Duration = Duration::from_secs(5);
/// How long it may take for all of such a request.
const WHOLE_WAIT: Duration = Duration::from_secs(30);
/// How old a request gets that is held back since the connection has too much memory: those that stand still are closed before.
const STARVED_WAIT: Duration = Duration::from_secs(10);
/// How often a connection that waits for the rest of a request looks whether there is memory left.
const LOOK: Duration = Duration::from_secs(1);
/// A time that does not come.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A request that was begun and not yet answered.
struct InFlight {
    answering: Answering,
    /// What `answering` came to, where it did before its turn.
    answer: Option<Answer>,
    bytes: usize,
}

/// A connection.
pub(super) struct Connection<S> {
    stream: S,
    peer: Rc<Peer>,
    listener: Rc<str>,
    server: Rc<ShardServer>,
    seat: Rc<Seat>,
    input: Input,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    output: Output,
    /// Why no more is read, and since when.
    ending: Option<(End, Instant)>,
    progress_at: Instant,
    /// Since when a frame is begun and not whole.
    frame_since: Option<Instant>,
    idle: Duration,
    timer: LocalFuture<()>,
    /// When `timer` is ready.
    timer_at: Instant,
    shutdown: Pin<Box<OwnedNotified>>,
    /// The memory that is counted as this connection's, in bytes.
    held: usize,
    /// Pending while it may not grow: ready when memory was freed.
    starved: Option<Pin<Box<OwnedNotified>>>,
    /// Whether it has produced.
    produces: bool,
    /// Pending while the shard has more to write than it should: to read on would only gather more.
    room: Option<LocalFuture<()>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection that was just accepted.
    pub(super) fn new(stream: S, peer: SocketAddr, listener: Rc<str>, server: Rc<ShardServer>) -> Connection<S> {
        let now = server.io.now();
        let idle = server.broker.settings.broker.connection_idle_ms_max.map_or(NEVER, Duration::from_millis);
        let mut shutdown = Box::pin(server.shutdown.clone().notified_owned());
        shutdown.as_mut().enable();
        Connection {
            stream,
            peer: Rc::new(Peer::new(peer)),
            seat: server.seats.take(listener.clone(), now),
            listener,
            input: Input::new(server.broker.settings.broker.request_bytes_max),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            output: Output::default(),
            ending: server.is_closing().then_some((End::Shutdown, now)),
            progress_at: now,
            frame_since: None,
            idle,
            timer: timer(&server, now + idle),
            timer_at: now + idle,
            shutdown,
            held: 0,
            starved: None,
            produces: false,
            room: None,
            server,
        }
    }

    /// By which it can be told to end.
    pub(super) fn seat(&self) -> Rc<Seat> {
        self.seat.clone()
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let (peer, unanswered) = (self.peer.addr, self.in_flight.len());
        match end {
            End::Frame(_) | End::Refused(_) | End::Memory(_) | End::Disconnect => {
                tracing::warn!(%peer, "connection closed: {end}")
            }
            End::Peer if self.input.is_inside_frame() => tracing::debug!(%peer, "connection closed inside a frame"),
            _ => tracing::debug!(%peer, unanswered, "connection closed: {end}"),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..TURNS_MAX {
            match self.turn(cx) {
                Ok(true) => {}
                Ok(false) => match self.poll_end(cx) {
                    Poll::Ready(Some(end)) => return Poll::Ready(end),
                    Poll::Ready(None) => {}
                    Poll::Pending => return Poll::Pending,
                },
                Err(end) => return Poll::Ready(end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves what moves; false if nothing did, and then whatever it waits for wakes it.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let answered = self.collect_answers(cx)?;
        let sent = self.send(cx)?;
        let received = self.receive(cx)?;
        self.count_memory();
        let moved = answered || sent || received;
        if moved {
            self.progress_at = self.server.io.now();
            self.seat.used(self.progress_at);
        } else if self.in_flight.is_empty() {
            self.input.release();
        }
        Ok(moved)
    }

    /// Drives the oldest unanswered request, and takes the answers that are ready.
    fn collect_answers(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        while self.output.len() < OUTPUT_BYTES_MAX {
            let Some(oldest) = self.in_flight.front_mut() else { break };
            let answer = match oldest.answer.take() {
                Some(answer) => answer,
                None => match oldest.answering.as_mut().poll(cx) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => break,
                },
            };
            self.in_flight_bytes -= oldest.bytes;
            self.in_flight.pop_front();
            moved = true;
            match answer {
                Answer::Frame(frame) => self.output.push(frame),
                Answer::Nothing => {}
                Answer::Disconnect => return Err(End::Disconnect),
            }
        }
        Ok(moved)
    }

    fn send(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut sent = 0;
        if let Poll::Ready(result) = self.output.poll_send(cx, &mut self.stream, &mut sent) {
            result?;
        }
        self.server.counters.sent_bytes.add(sent as u64);
        Ok(sent > 0)
    }

    /// Receives once, and begins the requests that are whole.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.poll_room(cx).is_pending() || self.poll_memory(cx).is_pending() {
            return Ok(false);
        }
        let mut moved = self.begin_requests(cx);
        if self.wants_more() {
            match self.input.poll_fill(cx, &mut self.stream) {
                Poll::Ready(Ok(0)) => self.stop_reading(End::Peer),
                Poll::Ready(Ok(received)) => {
                    self.server.counters.received_bytes.add(received as u64);
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(moved),
            }
            moved |= self.begin_requests(cx);
        }
        Ok(moved)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.room.is_none() && self.produces && !self.server.shard.has_room() {
            let server = self.server.clone();
            self.room = Some(Box::pin(async move {
                tokio::select! {
                    () = server.shard.room() => {}
                    // The disk may be full: then the producer is to be told so.
                    () = server.io.sleep(ROOM_WAIT) => {}
                }
            }));
        }
        if let Some(room) = &mut self.room {
            std::task::ready!(room.as_mut().poll(cx));
            self.room = None;
        }
        Poll::Ready(())
    }

    fn poll_memory(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Who has been held back stays so until there is memory: an even share grows with each that is closed.
        while self.server.memory.is_too_much(self.held) || (self.starved.is_some() && self.server.memory.is_full()) {
            if self.starved.is_none() {
                self.starved = Some(Box::pin(self.server.memory.freed()));
                self.wait_until(self.server.io.now() + STARVED_WAIT);
            }
            let freed = self.starved.as_mut().expect("it was just made");
            std::task::ready!(freed.as_mut().poll(cx));
            self.starved = None;
        }
        self.starved = None;
        Poll::Ready(())
    }

    fn count_memory(&mut self) {
        let holds = self.input.capacity() + self.in_flight_bytes + self.output.len();
        self.server.memory.change(self.held, holds);
        self.held = holds;
    }

    fn wants_more(&self) -> bool {
        self.ending.is_none()
            && self.in_flight.len() < IN_FLIGHT_MAX
            && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
            && self.output.len() < OUTPUT_BYTES_MAX
    }

    fn begin_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.wants_more() {
            let frame = match self.input.next_frame() {
                Ok(Some(frame)) => {
                    self.frame_since = None;
                    frame
                }
                Ok(None) => {
                    if self.input.is_inside_frame() {
                        self.frame_since.get_or_insert_with(|| self.server.io.now());
                    }
                    break;
                }
                Err(error) => {
                    self.stop_reading(error.into());
                    break;
                }
            };
            let bytes = frame.len();
            match api::begin(&self.server, &self.listener, &self.peer, frame) {
                Ok(Begun { mut answering, is_produce }) => {
                    self.produces |= is_produce;
                    // Polled now, in order of arrival: this is where a batch gets its offsets.
                    let answer = match answering.as_mut().poll(cx) {
                        Poll::Ready(answer) => Some(answer),
                        Poll::Pending => None,
                    };
                    // An answer that is there before its turn is held like its request.
                    let bytes = bytes + answer.as_ref().map_or(0, Answer::len);
                    self.in_flight_bytes += bytes;
                    self.in_flight.push_back(InFlight { answering, answer, bytes });
                    moved = true;
                }
                Err(refused) => self.stop_reading(refused.into()),
            }
        }
        moved
    }

    /// Reads no more; what was asked before is still answered.
    fn stop_reading(&mut self, end: End) {
        let now = self.server.io.now();
        self.ending.get_or_insert((end, now));
        self.wait_until(now + DRAIN);
    }

    fn wait_until(&mut self, deadline: Instant) {
        if self.timer_at == deadline {
            return;
        }
        self.timer = timer(&self.server, deadline);
        self.timer_at = deadline;
    }

    /// When nothing moves: whether it is the end (`Some`), something else moved (`None`), or there is to wait.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        if self.ending.is_none() && self.shutdown.as_mut().poll(cx).is_ready() {
            self.stop_reading(End::Shutdown);
            return Poll::Ready(None);
        }
        if self.ending.is_none() && self.seat.poll_told(cx) {
            self.stop_reading(End::Room);
            return Poll::Ready(None);
        }
        if let Some((end, _)) = self.ending.take_if(|_| self.in_flight.is_empty() && self.output.is_empty()) {
            return Poll::Ready(Some(end));
        }
        // Who waits for the rest of a request is not told when the memory is used up.
        if self.frame_since.is_some() && self.ending.is_none() {
            self.wait_until(self.timer_at.min(self.server.io.now() + LOOK));
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = self.server.io.now();
            let memory_deadline = self.memory_deadline();
            let deadline = match &self.ending {
                Some((_, since)) => *since + DRAIN,
                None => memory_deadline.into_iter().fold(self.idle_deadline(now), Instant::min),
            };
            if deadline <= now {
                return Poll::Ready(Some(match (&self.ending, memory_deadline) {
                    (Some(_), _) => End::Drain,
                    (None, Some(at)) if at <= now => End::Memory(self.held),
                    (None, _) => End::Idle,
                }));
            }
            self.wait_until(if self.frame_since.is_some() { deadline.min(now + LOOK) } else { deadline });
        }
        Poll::Pending
    }

    /// Until when it may go on as it is where the memory is used up; `None` where it need not.
    fn memory_deadline(&self) -> Option<Instant> {
        if self.starved.is_some() {
            // From when the request began, so that the oldest ones make room for those that came after them.
            return Some(self.frame_since.unwrap_or(self.progress_at) + STARVED_WAIT);
        }
        let since = self.frame_since.filter(|_| self.server.memory.is_full())?;
        Some((self.progress_at + HALF_WAIT).min(since + WHOLE_WAIT))
    }

    /// Until when it may be silent.
    fn idle_deadline(&self, now: Instant) -> Instant {
        if self.output.is_empty() && !self.in_flight.is_empty() {
            // A request that waits for its records is not idle; a client that does not take its answers is.
            return now + self.idle;
        }
        // Nor is one that sends a byte now and then, and never a whole request, worth its place.
        let half_since = self.frame_since.filter(|_| self.output.is_empty());
        half_since.map_or(self.progress_at, |since| since.min(self.progress_at)) + self.idle
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.server.memory.change(self.held, 0);
    }
}

fn timer(server: &ShardServer, deadline: Instant) -> LocalFuture<()> {
    let io = server.io.clone();
    Box::pin(async move { io.sleep_until(deadline).await })
}
