//! Where all rows pass: good ones go on, bad ones are counted, quarantined or refused.

use std::io::Write;

use super::bad_rows::BadRow;
use super::input::Input;
use super::names::shown;
use super::options::{OnBadRow, ReadOptions};
use super::report::ReadReport;
use super::row::{Fields, Place, Row, check};
use super::stream::Stream;
use crate::durable::OutputFile;
use crate::event::{IpSyntax, hash_entity};
use crate::{Error, Result};

/// Bad rows up to this many never stop the reading early, so that a cluster of them at the beginning is
/// judged against the whole.
const NUM_BAD_BEFORE_EARLY_STOP: u64 = 100;

/// Takes what was read.
pub(super) enum Sink<'a> {
    /// Rows as they stand, one at a time.
    Rows(&'a mut dyn FnMut(Row<'_>, Place<'_>) -> Result<()>),
    /// Events, which may be hashed and parsed elsewhere, many at a time.
    Events(&'a mut dyn EventSink),
}

/// Takes events as two columns.
pub(super) trait EventSink {
    /// Takes some events; both columns have the same length.
    fn events(&mut self, entity: &[u64], ip: &[u32]) -> Result<()>;

    /// Takes a prepared file and returns how many rows it has.
    fn prepared(&mut self, stream: Stream) -> Result<u64>;
}

/// Checks and counts rows on their way to a [`Sink`].
pub(super) struct Intake<'a> {
    sink: Sink<'a>,
    report: ReadReport,
    fails: bool,
    ip_syntax: IpSyntax,
    max_bad_fraction: f64,
    quarantine: Option<OutputFile>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(inputs: &[Input], options: &ReadOptions, sink: Sink<'a>) -> Result<Self> {
        if !(0.0..=1.0).contains(&options.max_bad_fraction) {
            let what = format!("{} is not a fraction", options.max_bad_fraction);
            return Err(Error::config("--max-bad-fraction", what, "give a number from 0 to 1"));
        }
        let quarantine = match &options.on_bad_row {
            OnBadRow::Quarantine(path) => {
                let real = path.canonicalize().ok();
                let is_read = |input: &Input| match input {
                    Input::File(file) => real.is_some() && file.canonicalize().ok() == real,
                    Input::Stdin => false,
                };
                if inputs.iter().any(is_read) {
                    let what = format!("{} is also an input", path.display());
                    return Err(Error::config("--on-bad-row", what, "give another file or move this one"));
                }
                Some(OutputFile::create(path)?)
            }
            OnBadRow::Fail | OnBadRow::Skip => None,
        };
        Ok(Intake {
            sink,
            report: ReadReport::default(),
            fails: options.on_bad_row == OnBadRow::Fail,
            ip_syntax: options.ip_syntax,
            max_bad_fraction: options.max_bad_fraction,
            quarantine,
        })
    }

    /// Whether the sink takes [`Intake::events`] too, and not rows alone.
    pub(super) fn takes_events(&self) -> bool {
        matches!(self.sink, Sink::Events(_))
    }

    /// Checks a row and hands it on; `raw` is the row as it stands.
    pub(super) fn row(&mut self, place: Place<'_>, fields: Fields<'_>, raw: &[u8]) -> Result<()> {
        match check(fields, self.ip_syntax) {
            Ok(row) => {
                self.report.num_rows += 1;
                match &mut self.sink {
                    Sink::Rows(on_row) => on_row(row, place),
                    Sink::Events(sink) => sink.events(&[hash_entity(row.entity)], &[row.ip]),
                }
            }
            Err(reason) => self.bad(place, reason, raw),
        }
    }

    /// Takes events of good rows.
    pub(super) fn events(&mut self, entity: &[u64], ip: &[u32]) -> Result<()> {
        self.report.num_rows += ip.len() as u64;
        match &mut self.sink {
            Sink::Events(sink) => sink.events(entity, ip),
            Sink::Rows(_) => Ok(()),
        }
    }

    /// Takes a prepared file.
    pub(super) fn prepared(&mut self, stream: Stream) -> Result<()> {
        self.report.num_rows += match &mut self.sink {
            Sink::Events(sink) => sink.prepared(stream)?,
            Sink::Rows(_) => {
                return Err(Error::data(
                    stream.name(),
                    "a prepared file holds hashes, not entities",
                    "give the CSV, JSON Lines or Parquet file that it was made from",
                ));
            }
        };
        Ok(())
    }

    /// Counts a bad row, or refuses it.
    pub(super) fn bad(&mut self, place: Place<'_>, reason: BadRow, raw: &[u8]) -> Result<()> {
        if self.fails {
            return Err(Error::data(
                place.to_string(),
                format!("{}: {}", reason.name(), shown(raw)),
                format!("{}; or read on without such rows: --on-bad-row skip", reason.mend()),
            ));
        }
        self.report.num_bad += 1;
        *self.report.bad_by_reason.entry(reason.name()).or_default() += 1;
        if let Some(file) = &mut self.quarantine {
            let path = file.path().to_path_buf();
            file.write_all(raw).and_then(|()| file.write_all(b"\n")).map_err(Error::io("write", path))?;
        }
        if self.report.num_bad > NUM_BAD_BEFORE_EARLY_STOP && self.has_too_many() {
            return Err(self.too_many(place.to_string()));
        }
        Ok(())
    }

    /// Ends the reading. The quarantined rows are kept even if it failed: they may say why.
    pub(super) fn finish(mut self, result: Result<()>) -> Result<ReadReport> {
        let kept = match self.quarantine.take() {
            Some(file) => file.commit(),
            None => Ok(()),
        };
        result?;
        kept?;
        if self.has_too_many() {
            return Err(self.too_many("the whole input".into()));
        }
        Ok(self.report)
    }

    fn has_too_many(&self) -> bool {
        let num_read = self.report.num_rows + self.report.num_bad;
        self.report.num_bad as f64 > self.max_bad_fraction * num_read as f64
    }

    fn too_many(&self, at: String) -> Error {
        Error::data(
            at,
            format!("too many bad rows: {} (at most {} of them may be)", self.report, self.max_bad_fraction),
            "mend them (--on-bad-row quarantine=FILE collects them) or raise --max-bad-fraction",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_stops_early_only_past_a_hundred_bad_rows_and_the_fraction() {
        let options =
            ReadOptions { on_bad_row: OnBadRow::Skip, max_bad_fraction: 0.5, ..ReadOptions::default() };
        let mut ignore = |_: Row<'_>, _: Place<'_>| Ok(());
        let mut intake = Intake::new(&[], &options, Sink::Rows(&mut ignore)).unwrap();
        let place = Place::Line("f", 7);
        for _ in 0..100 {
            intake.bad(place, BadRow::Ipv6, b"").unwrap();
        }
        let error = intake.bad(place, BadRow::EmptyEntity, b"").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("101 of 101") && text.contains("100 IPv6 address"), "{text}");
        assert_eq!(error.exit_code(), 3);

        let mut ignore = |_: Row<'_>, _: Place<'_>| Ok(());
        let mut intake = Intake::new(&[], &options, Sink::Rows(&mut ignore)).unwrap();
        for _ in 0..200 {
            let fields = Fields { entity: b"e", ip: b"1.2.3.4", label: None, kind: None, time: None };
            intake.row(place, fields, b"").unwrap();
        }
        for _ in 0..200 {
            intake.bad(place, BadRow::Ipv6, b"").unwrap();
        }
        assert!(intake.bad(place, BadRow::Ipv6, b"").is_err());
    }

    #[test]
    fn a_fraction_outside_zero_to_one_is_refused() {
        for max_bad_fraction in [-0.1, 1.1, f64::NAN] {
            let options = ReadOptions { max_bad_fraction, ..ReadOptions::default() };
            let result = Intake::new(&[], &options, Sink::Rows(&mut |_, _| Ok(()))).map(|_| ());
            assert!(matches!(result, Err(Error::Config { .. })), "{max_bad_fraction}");
        }
    }
}
