//! Where all rows pass: good ones go on, bad ones are counted, quarantined or refused.

use std::io::Write;

use bytes::Bytes;

use super::bad_rows::BadRow;
use super::chunk::{Chunk, ColumnBuffer, EventColumns};
use super::input::Input;
use super::names::shown;
use super::options::{OnBadRow, ReadOptions};
use super::prepared_file::read_chunks;
use super::report::ReadReport;
use super::row::{Fields, Place, Row, RowRules, TimedEvent, check};
use super::time::Unit;
use crate::durable::OutputFile;
use crate::event::AddressFamilies;
use crate::{At, Error, Result};

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

/// Takes events as columns.
pub(super) trait EventSink {
    /// Takes some events. All that a sink gets have times, or none.
    fn events(&mut self, events: EventColumns<'_>) -> Result<()>;

    /// Takes events of a prepared file, which may be mapped.
    fn chunk(&mut self, chunk: Chunk) -> Result<()> {
        self.events(chunk.columns())
    }
}

/// Checks and counts rows on their way to a [`Sink`].
pub(super) struct Intake<'a> {
    sink: Sink<'a>,
    report: ReadReport,
    fails: bool,
    rules: RowRules,
    /// What the numbers of the input's times count; not known before the first.
    unit: Option<Unit>,
    /// Whether events have times, and the input that said so; not known before the first input.
    times: Option<(bool, String)>,
    max_bad_fraction: f64,
    quarantine: Option<OutputFile>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(inputs: &[Input], options: &ReadOptions, sink: Sink<'a>) -> Result<Self> {
        if !(0.0..=1.0).contains(&options.max_bad_fraction) {
            let what = format!("{} is not a fraction", options.max_bad_fraction);
            return Err(Error::config(At::option("max_bad_fraction"), what, "give a number from 0 to 1"));
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
                    return Err(Error::config(
                        At::option("on_bad_row"),
                        what,
                        "give another file or move this one",
                    ));
                }
                Some(OutputFile::create(path)?)
            }
            OnBadRow::Fail | OnBadRow::Skip => None,
        };
        Ok(Intake {
            sink,
            report: ReadReport::default(),
            fails: options.on_bad_row == OnBadRow::Fail,
            rules: RowRules::of(options),
            unit: None,
            times: options.time_column.is_some().then(|| (true, String::new())),
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
        let row = match check(fields, self.rules) {
            Ok(row) => row,
            Err(reason) => return self.bad(place, reason, raw),
        };
        self.check_unit(row.unit, place)?;
        match &mut self.sink {
            Sink::Rows(on_row) => {
                self.report.num_rows += 1;
                on_row(row, place)
            }
            Sink::Events(_) => match row.to_event() {
                Ok(event) => self.event(event, place.name()),
                Err(reason) => self.bad(place, reason, raw),
            },
        }
    }

    /// Begins another input, whose times may be in another unit.
    pub(super) fn begin_input(&mut self) {
        self.unit = None;
    }

    /// Refuses times of one input that are in several units: one of them would be taken for years of another.
    pub(super) fn check_unit(&mut self, unit: Option<Unit>, place: Place<'_>) -> Result<()> {
        match (self.unit, unit) {
            (_, None) => {}
            (None, _) => self.unit = unit,
            (Some(first), Some(unit)) if first == unit => {}
            (Some(first), Some(unit)) => {
                let what = format!("the times mix units: {} here, {} before", unit.name(), first.name());
                return Err(Error::data(
                    place.to_string(),
                    what,
                    "write all times of the column in one unit",
                ));
            }
        }
        Ok(())
    }

    /// A note for people.
    pub(super) fn note(&mut self, note: String) {
        if !self.report.notes.contains(&note) {
            self.report.notes.push(note);
        }
    }

    fn event(&mut self, TimedEvent { event, time, .. }: TimedEvent, name: &str) -> Result<()> {
        let time = time.map(|time| [time]);
        let (entity, address) = (&[event.entity], &[event.address.bits()]);
        self.events(EventColumns { entity, address, time: time.as_ref().map(<[u32; 1]>::as_slice) }, name)
    }

    /// Takes events of good rows of the input `name`.
    pub(super) fn events(&mut self, events: EventColumns<'_>, name: &str) -> Result<()> {
        if events.len() == 0 {
            return Ok(());
        }
        self.check_times(events.time.is_some(), name)?;
        self.report.num_rows += events.len() as u64;
        match &mut self.sink {
            Sink::Events(sink) => sink.events(events),
            Sink::Rows(_) => Ok(()),
        }
    }

    /// Takes a prepared file.
    pub(super) fn prepared(&mut self, name: &str, bytes: Bytes, is_mapped: bool) -> Result<()> {
        if !self.takes_events() {
            return Err(Error::data(
                name,
                "a prepared file holds hashes, not entities",
                "give the CSV, JSON Lines or Parquet file that it was made from",
            ));
        }
        let mut num_before = 0;
        for chunk in read_chunks(name, bytes, is_mapped)?.into_iter().filter(|chunk| chunk.len() > 0) {
            self.check_times(chunk.time.is_some(), name)?;
            let num_rows = chunk.len() as u64;
            let chunk = self.of_families(chunk, name, num_before)?;
            num_before += num_rows;
            self.report.num_rows += chunk.len() as u64;
            if let Sink::Events(sink) = &mut self.sink {
                sink.chunk(chunk)?;
            }
        }
        Ok(())
    }

    /// The rows of a prepared file's chunk whose addresses are of the families; `num_before` rows stand before it.
    fn of_families(&mut self, chunk: Chunk, name: &str, num_before: u64) -> Result<Chunk> {
        if self.rules.families == AddressFamilies::Both || chunk.events().all(|event| event.address.is_ipv4())
        {
            return Ok(chunk);
        }
        let mut kept = ColumnBuffer::default();
        for (row, event) in chunk.events().enumerate() {
            if self.rules.families.take(event.address) {
                kept.push(TimedEvent { event, unit: None, time: chunk.time.as_ref().map(|time| time[row]) });
                continue;
            }
            let raw = format!("{:016x},{}", event.entity, event.address);
            self.bad(Place::Row(name, num_before + row as u64 + 1), BadRow::Ipv6, raw.as_bytes())?;
        }
        Ok(kept.take())
    }

    /// Refuses events with times among events without.
    fn check_times(&mut self, have_times: bool, name: &str) -> Result<()> {
        let (wanted, of) = self.times.get_or_insert_with(|| (have_times, name.to_string()));
        if *wanted == have_times {
            return Ok(());
        }
        let help = match (have_times, of.is_empty()) {
            (false, true) => "prepare the file again with its time column, or read without times",
            _ => "name the column of times (data.time_column), so that all events have one",
        };
        let what = match have_times {
            false if of.is_empty() => "it has no times".into(),
            false => format!("it has no times, but {of} has"),
            true => format!("it has times, but {of} has none"),
        };
        Err(Error::data(name, what, help))
    }

    /// Counts a bad row, or refuses it.
    pub(super) fn bad(&mut self, place: Place<'_>, reason: BadRow, raw: &[u8]) -> Result<()> {
        if self.fails {
            return Err(Error::data(
                place.to_string(),
                format!("{}: {}", reason.name(), shown(raw)),
                format!("{}; or read on without such rows: on_bad_row skip", reason.help()),
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
            "correct them (on_bad_row quarantine=FILE collects them) or raise max_bad_fraction",
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
