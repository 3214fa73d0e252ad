use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use ipsight::data::resolve_inputs;
use ipsight::import::{
    Follower, ImportOptions, ImportReport, Importer, LogFormat, Login, LoginSink, Outcomes, Start,
};
use ipsight::{Error, OutputFile, Result};

use super::output;
use super::training::Stop;

#[derive(Args)]
pub struct ImportArgs {
    /// Format of the log
    #[arg(value_name = "FORMAT")]
    format: FormatName,
    /// Logs, compressed (.gz, .zst) or not: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., default_value = "-")]
    input: Vec<PathBuf>,
    /// Where to write rows of CSV `entity,ip,time`, without a header; - for stdout
    #[arg(long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// What the entity is: in apache user (default), user_agent, path or vhost; in sshd user (default), host or
    /// user@host; in json and cloudtrail a path such as user.name or /user/name, of several the first that is there
    /// [default: entity; in cloudtrail userIdentity.arn, .principalId, .userName]
    #[arg(long, value_name = "FIELD")]
    entity: Vec<String>,
    /// Path of the address, in json [default: ip]
    #[arg(long, value_name = "PATH")]
    ip: Option<String>,
    /// Path of the time, in json: RFC 3339, Unix seconds or milliseconds [default: time, where it is there]
    #[arg(long, value_name = "PATH")]
    time: Option<String>,
    /// Which logins, in apache, sshd and cloudtrail: train on accepted ones, score failed ones too [default: accepted]
    #[arg(long, value_name = "OUTCOME")]
    events: Option<EventsName>,
    /// Year of sshd's lines whose time has none [default: the last in which a line is not newer than its file]
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(1..=9999))]
    year: Option<i16>,
    /// Follow one file as it grows, through rotation and truncation, until a signal or the reader ends it
    #[arg(long)]
    follow: bool,
    /// With --follow: begin with the lines that are there
    #[arg(long, requires = "follow")]
    from_start: bool,
    /// The counts as JSON, on stderr as they are without it
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    #[value(alias = "nginx")]
    Apache,
    Sshd,
    Json,
    Cloudtrail,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EventsName {
    Accepted,
    Failed,
    All,
}

/// How long following waits before it looks again.
const POLL: Duration = Duration::from_millis(200);

pub fn run(args: ImportArgs) -> Result<()> {
    let options = options_of(&args);
    if args.follow {
        return follow(&args, &options);
    }
    let inputs = resolve_inputs(&args.input)?;
    let mut rows = Rows::create(&args.output)?;
    let mut importer = Importer::new(&options, &mut rows)?;
    inputs.iter().try_for_each(|input| importer.read(input, now()))?;
    let name = match &inputs[..] {
        [input] => input.to_string(),
        inputs => format!("{} inputs", inputs.len()),
    };
    let report = importer.finish(&name)?;
    rows.finish()?;
    talk_about(&report, args.json);
    Ok(())
}

fn options_of(args: &ImportArgs) -> ImportOptions {
    let format = match args.format {
        FormatName::Apache => LogFormat::Apache,
        FormatName::Sshd => LogFormat::Sshd,
        FormatName::Json => LogFormat::Json,
        FormatName::Cloudtrail => LogFormat::CloudTrail,
    };
    let outcomes = args.events.map(|events| match events {
        EventsName::Accepted => Outcomes::Accepted,
        EventsName::Failed => Outcomes::Failed,
        EventsName::All => Outcomes::All,
    });
    let (entity, ip, time) = (args.entity.clone(), args.ip.clone(), args.time.clone());
    ImportOptions { format, entity, ip, time, outcomes, year: args.year }
}

/// Follows a file until a signal, which becomes the exit code, or until nobody reads the rows any more.
fn follow(args: &ImportArgs, options: &ImportOptions) -> Result<()> {
    let path = match &args.input[..] {
        [path] if path != Path::new("-") => path.clone(),
        _ => {
            let help = "give one --input FILE; stdin and pipes are read as they come without --follow";
            return Err(Error::config("--follow", "one file is followed", help));
        }
    };
    if args.output != Path::new("-") && (args.output.is_file() || !args.output.exists()) {
        let help = "write to stdout: --output - > FILE";
        return Err(Error::config("--follow", "an output file appears when it is whole", help));
    }
    let stop = Stop::on_signals()?;
    stop.gently();
    let start = if args.from_start { Start::Beginning } else { Start::End };
    let mut rows = Rows::create(&args.output)?;
    let mut importer = Importer::new(options, &mut rows)?;
    let mut follower = Follower::new(path.clone(), start);
    follower.poll(&mut importer, now())?;
    if follower.is_open() {
        talk!("following {}", path.display());
    } else {
        talk!("waiting for {}", path.display());
    }
    let signal = loop {
        if let Some(signal) = stop.signal() {
            break signal;
        }
        std::thread::sleep(POLL);
        follower.poll(&mut importer, now())?;
    };
    let report = importer.report().clone();
    rows.finish()?;
    talk_about(&report, args.json);
    // Not an error: there is no other end.
    std::process::exit(128 + signal)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(i64::MAX)
}

fn talk_about(report: &ImportReport, json: bool) {
    if !json {
        return talk!("{report}");
    }
    talk!(
        "{}",
        serde_json::json!({
            "num_records": report.num_records,
            "num_used": report.num_used,
            "num_rows": report.num_rows,
            "skipped": report.skipped,
        })
    );
}

/// Where rows go: a file that appears when it is whole, or stdout.
enum Rows {
    File(OutputFile),
    Stdout(BufWriter<io::Stdout>),
}

impl Rows {
    fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Rows::Stdout(BufWriter::with_capacity(1 << 16, io::stdout())));
        }
        Ok(Rows::File(OutputFile::create(path)?))
    }

    fn failed(&self, error: io::Error) -> Error {
        match self {
            Rows::File(file) => Error::io("write", file.path())(error),
            Rows::Stdout(_) => Error::io("write", output::STDOUT)(error),
        }
    }

    fn finish(mut self) -> Result<()> {
        self.pause()?;
        match self {
            Rows::File(file) => file.commit(),
            Rows::Stdout(_) => Ok(()),
        }
    }
}

impl LoginSink for Rows {
    fn login(&mut self, login: &Login<'_>) -> Result<()> {
        let row = login.to_csv();
        let result = match self {
            Rows::File(file) => file.write_all(&row),
            Rows::Stdout(stdout) => stdout.write_all(&row),
        };
        result.map_err(|error| self.failed(error))
    }

    fn pause(&mut self) -> Result<()> {
        let result = match self {
            Rows::File(file) => file.flush(),
            Rows::Stdout(stdout) => stdout.flush(),
        };
        result.map_err(|error| self.failed(error))
    }
}
