//! `meta.properties`: who a data directory belongs to, in Kafka's format (version 1).
//!
//! `cluster.id`, `node.id` and `directory.id` (KIP-858), written once when the directory is first used and compared
//! ever after, so that a directory mounted at the wrong node is noticed.

use std::path::Path;

use corelog_engine::{Error, Result, TopicId};
use uuid::Uuid;

use crate::{NodeId, properties};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "meta.properties";

/// The identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster: 22 characters as [`TopicId`] prints them, or whatever `kafka-storage format` was given.
    pub cluster_id: String,
    /// The node.
    pub node: NodeId,
    /// The directory itself.
    pub directory: Uuid,
}

impl MetaProperties {
    /// The identity of a fresh directory. `random` gives unpredictable numbers.
    pub fn new(node: NodeId, mut random: impl FnMut() -> u128) -> MetaProperties {
        MetaProperties { cluster_id: TopicId(usable(&mut random)).to_string(), node, directory: usable(&mut random) }
    }

    /// The file's text.
    pub fn encode(&self) -> String {
        let properties = [
            ("version", "1".to_string()),
            ("cluster.id", self.cluster_id.clone()),
            ("node.id", self.node.to_string()),
            ("directory.id", TopicId(self.directory).to_string()),
        ];
        properties.iter().map(|(key, value)| properties::line(key, value)).collect()
    }

    /// Reads the file at `path`, whose bytes are given. A directory that Kafka formatted without a directory id is
    /// refused: Kafka writes one since 3.7.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<MetaProperties> {
        let damaged = |what: String| Error::corrupt(path, None, what);
        let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
        let properties = properties::parse(text).map_err(|error| damaged(error.to_string()))?;
        let find = |key: &str| {
            let found = properties.iter().rev().find(|property| property.key == key);
            found.map(|property| property.value.trim()).ok_or_else(|| damaged(format!("{key} is missing")))
        };
        let number = |key: &str| {
            let value = find(key)?;
            value.parse::<i32>().map_err(|_| damaged(format!("{key} is {value:?}, not a number")))
        };
        match number("version")? {
            1 => {}
            newer @ 2.. => {
                let found = u16::try_from(newer).unwrap_or(u16::MAX);
                return Err(Error::NewerFormat { path: path.to_path_buf(), found, supported: 1 });
            }
            older => return Err(damaged(format!("version {older} is of a cluster with ZooKeeper; migrate it first"))),
        }
        let directory =
            find("directory.id")?.parse::<TopicId>().map_err(|what| damaged(format!("directory.id: {what}")))?;
        Ok(MetaProperties {
            cluster_id: find("cluster.id")?.to_string(),
            node: NodeId(number("node.id")?),
            directory: directory.0,
        })
    }

    /// Refuses a directory of another node.
    pub fn check_node(&self, path: &Path, node: NodeId) -> Result<()> {
        if self.node == node {
            return Ok(());
        }
        Err(Error::Setting {
            name: "node.id".into(),
            reason: format!(
                "it is {node}, but {} says that the directory belongs to node {}; use that id or another directory",
                path.display(),
                self.node
            ),
        })
    }
}

/// A version 4 UUID whose text does not begin with a dash, which command lines would take for an option; as Kafka does.
fn usable(random: &mut impl FnMut() -> u128) -> Uuid {
    loop {
        let id = uuid::Builder::from_random_bytes(random().to_be_bytes()).into_uuid();
        if !TopicId(id).to_string().starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<MetaProperties> {
        MetaProperties::decode(Path::new("/data/meta.properties"), text.as_bytes())
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut seed = 7u128;
        let identity = MetaProperties::new(NodeId(3), || {
            seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) + 1;
            seed
        });
        assert_eq!(decode(&identity.encode()).expect("reads back"), identity);
        assert!(!identity.cluster_id.starts_with('-'));
    }

    #[test]
    fn kafkas_own_file_is_read() {
        let text = "#\n#Thu Oct 10 10:00:00 UTC 2025\ncluster.id=q1Sh-9_ISia_zwGINzRvyQ\n\
                    directory.id=U05hTULbUh7yzqbqMhcNDQ\nnode.id=1\nversion=1\n";
        let identity = decode(text).expect("good");
        assert_eq!((identity.cluster_id.as_str(), identity.node), ("q1Sh-9_ISia_zwGINzRvyQ", NodeId(1)));
        assert_eq!(TopicId(identity.directory).to_string(), "U05hTULbUh7yzqbqMhcNDQ");
        identity.check_node(Path::new("/d"), NodeId(1)).expect("its own");
        let other = identity.check_node(Path::new("/d"), NodeId(2)).expect_err("another's").to_string();
        assert!(other.contains("node.id") && other.contains("belongs to node 1"), "{other}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        for (text, expected) in [
            ("", "version is missing"),
            ("version=x", "version is \"x\""),
            ("version=0", "ZooKeeper"),
            ("version=2", "format version 2"),
            ("version=1\nnode.id=1", "directory.id is missing"),
            ("version=1\ndirectory.id=short", "22 characters"),
        ] {
            let error = decode(text).expect_err(text).to_string();
            assert!(error.contains(expected) && error.contains("meta.properties"), "{error}");
        }
    }
}
