//! DescribeLogDirs: the data directory with the size of each partition.

use std::collections::BTreeMap;
use std::path::Path;

use corelog_engine::TopicPartition;
use corelog_engine::shard::ShardId;
use corelog_replication::metadata::ClusterImage;

use super::Call;
use crate::join;
use crate::protocol::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use crate::protocol::{ErrorCode, Text};

pub(super) async fn handle(call: Call, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let server = &call.server;
    let mut work: BTreeMap<ShardId, Vec<TopicPartition>> = BTreeMap::new();
    for name in wanted(&server.broker.image(), &request) {
        work.entry(server.broker.store.shard_of(&name)).or_default().push(name);
    }
    let parts = work.into_iter().map(|(shard, names)| -> join::LocalFuture<_> {
        let server = server.clone();
        Box::pin(async move {
            let sizes = server.on(shard, |server| async move {
                let mut sizes = Vec::with_capacity(names.len());
                for name in names {
                    // A partition that is gone meanwhile, or is offline, is not in the directory.
                    if let Ok(bytes) = server.shard.log_bytes(&name).await {
                        sizes.push((name, bytes));
                    }
                }
                sizes
            });
            sizes.await.ok()
        })
    });
    let parts = join::all(parts.collect()).await;
    let is_offline = parts.iter().any(Option::is_none);
    let mut topics: BTreeMap<_, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (name, bytes) in parts.into_iter().flatten().flatten() {
        let partition = DescribeLogDirsPartition {
            partition_index: name.partition,
            partition_size: bytes as i64,
            ..Default::default()
        };
        topics.entry(name.topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|partition| partition.partition_index);
        DescribeLogDirsTopic { name: Text::from(&*name), partitions }
    });
    let dir = server.broker.settings.engine.dir.as_path();
    let (total_bytes, usable_bytes) = volume(dir);
    let result = DescribeLogDirsResult {
        error_code: if is_offline { ErrorCode::KAFKA_STORAGE_ERROR } else { ErrorCode::NONE },
        log_dir: Text::from(&*absolute(dir)),
        topics: topics.collect(),
        total_bytes,
        usable_bytes,
    };
    DescribeLogDirsResponse { results: vec![result], ..Default::default() }
}

/// The data directory's absolute path.
pub(super) fn absolute(dir: &Path) -> String {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf()).to_string_lossy().into_owned()
}

/// Those of the wanted partitions that are there.
fn wanted(image: &ClusterImage, request: &DescribeLogDirsRequest) -> Vec<TopicPartition> {
    let all = |name: &std::sync::Arc<str>, count: usize| {
        let name = name.clone();
        (0..count as i32).map(move |index| TopicPartition::new(name.clone(), index))
    };
    match &request.topics {
        None => image.topics().into_iter().flat_map(|topic| all(&topic.name, topic.partitions.len())).collect(),
        Some(topics) => {
            let found = topics.iter().filter_map(|wanted| Some((wanted, image.topic(&wanted.topic)?)));
            let named = found.flat_map(|(wanted, topic)| {
                all(&topic.name, topic.partitions.len()).filter(|name| wanted.partitions.contains(&name.partition))
            });
            named.collect()
        }
    }
}

/// The size of the volume and what is free of it, in bytes; -1 if unknown.
fn volume(dir: &Path) -> (i64, i64) {
    match nix::sys::statvfs::statvfs(dir) {
        Ok(volume) => {
            let unit = volume.fragment_size();
            let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(unit)).unwrap_or(i64::MAX);
            (bytes(volume.blocks()), bytes(volume.blocks_available()))
        }
        Err(_) => (-1, -1),
    }
}
