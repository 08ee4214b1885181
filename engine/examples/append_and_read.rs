//! Opens a store in a directory, appends records durably, and reads them back.
//!
//! Run with `cargo run --release -p corelog-engine --example append_and_read -- /some/directory`.

use corelog_engine::batch::{self, BatchBuilder, Codec};
use corelog_engine::{
    AppendOptions, LogConfig, Offset, ReadRequest, ReadUpTo, Result, Store, StoreConfig, Timestamp, TopicId,
    TopicPartition,
};

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).expect("give a directory for the store");
    let store = Store::open(StoreConfig { shards: 1, ..StoreConfig::new(dir) })?;
    let name = TopicPartition::new("greetings", 0);

    // A partition lives on one shard; what is done with it runs on that shard's thread.
    let topic = name.clone();
    let records: Result<Vec<u8>> = store.call_blocking(store.shard_of(&name), move |shard| {
        Box::pin(async move {
            if !shard.contains(&topic) {
                shard.create(&topic, TopicId::random(), LogConfig::default()).await?;
            }
            let mut builder = BatchBuilder::new(Codec::None);
            for number in 0..10 {
                let value = format!("hello {number}");
                builder.push(Timestamp(1_700_000_000_000 + number), None, Some(value.as_bytes()), &[]);
            }
            let appended = shard.append(&topic, &builder.build(Offset::ZERO), AppendOptions::default())?;
            // What has returned from here survives a power cut.
            shard.flushed(&topic, appended.next_offset).await?;

            let from = appended.base_offset;
            let request = ReadRequest { from, bytes_max: 1 << 20, at_least_one: true, up_to: ReadUpTo::HighWatermark };
            Ok(shard.read(&topic, request).await?.to_vec())
        })
    })?;
    for record in batch::records(&records?, 1 << 20)?.iter() {
        let record = record?;
        println!("offset {}: {}", record.offset, String::from_utf8_lossy(record.value.unwrap_or_default()));
    }
    store.close()
}
