//! Simulated connections: bytes arrive in order, after a while, in pieces of any size, until someone cuts them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::executor::Sleep;
use super::machine::Machine;

/// The bytes under way in one direction until a writer waits.
const PIPE_BYTES_MAX: usize = 256 << 10;
/// Where ports that nobody asked for begin.
const FIRST_FREE_PORT: u16 = 32768;

/// Who listens where.
pub(super) struct Net {
    listeners: BTreeMap<SocketAddr, Vec<Rc<RefCell<Queue>>>>,
    next_port: u16,
}

/// Connections that were made and not accepted.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(SimStream, SocketAddr)>,
    waker: Option<Waker>,
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    /// When each piece arrives, and its bytes.
    pieces: VecDeque<(u64, Bytes)>,
    bytes: usize,
    /// The writer will write no more.
    ended: bool,
    /// The connection was cut or one end is gone.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Net {
    pub(super) fn new() -> Net {
        Net { listeners: BTreeMap::new(), next_port: FIRST_FREE_PORT }
    }

    fn free_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_FREE_PORT);
        self.next_port
    }
}

/// A listener of the simulated machine.
pub(crate) struct SimListener {
    machine: Rc<Machine>,
    addr: SocketAddr,
    queue: Rc<RefCell<Queue>>,
}

impl SimListener {
    pub(super) fn bind(machine: &Rc<Machine>, addr: SocketAddr, reuse_port: bool) -> io::Result<SimListener> {
        let mut net = machine.net.borrow_mut();
        let mut addr = addr;
        if addr.port() == 0 {
            addr.set_port(net.free_port());
        }
        let others = net.listeners.entry(addr).or_default();
        if !others.is_empty() && !reuse_port {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        let queue = Rc::new(RefCell::new(Queue::default()));
        others.push(Rc::clone(&queue));
        Ok(SimListener { machine: Rc::clone(machine), addr, queue })
    }

    pub(crate) async fn accept(&self) -> io::Result<(SimStream, SocketAddr)> {
        std::future::poll_fn(|context| {
            let mut queue = self.queue.borrow_mut();
            match queue.waiting.pop_front() {
                Some(accepted) => Poll::Ready(Ok(accepted)),
                None => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut net = self.machine.net.borrow_mut();
        if let Some(queues) = net.listeners.get_mut(&self.addr) {
            queues.retain(|queue| !Rc::ptr_eq(queue, &self.queue));
            if queues.is_empty() {
                net.listeners.remove(&self.addr);
            }
        }
    }
}

/// One end of a simulated connection.
pub(crate) struct SimStream {
    machine: Rc<Machine>,
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    local: SocketAddr,
    peer: SocketAddr,
    arrival: Option<Sleep>,
}

impl SimStream {
    pub(super) async fn connect(machine: &Rc<Machine>, addr: SocketAddr) -> io::Result<SimStream> {
        let nanos = machine.seed.nanos(&machine.config.network_time);
        machine.executor.sleep_until(machine.executor.now() + nanos).await;
        let (queue, local) = {
            let mut net = machine.net.borrow_mut();
            let Some(queues) = net.listeners.get(&addr) else {
                return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
            };
            let queue = Rc::clone(&queues[machine.seed.below(queues.len() as u64) as usize]);
            (queue, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), net.free_port()))
        };
        let (here, there) = (Rc::new(RefCell::new(Pipe::default())), Rc::new(RefCell::new(Pipe::default())));
        let end = |incoming: &Rc<RefCell<Pipe>>, outgoing: &Rc<RefCell<Pipe>>, local, peer| SimStream {
            machine: Rc::clone(machine),
            incoming: Rc::clone(incoming),
            outgoing: Rc::clone(outgoing),
            local,
            peer,
            arrival: None,
        };
        let mut queue = queue.borrow_mut();
        queue.waiting.push_back((end(&there, &here, addr, local), local));
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        Ok(end(&here, &there, local, addr))
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.maybe_cut();
        let mut pipe = self.incoming.borrow_mut();
        if pipe.broken {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ECONNRESET)));
        }
        let pipe = &mut *pipe;
        let Some((arrival, bytes)) = pipe.pieces.front_mut() else {
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        if *arrival > self.machine.executor.now() {
            let arrival = self.arrival.insert(self.machine.executor.sleep_until(*arrival));
            // Registers the waker; a piece does not arrive earlier than its moment.
            let _ = Pin::new(arrival).poll(context);
            return Poll::Pending;
        }
        let bytes_max = bytes.len().min(into.remaining()) as u64;
        if bytes_max > 0 {
            let count = 1 + self.machine.seed.below(bytes_max) as usize;
            into.put_slice(&bytes.split_to(count));
            pipe.bytes -= count;
        }
        if bytes.is_empty() {
            pipe.pieces.pop_front();
        }
        if let Some(waker) = pipe.writer.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.maybe_cut();
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.broken || pipe.ended {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::EPIPE)));
        }
        let room = (PIPE_BYTES_MAX - pipe.bytes).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = if room == 0 { 0 } else { 1 + self.machine.seed.below(room as u64) as usize };
        let nanos = self.machine.seed.nanos(&self.machine.config.network_time);
        let arrival = (self.machine.executor.now() + nanos).max(pipe.pieces.back().map_or(0, |(last, _)| *last));
        if count > 0 {
            pipe.pieces.push_back((arrival, Bytes::copy_from_slice(&bytes[..count])));
            pipe.bytes += count;
        }
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(count))
    }

    pub(crate) fn shutdown(&mut self) {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.ended = true;
        if let Some(waker) = pipe.reader.take() {
            waker.wake();
        }
    }

    fn maybe_cut(&self) {
        if self.machine.seed.happens(self.machine.faults.borrow().cut_connections) {
            self.machine.note(format_args!("the connection {} to {} is cut", self.local, self.peer));
            for pipe in [&self.incoming, &self.outgoing] {
                pipe.borrow_mut().cut();
            }
        }
    }
}

impl Pipe {
    fn cut(&mut self) {
        self.broken = true;
        self.pieces.clear();
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        // What was sent still arrives; who writes to this end finds it gone.
        self.shutdown();
        self.incoming.borrow_mut().cut();
    }
}
