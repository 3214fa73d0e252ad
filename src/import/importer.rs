//! Logs to logins, one input after the other.

use std::time::UNIX_EPOCH;

use super::formats::parser_of;
use super::json;
use super::likely::{Likely, known_format, likely_format};
use super::login::{LoginSink, Skip};
use super::options::{ImportOptions, LogFormat, Outcomes};
use super::parser::Parser;
use super::records::Records;
use super::report::{ImportReport, MASKED};
use crate::data::{Input, Source, Stream, shown};
use crate::{Error, Result};

/// How much of the input is kept, to say what it looks like where nothing was found in it.
const MAX_SAMPLE: usize = 64 * 1024;

/// How much is read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// How much of an input is looked at to tell its format; nothing of it is handed on before.
const MAX_UNKNOWN: usize = 1 << 20;

/// Hands the logins of logs on to a [`LoginSink`].
pub struct Importer<'a> {
    options: ImportOptions,
    reading: Option<Reading>,
    /// What has come of an input whose format is not known yet.
    unknown: Vec<u8>,
    skip_line: bool,
    sink: &'a mut dyn LoginSink,
    report: ImportReport,
    sample: Vec<u8>,
    notes: Vec<String>,
    pub(super) newest: i64,
}

/// An input of a format that is known.
struct Reading {
    format: LogFormat,
    parser: Box<dyn Parser>,
    records: Option<Records>,
}

impl<'a> Importer<'a> {
    /// # Errors
    ///
    /// [`Error::Config`] for options that the format does not have.
    pub fn new(options: &ImportOptions, sink: &'a mut dyn LoginSink) -> Result<Self> {
        let reading = match options.format {
            LogFormat::Auto => None,
            _ => Some(Reading::new(options)?),
        };
        Ok(Importer {
            options: options.clone(),
            reading,
            unknown: Vec::new(),
            skip_line: false,
            sink,
            report: ImportReport::default(),
            sample: Vec::new(),
            notes: Vec::new(),
            newest: i64::MAX,
        })
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
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let room = MAX_SAMPLE - self.sample.len();
        self.sample.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.reading.is_none() {
            self.unknown.extend_from_slice(bytes);
            if !self.tell_format()? && self.unknown.len() > MAX_UNKNOWN {
                self.give_up()?;
            }
            return Ok(());
        }
        self.take(bytes)
    }

    /// Reads on where the format of what has come is known now.
    fn tell_format(&mut self) -> Result<bool> {
        let options = &self.options;
        let with = |format| Some(ImportOptions { format, ..options.clone() });
        let Some(format) = known_format(&self.unknown, &with) else { return Ok(false) };
        self.reading = Some(Reading::new(&ImportOptions { format, ..self.options.clone() })?);
        let note = format!("the log is taken for {}", format.name());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        let begun = std::mem::take(&mut self.unknown);
        self.take(&begun)?;
        Ok(true)
    }

    /// Counts an input of no known format.
    fn give_up(&mut self) -> Result<()> {
        self.unknown.clear();
        self.report.skip(Skip::NoMatch, || None);
        self.report.num_records += 1;
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Importer { reading: Some(reading), sink, report, newest, options, skip_line, .. } = self else {
            return Ok(());
        };
        let Reading { parser, records, .. } = reading;
        let records = records.get_or_insert_with(|| {
            let mut records = parser.records(bytes);
            if std::mem::take(skip_line) {
                records.skip_line();
            }
            records
        });
        let mut taking =
            Taking { newest: *newest, keeps_nobody: options.keep_nobody, report, sink: &mut **sink };
        records.feed(bytes, &mut |record| taking.take(record, &mut **parser))?;
        self.sink.pause()
    }

    /// Passes over the rest of a line that began before the first byte.
    pub(super) fn skip_line(&mut self) {
        self.skip_line = true;
    }

    /// Ends the input. What is left may be the last record, or one that is not finished and never will be.
    pub(super) fn end_input(&mut self, is_whole: bool) -> Result<()> {
        if self.reading.is_none() && !self.unknown.is_empty() && !self.tell_format()? {
            self.give_up()?;
        }
        let Importer { reading, sink, report, newest, options, .. } = self;
        if let Some(Reading { parser, records: Some(records), .. }) = reading {
            let mut taking =
                Taking { newest: *newest, keeps_nobody: options.keep_nobody, report, sink: &mut **sink };
            records.end(&mut |record| {
                let record = if is_whole { record } else { Err(Skip::Unfinished) };
                taking.take(record, &mut **parser)
            })?;
        }
        if let Some(reading) = reading {
            reading.records = None;
        }
        if self.options.format == LogFormat::Auto && is_whole {
            self.reading = None;
        }
        self.sink.pause()
    }

    /// What people should know, in sentences that have not been taken yet.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
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

    fn format(&self) -> LogFormat {
        self.reading.as_ref().map_or(self.options.format, |reading| reading.format)
    }

    fn help(&self) -> String {
        let format = self.format();
        let name = format.name();
        let num = |skip: Skip| self.report.skipped.get(skip.name()).copied().unwrap_or(0);
        if self.report.num_records == 0 {
            return format!("give a log of the format `{name}`");
        }
        let is_of_format =
            num(Skip::NoMatch) + num(Skip::OtherMessage) + num(Skip::TooLong) < self.report.num_records;
        if is_of_format {
            return self.help_for_reason();
        }
        match likely_format(&self.sample, format) {
            Some(Likely::Log(LogFormat::Json)) => {
                let keys = json::keys_of_first(&self.sample);
                format!("it looks like `json`: ipsight import json, with --entity PATH and --ip PATH{keys}")
            }
            Some(Likely::Log(likely)) => {
                format!("it looks like `{0}`: ipsight import {0}", likely.name())
            }
            Some(Likely::Events) => "it has events already: train and score read it as it is".into(),
            None if num(Skip::TooLong) == self.report.num_records => {
                "a record is too long to be one: is this a text file?".into()
            }
            None if num(Skip::OtherMessage) > 0 => {
                format!("it is a log of `{name}`, and none of its records tells of a login")
            }
            None if format == LogFormat::Auto => {
                "it is of no known format; for JSON say where its fields are: ipsight import json --entity PATH --ip PATH"
                    .into()
            }
            None => format!("check that it is a log of the format `{name}`, with addresses in it"),
        }
    }

    /// What to do about the reason for which most records were skipped.
    fn help_for_reason(&self) -> String {
        let counts = &self.report.skipped;
        let reasons = Skip::ALL.into_iter().filter(|skip| counts.contains_key(skip.name()));
        // That a record is of another format, or no login, is no reason to change anything.
        let reasons =
            reasons.filter(|skip| !matches!(skip, Skip::NoMatch | Skip::OtherMessage | Skip::Repeated));
        let Some(skip) = reasons.max_by_key(|skip| counts[skip.name()]) else {
            return "none of its records tells of a login".into();
        };
        let shown =
            self.report.examples.get(skip.name()).map(|value| format!(": {value}")).unwrap_or_default();
        let keys = || json::keys_of_first(&self.sample);
        match skip {
            Skip::NotChosen => match self.options.outcomes {
                Some(Outcomes::Failed) => {
                    "the logins in it succeeded: take --events accepted or --events all".into()
                }
                _ => "the logins in it failed: take --events failed or --events all".into(),
            },
            Skip::Filtered => "no record is as --where has it: compare the field and the pattern".into(),
            Skip::NoEntity => self.help_without_entity(),
            Skip::NoAddress if self.format() == LogFormat::Apache => {
                "its lines have no such address: take another --ip".into()
            }
            Skip::NoAddress => format!("say where the address is: --ip PATH{}", keys()),
            Skip::BadTime => format!("the time cannot be read{shown}; it may be {TIMES}"),
            Skip::NotAddress => format!("this is no address{shown}"),
            Skip::UnspecifiedIpv6 => MASKED.into(),
            Skip::LinkLocalIpv6 => {
                "every link has the network fe80::/64: log the client's global address".into()
            }
            Skip::OtherProgram => {
                format!("the program has another name than sshd{shown}; say which it is: --program NAME")
            }
            Skip::FloatingPoint => {
                format!("write the entity as text or a whole number{shown}; another has lost its digits")
            }
            Skip::NotUtf8 => "write the entity in UTF-8, or take another: --entity PATH".into(),
            Skip::Service => "the calls in it are those of AWS services, which have no address".into(),
            Skip::BadEntity => "take another entity: --entity".into(),
            Skip::TooLong => "a record is too long to be one: is this a text file?".into(),
            Skip::Unfinished | Skip::NoMatch | Skip::OtherMessage | Skip::Repeated => {
                "none of its records tells of a login".into()
            }
        }
    }

    fn help_without_entity(&self) -> String {
        match self.format() {
            LogFormat::Apache => {
                "its lines name none: take another field, --entity user_agent, path or vhost".into()
            }
            LogFormat::Sshd if self.options.entity.iter().any(|field| field == "key_id") => {
                "its logins have no certificates: take --entity user or fingerprint".into()
            }
            LogFormat::Sshd => "take another field, --entity host".into(),
            _ => format!("say where it is: --entity PATH{}", json::keys_of_first(&self.sample)),
        }
    }
}

/// The forms that a time may have.
const TIMES: &str = "a number of seconds, milli-, micro- or nanoseconds since 1970, 2024-05-31T23:59:59Z with variants, or \
                     31/May/2024:23:59:59 +0000; a zone as an offset or UTC";

impl Reading {
    fn new(options: &ImportOptions) -> Result<Self> {
        Ok(Reading { format: options.format, parser: parser_of(options)?, records: None })
    }
}

/// Where records go.
struct Taking<'a, 's> {
    newest: i64,
    keeps_nobody: bool,
    report: &'a mut ImportReport,
    sink: &'a mut (dyn LoginSink + 's),
}

impl Taking<'_, '_> {
    /// Counts a record and hands on its logins.
    fn take(&mut self, record: std::result::Result<&[u8], Skip>, parser: &mut dyn Parser) -> Result<()> {
        let bytes = record.unwrap_or_default();
        // An empty line is no record.
        if record.is_ok() && bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let login = record.and_then(|record| parser.parse(record, self.newest)?.checked(self.keeps_nobody));
        let report = &mut *self.report;
        report.num_records += 1;
        match login {
            Ok(login) => {
                report.num_used += 1;
                if login.address.ipv4() == Some(0) {
                    report.num_unspecified += u64::from(login.num_times);
                }
                for _ in 0..login.num_times {
                    report.num_rows += 1;
                    self.sink.login(&login)?;
                }
            }
            Err(skip) => report.skip(skip, || parser.culprit(bytes, skip).map(|value| shown(&value))),
        }
        Ok(())
    }
}
