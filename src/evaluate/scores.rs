//! The scores of one detector, 8 bytes an event, and the walk over them in order.

use rayon::slice::ParallelSliceMut;

use crate::{Error, Result};

/// Scores of one chunk (8 MiB): chunks are let go one by one while the sorted column fills.
const CHUNK: usize = 1 << 20;

/// What there is to know of an event but its score, in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(u16);

impl Code {
    /// Kinds of attacks that can be told apart.
    pub(super) const MAX_KINDS: usize = 255;

    /// `kind` is that of an attack, in `0..MAX_KINDS`, or `None` for an ordinary event.
    pub(super) fn new(kind: Option<u8>, is_seen: bool, history: HistoryBucket) -> Self {
        let kind = kind.map_or(0, |kind| u16::from(kind) + 1);
        Code(kind | u16::from(is_seen) << 8 | (history as u16) << 9)
    }

    pub(super) fn is_attack(self) -> bool {
        self.0 & 0xFF != 0
    }

    pub(super) fn is_seen(self) -> bool {
        self.0 >> 8 & 1 == 1
    }

    /// Whether this is an attack of this kind.
    pub(super) fn is_of_kind(self, kind: u8) -> bool {
        self.0 & 0xFF == u16::from(kind) + 1
    }

    pub(super) fn is_of_history(self, bucket: HistoryBucket) -> bool {
        self.0 >> 9 == bucket as u16
    }
}

/// How many training events an entity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistoryBucket {
    None,
    Below10,
    Below100,
    Many,
}

impl HistoryBucket {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Below10, Self::Below100, Self::Many];

    pub(super) fn of(num_events: u64) -> Self {
        match num_events {
            0 => Self::None,
            1..10 => Self::Below10,
            10..100 => Self::Below100,
            _ => Self::Many,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Below10 => "1-9",
            Self::Below100 => "10-99",
            Self::Many => "100+",
        }
    }
}

/// Collects anomaly scores with their codes.
#[derive(Debug, Default)]
pub(super) struct Scores {
    full: Vec<Vec<u64>>,
    filling: Vec<u64>,
    not_a_number: bool,
}

impl Scores {
    pub(super) fn push(&mut self, score: f32, code: Code) {
        self.not_a_number |= score.is_nan();
        if self.filling.capacity() == 0 {
            self.filling.reserve_exact(CHUNK);
        }
        // The complement, so that the highest score comes first.
        self.filling.push(u64::from(!ordered_bits(score)) << 32 | u64::from(code.0));
        if self.filling.len() == CHUNK {
            self.full.push(std::mem::take(&mut self.filling));
        }
    }

    /// Sorts by score, the highest first.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where a score is not a number.
    pub(super) fn sort(self, detector: &str) -> Result<SortedScores> {
        if self.not_a_number {
            return Err(Error::data(
                "scores",
                format!("a score of `{detector}` is not a number"),
                "the model is broken: train again with a lower learning_rate",
            ));
        }
        let num_scores = self.full.len() * CHUNK + self.filling.len();
        // Pages that are not touched yet cost nothing, so the two copies never exist whole side by side.
        let mut keys = Vec::new();
        keys.reserve_exact(num_scores);
        for chunk in self.full.into_iter().chain([self.filling]) {
            keys.extend_from_slice(&chunk);
        }
        keys.par_sort_unstable();
        Ok(SortedScores(keys))
    }
}

/// Maps floats to integers of the same order; -0.0 and 0.0 become one.
fn ordered_bits(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn score_of(key: u64) -> f32 {
    let ordered = !((key >> 32) as u32);
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// Events with one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tie {
    pub(super) score: f32,
    pub(super) num_attacks: u64,
    pub(super) num_ordinary: u64,
}

/// Scores in descending order.
#[derive(Debug)]
pub(super) struct SortedScores(Vec<u64>);

impl SortedScores {
    /// The ties among the events that `is_wanted`, the highest score first.
    pub(super) fn ties(&self, is_wanted: impl Fn(Code) -> bool) -> impl Iterator<Item = Tie> {
        self.0.chunk_by(|a, b| a >> 32 == b >> 32).filter_map(move |keys| {
            let mut tie = Tie { score: score_of(keys[0]), num_attacks: 0, num_ordinary: 0 };
            for code in keys.iter().map(|key| Code(*key as u16)).filter(|code| is_wanted(*code)) {
                tie.num_attacks += u64::from(code.is_attack());
                tie.num_ordinary += u64::from(!code.is_attack());
            }
            (tie.num_attacks + tie.num_ordinary > 0).then_some(tie)
        })
    }

    /// Lowest and highest score that is finite; `None` without any.
    pub(super) fn range(&self) -> Option<(f32, f32)> {
        let finite = |key: &&u64| score_of(**key).is_finite();
        Some((score_of(*self.0.iter().rfind(finite)?), score_of(*self.0.iter().find(finite)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_come_back_in_descending_order_with_their_codes() {
        let all = [f32::INFINITY, 7.5, 1e-40, 0.0, -0.0, -1e-40, -7.5, f32::NEG_INFINITY];
        let mut scores = Scores::default();
        for (i, score) in all.iter().enumerate().rev() {
            scores.push(*score, Code::new((i % 2 == 0).then_some(254), i < 4, HistoryBucket::of(i as u64)));
        }
        let sorted = scores.sort("x").unwrap();
        let ties: Vec<Tie> = sorted.ties(|_| true).collect();
        let found: Vec<f32> = ties.iter().map(|tie| tie.score).collect();
        assert_eq!(found, [f32::INFINITY, 7.5, 1e-40, 0.0, -1e-40, -7.5, f32::NEG_INFINITY]);
        assert_eq!((ties[3].num_attacks, ties[3].num_ordinary), (1, 1));
        assert_eq!(sorted.range(), Some((-7.5, 7.5)));
        let seen: Vec<f32> = sorted.ties(Code::is_seen).map(|tie| tie.score).collect();
        assert_eq!(seen, [f32::INFINITY, 7.5, 1e-40, 0.0]);
        assert_eq!(sorted.ties(|code| code.is_of_kind(254)).count(), 4);
        assert_eq!(sorted.ties(|code| code.is_of_kind(0)).count(), 0);
        let new = |code: Code| code.is_of_history(HistoryBucket::None);
        assert_eq!(sorted.ties(new).map(|tie| tie.score).collect::<Vec<_>>(), [f32::INFINITY]);
    }

    #[test]
    fn more_scores_than_a_chunk_are_kept() {
        let mut scores = Scores::default();
        for i in 0..CHUNK + 3 {
            scores.push((i % 3) as f32, Code::new(None, true, HistoryBucket::Many));
        }
        let sorted = scores.sort("x").unwrap();
        assert_eq!(sorted.ties(|_| true).map(|tie| tie.num_ordinary).sum::<u64>(), CHUNK as u64 + 3);
        assert_eq!(sorted.ties(|_| true).count(), 3);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_an_error() {
        let mut scores = Scores::default();
        scores.push(f32::NAN, Code::new(None, true, HistoryBucket::None));
        assert_eq!(scores.sort("x").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn buckets_of_history_have_their_limits() {
        let names = [0, 1, 9, 10, 99, 100, u64::MAX].map(|count| HistoryBucket::of(count).name());
        assert_eq!(names, ["0", "1-9", "1-9", "10-99", "10-99", "100+", "100+"]);
    }
}
