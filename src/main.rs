//! Parse, run, exit code.

#![recursion_limit = "256"]

mod cli;

use std::process::ExitCode;

/// Large tensors come and go with every step: this allocator keeps their pages, and aligns them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::report(&error),
    }
}
