//! Asks the CPU to fetch memory before it is needed.

#![allow(unsafe_code, reason = "a prefetch is an intrinsic of the CPU")]

/// Fetches a row of a table into the second-level cache. The rows of a mini-batch lie far apart: hardware
/// that follows streams does not find them, and waiting for memory would cost more than the arithmetic.
#[inline(always)]
pub(crate) fn prefetch(row: &[f32]) {
    const FLOATS_PER_CACHE_LINE: usize = 16;
    for line in row.chunks(FLOATS_PER_CACHE_LINE) {
        fetch(line.as_ptr());
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const f32) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a prefetch is a hint that reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
}

/// Other CPUs are left to find it themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch(_: *const f32) {}
