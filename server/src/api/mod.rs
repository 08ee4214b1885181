//! One handler per API. A handler translates: decode, one call, error code.
//!
//! [`begin`] reads a request's header, finds its API in the table of the protocol, and starts its handler, which is
//! `handle` in the module of the same name. An API in the table without a handler does not compile.

mod errors;
#[cfg(test)]
mod every_version;
mod partition;

mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod get_telemetry_subscriptions;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod push_telemetry;
mod sync_group;
mod update_features;

use std::rc::Rc;

use bytes::Bytes;

use crate::broker::ShardServer;
use crate::groups::Client;
use crate::join::LocalFuture;
use crate::protocol::{
    self, Api, ApiFacts, DecodeError, Frame, Reader, RequestHeader, Text, decode_body, encode_response, for_each_api,
};
use crate::telemetry::Peer;

/// What a request comes to.
pub(crate) enum Answer {
    /// An answer to send.
    Frame(Frame),
    /// No answer is wanted (`acks=0`).
    Nothing,
    /// No answer is wanted, and it failed: the connection is closed, which is all that can be said.
    Disconnect,
}

impl Answer {
    /// How many bytes there are to send.
    pub(crate) fn len(&self) -> usize {
        if let Answer::Frame(frame) = self { frame.len } else { 0 }
    }
}

/// A request that was begun.
pub(crate) type Answering = LocalFuture<Answer>;

/// A request that was begun, and what its connection needs to know of it.
pub(crate) struct Begun {
    pub(crate) answering: Answering,
    /// Whether it appends.
    pub(crate) is_produce: bool,
}

/// Why a request is not begun; the connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The header cannot be read.
    #[error("malformed request header, {0}")]
    Header(DecodeError),
    /// No such API here.
    #[error("request for an unknown API, key {key} version {version}")]
    UnknownApi { key: i16, version: i16 },
    /// The API has no such version here.
    #[error("request for {api} v{version}, which is not served; v{min} to v{max} are")]
    UnknownVersion { api: &'static str, version: i16, min: i16, max: i16 },
    /// The body cannot be read.
    #[error("malformed {api} v{version} request from client {client_id:?}, {error}")]
    Malformed { api: &'static str, version: i16, client_id: Option<Text>, error: DecodeError },
}

/// A request on its way: what a handler may need to know beside the body.
pub(crate) struct Call {
    server: Rc<ShardServer>,
    /// The name of the listener by which it came.
    listener: Rc<str>,
    version: i16,
    correlation_id: i32,
    /// What the client calls itself.
    client_id: Text,
    /// Who speaks.
    peer: Rc<Peer>,
}

impl Call {
    /// The client, as groups know it.
    fn client(&self) -> Client {
        Client {
            id: self.client_id.clone(),
            host: Text::from(format!("/{}", self.peer.addr.ip())),
            version: self.version,
        }
    }
}

/// What a handler gives back.
enum Reply<R> {
    /// This.
    Answer(R),
    /// No answer is wanted.
    Nothing,
    /// No answer is wanted, and it failed.
    Disconnect,
}

impl<R> From<R> for Reply<R> {
    fn from(response: R) -> Reply<R> {
        Reply::Answer(response)
    }
}

/// Begins the request in `frame`, which came from `peer` by the listener of this name. To be polled at once and in order of arrival.
pub(crate) fn begin(
    server: &Rc<ShardServer>,
    listener: &Rc<str>,
    peer: &Rc<Peer>,
    frame: Bytes,
) -> Result<Begun, Refused> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::read(&mut reader).map_err(Refused::Header)?;
    let RequestHeader { key, version, correlation_id } = header;
    let Some(facts) = protocol::api_facts(key) else {
        return Err(Refused::UnknownApi { key, version });
    };
    let (server, listener) = (server.clone(), listener.clone());
    let peer = peer.clone();
    let mut call = Call { server, listener, version, correlation_id, client_id: Text::default(), peer };
    if !facts.serves(version) {
        if key == protocol::api_versions::ApiVersions::FACTS.key {
            return Ok(Begun { answering: api_versions::unsupported(&call), is_produce: false });
        }
        let (min, max) = (facts.version_min, facts.version_max);
        return Err(Refused::UnknownVersion { api: facts.name, version, min, max });
    }
    let client_id = header.read_client_id(facts, &mut reader).map_err(Refused::Header)?;
    call.client_id = client_id.clone().unwrap_or_default();
    let answering = dispatch(call, facts, &mut reader);
    let answering = answering.map_err(|error| Refused::Malformed { api: facts.name, version, client_id, error })?;
    Ok(Begun { answering, is_produce: key == protocol::produce::Produce::FACTS.key })
}

macro_rules! dispatch {
    ($($module:ident $api:ident),* $(,)?) => {
        fn dispatch(call: Call, facts: &ApiFacts, reader: &mut Reader) -> Result<Answering, DecodeError> {
            $(if facts.key == <protocol::$module::$api as Api>::FACTS.key {
                return start::<protocol::$module::$api, _, _>(call, reader, $module::handle);
            })*
            unreachable!("{} is in the table", facts.name)
        }
    };
}
for_each_api!(dispatch);

/// Decodes the body and starts its handler.
fn start<A: Api, F, R>(
    call: Call,
    reader: &mut Reader,
    handle: impl FnOnce(Call, A::Request) -> F,
) -> Result<Answering, DecodeError>
where
    F: Future<Output = R> + 'static,
    R: Into<Reply<A::Response>>,
{
    let request = decode_body::<A>(reader)?;
    let (correlation_id, version) = (call.correlation_id, call.version);
    let server = call.server.clone();
    let began = server.io.now();
    let reply = handle(call, request);
    Ok(Box::pin(async move {
        let reply = reply.await.into();
        server.counters.answered(A::FACTS.key, server.io.now() - began);
        match reply {
            Reply::Answer(response) => Answer::Frame(encode_response::<A>(correlation_id, version, &response)),
            Reply::Nothing => Answer::Nothing,
            Reply::Disconnect => Answer::Disconnect,
        }
    }))
}
