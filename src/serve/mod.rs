//! A scoring service: SageMaker's container and runtime API, and our own, over HTTP/1.1.
//!
//! The way of a request: [`listen`] bounds connections and their times, `routes` finds what is asked, `body` reads
//! within a budget, `wire`, `json_records` and `plain` know the formats, `queue` scores requests together, by the
//! path of every other verb ([`crate::Scorer`]). `models` swaps a model under requests that have begun.

mod access;
mod body;
mod event_stream;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod json_records;
mod limits;
mod listen;
mod metrics;
mod models;
mod openapi;
mod plain;
mod queue;
mod refusal;
mod routes;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use access::{Tokens, check_address, tls};
pub use limits::Limits;
pub use models::{AtStart, Models, Reloaded, Scoring};

use crate::{Error, Result};
use body::Budget;
use listen::{Connections, Endpoint};
use metrics::Metrics;
use queue::Queue;
use wire::Reading;

/// Connections for metrics and reloads, which are counted apart: a service that is full can be looked at.
const MAX_ADMIN_CONNECTIONS: usize = 32;

/// What a server tells its caller.
#[derive(Debug)]
pub enum ServeEvent<'a> {
    /// A model was loaded again, or was refused.
    Reloaded(&'a Reloaded),
    /// The folder of models could not be looked at.
    ReloadFailed(&'a Error),
    /// A request was answered, where that is asked for. Nothing of what it held is told.
    Request {
        /// Its method.
        method: axum::http::Method,
        /// The pattern of its path.
        route: &'static str,
        /// The status of the response.
        status: u16,
        /// From its head to the response.
        seconds: f64,
    },
    /// No connection is accepted any more; requests in flight are finished.
    Draining,
}

/// Told of what happens.
pub type OnEvent = Box<dyn Fn(ServeEvent<'_>) + Send + Sync>;

/// A service: its models and everything that its requests share.
pub struct Service {
    models: Models,
    limits: Limits,
    tokens: Tokens,
    log_requests: bool,
    on_event: OnEvent,
    queue: Queue,
    budget: Arc<Budget>,
    metrics: Metrics,
    explanations: Arc<Semaphore>,
    /// Turns to parse and write what is long.
    long_work: Semaphore,
    openapi: Bytes,
    is_draining: AtomicBool,
}

/// Where a server listens.
pub struct Listeners {
    /// For the service.
    pub service: TcpListener,
    /// For metrics and reloads.
    pub admin: Option<TcpListener>,
    /// For both.
    pub tls: Option<TlsAcceptor>,
}

impl Service {
    /// A service of models. `limits` were checked.
    pub fn new(
        models: Models,
        limits: Limits,
        tokens: Tokens,
        log_requests: bool,
        on_event: OnEvent,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Queue::new(limits.max_queue_records, limits.max_batch_records),
            budget: Budget::new(limits.max_queue_bytes),
            explanations: Arc::new(Semaphore::new(limits.max_explanations)),
            long_work: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
            openapi: openapi::document(&limits, models.has_several(), models.ip_syntax()).to_string().into(),
            is_draining: AtomicBool::new(false),
            metrics: Metrics::new(),
            models,
            limits,
            tokens,
            log_requests,
            on_event,
        })
    }

    /// How records are read.
    fn reading(&self) -> Reading<'_> {
        Reading { limits: &self.limits, ip_syntax: self.models.ip_syntax() }
    }

    /// Runs what is short here. What is long waits for its turn, and then runs where it holds no other request up.
    async fn long_if<T>(&self, is_long: bool, work: impl FnOnce() -> T) -> T {
        if !is_long {
            return work();
        }
        let _turn = self.long_work.acquire().await;
        block_in_place(work)
    }

    fn tell(&self, event: ServeEvent<'_>) {
        (self.on_event)(event);
    }

    /// Loads models again whose folders have changed, or all of them, and tells what came of it. One that is not fit
    /// is refused, and the one before it stays.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of models cannot be listed.
    pub fn reload(&self, all: bool) -> Result<Vec<Reloaded>> {
        let reloaded =
            self.models.reload(all).inspect_err(|error| self.tell(ServeEvent::ReloadFailed(error)))?;
        for one in &reloaded {
            let outcome = if one.outcome.is_ok() { "swapped" } else { "refused" };
            self.metrics.reloads.get_or_create(&metrics::Outcome { outcome }).inc();
            self.tell(ServeEvent::Reloaded(one));
        }
        Ok(reloaded)
    }

    /// Serves until `stop` comes, then finishes what is in flight, for at most [`Limits::drain_timeout`].
    /// `watch_interval` is how often folders are looked at for a change; never where it is `None`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the scoring thread cannot be started.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Listeners,
        watch_interval: Option<Duration>,
        stop: impl Future<Output = ()>,
    ) -> Result<()> {
        let scoring = self.clone();
        let scoring = std::thread::Builder::new()
            .name("scoring".into())
            .spawn(move || scoring.score_batches())
            .map_err(Error::io("start a thread of", "this process"))?;
        let (sender, stopped) = watch::channel(false);
        let connections = Connections::new(self.limits.max_connections, stopped.clone());
        let service = Endpoint {
            listener: listeners.service,
            tls: listeners.tls.clone(),
            router: routes::service(self.clone()),
        };
        tokio::spawn(listen::accept(service, self.clone(), connections.clone()));
        if let Some(listener) = listeners.admin {
            let admin = Endpoint { listener, tls: listeners.tls, router: routes::admin(self.clone()) };
            let connections = Connections::new(MAX_ADMIN_CONNECTIONS, stopped);
            tokio::spawn(listen::accept(admin, self.clone(), connections));
        }
        if let Some(interval) = watch_interval {
            tokio::spawn(watch_folders(self.clone(), interval));
        }
        stop.await;
        self.is_draining.store(true, Ordering::Relaxed);
        sender.send_replace(true);
        self.tell(ServeEvent::Draining);
        // Whoever has not finished by then is cut off.
        let _ = timeout(self.limits.drain_timeout, connections.closed()).await;
        self.queue.close();
        let _ = scoring.join();
        Ok(())
    }

    fn score_batches(&self) {
        self.queue.run(|batch| {
            self.metrics.batch_records.observe(batch.num_records as f64);
            self.metrics.batch_requests.observe(batch.num_requests as f64);
        });
    }
}

async fn watch_folders(service: Arc<Service>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let service = service.clone();
        let _ = tokio::task::spawn_blocking(move || service.reload(false)).await;
    }
}
