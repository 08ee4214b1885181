//! Sockets of either world: a listener, and streams that speak tokio's `AsyncRead` and `AsyncWrite`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::sim::{SimListener, SimStream};

/// The connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// Accepts connections at an address.
pub struct Listener(ListenerWorld);

enum ListenerWorld {
    Tcp(TcpListener),
    Sim(SimListener),
}

impl Listener {
    /// Binds a TCP listener; with `reuse_port` each shard may have its own, and the kernel spreads the connections.
    pub(super) fn tcp(addr: SocketAddr, reuse_port: bool) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        // Connections inherit it: one whose client is gone without a word ends, whatever it waits for. Kafka sets it too.
        socket.set_keepalive(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Listener(ListenerWorld::Tcp(TcpListener::from_std(socket.into())?)))
    }

    pub(super) fn sim(listener: SimListener) -> Listener {
        Listener(ListenerWorld::Sim(listener))
    }

    /// The next connection and its other end's address.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match &self.0 {
            ListenerWorld::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream(StreamWorld::Tcp(stream)), peer))
            }
            ListenerWorld::Sim(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::sim(stream), peer))
            }
        }
    }

    /// The address that it is bound to, with the port that was picked where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            ListenerWorld::Tcp(listener) => listener.local_addr(),
            ListenerWorld::Sim(listener) => Ok(listener.local_addr()),
        }
    }
}

/// A connection. Small writes are sent at once (`TCP_NODELAY`).
pub struct Stream(StreamWorld);

enum StreamWorld {
    Tcp(TcpStream),
    Sim(SimStream),
}

impl Stream {
    pub(super) async fn connect_tcp(addr: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Stream(StreamWorld::Tcp(stream)))
    }

    pub(super) fn sim(stream: SimStream) -> Stream {
        Stream(StreamWorld::Sim(stream))
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            StreamWorld::Tcp(stream) => stream.peer_addr(),
            StreamWorld::Sim(stream) => Ok(stream.peer_addr()),
        }
    }

    /// The address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            StreamWorld::Tcp(stream) => stream.local_addr(),
            StreamWorld::Sim(stream) => Ok(stream.local_addr()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            StreamWorld::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            StreamWorld::Sim(stream) => stream.poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            StreamWorld::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            StreamWorld::Sim(stream) => stream.poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            StreamWorld::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            StreamWorld::Sim(stream) => {
                let first = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
                stream.poll_write(context, first)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            StreamWorld::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            StreamWorld::Sim(stream) => {
                stream.shutdown();
                Poll::Ready(Ok(()))
            }
        }
    }
}
