//! Which records readers of committed ones are not to take for such, in a log that Kafka wrote.
//!
//! There is no coordinator of transactions here: what was aborted is what Kafka's transaction indexes say, which are read when
//! this is first asked, and kept in memory. A transaction that was open when the log was taken over can be ended by nobody: it counts
//! as aborted, as Kafka would have it at the transaction's timeout.

use std::path::Path;
use std::rc::Rc;

use crate::error::Result;
use crate::log::{ABORTED_BYTES, AbortedTransaction, TRANSACTION_INDEX_SUFFIX, decode_transaction_index};
use crate::shard::partition::Partition;
use crate::shard::shard::Shard;
use crate::types::{Offset, TopicPartition};

/// What is known of a log's aborted transactions.
pub(super) struct Aborted {
    /// Those of the transaction indexes, in the order of their markers.
    ended: Vec<AbortedTransaction>,
    /// The producers of those that were open, and their first offsets.
    open: Vec<(i64, Offset)>,
}

impl Shard {
    /// The aborted transactions that have records from `from` on and before `to`: producers and first offsets.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where a transaction index is damaged: what was aborted is then not known.
    pub async fn aborted_transactions(
        self: &Rc<Self>,
        name: &TopicPartition,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<(i64, Offset)>> {
        let partition = self.partition(name)?;
        let known = partition.aborted.borrow().clone();
        let aborted = match known {
            Some(aborted) => aborted,
            None => self.load_aborted(&partition).await?,
        };
        let mut found = aborted.ended_among(from, to);
        if !aborted.open.is_empty() {
            let log = partition.log.borrow();
            let is_open =
                |id, start| log.producers().get(id).is_some_and(|known| known.transaction_start == Some(start));
            found.extend(aborted.open.iter().filter(|(id, start)| *start < to && is_open(*id, *start)));
        }
        Ok(found)
    }

    async fn load_aborted(self: &Rc<Self>, partition: &Rc<Partition>) -> Result<Rc<Aborted>> {
        let _work = partition.work();
        let _files = partition.files.lock().await;
        let mut ended = Vec::new();
        for entry in self.io.list_dir(&partition.dir).await? {
            let path = partition.dir.join(&entry.name);
            if entry.len > 0 && path.extension().is_some_and(|suffix| suffix == TRANSACTION_INDEX_SUFFIX) {
                ended.extend(decode_transaction_index(&path, &self.io.read_file(&path).await?)?);
            }
        }
        ended.sort_unstable_by_key(|one| (one.last_offset, one.producer_id));
        // A compaction that was cut short has told of some twice.
        ended.dedup();
        let open = partition.log.borrow().producers().to_vec();
        let open = open.iter().filter_map(|producer| Some((producer.id, producer.transaction_start?))).collect();
        let aborted = Rc::new(Aborted { ended, open });
        *partition.aborted.borrow_mut() = Some(aborted.clone());
        Ok(aborted)
    }

    /// Forgets those that ended at `end` or later, where the log was cut; `segment` is now its newest.
    pub(super) async fn cut_aborted(&self, partition: &Partition, segment: &Path, end: Offset) -> Result<()> {
        *partition.aborted.borrow_mut() = None;
        let path = segment.with_extension(TRANSACTION_INDEX_SUFFIX);
        if self.io.file_len(&path).await?.is_none_or(|bytes| bytes == 0) {
            return Ok(());
        }
        let mut bytes = self.io.read_file(&path).await?;
        let Ok(all) = decode_transaction_index(&path, &bytes) else { return Ok(()) };
        let kept = all.iter().take_while(|one| one.last_offset < end).count();
        if kept < all.len() {
            bytes.truncate(kept * ABORTED_BYTES);
            self.io.replace_file(&path, bytes).await?;
        }
        Ok(())
    }
}

impl Aborted {
    /// As `TransactionIndex.collectAbortedTxns` of Kafka over all segments.
    fn ended_among(&self, from: Offset, to: Offset) -> Vec<(i64, Offset)> {
        let begin = self.ended.partition_point(|one| one.last_offset < from);
        let mut found = Vec::new();
        for one in &self.ended[begin..] {
            if one.first_offset < to {
                found.push((one.producer_id, one.first_offset));
            }
            if one.last_stable >= to {
                break;
            }
        }
        found
    }
}
