//! Starts a broker in this process, and ends it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelog_engine::io::{Io, IoFacts};
use corelog_engine::shard::{ShardId, Store, StoreConfig};
use corelog_engine::{Error, Result, TopicPartition};
use corelog_replication::NodeId;
use corelog_replication::metadata::meta_properties::FILE_NAME;
use corelog_replication::metadata::record::Endpoint;
use corelog_replication::metadata::{ClusterImage, METADATA_TOPIC, MetaProperties};
use uuid::Uuid;

use crate::broker::{Broker, ShardServer};
use crate::config::{EngineSettings, Listener, Settings};
use crate::controller::Controller;
use crate::metrics::MetricsEndpoint;
use crate::net;

/// How long a shutdown waits for connections to answer what they were asked.
const DRAIN_WAIT: Duration = Duration::from_secs(6);
/// `SecurityProtocol.PLAINTEXT`.
const PLAINTEXT: i16 = 0;

/// A broker that serves. Dropped, it goes on; [`Running::shutdown`] ends it.
pub struct Running {
    addrs: Vec<SocketAddr>,
    metrics: Option<MetricsEndpoint>,
    broker: Arc<Broker>,
}

impl Running {
    /// Where it listens: the first of `listeners`, with its port.
    pub fn addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// The same of all `listeners`, in their order.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Where it tells its metrics, if it does.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(MetricsEndpoint::addr)
    }

    /// The store that it serves.
    pub fn store(&self) -> &Store {
        &self.broker.store
    }

    /// Ends it: what was asked is answered, everything is written, the data directory is free. Blocks.
    ///
    /// # Errors
    /// The first fault of the store; what was acknowledged is safe all the same.
    pub fn shutdown(self) -> Result<()> {
        drop(self.metrics);
        self.broker.close();
        for shard in shards(&self.broker.store) {
            // A shard that is gone has no connections.
            let _ = self.broker.store.call_blocking(shard, |_| Box::pin(async { ShardServer::here().begin_drain() }));
        }
        for shard in shards(&self.broker.store) {
            let drained = |_| -> crate::join::LocalFuture<()> {
                Box::pin(async { ShardServer::here().drained(DRAIN_WAIT).await })
            };
            let _ = self.broker.store.call_blocking(shard, drained);
        }
        self.broker.store.close()
    }
}

fn shards(store: &Store) -> impl Iterator<Item = ShardId> + use<> {
    (0..store.shards()).map(ShardId)
}

/// Opens the store, replays the metadata, and serves. Blocks until clients can connect.
///
/// # Errors
/// Whatever keeps it from serving, with what to do about it.
pub fn serve(settings: Settings) -> Result<Running> {
    let addrs = settings.broker.listeners.iter().map(resolve).collect::<Result<Vec<SocketAddr>>>()?;
    let began = Instant::now();
    let store = Store::open(store_config(&settings.engine))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        data_dir = %settings.engine.dir.display(),
        partitions = store.partitions().len(),
        shards = store.shards(),
        ms = began.elapsed().as_millis() as u64,
        "the store is open",
    );
    let opened = store.clone();
    start(settings, store, addrs).inspect_err(|_| {
        // The first fault is the one to tell.
        let _ = opened.close();
    })
}

fn start(settings: Settings, store: Store, addrs: Vec<SocketAddr>) -> Result<Running> {
    let home = store.shard_of(&TopicPartition::new(METADATA_TOPIC, 0));
    let (dir, node) = (settings.engine.dir.clone(), settings.broker.node);
    let identity = {
        let dir = dir.clone();
        let is_fresh = store.partitions().is_empty();
        store.call_blocking(home, move |shard| {
            Box::pin(async move { identify(shard.io(), &dir, node, is_fresh).await })
        })??
    };
    let image = ClusterImage::new(identity.cluster_id.as_str());
    let published = Arc::new(image.clone());
    let log_bytes_max = settings.broker.metadata_log_bytes_max;
    let broker = Arc::new(Broker::new(store.clone(), settings, Controller::new(image, log_bytes_max), published));
    for shard in shards(&store) {
        let broker = broker.clone();
        store.call_blocking(shard, |shard| Box::pin(async move { drop(ShardServer::install(broker, shard)) }))?;
    }
    let bound = bind(&broker, &addrs)?;
    let endpoints = endpoints(&broker.settings, &bound);
    store.call_blocking(home, move |_| {
        Box::pin(async move { ShardServer::here().start_controller(endpoints, identity.directory).await })
    })??;
    for shard in shards(&store) {
        let facts = store.call_blocking(shard, |shard| {
            Box::pin(async move {
                net::accept(&ShardServer::here());
                shard.io().facts()
            })
        })?;
        let IoFacts { ring_mode, direct, registered_buffers, arena_bytes, huge_pages_bytes_granted, core, .. } = facts;
        let core = core.map_or("any".to_owned(), |core| core.to_string());
        tracing::info!(
            shard = shard.0,
            core,
            ?ring_mode,
            direct,
            registered_buffers,
            arena_bytes,
            huge_pages_bytes_granted,
            "a shard serves"
        );
    }
    let metrics =
        broker.settings.broker.metrics_listen.map(|addr| MetricsEndpoint::start(addr, broker.clone())).transpose()?;
    if let Some(endpoint) = &metrics {
        tracing::info!(addr = %endpoint.addr(), "metrics are served");
    }
    Ok(Running { addrs: bound, metrics, broker })
}

/// The data directory's identity, which a fresh one gets. One with partitions is somebody's: under another cluster id clients would
/// refuse it, or take it for what it is not.
async fn identify(io: &Io, dir: &Path, node: NodeId, is_fresh: bool) -> Result<MetaProperties> {
    let path = dir.join(FILE_NAME);
    if io.file_len(&path).await?.is_some() {
        let identity = MetaProperties::decode(&path, &io.read_file(&path).await?)?;
        identity.check_node(&path, node)?;
        return Ok(identity);
    }
    let identity = MetaProperties::new(node, || Uuid::new_v4().as_u128());
    if !is_fresh {
        return Err(Error::Unsupported {
            what: format!("{} has partitions but no {FILE_NAME}, which says whose they are", dir.display()),
            remedy: format!(
                "restore that file, or write it with the cluster.id that clients know; for a new cluster with these partitions: \
                 printf '{}' > '{}'",
                identity.encode().replace('\n', "\\n"),
                path.display()
            ),
        });
    }
    io.replace_file(&path, identity.encode().into_bytes()).await?;
    Ok(identity)
}

/// Binds every address on every shard; the addresses with their ports.
fn bind(broker: &Arc<Broker>, addrs: &[SocketAddr]) -> Result<Vec<SocketAddr>> {
    let mut bound = Vec::new();
    for (listener, &addr) in broker.settings.broker.listeners.iter().zip(addrs) {
        let unusable = |error: Error| Error::Setting {
            name: "listeners".into(),
            reason: format!("{error}; stop what listens there, or choose another address"),
        };
        // Alone first: two processes that both share a port would each get some of the clients. A port that the kernel picks is
        // nobody's, and stays so only as long as it is held.
        if addr.port() != 0 {
            let alone = broker.store.call_blocking(ShardId(0), move |shard| {
                Box::pin(async move { shard.io().listen(addr, false).await.map(drop) })
            })?;
            alone.map_err(unusable)?;
        }
        let mut addr = addr;
        for shard in shards(&broker.store) {
            let name = listener.name.clone();
            let here = broker.store.call_blocking(shard, move |_| {
                Box::pin(async move { net::bind(&ShardServer::here(), &name, addr).await })
            })?;
            addr = here.map_err(unusable)?;
        }
        bound.push(addr);
    }
    Ok(bound)
}

fn resolve(listener: &Listener) -> Result<SocketAddr> {
    let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
    let unresolved =
        |reason: String| Error::Setting { name: "listeners".into(), reason: format!("{listener}: {reason}") };
    let mut addrs = (host, listener.port).to_socket_addrs().map_err(|error| unresolved(error.to_string()))?;
    addrs.next().ok_or_else(|| unresolved("the host has no address".into()))
}

/// What clients are told of where to connect.
fn endpoints(settings: &Settings, bound: &[SocketAddr]) -> Vec<Endpoint> {
    let advertised = settings.broker.advertised.iter().zip(bound);
    let endpoints = advertised.map(|(advertised, addr)| Endpoint {
        listener: advertised.name.as_str().into(),
        host: advertised.host.clone().unwrap_or_else(machine_name).into(),
        port: advertised.port.unwrap_or(addr.port()),
        security_protocol: PLAINTEXT,
    });
    endpoints.collect()
}

fn machine_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".into())
}

fn store_config(engine: &EngineSettings) -> StoreConfig {
    let defaults = StoreConfig::new(&engine.dir);
    StoreConfig {
        shards: engine.cores.unwrap_or(defaults.shards),
        pin: engine.pin,
        journal_bytes: engine.journal_bytes,
        arena_bytes: engine.arena_bytes,
        cache_bytes: engine.cache_bytes,
        checkpoint_interval_ms: engine.checkpoint_interval_ms,
        recycle_bytes: engine.recycle_bytes,
        retention_check_ms: engine.retention_check_ms,
        producer_expiry_check_ms: engine.producer_expiry_check_ms,
        direct: engine.direct,
        ..defaults
    }
}
