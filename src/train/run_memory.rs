//! The memory of a run: its phases and what each holds.

use std::fmt;

use serde::Serialize;

use crate::device::{MemoryPlan, bytes};
use crate::memory_limits::headroom;
use crate::{Error, Result};

/// A part of the run and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// What it does.
    pub name: &'static str,
    /// What it holds, in bytes, in memory of its own.
    pub parts: Vec<(&'static str, u64)>,
    /// Bytes of files that are mapped.
    pub mapped_bytes: u64,
}

impl Phase {
    /// All that is its own.
    pub fn total_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// The memory of a run, beside that of a graphics adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunMemory {
    /// What lies on the device.
    pub device: MemoryPlan,
    /// What follows each other.
    pub phases: Vec<Phase>,
    /// Bytes that the process holds when it is planned: itself and the events that it has read.
    pub(super) held_bytes: u64,
    /// The greatest resident memory so far.
    pub(super) peak_so_far: u64,
    pub(super) is_cpu: bool,
}

impl RunMemory {
    /// The phase that takes most.
    pub(super) fn peak(&self) -> &Phase {
        self.phases.iter().max_by_key(|phase| phase.total_bytes()).expect("a run has phases")
    }

    /// Bytes of its own memory at the peak.
    pub fn total_bytes(&self) -> u64 {
        self.peak().total_bytes()
    }

    /// Bytes of resident memory at the peak: with mapped files, and with what reading has taken.
    pub fn resident_bytes(&self) -> u64 {
        let of_phases = self.phases.iter().map(|phase| phase.total_bytes() + phase.mapped_bytes);
        of_phases.fold(self.peak_so_far, u64::max)
    }

    /// Bytes of the memory that trainings at one time share: an adapter's, or on a CPU the machine's.
    pub fn shared_bytes(&self) -> u64 {
        if self.is_cpu { self.total_bytes() } else { self.device.total_bytes() }
    }

    /// Asks the system for all that is still to be taken, in one piece, and gives it back untouched: where a limit refuses it,
    /// nothing was done yet that could be lost.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] with the figure.
    pub fn probe(&self) -> Result<()> {
        let wanted = self.total_bytes().saturating_sub(self.held_bytes);
        let len = usize::try_from(wanted).unwrap_or(usize::MAX).max(1);
        memmap2::MmapMut::map_anon(len).map(drop).map_err(|error| {
            let limit = headroom().map_or("a limit of memory", |headroom| headroom.limit);
            let what =
                format!("{self} are needed, but the system refuses them ({error}); {limit} leaves the least");
            Error::device(what, "lower num_entity_vectors or vector_dim, or raise the limit")
        })
    }
}

impl fmt::Display for RunMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peak = self.peak();
        let parts = peak.parts.iter().filter(|(_, count)| *count >= MIB);
        let parts: Vec<_> = parts.map(|(name, count)| format!("{name} {}", bytes(*count))).collect();
        // Not in larger units, which would round a tenth of it away.
        let mib = |count: u64| count.div_ceil(MIB);
        let (planned, resident) = (mib(peak.total_bytes()), mib(self.resident_bytes()));
        write!(f, "{planned} MiB at most, by {} ({})", peak.name, parts.join(", "))?;
        match resident > planned {
            true => write!(f, "; {resident} MiB with mapped files and what reading took"),
            false => Ok(()),
        }
    }
}

const MIB: u64 = 1 << 20;
