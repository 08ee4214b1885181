//! Questions about the cluster, and about what there is nothing of here: other directories, users, quotas, access control.

use corelog_server::protocol::Text;
use corelog_server::protocol::alter_partition_reassignments::{
    AlterPartitionReassignments, AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use corelog_server::protocol::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirs, AlterReplicaLogDirsRequest,
};
use corelog_server::protocol::create_acls::{AclCreation, CreateAcls, CreateAclsRequest};
use corelog_server::protocol::delete_acls::{DeleteAcls, DeleteAclsFilter, DeleteAclsRequest};
use corelog_server::protocol::describe_acls::{DescribeAcls, DescribeAclsRequest};
use corelog_server::protocol::describe_client_quotas::{
    ComponentData, DescribeClientQuotas, DescribeClientQuotasRequest,
};
use corelog_server::protocol::describe_cluster::{DescribeCluster, DescribeClusterRequest};
use corelog_server::protocol::describe_quorum::{DescribeQuorum, DescribeQuorumRequest, QuorumPartition, QuorumTopic};
use corelog_server::protocol::describe_user_scram_credentials::{
    DescribeUserScramCredentials, DescribeUserScramCredentialsRequest, UserName,
};
use corelog_server::protocol::elect_leaders::{ElectLeaders, ElectLeadersRequest, TopicPartitions};
use corelog_server::protocol::list_partition_reassignments::{
    ListPartitionReassignments, ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use corelog_server::protocol::update_features::{FeatureUpdateKey, UpdateFeatures, UpdateFeaturesRequest};

use super::Answers;

pub fn ask(answers: &mut Answers) {
    cluster(answers);
    elsewhere(answers);
}

fn cluster(answers: &mut Answers) {
    let partitions =
        |name: &str, partitions: &[i32]| TopicPartitions { topic: name.into(), partitions: partitions.to_vec() };
    for (what, election_type, topics) in [
        ("unknown topic", 0, vec![partitions("nowhere", &[0])]),
        ("unknown partition", 0, vec![partitions("plain", &[9, -1])]),
        ("not needed", 0, vec![partitions("plain", &[0])]),
        ("not needed, unclean", 1, vec![partitions("plain", &[0])]),
        ("a type that is none", 9, vec![partitions("plain", &[0])]),
    ] {
        let request = ElectLeadersRequest { election_type, topic_partitions: Some(topics), timeout_ms: 1000 };
        answers.ask::<ElectLeaders>(what, 2, request);
    }
    for (what, name, partition_index, replicas) in [
        ("unknown topic", "nowhere", 0, Some(vec![1])),
        ("unknown partition", "plain", 9, Some(vec![1])),
        ("an unknown broker", "plain", 0, Some(vec![9])),
        ("a broker twice", "plain", 0, Some(vec![1, 1])),
        ("no broker", "plain", 0, Some(vec![])),
        ("a negative broker", "plain", 0, Some(vec![-1])),
        ("nothing to give up", "plain", 0, None),
    ] {
        let partitions = vec![ReassignablePartition { partition_index, replicas }];
        let topics = vec![ReassignableTopic { name: name.into(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        answers.ask::<AlterPartitionReassignments>(what, 1, request);
    }
    let feature = |feature: &str, max_version_level, upgrade_type| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.into(),
            max_version_level,
            upgrade_type,
            ..Default::default()
        }],
        validate_only: true,
        ..Default::default()
    };
    answers.ask::<UpdateFeatures>("unknown feature", 1, feature("no.such", 1, 1));
    answers.ask::<UpdateFeatures>("a level too high", 1, feature("group.version", 99, 1));
    answers.ask::<UpdateFeatures>("a level below", 1, feature("group.version", -1, 1));
    answers.ask::<UpdateFeatures>("down as up", 1, feature("group.version", 0, 1));
    answers.ask::<UpdateFeatures>("a type that is none", 1, feature("group.version", 1, 9));
    answers.ask::<DescribeAcls>(
        "no authorizer",
        3,
        DescribeAclsRequest {
            resource_type_filter: 1,
            pattern_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        },
    );
    answers.ask::<DescribeCluster>(
        "a kind of node that is none",
        1,
        DescribeClusterRequest { endpoint_type: 9, ..Default::default() },
    );
    let quorum = |name: &str, partition_index| DescribeQuorumRequest {
        topics: vec![QuorumTopic { topic_name: name.into(), partitions: vec![QuorumPartition { partition_index }] }],
    };
    answers.ask::<DescribeQuorum>("another topic", 2, quorum("plain", 0));
    answers.ask::<DescribeQuorum>("another partition", 2, quorum("__cluster_metadata", 1));
}

/// What there is nothing of here: other directories, users, quotas, access control.
fn elsewhere(answers: &mut Answers) {
    let moved = |path: &str, topic: &str, partition| {
        let topics = vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: vec![partition] }];
        AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path.into(), topics }] }
    };
    answers.ask::<AlterReplicaLogDirs>("an unknown directory", 2, moved("/no/such", "plain", 0));
    answers.ask::<AlterReplicaLogDirs>("a relative directory", 2, moved("such", "plain", 0));
    answers.ask::<AlterReplicaLogDirs>("unknown topic", 2, moved("/no/such", "nowhere", 0));
    let topics = vec![ListPartitionReassignmentsTopics { name: "nowhere".into(), partition_indexes: vec![0] }];
    let request = ListPartitionReassignmentsRequest { topics: Some(topics), ..Default::default() };
    answers.ask::<ListPartitionReassignments>("unknown topic", 0, request);
    let users = |names: &[&str]| DescribeUserScramCredentialsRequest {
        users: Some(names.iter().map(|name| UserName { name: (*name).into() }).collect()),
    };
    answers.ask::<DescribeUserScramCredentials>("unknown user", 0, users(&["nobody"]));
    answers.ask::<DescribeUserScramCredentials>("a user twice", 0, users(&["nobody", "nobody"]));
    let quotas = |components: &[(&str, i8, Option<&str>)]| DescribeClientQuotasRequest {
        components: components
            .iter()
            .map(|(entity_type, match_type, name)| ComponentData {
                entity_type: (*entity_type).into(),
                match_type: *match_type,
                _match: name.map(Text::from),
            })
            .collect(),
        strict: false,
    };
    answers.ask::<DescribeClientQuotas>("a user", 1, quotas(&[("user", 0, Some("x"))]));
    answers.ask::<DescribeClientQuotas>("a kind that is none", 1, quotas(&[("cow", 0, Some("x"))]));
    answers.ask::<DescribeClientQuotas>("a match that is none", 1, quotas(&[("user", 9, Some("x"))]));
    answers.ask::<DescribeClientQuotas>("a kind twice", 1, quotas(&[("user", 0, Some("x")), ("user", 1, None)]));
    let entry = AclCreation {
        resource_type: 2,
        resource_name: "plain".into(),
        resource_pattern_type: 3,
        principal: "User:x".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 3,
    };
    answers.ask::<CreateAcls>("no authorizer", 3, CreateAclsRequest { creations: vec![entry] });
    let filter = DeleteAclsFilter {
        resource_type_filter: 2,
        resource_name_filter: None,
        pattern_type_filter: 1,
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    answers.ask::<DeleteAcls>("no authorizer", 3, DeleteAclsRequest { filters: vec![filter] });
}
