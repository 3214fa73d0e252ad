//! Parse, run, exit code.

#![recursion_limit = "256"]

mod cli;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: ipsight::allocator::Allocator = ipsight::allocator::Allocator;

fn main() -> ExitCode {
    // A panic has said on stderr where it was.
    match catch_unwind(AssertUnwindSafe(|| cli::run(std::env::args_os()))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => cli::report(&error),
        Err(_) => cli::report(&cli::internal_error()),
    }
}
