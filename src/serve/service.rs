//! What the requests of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::access::Access;
use super::body::{self, Budget, Held, Share};
use super::decode::Coding;
use super::limits::Limits;
use super::loaded::ServedModel;
use super::memory;
use super::metrics::{self, Metrics};
use super::models::{Models, Reloaded};
use super::openapi;
use super::queue::Queue;
use super::reading::Reading;
use super::refusal::Refusal;
use super::workers::Workers;
use crate::{Error, Result};

/// Reloads and requests for models that may wait for the thread that loads.
const MAX_LOADS_WAITING: usize = 64;

/// What a server reports to its caller.
#[derive(Debug)]
pub enum ServeEvent<'a> {
    /// A model was loaded again, or was refused.
    Reloaded(&'a Reloaded),
    /// The folder of models could not be looked at.
    ReloadFailed(&'a Error),
    /// Tokens, certificate and key were read again.
    AccessReloaded,
    /// One of these files could not be read again: what was in force stays.
    AccessRefused(&'a Error),
    /// A signal asked for a reload while as many wait as may.
    ReloadDropped,
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

/// What a service does beside scoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Report each request.
    pub log_requests: bool,
    /// List, load and unload models on the service's address, and not on the operator's alone.
    pub manages_models: bool,
}

/// A service: its models and everything that its requests share.
pub struct Service {
    pub(super) models: Models,
    pub(super) limits: Limits,
    pub(super) access: Access,
    pub(super) options: ServiceOptions,
    on_event: OnEvent,
    pub(super) queue: Arc<Queue>,
    pub(super) budget: Arc<Budget>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) explanations: Arc<Semaphore>,
    /// The thread that reads models.
    pub(super) loading: Arc<Workers>,
    /// Those that parse and write what is long.
    working: Arc<Workers>,
    pub(super) explaining: Arc<Workers>,
    pub(super) openapi: Bytes,
    is_draining: AtomicBool,
}

impl Service {
    /// A service of models, with its threads. `limits` were checked.
    ///
    /// # Errors
    ///
    /// [`Error::Process`] where a thread cannot be started, [`Error::Device`] where the process may not have the memory that
    /// the limits promise to requests.
    pub fn start(
        models: Models,
        limits: Limits,
        access: Access,
        options: ServiceOptions,
        on_event: OnEvent,
    ) -> Result<Arc<Self>> {
        let queue = Arc::new(Queue::new(limits.max_queue_records, limits.max_batch_records));
        let metrics = Arc::new(Metrics::new());
        start_scoring(queue.clone(), metrics.clone())?;
        let num_cores = thread::available_parallelism().map_or(1, usize::from);
        let (has_several, addresses) = (models.has_several(), models.addresses());
        let openapi = openapi::document(&limits, has_several, options.manages_models, addresses);
        let service = Arc::new(Self {
            queue,
            metrics,
            budget: Budget::new(limits.max_queue_bytes),
            explanations: Arc::new(Semaphore::new(limits.max_explanations)),
            loading: Workers::start("loading", 1, MAX_LOADS_WAITING)?,
            // What waits holds its share of the budget, which bounds it.
            working: Workers::start("working", num_cores, usize::MAX)?,
            explaining: Workers::start("explaining", limits.max_explanations, usize::MAX)?,
            openapi: openapi.to_string().into(),
            is_draining: AtomicBool::new(false),
            models,
            limits,
            access,
            options,
            on_event,
        });
        memory::check(&service.limits, service.models.copied_bytes())?;
        Ok(service)
    }

    /// How records for a model are read.
    pub(super) fn reading(&self, model: &ServedModel) -> Reading<'_> {
        Reading { limits: &self.limits, addresses: model.addresses }
    }

    /// Runs what is short here. What is long waits for its turn, and then runs where it holds no other request up; its
    /// share of the budget is taken until then, even where its client goes away.
    ///
    /// # Errors
    ///
    /// 500 where the work panicked.
    pub(super) async fn long_if<T: Send + 'static>(
        &self,
        is_long: bool,
        share: &Share,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        if !is_long {
            return Ok(work());
        }
        let share = share.clone();
        self.working
            .run(move || {
                let _share = share;
                work()
            })
            .await
    }

    /// Reads a body to its end, and decodes it where `Content-Encoding` says so.
    ///
    /// # Errors
    ///
    /// Those of [`body::read`] and of [`Coding`].
    pub(super) async fn read_body(
        self: &Arc<Self>,
        body: Body,
        headers: &HeaderMap,
    ) -> Result<Held, Refusal> {
        let coding = Coding::of(headers)?;
        let held = body::read(body, headers, &self.limits, &self.budget).await?;
        let Some(coding) = coding else { return Ok(held) };
        let (service, share) = (self.clone(), held.share.clone());
        // A short body may be long when it is decoded.
        let decode = move || coding.decode(&held, &service.limits);
        let bytes = self.long_if(true, &share, decode).await??;
        Ok(Held { bytes, share })
    }

    pub(super) fn report(&self, event: ServeEvent<'_>) {
        (self.on_event)(event);
    }

    /// Reads tokens, certificate and key again, then the models, on the threads that do so: the work of a signal.
    pub fn request_reload(self: &Arc<Self>) {
        let (access, models) = (self.clone(), self.clone());
        let is_taken = self.working.push(move || drop(access.reload_access()));
        if !self.loading.push(move || drop(models.reload(true))) || !is_taken {
            self.report(ServeEvent::ReloadDropped);
        }
    }

    /// Reads the files again that say who may ask, and reports the outcome. The first error is returned.
    pub(super) fn reload_access(&self) -> Result<()> {
        let errors = self.access.reload();
        for error in &errors {
            self.report(ServeEvent::AccessRefused(error));
        }
        if errors.is_empty() && self.access.has_files() {
            self.report(ServeEvent::AccessReloaded);
        }
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// [`Service::reload_access`], where it holds no request up.
    ///
    /// # Errors
    ///
    /// 500 where it panicked.
    pub(super) async fn reload_access_there(self: &Arc<Self>) -> Result<Result<()>, Refusal> {
        let service = self.clone();
        self.working.run(move || service.reload_access()).await
    }

    /// Loads models again whose folders have changed, or all of them, and reports each outcome. One that is not fit
    /// is refused, and the one before it stays. The work of the thread that loads.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder of models cannot be listed.
    pub(super) fn reload(&self, all: bool) -> Result<Vec<Reloaded>> {
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

    /// Lets the threads end.
    pub(super) fn close(&self) {
        self.queue.close();
        for workers in [&self.loading, &self.working, &self.explaining] {
            workers.close();
        }
    }
}

/// Starts the thread that scores batches until the queue is closed.
fn start_scoring(queue: Arc<Queue>, metrics: Arc<Metrics>) -> Result<()> {
    const SCORING: &str = "scoring";
    let score = move || {
        queue.run(|batch| {
            metrics.batch_records.observe(batch.num_records as f64);
            metrics.batch_requests.observe(batch.num_requests as f64);
        });
    };
    thread::Builder::new().name(SCORING.into()).spawn(score).map(drop).map_err(Error::thread(SCORING))
}
