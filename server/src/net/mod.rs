//! Sockets: one listener per shard and address, connections that answer in the order they were asked.

mod connection;
mod connections;
mod end;
mod input;
mod listener;
mod memory;
mod output;
mod seats;

pub(crate) use connections::{Connections, most as connections_of};
pub(crate) use listener::{Bound, accept, bind};
pub(crate) use memory::Memory;
pub(crate) use seats::Seats;
