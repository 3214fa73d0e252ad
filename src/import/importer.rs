//! Logs to logins, one input after the other.

use std::time::UNIX_EPOCH;

use super::formats::parser_of;
use super::json;
use super::likely::{Likely, likely_format};
use super::login::{LoginSink, Skip};
use super::options::{ImportOptions, LogFormat};
use super::parser::Parser;
use super::records::Records;
use super::report::{ImportReport, MASKED};
use crate::data::{Input, Source, Stream};
use crate::{Error, Result};

/// How much of the input is kept, to say what it looks like where nothing was found in it.
const MAX_SAMPLE: usize = 64 * 1024;

/// How much is read at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// Hands the logins of logs on to a [`LoginSink`].
pub struct Importer<'a> {
    options: ImportOptions,
    parser: Box<dyn Parser>,
    pub(super) records: Records,
    sink: &'a mut dyn LoginSink,
    report: ImportReport,
    sample: Vec<u8>,
    pub(super) newest: i64,
}

impl<'a> Importer<'a> {
    /// # Errors
    ///
    /// [`Error::Config`] for options that the format does not have.
    pub fn new(options: &ImportOptions, sink: &'a mut dyn LoginSink) -> Result<Self> {
        let parser = parser_of(options)?;
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
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let room = MAX_SAMPLE - self.sample.len();
        self.sample.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Importer { parser, records, sink, report, newest, .. } = self;
        records.feed(bytes, &mut |record| take(record, &**parser, *newest, report, &mut **sink))?;
        self.sink.pause()
    }

    /// Ends the input. What is left may be the last record, or one that is not finished and never will be.
    pub(super) fn end_input(&mut self, is_whole: bool) -> Result<()> {
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
        if num(Skip::UnspecifiedIpv6) > num(Skip::NotAddress) + num(Skip::NoAddress) {
            return MASKED.into();
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
            _ => format!("check that it is a log of the format `{name}`, with addresses in it"),
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
            if login.address.ipv4() == Some(0) {
                report.num_unspecified += u64::from(login.num_times);
            }
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
