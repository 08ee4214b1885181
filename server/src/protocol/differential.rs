//! The codec against the `kafka-protocol` crate, for every API and version, both messages and both directions.
//!
//! What we write it must read, to a message with the same fields of the same values, which it must write as the same
//! bytes, which we must read as what we began with. The fields are compared through the two `Debug` outputs, since both
//! take their names from Kafka's schemas: two fields swapped in a layout would not show in the bytes alone.
//!
//! Its decoder trusts lengths, so that it gets nothing but what we wrote.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use corelog_engine::TopicId;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::sample::Sampler;
use super::*;

const SAMPLES: u64 = 60;

/// A `Debug` output as a tree, without what the two differ in by nature.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Fields(BTreeMap<String, Tree>),
    List(Vec<Tree>),
    Leaf(String),
}

struct Parser<'a>(&'a str);

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> String {
        self.0 = self.0.trim_start();
        let mut end = 0;
        let mut quoted = false;
        let mut escaped = false;
        for (place, letter) in self.0.char_indices() {
            end = place;
            if quoted {
                quoted = escaped || letter != '"';
                escaped = !escaped && letter == '\\';
            } else if letter == '"' {
                quoted = true;
            } else if "{}[](),: ".contains(letter) {
                break;
            }
            end = place + letter.len_utf8();
        }
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word.to_owned()
    }

    fn list(&mut self, close: &str) -> Vec<Tree> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.tree());
            self.eat(",");
        }
        items
    }

    fn tree(&mut self) -> Tree {
        if self.eat("[") {
            return Tree::List(self.list("]"));
        }
        let word = self.word();
        if self.eat("{") {
            let mut fields = BTreeMap::new();
            while !self.eat("}") {
                let name = self.word();
                assert!(self.eat(":"), "a colon after {name} before {:.80}", self.0);
                let value = self.tree();
                self.eat(",");
                if name != "unknown_tagged_fields" {
                    fields.insert(name, value);
                }
            }
            return Tree::Fields(fields);
        }
        if !self.eat("(") {
            // Numbers of ours that are error codes print with their names, which come apart here.
            return Tree::Leaf(word);
        }
        let mut inner = self.list(")");
        assert_eq!(inner.len(), 1, "{word} has one field");
        match (word.as_str(), inner.pop().expect("one")) {
            ("TopicId", Tree::Leaf(id)) => Tree::Leaf(id.parse::<TopicId>().expect("an id").0.to_string()),
            ("Records", Tree::List(pieces)) => Tree::Leaf(join(pieces)),
            (_, inner) => inner,
        }
    }
}

/// The pieces of records as one literal.
fn join(pieces: Vec<Tree>) -> String {
    let pieces = pieces.into_iter().map(|piece| match piece {
        Tree::Leaf(piece) => {
            piece.strip_prefix("b\"").and_then(|piece| piece.strip_suffix('"')).expect("bytes").to_owned()
        }
        other => panic!("a piece of records: {other:?}"),
    });
    format!("b\"{}\"", pieces.collect::<String>())
}

fn tree(message: &dyn Debug) -> Tree {
    let text = format!("{message:?}");
    // Error codes stand as numbers in theirs.
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("error_code: ") {
        let (before, after) = rest.split_at(at + "error_code: ".len());
        plain.push_str(before);
        let end = after.find([',', '}']).expect("a field ends");
        let code = &after[..end];
        let code = code
            .strip_prefix("error ")
            .or_else(|| code.split_once('(').map(|(_, number)| number.trim_end_matches([')', ' '])));
        plain.push_str(code.unwrap_or(&after[..end]));
        rest = &after[end..];
    }
    plain.push_str(rest);
    let mut parser = Parser(&plain);
    let tree = parser.tree();
    assert_eq!(parser.0.trim(), "", "all of it was read");
    tree
}

fn compare<Ours, Theirs>(facts: &ApiFacts, version: i16, fix: impl Fn(&mut Ours, i16))
where
    Ours: Wire + Debug + PartialEq,
    Theirs: Decodable + Encodable + Debug,
{
    for seed in 0..SAMPLES {
        let context = format!("{} v{version}, {}, seed {seed}", facts.name, std::any::type_name::<Ours>());
        let mut ours = Ours::sample(&mut Sampler::new(seed, version));
        fix(&mut ours, version);
        let mut writer = Writer::frame();
        writer.set_version(version, facts.is_flexible(version));
        ours.write(&mut writer);
        let frame = writer.finish();
        assert_eq!(frame.len, frame.parts.iter().map(Bytes::len).sum::<usize>(), "{context}");
        let bytes = frame.to_bytes().slice(4..);

        let mut reader = Reader::new(bytes.clone());
        reader.set_version(version, facts.is_flexible(version));
        let again = Ours::read(&mut reader).unwrap_or_else(|error| panic!("{context}: {error}"));
        reader.finish().unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(again, ours, "{context}");

        let mut rest = bytes.clone();
        let decoded =
            Theirs::decode(&mut rest, version).unwrap_or_else(|error| panic!("{context}: theirs: {error}\n{ours:?}"));
        assert!(rest.is_empty(), "{context}: theirs leaves {} bytes", rest.len());
        assert_eq!(tree(&ours), tree(&decoded), "{context}");
        let mut encoded = BytesMut::new();
        decoded.encode(&mut encoded, version).unwrap_or_else(|error| panic!("{context}: theirs: {error}\n{decoded:?}"));
        assert_eq!(encoded, bytes, "{context}");
    }
}

macro_rules! against {
    ($test:ident, $api:ty, $theirs_request:ident, $theirs_response:ident, to $max:literal, $fix_request:expr, $fix_response:expr) => {
        #[test]
        fn $test() {
            let facts = <$api>::FACTS;
            for version in facts.version_min..=facts.version_max.min($max) {
                compare::<<$api as Api>::Request, theirs::$theirs_request>(&facts, version, $fix_request);
                compare::<<$api as Api>::Response, theirs::$theirs_response>(&facts, version, $fix_response);
            }
        }
    };
    ($test:ident, $api:ty, $theirs_request:ident, $theirs_response:ident) => {
        against!($test, $api, $theirs_request, $theirs_response, to 99, |_, _| {}, |_, _| {});
    };
}

against!(api_versions_is_as_theirs, api_versions::ApiVersions, ApiVersionsRequest, ApiVersionsResponse);
against!(create_topics_is_as_theirs, create_topics::CreateTopics, CreateTopicsRequest, CreateTopicsResponse);
against!(
    init_producer_id_is_as_theirs,
    init_producer_id::InitProducerId,
    InitProducerIdRequest,
    InitProducerIdResponse
);
against!(
    describe_producers_is_as_theirs,
    describe_producers::DescribeProducers,
    DescribeProducersRequest,
    DescribeProducersResponse
);
against!(delete_topics_is_as_theirs, delete_topics::DeleteTopics, DeleteTopicsRequest, DeleteTopicsResponse);
against!(produce_is_as_theirs, produce::Produce, ProduceRequest, ProduceResponse);
against!(fetch_is_as_theirs, fetch::Fetch, FetchRequest, FetchResponse);
// The crate ends at v10; v11 only adds a meaning to -6.
against!(list_offsets_is_as_theirs, list_offsets::ListOffsets, ListOffsetsRequest, ListOffsetsResponse, to 10, |_, _| {}, |_, _| {});
against!(metadata_is_as_theirs, metadata::Metadata, MetadataRequest, MetadataResponse);
against!(delete_records_is_as_theirs, delete_records::DeleteRecords, DeleteRecordsRequest, DeleteRecordsResponse);
against!(
    offset_for_leader_epoch_is_as_theirs,
    offset_for_leader_epoch::OffsetForLeaderEpoch,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse
);
against!(describe_acls_is_as_theirs, describe_acls::DescribeAcls, DescribeAclsRequest, DescribeAclsResponse);
against!(create_acls_is_as_theirs, create_acls::CreateAcls, CreateAclsRequest, CreateAclsResponse);
against!(delete_acls_is_as_theirs, delete_acls::DeleteAcls, DeleteAclsRequest, DeleteAclsResponse);
against!(
    describe_configs_is_as_theirs,
    describe_configs::DescribeConfigs,
    DescribeConfigsRequest,
    DescribeConfigsResponse
);
against!(alter_configs_is_as_theirs, alter_configs::AlterConfigs, AlterConfigsRequest, AlterConfigsResponse);
against!(
    alter_replica_log_dirs_is_as_theirs,
    alter_replica_log_dirs::AlterReplicaLogDirs,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse
);
against!(
    describe_log_dirs_is_as_theirs,
    describe_log_dirs::DescribeLogDirs,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse
);
against!(
    create_partitions_is_as_theirs,
    create_partitions::CreatePartitions,
    CreatePartitionsRequest,
    CreatePartitionsResponse
);
against!(elect_leaders_is_as_theirs, elect_leaders::ElectLeaders, ElectLeadersRequest, ElectLeadersResponse);
against!(
    incremental_alter_configs_is_as_theirs,
    incremental_alter_configs::IncrementalAlterConfigs,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse
);
against!(
    alter_partition_reassignments_is_as_theirs,
    alter_partition_reassignments::AlterPartitionReassignments,
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse
);
against!(
    list_partition_reassignments_is_as_theirs,
    list_partition_reassignments::ListPartitionReassignments,
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse
);
against!(
    describe_client_quotas_is_as_theirs,
    describe_client_quotas::DescribeClientQuotas,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse
);
against!(
    describe_user_scram_credentials_is_as_theirs,
    describe_user_scram_credentials::DescribeUserScramCredentials,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse
);
against!(describe_quorum_is_as_theirs, describe_quorum::DescribeQuorum, DescribeQuorumRequest, DescribeQuorumResponse);
against!(update_features_is_as_theirs, update_features::UpdateFeatures, UpdateFeaturesRequest, UpdateFeaturesResponse);
against!(
    describe_cluster_is_as_theirs,
    describe_cluster::DescribeCluster,
    DescribeClusterRequest,
    DescribeClusterResponse
);
against!(
    get_telemetry_subscriptions_is_as_theirs,
    get_telemetry_subscriptions::GetTelemetrySubscriptions,
    GetTelemetrySubscriptionsRequest,
    GetTelemetrySubscriptionsResponse
);
against!(push_telemetry_is_as_theirs, push_telemetry::PushTelemetry, PushTelemetryRequest, PushTelemetryResponse);
against!(
    list_config_resources_is_as_theirs,
    list_config_resources::ListConfigResources,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse
);
against!(
    describe_topic_partitions_is_as_theirs,
    describe_topic_partitions::DescribeTopicPartitions,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse
);
against!(
    find_coordinator_is_as_theirs,
    find_coordinator::FindCoordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse
);
// The crate's requests end at v9.
against!(offset_commit_is_as_theirs, offset_commit::OffsetCommit, OffsetCommitRequest, OffsetCommitResponse, to 9, |_, _| {}, |_, _| {});
against!(
    offset_fetch_is_as_theirs, offset_fetch::OffsetFetch, OffsetFetchRequest, OffsetFetchResponse, to 9,
    |request: &mut offset_fetch::OffsetFetchRequest, version| if version < 2 {
        request.topics.get_or_insert_default();
    },
    |_, _| {}
);
against!(
    join_group_is_as_theirs, join_group::JoinGroup, JoinGroupRequest, JoinGroupResponse, to 99,
    |_, _| {},
    |response: &mut join_group::JoinGroupResponse, version| if version < 7 {
        response.protocol_name.get_or_insert_default();
    }
);
against!(heartbeat_is_as_theirs, heartbeat::Heartbeat, HeartbeatRequest, HeartbeatResponse);
against!(leave_group_is_as_theirs, leave_group::LeaveGroup, LeaveGroupRequest, LeaveGroupResponse);
against!(sync_group_is_as_theirs, sync_group::SyncGroup, SyncGroupRequest, SyncGroupResponse);
against!(describe_groups_is_as_theirs, describe_groups::DescribeGroups, DescribeGroupsRequest, DescribeGroupsResponse);
against!(list_groups_is_as_theirs, list_groups::ListGroups, ListGroupsRequest, ListGroupsResponse);
against!(delete_groups_is_as_theirs, delete_groups::DeleteGroups, DeleteGroupsRequest, DeleteGroupsResponse);
against!(offset_delete_is_as_theirs, offset_delete::OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse);
against!(
    consumer_group_heartbeat_is_as_theirs,
    consumer_group_heartbeat::ConsumerGroupHeartbeat,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse
);
against!(
    consumer_group_describe_is_as_theirs,
    consumer_group_describe::ConsumerGroupDescribe,
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse
);
