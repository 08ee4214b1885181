//! The broker: what all its shards share, and what each shard has of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use corelog_engine::Result;
use corelog_engine::io::Io;
use corelog_engine::shard::{Shard, ShardId, Store};
use corelog_replication::NodeId;
use corelog_replication::metadata::ClusterImage;
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;

use crate::config::Settings;
use crate::config::resource::Dynamic;
use crate::controller::Controller;
use crate::fetch_sessions::FetchSessions;
use crate::groups::Groups;
use crate::leaders::Leaders;
use crate::metrics::ShardCounters;
use crate::net::{Bound, Connections, Memory, Seats};
use crate::producer_ids::ProducerIds;
use crate::telemetry::instances::Instances;

/// What all shards of a broker share.
pub(crate) struct Broker {
    pub(crate) store: Store,
    pub(crate) node: NodeId,
    pub(crate) settings: Settings,
    pub(crate) controller: Controller,
    pub(crate) connections: Connections,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) telemetry: Instances,
    image: ArcSwap<ClusterImage>,
    closing: AtomicBool,
}

impl Broker {
    /// A broker over an open store; `image` is what its controller has replayed so far.
    pub(crate) fn new(store: Store, settings: Settings, controller: Controller, image: Arc<ClusterImage>) -> Broker {
        Broker {
            store,
            node: settings.broker.node,
            connections: Connections::new(settings.broker.connection_limits.clone(), descriptors()),
            settings,
            controller,
            producer_ids: ProducerIds::default(),
            telemetry: Instances::default(),
            image: ArcSwap::new(image),
            closing: AtomicBool::new(false),
        }
    }

    /// The cluster as it is now. Not to be held across an await: what is true after it is looked up again.
    pub(crate) fn image(&self) -> Guard<Arc<ClusterImage>> {
        self.image.load()
    }

    /// Makes `image` what everyone sees.
    pub(crate) fn publish(&self, image: Arc<ClusterImage>) {
        let was = self.image.load();
        let (before, now) = (Dynamic::of(&was, self.node), Dynamic::of(&image, self.node));
        // The names of hosts are looked up for it, which takes time.
        if (before.broker, before.cluster) != (now.broker, now.cluster) {
            self.connections.limit(self.settings.connection_limits(now));
        }
        self.image.store(image);
    }

    /// Accepts nothing new from now on.
    pub(crate) fn close(&self) {
        self.closing.store(true, Release);
    }
}

/// What a shard has of the broker; lives on the shard's thread.
pub(crate) struct ShardServer {
    pub(crate) broker: Arc<Broker>,
    pub(crate) shard: Rc<Shard>,
    pub(crate) io: Io,
    pub(crate) leaders: Rc<Leaders>,
    pub(crate) sessions: FetchSessions,
    pub(crate) counters: ShardCounters,
    pub(crate) groups: Groups,
    /// Told when the broker shuts down: connections read no more, fetches wait no more.
    pub(crate) shutdown: Arc<Notify>,
    /// Connections of this shard, and told when one has ended.
    pub(crate) live: Cell<usize>,
    pub(crate) ended: Notify,
    pub(crate) memory: Memory,
    pub(crate) seats: Seats,
    /// Sockets bound and not yet accepted from.
    pub(crate) bound: RefCell<Vec<Bound>>,
}

thread_local! {
    static HERE: OnceCell<Rc<ShardServer>> = const { OnceCell::new() };
}

impl ShardServer {
    /// Makes this thread's shard serve for `broker`.
    pub(crate) fn install(broker: Arc<Broker>, shard: Rc<Shard>) -> Rc<ShardServer> {
        let leaders = Rc::new(Leaders::default());
        leaders.observe(&shard);
        let server = Rc::new(ShardServer {
            memory: Memory::new(broker.settings.broker.connection_bytes),
            counters: ShardCounters::new(),
            sessions: FetchSessions::new(
                broker.settings.broker.fetch_sessions_max,
                shard.id().0,
                broker.store.shards(),
            ),
            broker,
            io: shard.io().clone(),
            shard,
            leaders,
            groups: Groups::default(),
            shutdown: Arc::new(Notify::new()),
            live: Cell::new(0),
            ended: Notify::new(),
            seats: Seats::default(),
            bound: RefCell::default(),
        });
        HERE.with(|here| assert!(here.set(server.clone()).is_ok(), "a shard serves one broker"));
        server
    }

    /// The server of this thread's shard.
    pub(crate) fn here() -> Rc<ShardServer> {
        HERE.with(|here| here.get().expect("a shard's thread serves").clone())
    }

    /// Whether the broker shuts down.
    pub(crate) fn is_closing(&self) -> bool {
        self.broker.closing.load(Acquire)
    }

    /// Runs something on a shard: here, or by a message to its thread.
    ///
    /// # Errors
    /// The store is closed.
    pub(crate) async fn on<T, F>(
        self: &Rc<Self>,
        shard: ShardId,
        run: impl FnOnce(Rc<ShardServer>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        if shard == self.shard.id() {
            return Ok(run(self.clone()).await);
        }
        self.broker.store.call(shard, move |_| Box::pin(run(ShardServer::here()))).await
    }

    /// [`ShardServer::on`] for what must happen in the order of the calls: another shard's call is posted before the first
    /// await, however often the caller is polled.
    ///
    /// # Errors
    /// Too many calls wait for the shard; the store is closed.
    pub(crate) async fn in_order_on<T, F>(
        self: &Rc<Self>,
        shard: ShardId,
        run: impl FnOnce(Rc<ShardServer>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        if shard == self.shard.id() {
            return Ok(run(self.clone()).await);
        }
        self.broker.store.call_in_order(shard, move |_| Box::pin(run(ShardServer::here())))?.await
    }

    /// Tells this shard's connections and listeners of the end.
    pub(crate) fn begin_drain(&self) {
        self.bound.take();
        self.groups.close();
        self.shutdown.notify_waiters();
    }

    /// Returns when this shard's connections have ended, or `wait` is over.
    pub(crate) async fn drained(&self, wait: Duration) {
        let deadline = self.io.now() + wait;
        while self.live.get() > 0 {
            let ended = self.ended.notified();
            tokio::select! {
                () = ended => {}
                () = self.io.sleep_until(deadline) => return,
            }
        }
    }
}

/// How many descriptors this process may open.
fn descriptors() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}
