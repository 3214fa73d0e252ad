//! What the requests of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Method;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

use super::access::Tokens;
use super::body::Budget;
use super::limits::Limits;
use super::metrics::{self, Metrics};
use super::models::{Models, Reloaded, ServedModel};
use super::openapi;
use super::queue::Queue;
use super::reading::Reading;
use crate::{Error, Result};

/// What a server reports to its caller.
#[derive(Debug)]
pub enum ServeEvent<'a> {
    /// A model was loaded again, or was refused.
    Reloaded(&'a Reloaded),
    /// The folder of models could not be looked at.
    ReloadFailed(&'a Error),
    /// A request was answered, where that is asked for. Nothing of its body is reported.
    Request {
        /// Its method.
        method: Method,
        /// The pattern of its path.
        route: &'a str,
        /// The status of the response.
        status: u16,
        /// From its head to the response.
        seconds: f64,
    },
    /// No connection is accepted any more; requests in flight are finished.
    Draining,
}

/// Receives what happens.
pub type OnEvent = Box<dyn Fn(ServeEvent<'_>) + Send + Sync>;

/// A service: its models and everything that its requests share.
pub struct Service {
    pub(super) models: Models,
    pub(super) limits: Limits,
    pub(super) tokens: Tokens,
    pub(super) log_requests: bool,
    on_event: OnEvent,
    pub(super) queue: Queue,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Metrics,
    pub(super) explanations: Arc<Semaphore>,
    /// Turns to parse and write what is long.
    long_work: Semaphore,
    pub(super) openapi: Bytes,
    is_draining: AtomicBool,
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
            openapi: openapi::document(&limits, models.has_several(), models.addresses()).to_string().into(),
            is_draining: AtomicBool::new(false),
            metrics: Metrics::new(),
            models,
            limits,
            tokens,
            log_requests,
            on_event,
        })
    }

    /// How records for a model are read.
    pub(super) fn reading(&self, model: &ServedModel) -> Reading<'_> {
        Reading { limits: &self.limits, addresses: model.addresses }
    }

    /// Runs what is short here. What is long waits for its turn, and then runs where it holds no other request up.
    pub(super) async fn long_if<T>(&self, is_long: bool, work: impl FnOnce() -> T) -> T {
        if !is_long {
            return work();
        }
        let _turn = self.long_work.acquire().await;
        block_in_place(work)
    }

    pub(super) fn report(&self, event: ServeEvent<'_>) {
        (self.on_event)(event);
    }

    /// Loads models again whose folders have changed, or all of them, and reports each outcome. One that is not fit
    /// is refused, and the one before it stays.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of models cannot be listed.
    pub fn reload(&self, all: bool) -> Result<Vec<Reloaded>> {
        let reloaded =
            self.models.reload(all).inspect_err(|error| self.report(ServeEvent::ReloadFailed(error)))?;
        for one in &reloaded {
            let outcome = if one.outcome.is_ok() { "swapped" } else { "refused" };
            self.metrics.reloads.get_or_create(&metrics::Outcome { outcome }).inc();
            self.report(ServeEvent::Reloaded(one));
        }
        Ok(reloaded)
    }

    /// From now on every response says that it is the last of its connection.
    pub(super) fn begin_draining(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Scores what waits, until the queue is closed: the work of one thread.
    pub(super) fn score_batches(&self) {
        self.queue.run(|batch| {
            self.metrics.batch_records.observe(batch.num_records as f64);
            self.metrics.batch_requests.observe(batch.num_requests as f64);
        });
    }
}
