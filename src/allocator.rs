//! The allocator of the program: mimalloc, and exit code 5 where the system gives no memory.
#![allow(unsafe_code, reason = "a global allocator is: see the SAFETY comments")]

use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;

use mimalloc::MiMalloc;

/// Large tensors come and go with every step: mimalloc keeps their pages, and aligns them. Where it has no memory, Rust
/// would abort; this ends the process with the exit code for memory.
pub struct Allocator;

/// The exit code for memory, as that of `ipsight::Error::Device`.
const NO_MEMORY: i32 = 5;

// SAFETY: each function passes what it gets to mimalloc, which keeps the contract, and returns what mimalloc gave.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this same function.
        given(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { MiMalloc.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }
}

unsafe extern "C" {
    /// <https://microsoft.github.io/mimalloc/group__extended.html>: frees memory that is kept for later.
    fn mi_collect(is_forced: bool);
}

/// Gives memory that was freed back to the system at once, between phases that take much: the allocator does so by a clock,
/// so that what a process takes would depend on how fast it is.
pub(crate) fn give_back() {
    // SAFETY: the function takes no pointer and may be called by any thread at any time.
    unsafe { mi_collect(true) }
}

#[inline]
fn given(block: *mut u8, size: usize) -> *mut u8 {
    if block.is_null() {
        end(size);
    }
    block
}

/// Says what was refused, and ends the process without destructors, which may allocate. Nothing here allocates.
#[cold]
fn end(size: usize) -> ! {
    let mut text = [0; 400];
    let mut rest = &mut text[..];
    // What does not fit is left out.
    let _ = write!(
        rest,
        "error: the system refused {size} bytes of memory\n  help: lower num_entity_vectors, vector_dim or \
         mini_batch_size, read fewer events, or raise the limit of memory (`ulimit -v`, `ulimit -d`, the container's)\n  \
         help: a training continues from its last checkpoint by the same command\n"
    );
    let num_left = rest.len();
    let num_written = text.len() - num_left;
    let _ = std::io::stderr().write_all(&text[..num_written]);
    signal_hook::low_level::exit(NO_MEMORY)
}
