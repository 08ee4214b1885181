//! Topics on a broker: making one, waiting for its leaders, its offsets, removing it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Connection;
use super::wire::{
    CREATE_TOPICS, DELETE_TOPICS, FETCH, LIST_OFFSETS, METADATA, PRODUCE, Reader, Writer, check, error_name,
};

/// How long a new topic may take until every partition has a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(20);

/// The most partitions of a topic that are believed.
const PARTITIONS_MAX: usize = 1 << 20;

/// ListOffsets' names for the first offset and the end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A topic with the address of each partition's leader.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The leader's `HOST:PORT` by partition.
    pub leaders: Vec<String>,
}

impl Topic {
    /// Makes a topic, replacing one of the same name, and waits until every partition has a leader.
    pub fn create(
        bootstrap: &str,
        name: &str,
        partitions: i32,
        replication: i16,
        configs: &[(&str, String)],
    ) -> Result<Topic> {
        let mut connection = Connection::open(bootstrap)?;
        connection.require(&[PRODUCE, FETCH, LIST_OFFSETS, METADATA, CREATE_TOPICS])?;
        let mut controller = Connection::open(&controller_address(&mut connection)?)?;
        let began = Instant::now();
        loop {
            let code = create_once(&mut controller, name, partitions, replication, configs)?;
            match code {
                0 => break,
                36 if began.elapsed() < LEADERS_WITHIN => {
                    delete_once(&mut controller, name)?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                code => bail!("cannot create topic {name}: the broker says {} ({code})", error_name(code)),
            }
        }
        Topic::wait(&mut connection, name, partitions)
    }

    /// Removes the topic.
    pub fn delete(&self, bootstrap: &str) -> Result<()> {
        let mut connection = Connection::open(bootstrap)?;
        let mut controller = Connection::open(&controller_address(&mut connection)?)?;
        delete_once(&mut controller, &self.name)
    }

    fn wait(connection: &mut Connection, name: &str, partitions: i32) -> Result<Topic> {
        let began = Instant::now();
        loop {
            let metadata = Metadata::read(connection, Some(name))?;
            if metadata.leaders.len() == partitions as usize && metadata.leaders.iter().all(Option::is_some) {
                return Ok(Topic { name: name.to_owned(), leaders: metadata.leaders.into_iter().flatten().collect() });
            }
            if began.elapsed() > LEADERS_WITHIN {
                let led = metadata.leaders.iter().flatten().count();
                bail!("after {LEADERS_WITHIN:?} only {led} of {partitions} partitions of {name} have a leader");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The first offset and the end of every partition.
    pub fn offsets(&self) -> Result<Vec<(i64, i64)>> {
        let mut all = Vec::new();
        let mut open: Option<Connection> = None;
        for (partition, leader) in self.leaders.iter().enumerate() {
            if open.as_ref().is_none_or(|connection| connection.address() != leader) {
                open = Some(Connection::open(leader)?);
            }
            let connection = open.as_mut().expect("just opened");
            let mut one = |at| list_offset(connection, &self.name, partition as i32, at);
            all.push((one(EARLIEST)?, one(LATEST)?));
        }
        Ok(all)
    }
}

/// What Metadata says of the cluster and of one topic.
#[derive(Debug)]
struct Metadata {
    controller: Option<String>,
    leaders: Vec<Option<String>>,
}

impl Metadata {
    fn read(connection: &mut Connection, topic: Option<&str>) -> Result<Metadata> {
        let mut request = Writer::request(METADATA);
        match topic {
            Some(name) => request.i32(1).string(name),
            None => request.i32(0),
        };
        request.i8(0);
        let answer = connection.call(METADATA, request)?;
        let mut reader = Reader::new(&answer);
        reader.i32()?;
        let mut brokers = Vec::new();
        for _ in 0..reader.count()? {
            let id = reader.i32()?;
            let host = reader.string()?.context("a broker has no host")?;
            let port = reader.i32()?;
            reader.string()?;
            brokers.push((id, if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }));
        }
        let address = |id: i32| brokers.iter().find(|broker| broker.0 == id).map(|broker| broker.1.clone());
        reader.string()?;
        let controller = address(reader.i32()?);
        let mut leaders = Vec::new();
        for _ in 0..reader.count()? {
            reader.i16()?;
            reader.string()?;
            reader.i8()?;
            for _ in 0..reader.count()? {
                reader.i16()?;
                let index = usize::try_from(reader.i32()?).context("a partition has a negative index")?;
                let leader = address(reader.i32()?);
                for _ in 0..2 {
                    for _ in 0..reader.count()? {
                        reader.i32()?;
                    }
                }
                ensure!(index < PARTITIONS_MAX, "partition {index} is one too many");
                if index >= leaders.len() {
                    leaders.resize(index + 1, None);
                }
                leaders[index] = leader;
            }
        }
        Ok(Metadata { controller, leaders })
    }
}

fn controller_address(connection: &mut Connection) -> Result<String> {
    Ok(Metadata::read(connection, None)?.controller.unwrap_or_else(|| connection.address().to_owned()))
}

fn create_once(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    replication: i16,
    configs: &[(&str, String)],
) -> Result<i16> {
    let mut request = Writer::request(CREATE_TOPICS);
    request.i32(1).string(name).i32(partitions).i16(replication).i32(0);
    request.i32(configs.len() as i32);
    for (key, value) in configs {
        request.string(key).string(value);
    }
    request.i32(20_000).i8(0);
    let answer = connection.call(CREATE_TOPICS, request)?;
    let mut reader = Reader::new(&answer);
    reader.i32()?;
    reader.count()?;
    reader.string()?;
    let code = reader.i16()?;
    let message = reader.string()?;
    if let Some(message) = message.filter(|_| code != 0 && code != 36) {
        bail!("cannot create topic {name}: the broker says {} ({code}): {message}", error_name(code));
    }
    Ok(code)
}

fn delete_once(connection: &mut Connection, name: &str) -> Result<()> {
    let mut request = Writer::request(DELETE_TOPICS);
    request.i32(1).string(name).i32(20_000);
    let answer = connection.call(DELETE_TOPICS, request)?;
    let mut reader = Reader::new(&answer);
    reader.i32()?;
    reader.count()?;
    reader.string()?;
    check(reader.i16()?, &format!("cannot delete topic {name}"))
}

fn list_offset(connection: &mut Connection, topic: &str, partition: i32, at: i64) -> Result<i64> {
    let mut request = Writer::request(LIST_OFFSETS);
    request.i32(-1).i8(0).i32(1).string(topic).i32(1).i32(partition).i64(at);
    let answer = connection.call(LIST_OFFSETS, request)?;
    let mut reader = Reader::new(&answer);
    reader.i32()?;
    reader.count()?;
    reader.string()?;
    reader.count()?;
    reader.i32()?;
    check(reader.i16()?, &format!("cannot list the offsets of {topic}-{partition}"))?;
    reader.i64()?;
    reader.i64()
}
