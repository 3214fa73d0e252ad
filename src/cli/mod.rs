//! One file per verb: flags -> configuration -> library calls -> output. Only this module prints.

/// Writes a line to stderr. Where that is closed or full, nobody is there to be told: the work goes on.
macro_rules! talk {
    ($($argument:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($argument)*)));
    }};
}

mod attack_args;
mod common_args;
mod compare;
mod comparison_text;
mod completions;
mod config;
mod devices;
mod evaluate;
mod evaluate_folds;
mod evaluation_text;
mod explain;
mod explanation_text;
mod flags;
mod generate;
mod held_rows;
mod import;
mod inspect;
mod inspect_history;
mod networks;
mod output;
mod prepare;
mod read_args;
mod sagemaker;
mod score;
mod scored_rows;
mod serve;
mod serve_log;
mod shell;
mod sweep;
mod sweep_preview;
mod sweep_text;
mod train;
mod training;
mod truth;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use ipsight::{Error, Result};

#[derive(Parser)]
#[command(name = "ipsight", version, about, arg_required_else_help = true, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a gate failed, 2 usage or configuration, 3 bad data, 4 I/O, \
5 device, memory, threads or an internal error, 130/143 stopped by SIGINT/SIGTERM (train saves the model so far).";

#[derive(Subcommand)]
enum Verb {
    /// Learn from events and write a run folder with a model
    Train(train::TrainArgs),
    /// Search for the best hyperparameters, as a TOML file says where
    Sweep(Box<sweep::SweepArgs>),
    /// Say how well a model tells attacks from ordinary events
    Evaluate(Box<evaluate::EvaluateArgs>),
    /// Say how a new model differs from an old one on recent events
    Compare(Box<compare::CompareArgs>),
    /// Score events with a model
    Score(score::ScoreArgs),
    /// Say why an entity's login from an address has the score that it has
    Explain(explain::ExplainArgs),
    /// Answer HTTP requests for scores, as a SageMaker endpoint and with an API of our own
    Serve(Box<serve::ServeArgs>),
    /// Turn events into a prepared file (Arrow IPC) that training maps instead of parsing text
    Prepare(prepare::PrepareArgs),
    /// Turn access and auth logs into events, or follow one as it grows
    Import(import::ImportArgs),
    /// Generate logins of made-up users, with attacks for a test
    Generate(generate::GenerateArgs),
    /// Run as a container of Amazon SageMaker
    Sagemaker(sagemaker::SagemakerArgs),
    /// List the graphics adapters, their limits and what fits them
    Devices(devices::DevicesArgs),
    /// Replace the table by which a model knows whose network an address is in
    Networks(networks::NetworksArgs),
    /// Say what a model folder holds
    Inspect(inspect::InspectArgs),
    /// Show the resolved configuration or its JSON Schema
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Parses the command line and does what it says.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let cli = Cli::try_parse_from(args).unwrap_or_else(|error| error.exit());
    run_verb(cli.verb).map_err(|error| flags::name_flags(error, &Cli::command()))
}

/// What a panic becomes.
pub fn internal_error() -> Error {
    Error::process("finish")(std::io::Error::other("an internal error, which is described above"))
}

/// Prepares the process for what the operating system may refuse it.
fn prepare_process() -> Result<()> {
    // With a handler, a write past the limit of a file's size fails; without one the signal ends the process.
    let is_file_too_large = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, is_file_too_large)
        .map_err(Error::process("handle signals"))?;
    ipsight::data::exit_on_bus_error()?;
    // Started of itself, it would panic where there are no threads.
    rayon::ThreadPoolBuilder::new().build_global().map_err(|error| {
        let source = std::io::Error::new(std::io::ErrorKind::WouldBlock, error);
        Error::process("start the threads for the processor's cores")(source)
    })
}

fn run_verb(verb: Verb) -> Result<()> {
    if !matches!(verb, Verb::Config(_) | Verb::Completions(_)) {
        prepare_process()?;
    }
    match verb {
        Verb::Train(args) => train::run(args),
        Verb::Sweep(args) => sweep::run(*args),
        Verb::Evaluate(args) => evaluate::run(*args),
        Verb::Compare(args) => compare::run(*args),
        Verb::Score(args) => score::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Serve(args) => serve::run(*args),
        Verb::Prepare(args) => prepare::run(args),
        Verb::Import(args) => import::run(args),
        Verb::Generate(args) => generate::run(args),
        Verb::Sagemaker(args) => sagemaker::run(args),
        Verb::Devices(args) => devices::run(args),
        Verb::Networks(args) => networks::run(args),
        Verb::Inspect(args) => inspect::run(args),
        Verb::Config(args) => config::run(args),
        Verb::Completions(args) => completions::run(args, Cli::command()),
    }
}

/// Prints an error and its help to stderr and gives the exit code.
pub fn report(error: &Error) -> ExitCode {
    if output::reader_has_gone(error) {
        // `ipsight score … | head` has got what it wanted.
        return ExitCode::SUCCESS;
    }
    talk!("error: {error}");
    for line in error.help().iter().flat_map(|help| help.lines()) {
        talk!("  help: {line}");
    }
    ExitCode::from(error.exit_code())
}
