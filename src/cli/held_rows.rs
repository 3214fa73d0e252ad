//! Rows that are held in memory until it is known where they are cut in time.

use std::fmt::Display;

use ipsight::data::Events;
use ipsight::evaluate::{EvaluatedEvent, TimeSplit};
use ipsight::{At, Error, Event, Result};

/// Rows of the data, in their order.
#[derive(Default)]
pub struct HeldRows {
    rows: Vec<HeldRow>,
    /// The kinds of attacks that there are.
    kinds: Vec<Vec<u8>>,
}

struct HeldRow {
    event: Event,
    is_attack: bool,
    /// The index of its kind.
    kind: Option<u32>,
    seconds: i64,
}

impl HeldRows {
    /// Holds a row, which stands `at` some place.
    pub fn push(&mut self, row: &EvaluatedEvent<'_>, at: &dyn Display) -> Result<()> {
        let seconds = row.seconds.ok_or_else(|| {
            let help = "name the column of the events' times";
            Error::config(At::option("time_column"), format!("{at} has no time"), help)
        })?;
        let kind = row.kind.map(|kind| self.index_of(kind));
        self.rows.push(HeldRow { event: row.event, is_attack: row.is_attack, kind, seconds });
        Ok(())
    }

    fn index_of(&mut self, kind: &[u8]) -> u32 {
        // There are few of them.
        let known = self.kinds.iter().position(|known| known == kind);
        let index = known.unwrap_or_else(|| {
            self.kinds.push(kind.to_vec());
            self.kinds.len() - 1
        });
        index as u32
    }

    /// Where a share of the rows, above 0 and below 1, is past.
    pub fn split(&self, share: f64) -> Result<TimeSplit> {
        TimeSplit::new(self.rows.iter().map(|row| row.seconds).collect(), share)
    }

    /// The rows in folds that follow each other in time.
    pub fn folds(&self, num_folds: usize) -> Result<Vec<TimeSplit>> {
        TimeSplit::folds(self.rows.iter().map(|row| row.seconds).collect(), num_folds)
    }

    /// The ordinary events before a cut.
    pub fn past(&self, split: &TimeSplit) -> Events {
        let past = self.rows.iter().filter(|row| row.seconds < split.first && !row.is_attack);
        let (mut entities, mut addresses, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for row in past {
            entities.push(row.event.entity);
            addresses.push(row.event.address);
            times.push(u32::try_from(row.seconds).unwrap_or(0));
        }
        Events::with_times(entities, addresses, times)
    }

    /// The rows that a cut evaluates, with their numbers, from 1.
    pub fn evaluated(&self, split: TimeSplit) -> impl Iterator<Item = (usize, EvaluatedEvent<'_>)> {
        let rows = (1..).zip(&self.rows).filter(move |(_, row)| split.evaluates(row.seconds));
        rows.map(|(number, row)| {
            let HeldRow { event, is_attack, seconds, .. } = *row;
            let kind = row.kind.map(|kind| self.kinds[kind as usize].as_slice());
            let seconds = Some(seconds);
            (number, EvaluatedEvent { event, is_attack, kind, seconds, log_likelihood_ratios: &[] })
        })
    }
}
