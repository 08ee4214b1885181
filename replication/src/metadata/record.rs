//! The metadata records, byte for byte as Apache Kafka's KRaft controllers write them.
//!
//! A record's value is a frame: unsigned varints for the frame's version (1), the kind (api key) and its version, then
//! the flexible message. The schemas are Kafka's `metadata/src/main/resources/common/metadata/*.json`; so Kafka's
//! `kafka-dump-log --cluster-metadata-decoder` prints our log.

use std::sync::Arc;

use corelog_engine::{Epoch, TopicId};
use uuid::Uuid;

use super::wire::{Reader, RecordError, Writer, value};
use crate::NodeId;

const FRAME_VERSION: u32 = 1;

/// One change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A broker begins an incarnation (api key 0, version 3).
    RegisterBroker(RegisterBroker),
    /// A topic comes to be, its partitions follow (api key 2).
    Topic(Topic),
    /// A partition comes to be (api key 3, version 1).
    Partition(Partition),
    /// A partition changes (api key 5, version 0).
    PartitionChange(PartitionChange),
    /// A setting of a resource is set or, without a value, unset (api key 4).
    Config(Config),
    /// A topic goes, with its partitions and settings (api key 9).
    RemoveTopic(TopicId),
    /// A feature's level for the whole cluster (api key 12).
    FeatureLevel(FeatureLevel),
    /// Producer ids below a bound are given out (api key 15).
    ProducerIds(ProducerIds),
    /// Nothing (api key 20).
    NoOp,
}

/// A broker, as it registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The broker.
    pub node: NodeId,
    /// The run of its process.
    pub incarnation: Uuid,
    /// Its epoch: the offset of this record in Kafka's log, and so here.
    pub epoch: i64,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// The feature levels it can run.
    pub features: Vec<FeatureRange>,
    /// Its rack, `broker.rack`.
    pub rack: Option<Arc<str>>,
    /// Whether it may not lead yet.
    pub fenced: bool,
    /// The ids of its log directories.
    pub directories: Vec<Uuid>,
}

/// A named address of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The host to connect to.
    pub host: Arc<str>,
    /// The port to connect to.
    pub port: u16,
    /// Kafka's `SecurityProtocol` id; 0 is PLAINTEXT.
    pub security_protocol: i16,
}

/// The levels of a feature that a broker can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    /// The feature's name.
    pub name: Arc<str>,
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

/// A topic's name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
}

/// A partition as it is created, or stated anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub partition: i32,
    /// Its topic.
    pub topic: TopicId,
    /// All replicas in order of preference.
    pub replicas: Vec<NodeId>,
    /// The in-sync ones.
    pub isr: Vec<NodeId>,
    /// Replicas about to go.
    pub removing: Vec<NodeId>,
    /// Replicas about to come.
    pub adding: Vec<NodeId>,
    /// The leader, or [`NodeId::NONE`].
    pub leader: NodeId,
    /// The leader's reign.
    pub leader_epoch: Epoch,
    /// Counts every change of the partition.
    pub partition_epoch: i32,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
}

/// What changes of a partition; each change raises its partition epoch, one of the leader also the leader epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its index.
    pub partition: i32,
    /// Its topic.
    pub topic: TopicId,
    /// The new in-sync set.
    pub isr: Option<Vec<NodeId>>,
    /// The new leader, [`NodeId::NONE`] for none; the same one begins a new reign.
    pub leader: Option<NodeId>,
}

/// What a setting belongs to: Kafka's `ConfigResource.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A topic, by name.
    Topic,
    /// A broker, by id; the empty name stands for all.
    Broker,
    /// Telemetry subscriptions.
    ClientMetrics,
    /// A consumer group.
    Group,
}

impl ResourceType {
    /// Kafka's id of the type.
    pub fn id(self) -> i8 {
        match self {
            ResourceType::Topic => 2,
            ResourceType::Broker => 4,
            ResourceType::ClientMetrics => 16,
            ResourceType::Group => 32,
        }
    }

    /// The type with Kafka's id.
    pub fn from_id(id: i8) -> Option<ResourceType> {
        [ResourceType::Topic, ResourceType::Broker, ResourceType::ClientMetrics, ResourceType::Group]
            .into_iter()
            .find(|kind| kind.id() == id)
    }
}

/// A setting of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The resource's type.
    pub resource: ResourceType,
    /// The resource's name.
    pub name: Arc<str>,
    /// The setting.
    pub key: Arc<str>,
    /// Its value; `None` unsets it.
    pub value: Option<Arc<str>>,
}

/// A feature's level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLevel {
    /// The feature's name.
    pub name: Arc<str>,
    /// Its level; 0 turns it off.
    pub level: i16,
}

/// A block of producer ids given to a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    /// The broker that has the block.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: i64,
    /// The first id that is free after it.
    pub next: i64,
}

impl MetadataRecord {
    /// The record's value in the log.
    pub fn encode(&self) -> Vec<u8> {
        let (api_key, version) = match self {
            MetadataRecord::RegisterBroker(_) => (0, 3),
            MetadataRecord::Topic(_) => (2, 0),
            MetadataRecord::Partition(_) => (3, 1),
            MetadataRecord::Config(_) => (4, 0),
            MetadataRecord::PartitionChange(_) => (5, 0),
            MetadataRecord::RemoveTopic(_) => (9, 0),
            MetadataRecord::FeatureLevel(_) => (12, 0),
            MetadataRecord::ProducerIds(_) => (15, 0),
            MetadataRecord::NoOp => (20, 0),
        };
        let mut out = Writer::default();
        for number in [FRAME_VERSION, api_key, version] {
            out.uvarint(number);
        }
        match self {
            MetadataRecord::RegisterBroker(broker) => broker.write(&mut out),
            MetadataRecord::Topic(topic) => {
                out.string(&topic.name);
                out.uuid(topic.id.0);
                out.tagged(&[]);
            }
            MetadataRecord::Partition(partition) => partition.write(&mut out),
            MetadataRecord::Config(config) => {
                out.i8(config.resource.id());
                out.string(&config.name);
                out.string(&config.key);
                out.nullable_string(config.value.as_deref());
                out.tagged(&[]);
            }
            MetadataRecord::PartitionChange(change) => change.write(&mut out),
            MetadataRecord::RemoveTopic(topic) => {
                out.uuid(topic.0);
                out.tagged(&[]);
            }
            MetadataRecord::FeatureLevel(feature) => {
                out.string(&feature.name);
                out.i16(feature.level);
                out.tagged(&[]);
            }
            MetadataRecord::ProducerIds(ids) => {
                out.i32(ids.node.0);
                out.i64(ids.epoch);
                out.i64(ids.next);
                out.tagged(&[]);
            }
            MetadataRecord::NoOp => out.tagged(&[]),
        }
        out.bytes
    }

    /// Reads a record's value. Versions below the one we write are read too, and tagged fields that say nothing to us
    /// are passed over.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRecord, RecordError> {
        let mut reader = Reader::new(bytes);
        let input = &mut reader;
        let frame = input.uvarint("frame version")?;
        let api_key = input.uvarint("api key")?;
        let version = input.uvarint("version")?;
        let unknown = RecordError::Unknown { frame, api_key, version };
        if frame != FRAME_VERSION {
            return Err(unknown);
        }
        let record = match (api_key, version) {
            (0, 0..=3) => MetadataRecord::RegisterBroker(RegisterBroker::read(input, version)?),
            (2, 0) => {
                let topic = Topic { name: input.string("name")?.into(), id: TopicId(input.uuid("topic id")?) };
                input.no_tagged()?;
                MetadataRecord::Topic(topic)
            }
            (3, 0..=2) => MetadataRecord::Partition(Partition::read(input, version)?),
            (4, 0) => {
                let resource = ResourceType::from_id(input.i8("resource type")?).ok_or(unknown)?;
                let config = Config {
                    resource,
                    name: input.string("resource name")?.into(),
                    key: input.string("setting")?.into(),
                    value: input.nullable_string("value")?.map(Into::into),
                };
                input.no_tagged()?;
                MetadataRecord::Config(config)
            }
            (5, 0..=2) => MetadataRecord::PartitionChange(PartitionChange::read(input)?),
            (9, 0) => {
                let topic = TopicId(input.uuid("topic id")?);
                input.no_tagged()?;
                MetadataRecord::RemoveTopic(topic)
            }
            (12, 0) => {
                let feature = FeatureLevel { name: input.string("name")?.into(), level: input.i16("level")? };
                input.no_tagged()?;
                MetadataRecord::FeatureLevel(feature)
            }
            (15, 0) => {
                let ids = ProducerIds {
                    node: NodeId(input.i32("broker id")?),
                    epoch: input.i64("broker epoch")?,
                    next: input.i64("next producer id")?,
                };
                input.no_tagged()?;
                MetadataRecord::ProducerIds(ids)
            }
            (20, 0) => {
                input.no_tagged()?;
                MetadataRecord::NoOp
            }
            _ => return Err(unknown),
        };
        reader.end()?;
        Ok(record)
    }
}

impl RegisterBroker {
    fn write(&self, out: &mut Writer) {
        out.i32(self.node.0);
        out.bool(false); // not migrating from ZooKeeper
        out.uuid(self.incarnation);
        out.i64(self.epoch);
        out.array(&self.endpoints, |out, endpoint| {
            out.string(&endpoint.listener);
            out.string(&endpoint.host);
            out.u16(endpoint.port);
            out.i16(endpoint.security_protocol);
            out.tagged(&[]);
        });
        out.array(&self.features, |out, feature| {
            out.string(&feature.name);
            out.i16(feature.min);
            out.i16(feature.max);
            out.tagged(&[]);
        });
        out.nullable_string(self.rack.as_deref());
        out.bool(self.fenced);
        out.bool(false); // not in controlled shutdown
        let directories = (0, value(|out| out.array(&self.directories, |out, id| out.uuid(*id))));
        out.tagged(if self.directories.is_empty() { &[] } else { std::slice::from_ref(&directories) });
    }

    fn read(input: &mut Reader<'_>, version: u32) -> Result<RegisterBroker, RecordError> {
        let node = NodeId(input.i32("broker id")?);
        if version >= 2 {
            input.bool("migrating")?;
        }
        let mut broker = RegisterBroker {
            node,
            incarnation: input.uuid("incarnation id")?,
            epoch: input.i64("broker epoch")?,
            endpoints: input.array("endpoints", |input| {
                let endpoint = Endpoint {
                    listener: input.string("listener name")?.into(),
                    host: input.string("host")?.into(),
                    port: input.u16("port")?,
                    security_protocol: input.i16("security protocol")?,
                };
                input.no_tagged()?;
                Ok(endpoint)
            })?,
            features: input.array("features", |input| {
                let feature = FeatureRange {
                    name: input.string("feature name")?.into(),
                    min: input.i16("lowest level")?,
                    max: input.i16("highest level")?,
                };
                input.no_tagged()?;
                Ok(feature)
            })?,
            rack: input.nullable_string("rack")?.map(Into::into),
            fenced: input.bool("fenced")?,
            directories: Vec::new(),
        };
        if version >= 1 {
            input.bool("in controlled shutdown")?;
        }
        input.tagged(|tag, input| {
            if tag == 0 {
                broker.directories = input.array("log directories", |input| input.uuid("directory id"))?;
            }
            Ok(())
        })?;
        Ok(broker)
    }
}

fn write_nodes(out: &mut Writer, nodes: &[NodeId]) {
    out.array(nodes, |out, node| out.i32(node.0));
}

fn read_nodes(input: &mut Reader<'_>, what: &'static str) -> Result<Vec<NodeId>, RecordError> {
    input.array(what, |input| input.i32(what).map(NodeId))
}

impl Partition {
    fn write(&self, out: &mut Writer) {
        out.i32(self.partition);
        out.uuid(self.topic.0);
        for nodes in [&self.replicas, &self.isr, &self.removing, &self.adding] {
            write_nodes(out, nodes);
        }
        out.i32(self.leader.0);
        out.i32(self.leader_epoch.0);
        out.i32(self.partition_epoch);
        out.array(&self.directories, |out, id| out.uuid(*id));
        out.tagged(&[]);
    }

    fn read(input: &mut Reader<'_>, version: u32) -> Result<Partition, RecordError> {
        let mut partition = Partition {
            partition: input.i32("partition")?,
            topic: TopicId(input.uuid("topic id")?),
            replicas: read_nodes(input, "replicas")?,
            isr: read_nodes(input, "in-sync replicas")?,
            removing: read_nodes(input, "removing replicas")?,
            adding: read_nodes(input, "adding replicas")?,
            leader: NodeId(input.i32("leader")?),
            leader_epoch: Epoch(input.i32("leader epoch")?),
            partition_epoch: input.i32("partition epoch")?,
            directories: Vec::new(),
        };
        if version >= 1 {
            partition.directories = input.array("directories", |input| input.uuid("directory id"))?;
        }
        input.no_tagged()?;
        Ok(partition)
    }
}

impl PartitionChange {
    fn write(&self, out: &mut Writer) {
        out.i32(self.partition);
        out.uuid(self.topic.0);
        let isr = self.isr.as_ref().map(|isr| (0, value(|out| write_nodes(out, isr))));
        let leader = self.leader.map(|leader| (1, value(|out| out.i32(leader.0))));
        out.tagged(&isr.into_iter().chain(leader).collect::<Vec<_>>());
    }

    fn read(input: &mut Reader<'_>) -> Result<PartitionChange, RecordError> {
        let mut change = PartitionChange {
            partition: input.i32("partition")?,
            topic: TopicId(input.uuid("topic id")?),
            isr: None,
            leader: None,
        };
        input.tagged(|tag, input| {
            match tag {
                0 => change.isr = Some(read_nodes(input, "in-sync replicas")?),
                1 => change.leader = Some(NodeId(input.i32("leader")?)),
                _ => return Err(RecordError::Malformed("a change of replicas, which is not known here,")),
            }
            Ok(())
        })?;
        Ok(change)
    }
}
