//! Memory that a server may have: what its limits promise to requests has to be there before it listens.

use std::fs;

use super::limits::Limits;
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
    match DataLeft::now(copied_bytes).filter(|left| left.to_all < needed) {
        None => Ok(()),
        Some(left) => Err(Error::device(
            format!(
                "requests may take {needed} bytes, and this process's limit of data (`ulimit -d`) leaves {}",
                left.to_all
            ),
            "raise it, or lower max_queue_bytes and max_connections",
        )),
    }
}

/// Bytes that the process's limit of data leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataLeft {
    /// To new mappings: copies of models.
    pub to_mappings: u64,
    /// To mappings and to the allocator, which takes more from the system at once than it gives away.
    pub to_all: u64,
}

impl DataLeft {
    /// What is left now; `None` where there is no limit, or the system does not say. Of the memory in use,
    /// `copied_bytes` are copies of models: read-only, they count no more.
    pub fn now(copied_bytes: u64) -> Option<Self> {
        let (limit, _) = rlimit::Resource::DATA.get().ok()?;
        if limit == rlimit::INFINITY {
            return None;
        }
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let (data, in_use) = (1024 * number("VmData:")?, 1024 * number("RssAnon:")?);
        let stacks = number("Threads:")? * STACK_BYTES;
        let used = in_use.saturating_sub(copied_bytes) + stacks;
        Some(Self { to_mappings: limit.saturating_sub(data), to_all: limit.saturating_sub(used) })
    }
}
