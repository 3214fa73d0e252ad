use std::path::PathBuf;

use clap::Args;
use ipsight::Result;
use ipsight::data::{resolve_inputs, write_prepared};

use super::output;
use super::read_args::{ReadArgs, talk_about};

#[derive(Args)]
pub struct PrepareArgs {
    /// Events: files, folders, globs, or - for stdin
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<String>,
    /// The prepared file: Arrow IPC with the columns entity (hash, uint64) and ip (uint32)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: PrepareArgs) -> Result<()> {
    let report = write_prepared(&resolve_inputs(&args.inputs)?, &args.read.options()?, &args.output)?;
    talk_about(&report);
    talk!("{} events in {}", output::count(report.num_rows), args.output.display());
    Ok(())
}
