//! Logins from logs: a record of a web server, of sshd or of an audit trail becomes an entity, an IPv4 address and
//! a time.
//!
//! One file per format behind one trait, [`Parser`]: a record is given as bytes, and out comes a [`Login`] or the
//! reason why there is none ([`Skip`]). Logs hold mostly other things than logins, so a record without one is counted
//! and never an error. What a record is, a line or a JSON object, is [`records`]' business; where bytes come from is
//! [`Importer::read`]'s, for files and pipes to their end, and [`Follower`]'s, for a file that grows.

mod apache;
mod cloudtrail;
mod follow;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod json;
mod likely;
mod login;
mod records;
mod sshd;

use std::collections::BTreeMap;
use std::fmt;
use std::time::UNIX_EPOCH;

use crate::data::{Input, MAX_LINE, Source, Stream};
use crate::{Error, Result};

pub use follow::{Follower, Start};
pub use login::{Login, LoginSink};

use likely::{Likely, likely_format};
use login::Skip;
use records::Records;

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The access log of Apache httpd or nginx: common or combined, with or without the virtual host before it.
    Apache,
    /// What OpenSSH's sshd writes to syslog or the journal.
    Sshd,
    /// JSON objects, with a path for each field.
    Json,
    /// AWS CloudTrail.
    CloudTrail,
}

impl LogFormat {
    const ALL: [LogFormat; 4] = [LogFormat::Apache, LogFormat::Sshd, LogFormat::CloudTrail, LogFormat::Json];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Apache => "apache",
            LogFormat::Sshd => "sshd",
            LogFormat::Json => "json",
            LogFormat::CloudTrail => "cloudtrail",
        }
    }
}

/// Which logins are imported: a model learns from those that succeeded, and scores those that failed too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcomes {
    /// Those that succeeded.
    #[default]
    Accepted,
    /// Those that failed.
    Failed,
    /// Both.
    All,
}

impl Outcomes {
    fn wants(self, has_failed: bool) -> bool {
        match self {
            Outcomes::Accepted => !has_failed,
            Outcomes::Failed => has_failed,
            Outcomes::All => true,
        }
    }
}

/// How logs are imported.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The format of every input.
    pub format: LogFormat,
    /// The entity's field: `user`, `user_agent`, `path` or `vhost` of an access log, `user`, `host` or `user@host` of
    /// sshd, paths into a JSON object, of which the first that is there counts. Empty for the format's default.
    pub entity: Vec<String>,
    /// The path of the address in [`LogFormat::Json`], by default `ip`.
    pub ip: Option<String>,
    /// The path of the time in [`LogFormat::Json`], by default `time`, where that is there.
    pub time: Option<String>,
    /// Which logins are imported; [`LogFormat::Json`] does not know.
    pub outcomes: Option<Outcomes>,
    /// The year of sshd's lines in the classic form, which has none: 1 to 9999. Without it a line is of the last year
    /// in which it is not newer than its file.
    pub year: Option<i64>,
}

impl ImportOptions {
    /// The defaults of a format.
    pub fn new(format: LogFormat) -> Self {
        ImportOptions { format, entity: Vec::new(), ip: None, time: None, outcomes: None, year: None }
    }

    /// Refuses what the format does not have.
    fn parser(&self) -> Result<Box<dyn Parser>> {
        let name = self.format.name();
        let only = |flag: &str, is_given: bool, formats: &str| {
            if !is_given {
                return Ok(());
            }
            Err(Error::config(flag, format!("`{name}` does not take it"), format!("it is for {formats}")))
        };
        if self.format != LogFormat::Json {
            only("--ip", self.ip.is_some(), "json")?;
            only("--time", self.time.is_some(), "json")?;
        } else {
            only("--events", self.outcomes.is_some(), "apache, sshd and cloudtrail")?;
        }
        if self.format != LogFormat::Sshd {
            only("--year", self.year.is_some(), "sshd, whose classic time stamps have no year")?;
        }
        if self.year.is_some_and(|year| !(1..=9999).contains(&year)) {
            return Err(Error::config("--year", "there is no such year", "give one from 1 to 9999"));
        }
        Ok(match self.format {
            LogFormat::Apache => Box::new(apache::Apache::new(self)?),
            LogFormat::Sshd => Box::new(sshd::Sshd::new(self)?),
            LogFormat::Json => Box::new(json::Json::new(self)?),
            LogFormat::CloudTrail => Box::new(cloudtrail::CloudTrail::new(self)?),
        })
    }

    /// The one field of formats whose fields have names.
    fn field<T: Copy>(&self, fields: &[(&str, T)]) -> Result<T> {
        let names = || fields.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match &self.entity[..] {
            [] => Ok(fields[0].1),
            [wanted] => {
                fields.iter().find(|(name, _)| name == wanted).map(|(_, field)| *field).ok_or_else(|| {
                    let what = format!("`{}` has no field `{wanted}`", self.format.name());
                    Error::config("--entity", what, format!("take one of {}", names()))
                })
            }
            _ => {
                let what = format!("`{}` takes one field", self.format.name());
                Err(Error::config("--entity", what, format!("take one of {}", names())))
            }
        }
    }
}

/// One format: what is in a record.
trait Parser {
    /// What the records of this format are.
    fn records(&self) -> Records;

    /// The login that `record` tells of. No bytes make it panic. A time without a year is of the last in which it is
    /// not after `newest`, in seconds since 1970-01-01T00:00:00Z.
    fn parse<'a>(&self, record: &'a [u8], newest: i64) -> std::result::Result<Login<'a>, Skip>;
}

/// What was imported. `Display` tells people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Records: lines, or objects of JSON.
    pub num_records: u64,
    /// Records that told of a login that was wanted.
    pub num_used: u64,
    /// Logins, which are more where a record stands for several.
    pub num_rows: u64,
    /// Records that were not used, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records read, {} used", self.num_records, self.num_used)?;
        if self.num_rows != self.num_used {
            write!(f, " for {} logins", self.num_rows)?;
        }
        let num_skipped: u64 = self.skipped.values().sum();
        if num_skipped == 0 {
            return Ok(());
        }
        write!(f, ", {num_skipped} skipped")?;
        let mut reasons: Vec<_> = self.skipped.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (i, (reason, count)) in reasons.into_iter().enumerate() {
            write!(f, "{} {count} {reason}", if i == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// How much of the input is kept, to say what it looks like where nothing was found in it.
const MAX_SAMPLE: usize = 64 * 1024;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// Hands the logins of logs on to a [`LoginSink`].
pub struct Importer<'a> {
    options: ImportOptions,
    parser: Box<dyn Parser>,
    records: Records,
    sink: &'a mut dyn LoginSink,
    report: ImportReport,
    sample: Vec<u8>,
    newest: i64,
}

impl<'a> Importer<'a> {
    /// # Errors
    ///
    /// [`Error::Config`] for options that the format does not have.
    pub fn new(options: &ImportOptions, sink: &'a mut dyn LoginSink) -> Result<Self> {
        let parser = options.parser()?;
        let records = parser.records();
        let (options, report, sample) = (options.clone(), ImportReport::default(), Vec::new());
        Ok(Importer { options, parser, records, sink, report, sample, newest: i64::MAX })
    }

    /// Imports an input, decompressed, to its end; the sink gets each login as soon as its record is there. `now`, in
    /// seconds since 1970-01-01T00:00:00Z, is what no login of a pipe is newer than; one of a file is not newer than
    /// the file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the input cannot be read, [`Error::Data`] for damaged compressed data and UTF-16, and
    /// what the sink gives.
    pub fn read(&mut self, input: &Input, now: i64) -> Result<()> {
        let written = match input {
            Input::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file),
            Input::Stdin => None,
        };
        let written = written.and_then(|metadata| metadata.modified().ok());
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        self.newest = written.and_then(|time| time.as_secs().try_into().ok()).unwrap_or(now);
        let mut stream = Stream::open(input)?;
        stream.start_text()?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let num = stream.read(&mut chunk)?;
            if num == 0 {
                break;
            }
            self.feed(&chunk[..num])?;
        }
        self.end_input(true)
    }

    /// Takes the next bytes of the input.
    fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let room = MAX_SAMPLE - self.sample.len();
        self.sample.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Importer { parser, records, sink, report, newest, .. } = self;
        records.feed(bytes, &mut |record| take(record, &**parser, *newest, report, &mut **sink))?;
        self.sink.pause()
    }

    /// Ends the input. What is left may be the last record, or one that is not finished and never will be.
    fn end_input(&mut self, is_whole: bool) -> Result<()> {
        let Importer { parser, records, sink, report, newest, .. } = self;
        let mut on_record = |record: std::result::Result<&[u8], Skip>| {
            let record = if is_whole { record } else { Err(Skip::Unfinished) };
            take(record, &**parser, *newest, report, &mut **sink)
        };
        records.end(&mut on_record)?;
        self.sink.pause()
    }

    /// What has been imported so far.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// The report, where there was something to import.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where no record was used; the help says what the input looks like, or which option leaves out
    /// what it has.
    pub fn finish(self, name: &str) -> Result<ImportReport> {
        if self.report.num_used > 0 {
            return Ok(self.report);
        }
        let what = match self.report.num_records {
            0 => "it is empty".to_string(),
            _ => format!("no login was found: {}", self.report),
        };
        Err(Error::data(name, what, self.help()))
    }

    fn help(&self) -> String {
        let name = self.options.format.name();
        let num = |skip: Skip| self.report.skipped.get(skip.name()).copied().unwrap_or(0);
        if self.report.num_records == 0 {
            return format!("give a log of the format `{name}`");
        }
        if num(Skip::NotChosen) > num(Skip::NoEntity) {
            return "the logins in it have another outcome: take --events failed or --events all".into();
        }
        if num(Skip::NoEntity) > 0 {
            return self.help_without_entity();
        }
        let is_of_format =
            num(Skip::NoMatch) + num(Skip::OtherMessage) + num(Skip::TooLong) < self.report.num_records;
        match likely_format(&self.sample, self.options.format) {
            Some(Likely::Log(LogFormat::Json)) if !is_of_format => {
                let keys = json::keys_of_first(&self.sample);
                format!("it looks like `json`: ipsight import json, with --entity PATH and --ip PATH{keys}")
            }
            Some(Likely::Log(format)) if !is_of_format => {
                format!("it looks like `{0}`: ipsight import {0}", format.name())
            }
            Some(Likely::Events) => "it has events already: train and score read it as it is".into(),
            _ if num(Skip::NoAddress) > 0 => {
                format!("say where the address is: --ip PATH{}", json::keys_of_first(&self.sample))
            }
            _ => format!("check that it is a log of the format `{name}`, with IPv4 addresses in it"),
        }
    }

    fn help_without_entity(&self) -> String {
        match self.options.format {
            LogFormat::Apache => {
                "its lines name none: take another field, --entity user_agent, path or vhost".into()
            }
            LogFormat::Sshd => "take another field, --entity host".into(),
            LogFormat::Json | LogFormat::CloudTrail => {
                format!("say where it is: --entity PATH{}", json::keys_of_first(&self.sample))
            }
        }
    }
}

/// Counts a record and hands on its logins.
fn take(
    record: std::result::Result<&[u8], Skip>,
    parser: &dyn Parser,
    newest: i64,
    report: &mut ImportReport,
    sink: &mut dyn LoginSink,
) -> Result<()> {
    let login = record.and_then(|record| {
        if record.trim_ascii().is_empty() {
            return Ok(None);
        }
        parser.parse(record, newest)?.checked().map(Some)
    });
    match login {
        // An empty line is no record.
        Ok(None) => return Ok(()),
        Ok(Some(login)) => {
            report.num_used += 1;
            for _ in 0..login.num_times {
                report.num_rows += 1;
                sink.login(&login)?;
            }
        }
        Err(skip) => *report.skipped.entry(skip.name()).or_default() += 1,
    }
    report.num_records += 1;
    Ok(())
}

#[cfg(test)]
mod tests;
