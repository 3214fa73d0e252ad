//! Requests wait here to be scored together.
//!
//! No request waits for others: a small one is scored at once on its own thread where nothing else is being
//! scored, and else goes into the next batch, which starts when the one before it ends. A batch is bounded, so that
//! takes about a millisecond on two cores. What is past the bounds is refused at once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use tokio::sync::oneshot;

use super::loaded::ServedModel;
use super::refusal::Refusal;
use crate::{Event, Result};

/// A request of at most so many records is scored where it is if nothing waits: handing it to another thread would
/// take longer than its scores.
const MAX_RECORDS_AT_ONCE: usize = 64;

/// A bounded queue and the turn to score.
pub struct Queue {
    waiting: Mutex<Waiting>,
    has_jobs: Condvar,
    /// Held while scoring.
    turn: Mutex<()>,
    num_records: Arc<AtomicUsize>,
    max_records: usize,
    max_batch_records: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

struct Job {
    model: Arc<ServedModel>,
    events: Vec<Event>,
    reply: oneshot::Sender<Result<Vec<f32>>>,
    /// Kept by the job: a client that goes away makes no room before its records are out of the queue.
    _room: Room,
}

/// The size of a batch, for the metrics.
pub struct Batch {
    pub num_requests: usize,
    pub num_records: usize,
}

impl Queue {
    /// `max_records` may wait, `max_batch_records` are scored together.
    pub fn new(max_records: usize, max_batch_records: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            has_jobs: Condvar::new(),
            turn: Mutex::new(()),
            num_records: Arc::default(),
            max_records,
            max_batch_records,
        }
    }

    /// Records that wait or are being scored.
    pub fn num_records(&self) -> usize {
        self.num_records.load(Ordering::Relaxed)
    }

    /// The scores of events, in their order.
    ///
    /// # Errors
    ///
    /// 503 where too many records wait, 424 where the model gives no score.
    pub async fn score(
        &self,
        model: &Arc<ServedModel>,
        events: Vec<Event>,
    ) -> std::result::Result<Vec<f32>, Refusal> {
        let scores = match self.score_at_once(model, &events) {
            Some(scores) => scores,
            None => {
                let _room = self.room_for(events.len())?;
                let (reply, scores) = oneshot::channel();
                self.push(Job { model: model.clone(), events, reply, _room });
                scores.await.map_err(|_| self.dropped())?
            }
        };
        scores.map_err(|error| Refusal::model_error(&error))
    }

    /// Why a job came to no result.
    fn dropped(&self) -> Refusal {
        match self.waiting().is_closed {
            true => Refusal::busy("the server is stopping"),
            false => Refusal::internal("the scoring failed, as the server's log says"),
        }
    }

    fn score_at_once(&self, model: &ServedModel, events: &[Event]) -> Option<Result<Vec<f32>>> {
        if events.len() > MAX_RECORDS_AT_ONCE || self.num_records() > 0 {
            return None;
        }
        match self.turn.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            _turn => Some(model.scores(events)),
        }
    }

    /// Room for records until the result is dropped.
    fn room_for(&self, num_records: usize) -> std::result::Result<Room, Refusal> {
        let before = self.num_records.fetch_add(num_records, Ordering::Relaxed);
        let room = Room { of_queue: self.num_records.clone(), num_records };
        if before + num_records > self.max_records {
            return Err(Refusal::busy(format!("{before} records wait already: try again later")));
        }
        Ok(room)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut waiting = self.waiting();
        // A job that is dropped closes its channel, so that its request ends.
        if !waiting.is_closed {
            waiting.jobs.push_back(job);
            self.has_jobs.notify_one();
        }
    }

    /// Scores batches until the queue is closed: the work of one thread. `on_batch` is called after each.
    pub fn run(&self, on_batch: impl Fn(Batch)) {
        while let Some(jobs) = self.next_batch() {
            if jobs.is_empty() {
                continue;
            }
            let num_records = jobs.iter().map(|job| job.events.len()).sum();
            let batch = Batch { num_requests: jobs.len(), num_records };
            {
                let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
                // What panics fails for these requests, and the thread stays.
                let _ = catch_unwind(AssertUnwindSafe(|| score(jobs)));
            }
            on_batch(batch);
        }
    }

    /// The next jobs of one model, the oldest first; `None` when the queue is closed and empty.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut waiting = self.waiting();
        while waiting.jobs.is_empty() {
            if waiting.is_closed {
                return None;
            }
            waiting = self.has_jobs.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let mut jobs: Vec<Job> = Vec::new();
        let mut num_records = 0;
        while let Some(job) = waiting.jobs.front() {
            let fits = num_records + job.events.len() <= self.max_batch_records;
            if jobs.first().is_some_and(|first| !fits || !Arc::ptr_eq(&first.model, &job.model)) {
                break;
            }
            num_records += job.events.len();
            // Nobody scores for a client that has gone.
            jobs.extend(waiting.jobs.pop_front().filter(|job| !job.reply.is_closed()));
        }
        Some(jobs)
    }

    /// Lets [`Queue::run`] end when nothing waits any more.
    pub fn close(&self) {
        self.waiting().is_closed = true;
        self.has_jobs.notify_all();
    }
}

/// Records that count as waiting.
struct Room {
    of_queue: Arc<AtomicUsize>,
    num_records: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of_queue.fetch_sub(self.num_records, Ordering::Relaxed);
    }
}

/// Scores jobs of one model together. A request that has gone away is no reason to stop.
fn score(mut jobs: Vec<Job>) {
    if let [job] = &mut jobs[..] {
        let scores = job.model.scores(&job.events);
        let _ = jobs.remove(0).reply.send(scores);
        return;
    }
    let events: Vec<Event> = jobs.iter().flat_map(|job| job.events.iter().copied()).collect();
    match jobs[0].model.scores(&events) {
        Ok(scores) => {
            let mut scores = scores.into_iter();
            for job in jobs {
                let own = scores.by_ref().take(job.events.len()).collect();
                let _ = job.reply.send(Ok(own));
            }
        }
        // The error is of one request: each is scored alone and gets its own result.
        Err(_) => jobs.into_iter().for_each(|job| {
            let scores = job.model.scores(&job.events);
            let _ = job.reply.send(scores);
        }),
    }
}
