//! Accepts connections for one shard. Every shard listens at the same addresses (`SO_REUSEPORT`): the kernel spreads clients.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::Result;
use corelog_engine::io::{Listener, Stream};

use super::connection::Connection;
use crate::broker::ShardServer;

/// How long to wait before accepting again when the process has no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that is bound; clients queue, nobody accepts them yet.
pub(crate) struct Bound {
    name: Rc<str>,
    listener: Listener,
}

/// Binds the listener `name` of one shard at `addr`.
pub(crate) async fn bind(server: &ShardServer, name: &str, addr: SocketAddr) -> Result<()> {
    let listener = server.io.listen(addr, true).await?;
    server.bound.borrow_mut().push(Bound { name: name.into(), listener });
    Ok(())
}

/// Begins to accept at all bound addresses, until the broker shuts down.
pub(crate) fn accept(server: &Rc<ShardServer>) {
    for bound in server.bound.take() {
        server.io.spawn(accept_at(server.clone(), bound));
    }
}

async fn accept_at(server: Rc<ShardServer>, bound: Bound) {
    let mut shutdown = Box::pin(server.shutdown.clone().notified_owned());
    shutdown.as_mut().enable();
    while !server.is_closing() {
        let accepted = tokio::select! {
            accepted = bound.listener.accept() => accepted,
            () = shutdown.as_mut() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let wait = server.broker.connections.wait_for_rate(server.io.now());
                if !wait.is_zero() {
                    tokio::select! {
                        () = server.io.sleep(wait) => {}
                        () = shutdown.as_mut() => return,
                    }
                }
                admit(&server, &bound.name, stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                server.io.sleep(BACK_OFF).await;
            }
        }
    }
}

fn admit(server: &Rc<ShardServer>, listener: &Rc<str>, stream: Stream, peer: SocketAddr) {
    let ticket = match server.broker.connections.admit(peer.ip()) {
        Ok(ticket) => ticket,
        Err(full) => {
            server.counters.refused.add(1);
            tracing::warn!(%peer, "connection refused: {full}");
            return;
        }
    };
    server.counters.accepted.add(1);
    let connection = Connection::new(stream, peer, listener.clone(), server.clone());
    let server = server.clone();
    server.live.set(server.live.get() + 1);
    server.io.clone().spawn(async move {
        connection.run().await;
        drop(ticket);
        server.live.set(server.live.get() - 1);
        server.ended.notify_waiters();
    });
}
