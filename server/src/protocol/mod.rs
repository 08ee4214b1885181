//! The Kafka protocol: frames, messages, error codes. Our own codec, since a frame from outside must never abort or
//! swell the process.
//!
//! One file per API opens with its versions and lays its messages out once, for all versions and both directions
//! (`message!` in `wire`). `for_each_api!` is the one table of what is served: the dispatch, the answer to
//! ApiVersions and the tests of the codec are made from it.

mod current_leader;
mod error_code;
mod frame;
mod reader;
mod text;
pub(crate) mod wire;
mod writer;

pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod alter_replica_log_dirs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_acls;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_acls;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_acls;
pub mod describe_client_quotas;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_quorum;
pub mod describe_topic_partitions;
pub mod describe_user_scram_credentials;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod get_telemetry_subscriptions;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod push_telemetry;
pub mod sync_group;
pub mod update_features;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(any(test, feature = "samples"))]
pub mod sample;

pub use current_leader::{LeaderIdAndEpoch, NodeEndpoint};
pub use error_code::ErrorCode;
pub use frame::{RequestHeader, decode_body, decode_response, encode_request, encode_response};
pub use reader::{
    DECODED_BYTES_FREE, DECODED_BYTES_PER_BYTE, DecodeError, ELEMENTS_MAX, Reader, Reason, TAGGED_FIELDS_MAX,
};
pub use text::Text;
pub use wire::{Nullable, Records, Wire};
pub(crate) use wire::{message, nullable_message};
pub use writer::{Frame, Writer};

/// The table of APIs: calls the macro `$each` with the module and the type of every API that is served, by key.
#[macro_export]
macro_rules! for_each_api {
    ($each:ident) => {
        $each! {
            produce Produce,
            fetch Fetch,
            list_offsets ListOffsets,
            metadata Metadata,
            offset_commit OffsetCommit,
            offset_fetch OffsetFetch,
            find_coordinator FindCoordinator,
            join_group JoinGroup,
            heartbeat Heartbeat,
            leave_group LeaveGroup,
            sync_group SyncGroup,
            describe_groups DescribeGroups,
            list_groups ListGroups,
            api_versions ApiVersions,
            create_topics CreateTopics,
            delete_topics DeleteTopics,
            delete_records DeleteRecords,
            init_producer_id InitProducerId,
            offset_for_leader_epoch OffsetForLeaderEpoch,
            describe_acls DescribeAcls,
            create_acls CreateAcls,
            delete_acls DeleteAcls,
            describe_configs DescribeConfigs,
            alter_configs AlterConfigs,
            alter_replica_log_dirs AlterReplicaLogDirs,
            describe_log_dirs DescribeLogDirs,
            create_partitions CreatePartitions,
            delete_groups DeleteGroups,
            elect_leaders ElectLeaders,
            incremental_alter_configs IncrementalAlterConfigs,
            alter_partition_reassignments AlterPartitionReassignments,
            list_partition_reassignments ListPartitionReassignments,
            offset_delete OffsetDelete,
            describe_client_quotas DescribeClientQuotas,
            describe_user_scram_credentials DescribeUserScramCredentials,
            describe_quorum DescribeQuorum,
            update_features UpdateFeatures,
            describe_cluster DescribeCluster,
            describe_producers DescribeProducers,
            consumer_group_heartbeat ConsumerGroupHeartbeat,
            consumer_group_describe ConsumerGroupDescribe,
            get_telemetry_subscriptions GetTelemetrySubscriptions,
            push_telemetry PushTelemetry,
            list_config_resources ListConfigResources,
            describe_topic_partitions DescribeTopicPartitions,
        }
    };
}
pub(crate) use for_each_api;

/// An API: a key, versions, and the layouts of its two messages.
pub trait Api {
    /// Its key, name and versions.
    const FACTS: ApiFacts;
    /// What a client sends.
    type Request: Wire + Default + std::fmt::Debug;
    /// What it gets.
    type Response: Wire + Default + std::fmt::Debug;
}

/// What there is to know about an API beside its layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiFacts {
    /// The number by which requests name it.
    pub key: i16,
    /// Its name.
    pub name: &'static str,
    /// The first version served.
    pub version_min: i16,
    /// The last version served.
    pub version_max: i16,
    /// The first version with compact lengths and tagged fields (KIP-482); after `version_max` if there is none.
    pub flexible_from: i16,
    /// The first version that ApiVersions tells of; lower than `version_min` only for Produce (KAFKA-18659).
    pub version_min_advertised: i16,
}

impl ApiFacts {
    /// Whether `version` is served.
    pub fn serves(&self, version: i16) -> bool {
        (self.version_min..=self.version_max).contains(&version)
    }

    /// Whether `version` is compact and tagged.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

/// Declares the type that stands for an API.
macro_rules! api {
    ($(#[$about:meta])* $name:ident = $key:literal, versions $min:literal..=$max:literal, flexible from $flexible:literal,
     $((advertised from $advertised:literal),)? $request:ident => $response:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $crate::protocol::Api for $name {
            const FACTS: $crate::protocol::ApiFacts = $crate::protocol::ApiFacts {
                key: $key,
                name: stringify!($name),
                version_min: $min,
                version_max: $max,
                flexible_from: $flexible,
                version_min_advertised: [$($advertised,)? $min][0],
            };
            type Request = $request;
            type Response = $response;
        }
    };
}
pub(crate) use api;

macro_rules! table {
    ($($module:ident $api:ident),* $(,)?) => {
        /// Every API that is served, by key.
        pub const APIS: &[ApiFacts] = &[$(<$module::$api as Api>::FACTS),*];
    };
}
for_each_api!(table);

/// The API with this key, if it is served.
pub fn api_facts(key: i16) -> Option<&'static ApiFacts> {
    APIS.iter().find(|api| api.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_ranges_make_sense() {
        for pair in APIS.windows(2) {
            assert!(pair[0].key < pair[1].key, "{} is listed before {}", pair[0].name, pair[1].name);
        }
        for facts in APIS {
            assert!(
                facts.version_min <= facts.version_max && facts.version_min_advertised <= facts.version_min,
                "{facts:?}"
            );
        }
    }
}
