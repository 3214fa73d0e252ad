use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use ipsight::import::{
    Filter, Follower, ImportOptions, ImportReport, Importer, LogFormat, Login, LoginSink, Network, Outcomes,
    Start,
};
use ipsight::{Error, OutputFile, Result};

use super::output;
use super::read_args::inputs_of;
use super::training::Stop;

#[derive(Args)]
pub struct ImportArgs {
    /// Format of the log; auto tells it from the content, input by input
    #[arg(value_name = "FORMAT", default_value = "auto")]
    format: FormatName,
    /// Logs, compressed (.gz, .zst) or not: files, folders, globs, or - for stdin
    #[arg(long, value_name = "PATH", num_args = 1.., default_value = "-")]
    input: Vec<PathBuf>,
    /// Where to write rows of CSV `entity,ip,time`, without a header; - for stdout
    #[arg(long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// What the entity is: in apache user (default), user_agent, path or vhost; in sshd user (default), host,
    /// user@host, key_id (of a certificate) or fingerprint; elsewhere a path such as user.name or /user/name, of several
    /// the first that is there [default: entity; in cloudtrail by the identity's type]
    #[arg(long, value_name = "FIELD")]
    entity: Vec<String>,
    /// Where the address is: a path [default in json: ip]; in apache which of the addresses before the user (first, last
    /// or a number; default first), or of the last quoted field (forwarded, forwarded.last, forwarded.2)
    #[arg(long, value_name = "PATH")]
    ip: Option<String>,
    /// Networks of proxies, in apache: the address is the last that none of them has added
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    trusted_proxies: Vec<Network>,
    /// Take records whose field fits a pattern (* and ?, several with | between) or does not (FIELD!=PATTERN); given
    /// several times, all have to hold
    #[arg(long = "where", value_name = "FIELD=PATTERN")]
    filters: Vec<Filter>,
    /// Program whose messages are sshd's, in sshd [default: names with ssh in them]
    #[arg(long, value_name = "NAME")]
    program: Vec<String>,
    /// Take names that stand for nobody (-, "", \N, NULL, nan, None) as entities
    #[arg(long)]
    keep_nobody: bool,
    /// Path of the time, in json: a date, or a number of seconds to nanoseconds [default: time, where it is there]
    #[arg(long, value_name = "PATH")]
    time: Option<String>,
    /// Which logins, but in json: train on accepted ones, score failed ones too [default: accepted]
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
    Okta,
    Entra,
    Google,
    Cloudflare,
    Caddy,
    Traefik,
    Zeek,
    Alb,
    #[value(alias = "cloudfront", alias = "iis")]
    W3c,
    Auto,
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
    let inputs = inputs_of(&args.input).map_err(|error| with_journal(error, &args.input))?;
    let mut rows = Rows::create(&args.output)?;
    let mut importer = Importer::new(&options, &mut rows)?;
    for input in &inputs {
        importer.read(input, now())?;
        importer.take_notes().iter().for_each(|note| talk!("{input}: {note}"));
    }
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
        FormatName::Okta => LogFormat::Okta,
        FormatName::Entra => LogFormat::Entra,
        FormatName::Google => LogFormat::Google,
        FormatName::Cloudflare => LogFormat::Cloudflare,
        FormatName::Caddy => LogFormat::Caddy,
        FormatName::Traefik => LogFormat::Traefik,
        FormatName::Zeek => LogFormat::Zeek,
        FormatName::Alb => LogFormat::Alb,
        FormatName::W3c => LogFormat::W3c,
        FormatName::Auto => LogFormat::Auto,
    };
    let outcomes = args.events.map(|events| match events {
        EventsName::Accepted => Outcomes::Accepted,
        EventsName::Failed => Outcomes::Failed,
        EventsName::All => Outcomes::All,
    });
    let (entity, ip, time) = (args.entity.clone(), args.ip.clone(), args.time.clone());
    ImportOptions {
        format,
        entity,
        ip,
        time,
        trusted_proxies: args.trusted_proxies.clone(),
        filters: args.filters.clone(),
        programs: args.program.clone(),
        keep_nobody: args.keep_nobody,
        outcomes,
        year: args.year,
    }
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
        if is_auth_log(&path) {
            talk!("{JOURNAL}");
        }
    }
    let signal = loop {
        if let Some(signal) = stop.signal() {
            break signal;
        }
        std::thread::sleep(POLL);
        follower.poll(&mut importer, now())?;
        importer.take_notes().iter().for_each(|note| talk!("{note}"));
    };
    let report = importer.report().clone();
    rows.finish()?;
    talk_about(&report, args.json);
    // Not an error: there is no other end.
    std::process::exit(128 + signal)
}

/// Where systems without a file of sshd's messages have them.
const JOURNAL: &str = "where sshd's messages are in the journal alone, take: \
                       journalctl -t sshd -t sshd-session -o short-iso | ipsight import sshd";

fn is_auth_log(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "auth.log" || name == "secure")
}

/// The error, and what to do where the file of sshd's messages is not there.
fn with_journal(error: Error, paths: &[PathBuf]) -> Error {
    let is_missing = matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound);
    if is_missing && paths.iter().any(|path| is_auth_log(path)) {
        talk!("{JOURNAL}");
    }
    error
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
struct Rows {
    file: Option<OutputFile>,
    /// Rows that are not written yet.
    buffer: Vec<u8>,
}

/// Rows are written when so many bytes of them are there, or nothing more is to come for now.
const MAX_BUFFER: usize = 1 << 16;

impl Rows {
    fn create(path: &Path) -> Result<Self> {
        let file = (path != Path::new("-")).then(|| OutputFile::create(path)).transpose()?;
        Ok(Rows { file, buffer: Vec::with_capacity(MAX_BUFFER) })
    }

    fn write(&mut self) -> Result<()> {
        let result = match &mut self.file {
            Some(file) => file.write_all(&self.buffer).and_then(|()| file.flush()),
            None => io::stdout().write_all(&self.buffer).and_then(|()| io::stdout().flush()),
        };
        self.buffer.clear();
        let path = self.file.as_ref().map(|file| file.path().to_path_buf());
        result.map_err(|error| match path {
            Some(path) => Error::io("write", path)(error),
            None => Error::io("write", output::STDOUT)(error),
        })
    }

    fn finish(mut self) -> Result<()> {
        self.pause()?;
        match self.file {
            Some(file) => file.commit(),
            None => Ok(()),
        }
    }
}

impl LoginSink for Rows {
    fn login(&mut self, login: &Login<'_>) -> Result<()> {
        login.push_csv(&mut self.buffer);
        if self.buffer.len() >= MAX_BUFFER { self.write() } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<()> {
        if self.buffer.is_empty() { Ok(()) } else { self.write() }
    }
}
