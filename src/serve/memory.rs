//! Memory that a server may have: what its limits promise to requests has to be there before it listens.

use super::limits::Limits;
use crate::memory_limits;
use crate::{Error, Result};

/// Buffers of a connection, of TLS too.
const CONNECTION_BYTES: u64 = 96 << 10;

/// Beside bodies and connections: batches that are scored, explanations, what threads keep for the next allocation.
const OTHER_BYTES: u64 = 48 << 20;

/// The stack of a thread.
const STACK_BYTES: u64 = 2 << 20;

/// Bytes that requests may take together: bodies are counted as they come, and are copied when they grow.
pub fn request_bytes(limits: &Limits) -> u64 {
    let bodies = 2 * limits.max_queue_bytes as u64;
    bodies + limits.max_connections as u64 * CONNECTION_BYTES + OTHER_BYTES
}

/// Refuses limits for which the process's limit of data (`ulimit -d`) leaves too little beside models of which
/// `copied_bytes` are copied.
///
/// # Errors
///
/// [`Error::Device`] with both figures.
pub fn check(limits: &Limits, copied_bytes: u64) -> Result<()> {
    let needed = request_bytes(limits);
    match data_left(copied_bytes).filter(|left| *left < needed) {
        None => Ok(()),
        Some(left) => Err(Error::device(
            format!(
                "requests may take {needed} bytes, and this process's limit of data (`ulimit -d`) leaves {left}"
            ),
            "raise it, or lower max_queue_bytes and max_connections",
        )),
    }
}

/// Bytes that the process's limit of data leaves to mappings and to the allocator, which takes more from the system at
/// once than it gives away; `None` where there is no limit. Of the memory in use, `copied_bytes` are copies of models:
/// read-only, they count no more.
pub fn data_left(copied_bytes: u64) -> Option<u64> {
    memory_limits::data_left(copied_bytes, STACK_BYTES)
}
