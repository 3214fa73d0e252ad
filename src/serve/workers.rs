//! Threads for work that would hold requests up: loading, explaining, parsing and writing what is long.
//!
//! They are started with the server. None is started later, so that a system that gives no more threads refuses the
//! start, and does nothing to a server that runs.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::refusal::Refusal;
use crate::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// A bounded queue of work, and the threads that do it.
pub struct Workers {
    waiting: Mutex<Waiting>,
    has_jobs: Condvar,
    max_waiting: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Workers {
    /// Starts `count` threads of a name. At most `max_waiting` jobs wait for one of them.
    ///
    /// # Errors
    ///
    /// [`Error::Process`] where one cannot be started.
    pub fn start(name: &'static str, count: usize, max_waiting: usize) -> Result<Arc<Self>> {
        let workers = Arc::new(Self { waiting: Mutex::default(), has_jobs: Condvar::new(), max_waiting });
        for _ in 0..count {
            let worker = workers.clone();
            let started = thread::Builder::new().name(name.into()).spawn(move || worker.work());
            started.map_err(Error::thread(name)).inspect_err(|_| workers.close())?;
        }
        Ok(workers)
    }

    /// Adds a job; false where too many wait, or the threads are to end.
    pub fn push(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let mut waiting = self.waiting();
        if waiting.is_closed || waiting.jobs.len() >= self.max_waiting {
            return false;
        }
        waiting.jobs.push_back(Box::new(job));
        self.has_jobs.notify_one();
        true
    }

    /// Waits for the result of a job.
    ///
    /// # Errors
    ///
    /// 503 where too many wait, 500 where the job panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, result) = oneshot::channel();
        if !self.push(move || drop(reply.send(work()))) {
            return Err(Refusal::busy("too much work waits already: try again later"));
        }
        result.await.map_err(|_| Refusal::internal("the work failed, as the server's log says"))
    }

    /// Lets the threads end when nothing waits any more.
    pub fn close(&self) {
        self.waiting().is_closed = true;
        self.has_jobs.notify_all();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does jobs until the threads are to end. One that panics fails for its caller, and the thread stays.
    fn work(&self) {
        while let Some(job) = self.next() {
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if let Some(job) = waiting.jobs.pop_front() {
                return Some(job);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self.has_jobs.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_costs_no_thread_and_what_is_too_much_is_refused() {
        let workers = Workers::start("testing", 1, 1).unwrap();
        let failed = workers.run(|| -> u8 { panic!("this job fails") }).await;
        assert_eq!(failed.unwrap_err().status, 500);
        assert_eq!(workers.run(|| 7).await, Ok(7));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        assert!(workers.push(move || {
            begun.send(()).unwrap();
            let _ = wait.recv();
        }));
        begins.recv().unwrap();
        assert!(workers.push(|| ()), "one may wait");
        assert_eq!(workers.run(|| 8).await.unwrap_err().status, 503);
        drop(release);
        while workers.run(|| 9).await != Ok(9) {}
        workers.close();
        assert!(!workers.push(|| ()));
    }
}
