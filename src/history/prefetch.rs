//! Asks the CPU to fetch memory before it is needed.
#![allow(unsafe_code, reason = "a prefetch is an intrinsic of the CPU")]

/// Bytes that a CPU fetches together.
pub(super) const CACHE_LINE: usize = 64;

/// Fetches the cache line of a byte, which may lie beyond the end. Lookups jump about in a history: waiting
/// for each jump would cost more than the arithmetic.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8], at: usize) {
    fetch(bytes.as_ptr().wrapping_add(at));
}

/// Fetches the first cache line of a value.
#[inline(always)]
pub(super) fn prefetch_value<T>(value: &T) {
    fetch(std::ptr::from_ref(value).cast());
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch is a hint that reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

/// Other CPUs are left to find it themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch(_: *const u8) {}
