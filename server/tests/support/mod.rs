//! A broker in this process and a client of a few lines, over the protocol layer that the broker itself uses.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::batch::{BatchBuilder, Codec};
use corelog_engine::{Offset, Timestamp, TopicId};
use corelog_server::config::{Given, Settings};
use corelog_server::protocol::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopics, CreateTopicsRequest,
};
use corelog_server::protocol::fetch::{Fetch, FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use corelog_server::protocol::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigs, IncrementalAlterConfigsRequest,
};
use corelog_server::protocol::metadata::{Metadata, MetadataRequest, MetadataRequestTopic};
use corelog_server::protocol::produce::{
    PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest, TopicProduceData,
};
use corelog_server::protocol::{Api, ErrorCode, Text, decode_response, encode_request};
use corelog_server::{Running, serve};

/// How long a test waits for an answer before it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A produce version with topic names, and one with ids.
pub const BY_NAME: i16 = 12;

/// A broker on a directory of its own.
pub struct TestBroker {
    running: Option<Running>,
    pub dir: tempfile::TempDir,
    options: Vec<(String, String)>,
}

impl TestBroker {
    /// Starts one with these settings.
    pub fn start(options: &[(&str, &str)]) -> TestBroker {
        let options = options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let mut broker = TestBroker { running: None, dir: tempfile::tempdir().expect("a directory"), options };
        broker.restart();
        broker
    }

    /// Ends it cleanly, if it runs, and starts it on the same directory.
    pub fn restart(&mut self) {
        self.stop();
        self.running = Some(serve(settings(self.dir.path(), &self.options)).expect("the broker starts"));
    }

    /// Ends it cleanly.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().expect("a clean end");
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").addr()
    }

    /// Where it tells its metrics (`corelog.metrics.listen`).
    pub fn metrics_addr(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").metrics_addr().expect("it tells its metrics")
    }

    /// Where it listens by each of its `listeners`.
    pub fn addrs(&self) -> &[SocketAddr] {
        self.running.as_ref().expect("it runs").addrs()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Small settings, since many brokers run at once.
pub fn settings(dir: &Path, options: &[(String, String)]) -> Settings {
    let mut given = vec![
        Given::from_flag("test", "log.dirs", dir.join("data").to_string_lossy()),
        Given::from_flag("test", "listeners", "PLAINTEXT://127.0.0.1:0"),
        Given::from_flag("test", "corelog.cores", "2"),
        Given::from_flag("test", "corelog.pin", "false"),
        Given::from_flag("test", "corelog.arena.bytes", "16777216"),
        Given::from_flag("test", "corelog.cache.bytes", "8388608"),
        Given::from_flag("test", "corelog.journal.bytes", "8388608"),
    ];
    given.extend(options.iter().map(|(key, value)| Given::from_flag("test", key, value)));
    Settings::new(&given).expect("good settings")
}

/// A client: one connection, one request after the other or many at once.
pub struct Client {
    pub stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Client { stream, correlation_id: 0 }
    }

    /// A client over another handle of a connection, counting from the start.
    pub fn over(stream: TcpStream) -> Client {
        Client { stream, correlation_id: 0 }
    }

    /// Sends a request; its correlation id.
    pub fn send<A: Api>(&mut self, version: i16, request: &A::Request) -> i32 {
        self.correlation_id += 1;
        let frame = encode_request::<A>(self.correlation_id, "test", version, request);
        self.stream.write_all(&frame.to_bytes()).expect("the connection is open");
        self.correlation_id
    }

    /// The next frame, without its length; an error at the end of the connection.
    pub fn receive_frame(&mut self) -> io::Result<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// The next answer and its correlation id.
    pub fn receive<A: Api>(&mut self, version: i16) -> (i32, A::Response) {
        let frame = self.receive_frame().expect("an answer");
        decode_response::<A>(frame, version).expect("a good answer")
    }

    /// Sends a request and waits for its answer.
    pub fn call<A: Api>(&mut self, version: i16, request: &A::Request) -> A::Response {
        let sent = self.send::<A>(version, request);
        let (correlation_id, response) = self.receive::<A>(version);
        assert_eq!(correlation_id, sent);
        response
    }

    /// Whether the broker has closed the connection; waits for it.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte) {
                Ok(len) => return len == 0,
                // A process that was stopped for a while is told so.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Creates a topic; its id.
    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: Text::from(*name), value: Some(Text::from(*value)) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.call::<CreateTopics>(7, &request);
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{:?}", response.topics[0].error_message);
        response.topics[0].topic_id
    }

    /// Sets one setting of a topic, or of all brokers where `topic` is `None`, while it is served.
    pub fn set(&mut self, topic: Option<&str>, key: &str, value: &str) {
        const TOPIC: i8 = 2;
        const BROKER: i8 = 4;
        let configs = vec![AlterableConfig { name: key.into(), value: Some(value.into()), ..Default::default() }];
        let resource_type = if topic.is_some() { TOPIC } else { BROKER };
        let resource = AlterConfigsResource { resource_type, resource_name: topic.unwrap_or("").into(), configs };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let response = self.call::<IncrementalAlterConfigs>(1, &request).responses.remove(0);
        assert_eq!(response.error_code, ErrorCode::NONE, "{key}={value}: {:?}", response.error_message);
    }

    /// Produces one batch with `acks=-1`.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: impl Into<Bytes>) -> PartitionProduceResponse {
        let request = produce_request(topic, partition, batch, -1);
        let mut response = self.call::<Produce>(BY_NAME, &request);
        response.responses.remove(0).partition_responses.remove(0)
    }

    /// Fetches from one partition, without waiting.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        only(self.call::<Fetch>(12, &fetch_request(topic, partition, offset)))
    }

    /// The metadata of a topic, which is not created.
    pub fn metadata(&mut self, topic: &str) -> corelog_server::protocol::metadata::MetadataResponseTopic {
        let wanted = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request =
            MetadataRequest { topics: Some(vec![wanted]), allow_auto_topic_creation: false, ..Default::default() };
        self.call::<Metadata>(13, &request).topics.remove(0)
    }
}

/// A produce request of one batch, by topic name.
pub fn produce_request(topic: &str, partition: i32, batch: impl Into<Bytes>, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(batch.into()) };
    ProduceRequest {
        acks,
        timeout_ms: 60_000,
        topic_data: vec![TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() }],
        ..Default::default()
    }
}

/// A fetch request of one partition that does not wait, by topic name.
pub fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let wanted = FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    FetchRequest {
        max_bytes: 50 << 20,
        topics: vec![FetchTopic { topic: topic.into(), partitions: vec![wanted], ..Default::default() }],
        ..Default::default()
    }
}

/// The only partition of a fetch response.
pub fn only(mut response: FetchResponse) -> PartitionData {
    assert_eq!((response.error_code, response.responses.len()), (ErrorCode::NONE, 1));
    response.responses.remove(0).partitions.remove(0)
}

/// Status line and body of a GET.
pub fn get(addr: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    (head.lines().next().expect("a line").to_string(), body.to_string())
}

/// The sum of the samples of a family of metrics that have these labels.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    });
    samples.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    loop {
        // Looked at before: what is so when a machine goes on that stood still is so.
        let is_late = began.elapsed() >= PATIENCE;
        if is_so() {
            return;
        }
        assert!(!is_late, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Now, in milliseconds.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

/// A batch of records with these values and no keys, of now.
pub fn batch(values: &[&str]) -> Vec<u8> {
    timed_batch(Codec::None, &values.iter().map(|value| (now(), *value)).collect::<Vec<_>>())
}

/// A batch of records with these times and values.
pub fn timed_batch(codec: Codec, records: &[(i64, &str)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for (time, value) in records {
        builder.push(Timestamp(*time), None, Some(value.as_bytes()), &[]);
    }
    builder.build(Offset::ZERO)
}

/// Offsets and values of the records in a fetched partition.
pub fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.as_ref().map(|records| records.to_bytes()).unwrap_or_default();
    let mut values = Vec::new();
    for found in corelog_engine::batch::scan(&bytes) {
        let (position, header) = found.expect("whole batches");
        let batch = &bytes[position..position + header.size_bytes()];
        assert!(corelog_engine::batch::verify_crc(batch));
        for record in corelog_engine::batch::records(batch, 64 << 20).expect("records").iter() {
            let record = record.expect("a record");
            let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
            values.push((record.offset.0, value));
        }
    }
    values
}

/// CRC-32C, bit by bit: the tests have no crate for it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
