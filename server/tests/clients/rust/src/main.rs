//! rust-rdkafka: `rust-rdkafka-check HOST:PORT`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pollster::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const RECORDS: &str = "rust-rdkafka-records";
const GROUP: &str = "rust-rdkafka-group";
const BATCH: usize = 100;
const SECONDS: Duration = Duration::from_secs(20);

macro_rules! expect {
    ($condition:expr, $($what:tt)*) => {
        if !$condition {
            return Err(format!($($what)*).into());
        }
    };
}

macro_rules! equal {
    ($found:expr, $wanted:expr, $what:expr) => {{
        let (found, wanted) = (&$found, &$wanted);
        expect!(found == wanted, "{}: {found:?}, not {wanted:?}", $what);
    }};
}

fn wait(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Outcome {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        expect!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The check, again for some seconds where it fails: what a controller decided, a broker learns later.
fn eventually(mut check: impl FnMut() -> Outcome) -> Outcome {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match check() {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}

fn key(i: usize) -> String {
    format!("key-{}", i % 17)
}

fn value(i: usize) -> String {
    format!("value-{i}{}", ".".repeat(100))
}

fn index(value: &[u8]) -> Option<usize> {
    std::str::from_utf8(value).ok()?.split('.').next()?.strip_prefix("value-")?.parse().ok()
}

/// Keeps what was not delivered.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Vec<String>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();
    fn delivery(&self, outcome: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = outcome {
            self.0.lock().expect("no panic holds it").push(error.to_string());
        }
    }
}

struct Suite {
    address: String,
    admin: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    base: i64,
    produced: usize,
    failed: bool,
}

impl Suite {
    fn new(address: String) -> Outcome<Suite> {
        let admin = ClientConfig::new().set("bootstrap.servers", &address).create()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let options = AdminOptions::new().request_timeout(Some(SECONDS)).operation_timeout(Some(SECONDS));
        Ok(Suite { address, admin, options, base: now - 3_600_000, produced: 0, failed: false })
    }

    fn check(&mut self, name: &str, run: impl FnOnce(&mut Suite) -> Outcome) {
        let began = Instant::now();
        match run(self) {
            Ok(()) => println!("PASS {name} ({:.1} s)", began.elapsed().as_secs_f64()),
            Err(error) => {
                self.failed = true;
                println!("FAIL {name}: {}", error.to_string().replace('\n', " "));
            }
        }
    }

    fn consumer(&self, settings: &[(&str, &str)]) -> Outcome<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("group.id", "rust-rdkafka-unused");
        for (name, setting) in settings {
            config.set(*name, *setting);
        }
        Ok(config.create()?)
    }

    fn produce_to(&self, topic: &str, from: usize, count: usize, settings: &[(&str, &str)]) -> Outcome {
        let deliveries = Deliveries::default();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set("linger.ms", "20");
        for (name, setting) in settings {
            config.set(*name, *setting);
        }
        let producer: BaseProducer<Deliveries> = config.create_with_context(deliveries.clone())?;
        for i in from..from + count {
            let (key, value, index) = (key(i), value(i), i.to_string());
            let headers = OwnedHeaders::new()
                .insert(Header { key: "index", value: Some(&index) })
                .insert(Header { key: "empty", value: Some("") });
            let record = BaseRecord::to(topic).partition((i % 3) as i32).key(&key).payload(&value);
            let record = record.timestamp(self.base + i as i64).headers(headers);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(SECONDS)?;
        equal!(*deliveries.0.lock().expect("no panic holds it"), Vec::<String>::new(), "errors");
        Ok(())
    }

    fn produce(&mut self, settings: &[(&str, &str)]) -> Outcome {
        self.produce_to(RECORDS, self.produced, BATCH, settings)?;
        self.produced += BATCH;
        Ok(())
    }

    fn topics(&self) -> Outcome<BTreeMap<String, Vec<i32>>> {
        let metadata = self.admin.inner().fetch_metadata(None, SECONDS)?;
        let topics = metadata.topics().iter();
        Ok(topics.map(|t| (t.name().into(), t.partitions().iter().map(|p| p.leader()).collect())).collect())
    }

    fn create_topic(&mut self) -> Outcome {
        let topic = NewTopic::new(RECORDS, 2, TopicReplication::Fixed(1)).set("retention.ms", "86400000");
        let group = NewTopic::new(GROUP, 3, TopicReplication::Fixed(1));
        for outcome in block_on(self.admin.create_topics([&topic, &group], &self.options))? {
            outcome.map_err(|(topic, error)| format!("{topic}: {error}"))?;
        }
        let again = block_on(self.admin.create_topics([&topic], &self.options))?;
        equal!(again, [Err((RECORDS.to_owned(), RDKafkaErrorCode::TopicAlreadyExists))], "creating it again");
        Ok(())
    }

    fn describe_topic(&mut self) -> Outcome {
        eventually(|| {
            let leaders = self.topics()?.remove(RECORDS).ok_or("not in the list")?;
            expect!(leaders.len() == 2 && leaders.iter().all(|&leader| leader >= 0), "leaders: {leaders:?}");
            Ok(())
        })
    }

    fn config(&self) -> Outcome<ConfigResource> {
        let mut found = block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(RECORDS)], &self.options))?;
        Ok(found.remove(0)?)
    }

    fn describe_configs(&mut self) -> Outcome {
        let config = self.config()?;
        let retention = config.get("retention.ms").ok_or("no retention.ms")?;
        equal!(retention.value.as_deref(), Some("86400000"), "retention.ms");
        equal!(retention.source, ConfigSource::DynamicTopic, "the source of retention.ms");
        let cleanup = config.get("cleanup.policy").ok_or("no cleanup.policy")?;
        equal!(cleanup.value.as_deref(), Some("delete"), "cleanup.policy");
        expect!(cleanup.is_default, "cleanup.policy is not a default");
        Ok(())
    }

    /// This library has only the call that replaces them all.
    fn alter_config(&mut self) -> Outcome {
        let change = AlterConfig::new(ResourceSpecifier::Topic(RECORDS));
        let change = change.set("retention.ms", "172800000").set("segment.bytes", "10485760");
        for outcome in block_on(self.admin.alter_configs([&change], &self.options))? {
            outcome.map_err(|(_, error)| error.to_string())?;
        }
        eventually(|| {
            let config = self.config()?;
            let value = |name| config.get(name).and_then(|entry| entry.value.as_deref());
            equal!((value("retention.ms"), value("segment.bytes")), (Some("172800000"), Some("10485760")), "settings");
            Ok(())
        })
    }

    fn create_partitions(&mut self) -> Outcome {
        for outcome in block_on(self.admin.create_partitions([&NewPartitions::new(RECORDS, 3)], &self.options))? {
            outcome.map_err(|(topic, error)| format!("{topic}: {error}"))?;
        }
        eventually(|| {
            equal!(self.topics()?.get(RECORDS).map(Vec::len), Some(3), "partitions");
            Ok(())
        })
    }

    fn consume(&mut self) -> Outcome {
        let consumer =
            self.consumer(&[("enable.auto.commit", "false"), ("auto.offset.reset", "error"), ("check.crcs", "true")])?;
        let mut all = TopicPartitionList::new();
        for p in 0..3 {
            all.add_partition_offset(RECORDS, p, Offset::Offset(0))?;
        }
        consumer.assign(&all)?;
        let mut next = [0; 3];
        for found in 0..self.produced {
            let record = consumer.poll(SECONDS).ok_or_else(|| format!("{found} records came"))??;
            let p = record.partition() as usize;
            let i = next[p] * 3 + p;
            equal!(record.offset(), next[p] as i64, format!("offset of record {i}"));
            expect!(record.key() == Some(key(i).as_bytes()), "key of record {i}");
            expect!(record.payload() == Some(value(i).as_bytes()), "value of record {i}");
            equal!(record.timestamp().to_millis(), Some(self.base + i as i64), format!("timestamp of record {i}"));
            let headers: Vec<_> = record.headers().ok_or("no headers")?.iter().map(|h| (h.key, h.value)).collect();
            let index = i.to_string();
            let wanted = [("index", Some(index.as_bytes())), ("empty", Some(&b""[..]))];
            equal!(headers, wanted, format!("headers of record {i}"));
            next[p] += 1;
        }
        expect!(consumer.poll(Duration::from_millis(300)).is_none(), "a record too many");
        Ok(())
    }

    fn offsets(&mut self) -> Outcome {
        let consumer = self.consumer(&[])?;
        for p in 0..3 {
            let end = (0..self.produced).filter(|i| i % 3 == p).count() as i64;
            equal!(consumer.fetch_watermarks(RECORDS, p as i32, SECONDS)?, (0, end), "first and end offset");
        }
        let by_time = |time: i64| -> Outcome<Offset> {
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(RECORDS, 1, Offset::Offset(time))?;
            let found = consumer.offsets_for_times(place, SECONDS)?;
            Ok(found.find_partition(RECORDS, 1).ok_or("no answer")?.offset())
        };
        equal!(by_time(self.base + 151)?, Offset::Offset(50), "offset of record 151 by its time");
        equal!(by_time(self.base + 1_000_000_000)?, Offset::End, "offset by a time to come");
        Ok(())
    }

    fn delete_records(&mut self) -> Outcome {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(RECORDS, 0, Offset::Offset(10))?;
        block_on(self.admin.delete_records(&before, &self.options))?;
        equal!(self.consumer(&[])?.fetch_watermarks(RECORDS, 0, SECONDS)?.0, 10, "first offset");
        Ok(())
    }

    fn group_state(&self) -> Outcome<Option<(String, usize)>> {
        let found = self.admin.inner().fetch_group_list(None, SECONDS)?;
        let mut groups = found.groups().iter();
        Ok(groups.find(|g| g.name() == GROUP).map(|g| (g.state().to_owned(), g.members().len())))
    }

    fn delete_group(&self) -> Outcome<Result<(), RDKafkaErrorCode>> {
        let mut found = block_on(self.admin.delete_groups(&[GROUP], &self.options))?;
        Ok(found.remove(0).map(drop).map_err(|(_, error)| error))
    }

    fn wait_seen(&self, members: &[Member], count: usize) -> Outcome {
        let seen = || members.iter().flat_map(Member::seen).collect::<BTreeSet<_>>();
        wait(&format!("{count} records seen"), 30, || seen().len() >= count)?;
        equal!(seen(), (0..count).collect(), "records seen");
        Ok(())
    }

    fn groups(&mut self) {
        let all = BTreeSet::from([0, 1, 2]);
        let mut members = Vec::new();
        self.check("group-join", |suite| {
            suite.produce_to(GROUP, 0, 150, &[])?;
            members.push(Member::join(suite)?);
            wait("all partitions to the only member", 30, || members[0].partitions() == all)?;
            suite.wait_seen(&members, 150)
        });
        self.check("group-rebalance", |suite| {
            members.push(Member::join(suite)?);
            wait("both have partitions", 40, || {
                let (a, b) = (members[0].partitions(), members[1].partitions());
                !a.is_empty() && !b.is_empty() && a.len() + b.len() == 3 && &a | &b == all
            })?;
            suite.produce_to(GROUP, 150, 150, &[])?;
            suite.wait_seen(&members, 300)
        });
        self.check("list-groups", |suite| {
            expect!(suite.group_state()?.is_some(), "not in the list");
            Ok(())
        });
        self.check("describe-group", |suite| {
            equal!(suite.group_state()?, Some(("Stable".to_owned(), 2)), "state and members");
            Ok(())
        });
        self.check("group-leave", |suite| {
            members[1].leave()?;
            wait("all partitions to the one that is left", 40, || members[0].partitions() == all)?;
            suite.produce_to(GROUP, 300, 150, &[])?;
            suite.wait_seen(&members, 450)
        });
        self.check("commit", |suite| {
            members[0].leave()?;
            let mut places = TopicPartitionList::new();
            places.add_partition_range(GROUP, 0, 2);
            let found = suite.consumer(&[("group.id", GROUP)])?.committed_offsets(places, SECONDS)?;
            let offsets: Vec<_> = found.elements().iter().map(|place| place.offset()).collect();
            equal!(offsets, [Offset::Offset(150); 3], "committed offsets");
            Ok(())
        });
        self.check("resume", |suite| {
            suite.produce_to(GROUP, 450, 50, &[])?;
            let mut member = Member::join(suite)?;
            wait("50 records", 30, || member.seen().len() >= 50)?;
            equal!(member.seen(), (450..500).collect(), "records after the commit");
            equal!(suite.delete_group()?, Err(RDKafkaErrorCode::NonEmptyGroup), "deleting a group with a member");
            member.leave()
        });
        self.check("delete-group", |suite| {
            equal!(suite.delete_group()?, Ok(()), "deleting it");
            equal!(suite.group_state()?, None, "the list");
            Ok(())
        });
    }

    fn delete_topic(&mut self) -> Outcome {
        for outcome in block_on(self.admin.delete_topics(&[RECORDS, GROUP], &self.options))? {
            outcome.map_err(|(topic, error)| format!("{topic}: {error}"))?;
        }
        eventually(|| {
            let found = self.topics()?;
            expect!(!found.contains_key(RECORDS) && !found.contains_key(GROUP), "still in the list");
            Ok(())
        })
    }
}

#[derive(Default)]
struct Seen {
    records: BTreeSet<usize>,
    partitions: BTreeSet<i32>,
}

/// One member of the group, on a thread of its own; it commits and leaves when told to.
struct Member {
    state: Arc<Mutex<Seen>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Member {
    fn join(suite: &Suite) -> Outcome<Member> {
        let consumer = suite.consumer(&[
            ("group.id", GROUP),
            ("auto.offset.reset", "earliest"),
            ("heartbeat.interval.ms", "500"),
            ("session.timeout.ms", "10000"),
        ])?;
        consumer.subscribe(&[GROUP])?;
        let (state, stopping) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (thread_state, thread_stopping) = (state.clone(), stopping.clone());
        let thread = std::thread::spawn(move || {
            while !thread_stopping.load(Ordering::Relaxed) {
                let record = consumer.poll(Duration::from_millis(100)).transpose()?;
                let mut seen = thread_state.lock().expect("no panic holds it");
                seen.records.extend(record.and_then(|record| index(record.payload()?)));
                seen.partitions = consumer.assignment()?.elements().iter().map(|place| place.partition()).collect();
            }
            Ok(consumer.commit_consumer_state(CommitMode::Sync)?)
        });
        Ok(Member { state, stopping, thread: Some(thread) })
    }

    fn seen(&self) -> BTreeSet<usize> {
        self.state.lock().expect("no panic holds it").records.clone()
    }

    fn partitions(&self) -> BTreeSet<i32> {
        self.state.lock().expect("no panic holds it").partitions.clone()
    }

    fn leave(&mut self) -> Outcome {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.take().ok_or("it has left")?.join().map_err(|_| "the member panicked")?
    }
}

fn main() -> Outcome {
    let mut suite = Suite::new(std::env::args().nth(1).ok_or("usage: rust-rdkafka-check HOST:PORT")?)?;
    suite.check("create-topic", Suite::create_topic);
    suite.check("describe-topic", Suite::describe_topic);
    suite.check("describe-configs", Suite::describe_configs);
    suite.check("alter-config", Suite::alter_config);
    suite.check("create-partitions", Suite::create_partitions);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        suite.check(&format!("produce-{codec}"), |suite| suite.produce(&[("compression.type", codec)]));
    }
    suite.check("produce-acks-1", |suite| suite.produce(&[("acks", "1")]));
    suite.check("produce-acks-0", |suite| suite.produce(&[("acks", "0")]));
    suite.check("produce-idempotent", |suite| suite.produce(&[("enable.idempotence", "true")]));
    suite.check("consume", Suite::consume);
    suite.check("offsets", Suite::offsets);
    suite.check("delete-records", Suite::delete_records);
    suite.groups();
    suite.check("delete-topic", Suite::delete_topic);
    std::process::exit(i32::from(suite.failed));
}
