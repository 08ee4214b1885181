//! Accepts connections for one shard. Every shard listens at the same addresses (`SO_REUSEPORT`): the kernel spreads clients.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_engine::io::{Listener, Stream};
use corelog_engine::{Error, Result};

use super::connection::Connection;
use super::connections::Ticket;
use crate::broker::ShardServer;

/// How long to wait before accepting again when the process has no descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that is bound; clients queue, nobody accepts them yet.
pub(crate) struct Bound {
    name: Rc<str>,
    listener: Listener,
}

/// Binds the listener `name` of one shard at `addr`; the address, with the port that was picked where 0 was asked for.
pub(crate) async fn bind(server: &ShardServer, name: &str, addr: SocketAddr) -> Result<SocketAddr> {
    let listener = server.io.listen(addr, true).await?;
    let bound =
        listener.local_addr().map_err(|error| Error::io("listen at", Path::new(&addr.to_string()), None, error))?;
    server.bound.borrow_mut().push(Bound { name: name.into(), listener });
    Ok(bound)
}

/// Begins to accept at all bound addresses, until the broker shuts down.
pub(crate) fn accept(server: &Rc<ShardServer>) {
    for bound in server.bound.take() {
        server.io.spawn(accept_at(server.clone(), bound));
    }
    server.io.spawn(make_room(server.clone()));
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
            Ok((stream, peer)) => tokio::select! {
                () = admit(&server, &bound.name, stream, peer) => {}
                () = shutdown.as_mut() => return,
            },
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                server.io.sleep(BACK_OFF).await;
            }
        }
    }
}

/// Serves a connection once there is a place for it, or closes it.
async fn admit(server: &Rc<ShardServer>, listener: &Rc<str>, stream: Stream, peer: SocketAddr) {
    let connections = &server.broker.connections;
    let wait = connections.wait_for_rate(listener, server.io.now());
    if !wait.is_zero() {
        server.io.sleep(wait).await;
    }
    let full_listeners = &server.counters.full_listeners;
    let mut was_full = false;
    let admitted = loop {
        let mut freed = Box::pin(connections.freed());
        freed.as_mut().enable();
        match connections.admit(peer.ip(), listener) {
            Err(full) if full.waits() => {
                if !was_full {
                    tracing::warn!(%peer, %listener, "a connection waits for a place: {full}");
                    full_listeners.set(full_listeners.get() + 1);
                }
                was_full = true;
                freed.await;
            }
            admitted => break admitted,
        }
    };
    full_listeners.set(full_listeners.get() - usize::from(was_full));
    match admitted {
        Ok(ticket) => serve(server, ticket, Connection::new(stream, peer, listener.clone(), server.clone())),
        Err(full) => {
            server.counters.refused.add(1);
            tracing::warn!(%peer, "connection refused: {full}");
        }
    }
}

fn serve(server: &Rc<ShardServer>, mut ticket: Ticket, connection: Connection<Stream>) {
    server.counters.accepted.add(1);
    let server = server.clone();
    server.live.set(server.live.get() + 1);
    server.io.clone().spawn(async move {
        let seat = connection.seat();
        connection.run().await;
        server.seats.give_back(&seat);
        if seat.was_told() {
            ticket.leave();
        }
        drop(ticket);
        server.live.set(server.live.get() - 1);
        server.ended.notify_waiters();
    });
}

/// Tells connections of this shard to end where there are too many for the broker: the most silent of its own, as each network
/// thread of Kafka does.
async fn make_room(server: Rc<ShardServer>) {
    let connections = &server.broker.connections;
    let mut shutdown = Box::pin(server.shutdown.clone().notified_owned());
    shutdown.as_mut().enable();
    while !server.is_closing() {
        let mut exceeded = Box::pin(connections.exceeded());
        exceeded.as_mut().enable();
        while let Some(seat) = server.seats.most_silent(|seat| connections.may_leave(&seat.listener)) {
            if !connections.must_one_leave() {
                break;
            }
            seat.tell();
        }
        tokio::select! {
            () = exceeded => {}
            () = shutdown.as_mut() => return,
        }
    }
}
