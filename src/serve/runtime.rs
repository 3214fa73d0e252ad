//! The threads of a server, each started or refused at its start.

use std::io;
use std::panic::{UnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use burn::tensor::Tensor;
use tokio::runtime::{Builder, Runtime};

use crate::device::ComputeDevice;
use crate::tensors::read_floats;
use crate::{Error, Result};

/// The name of the runtime's threads in errors.
const ANSWERING: &str = "answering";

/// How long started threads may take to run, on a machine that has little time for them.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the threads that multiply matrices, and the runtime. The program has started rayon's threads before. To be called
/// while nothing else runs: panics for want of a thread are errors, and print nothing.
///
/// # Errors
///
/// [`Error::Process`] where the system gives too few threads.
pub fn runtime(device: &ComputeDevice) -> Result<Runtime> {
    start_multiplying(device)?;
    let count = thread::available_parallelism().map_or(1, usize::from);
    probe(count)?;
    let started = Arc::new((Mutex::new(0), Condvar::new()));
    let counter = started.clone();
    // It panics where not even one thread can be started, and starts fewer than it was asked for where it can start one:
    // what nobody runs would wait for ever.
    let built = quietly(|| {
        Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(ANSWERING)
            .enable_all()
            .on_thread_start(move || {
                *counter.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                counter.1.notify_all();
            })
            .build()
    });
    let runtime = built.unwrap_or_else(|| Err(no_thread())).map_err(Error::thread(ANSWERING))?;
    let running = started.0.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = started.1.wait_timeout_while(running, START_TIMEOUT, |running| *running < count);
    let (running, _) = wait.unwrap_or_else(PoisonError::into_inner);
    match *running < count {
        true => {
            drop(running);
            runtime.shutdown_background();
            Err(Error::thread(ANSWERING)(no_thread()))
        }
        false => Ok(runtime),
    }
}

/// Starts the threads of the crate that multiplies matrices on the CPU, which are started by the first product, and of
/// which one that cannot be started is a panic.
fn start_multiplying(device: &ComputeDevice) -> Result<()> {
    if !device.is_cpu() {
        return Ok(());
    }
    let device = device.device.clone();
    let product = quietly(move || {
        let ones = || Tensor::<2>::ones([16, 16], &device);
        read_floats(ones().matmul(ones()))
    });
    match product {
        Some(product) => product.map(drop),
        None => Err(Error::thread("multiplying")(no_thread())),
    }
}

/// The result of work; `None`, with nothing on stderr, where it panics.
fn quietly<T>(work: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let result = catch_unwind(work);
    set_hook(hook);
    result.ok()
}

fn no_thread() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

/// Starts as many threads as the runtime is to have, all at once, and ends them: a runtime does not say that it has fewer.
fn probe(count: usize) -> Result<()> {
    let before = num_threads();
    let mut senders = Vec::new();
    let mut threads = Vec::new();
    let mut refused = None;
    for _ in 0..count {
        let (sender, ended) = mpsc::channel::<()>();
        match thread::Builder::new().name(ANSWERING.into()).spawn(move || {
            let _ = ended.recv();
        }) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
        senders.push(sender);
    }
    drop(senders);
    for thread in threads {
        let _ = thread.join();
    }
    // A thread that was joined counts for a moment yet.
    for _ in 0..1000 {
        if num_threads() <= before {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    refused.map_or(Ok(()), |error| Err(Error::thread(ANSWERING)(error)))
}

/// Threads of this process, as the system counts them; 0 where it does not say.
fn num_threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
