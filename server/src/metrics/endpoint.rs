//! The HTTP server for `/metrics` and `/healthz`, on a thread of its own: nobody who scrapes can hold up a shard for longer than
//! its counters take to be read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use corelog_engine::shard::ShardId;
use corelog_engine::{Error, Result};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::exposition::Samples;
use super::{gather, lag, process};
use crate::broker::{Broker, ShardServer};

/// Connections at once; more wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to ask.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// How long an answer may take before the shard counts as stuck.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// How long a shard may take to say that it is well.
const HEALTH_WAIT: Duration = Duration::from_secs(2);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The server; it ends when this is dropped.
pub(crate) struct MetricsEndpoint {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsEndpoint {
    /// Serves at `addr` (`corelog.metrics.listen`).
    pub(crate) fn start(addr: SocketAddr, broker: Arc<Broker>) -> Result<MetricsEndpoint> {
        let fault = |what| move |error| Error::io(what, Path::new(&addr.to_string()), None, error);
        let listener = std::net::TcpListener::bind(addr).map_err(fault("listen at"))?;
        let bound = listener.local_addr().map_err(fault("listen at"))?;
        listener.set_nonblocking(true).map_err(fault("listen at"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault("serve at"))?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("corelog-metrics".into());
        let thread = thread
            .spawn(move || {
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve(listener, broker) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(fault("start a thread for"))?;
        Ok(MetricsEndpoint { addr: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for MetricsEndpoint {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, broker: Arc<Broker>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metrics cannot be served"),
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no connection for metrics can be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let broker = broker.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let broker = broker.clone();
                async move { Ok::<_, Infallible>(answer(&broker, &request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT).keep_alive(true).max_buf_size(16 << 10);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection for metrics ended");
            }
            drop(place);
        });
    }
}

async fn answer(broker: &Arc<Broker>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match timeout(ANSWER_WAIT, metrics(broker)).await {
            Ok(text) => (StatusCode::OK, text),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n".into()),
        },
        (&Method::GET | &Method::HEAD, "/healthz") => match health(broker).await {
            Ok(()) => (StatusCode::OK, "ok\n".into()),
            Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "/metrics and /healthz are here\n".into()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(TEXT));
    response
}

async fn metrics(broker: &Arc<Broker>) -> String {
    let mut samples = Samples::default();
    process::gather(&mut samples);
    for shard in (0..broker.store.shards()).map(ShardId) {
        let here = broker.store.call(shard, |_| Box::pin(async { gather::gather(&ShardServer::here()) })).await;
        if let Ok(others) = here {
            samples.merge(others);
        }
    }
    let lag = broker.store.call(ShardId(0), |_| {
        Box::pin(async {
            let mut samples = Samples::default();
            lag::gather(&ShardServer::here(), &mut samples).await;
            samples
        })
    });
    if let Ok(others) = lag.await {
        samples.merge(others);
    }
    samples.text()
}

/// Whether every shard answers and can write.
async fn health(broker: &Arc<Broker>) -> std::result::Result<(), String> {
    for shard in 0..broker.store.shards() {
        let asked = broker.store.call(ShardId(shard), |shard| Box::pin(async move { shard.check() }));
        match timeout(HEALTH_WAIT, asked).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error)) | Err(error)) => return Err(format!("shard {shard}: {error}")),
            Err(_) => return Err(format!("shard {shard} does not answer")),
        }
    }
    Ok(())
}
