//! The scores of one detector, 8 bytes an event, and the walk over them in order.
//!
//! They are sorted in chunks where they stand and merged on the walk: one sorted whole would be a copy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::slice::ParallelSliceMut;

use super::breakdown::{DaysBucket, HistoryBucket};
use super::family::Family;
use crate::{Error, Result};

/// Scores of one chunk (8 MiB).
const CHUNK: usize = 1 << 20;

/// What there is to know of an event but its score, in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(u16);

impl Code {
    /// Kinds of attacks that a code can hold.
    pub(super) const MAX_KINDS: usize = 255;

    const SEEN: u32 = 8;
    const HISTORY: u32 = 9;
    const ASIDE: u32 = 11;
    const FAMILY: u32 = 12;
    const DAYS: u32 = 13;
    const NUM_CODES: usize = 1 << 16;

    /// `kind` is that of an attack, in `0..MAX_KINDS`, or `None` for an ordinary event.
    pub(super) fn new(kind: Option<u8>, is_seen: bool, history: HistoryBucket) -> Self {
        let kind = kind.map_or(0, |kind| u16::from(kind) + 1);
        Code(kind | u16::from(is_seen) << Self::SEEN | (history as u16) << Self::HISTORY)
    }

    /// The same, of an event that is kept aside from a fit, or not.
    pub(super) fn kept_aside(self, is_kept_aside: bool) -> Self {
        self.with(Self::ASIDE, 1, u16::from(is_kept_aside))
    }

    /// The same, with an address of this family.
    pub(super) fn of_family(self, family: Family) -> Self {
        self.with(Self::FAMILY, 1, family as u16)
    }

    /// The same, at this time since the account's last event.
    pub(super) fn after(self, days: DaysBucket) -> Self {
        self.with(Self::DAYS, 3, days as u16)
    }

    /// Replaces some bits.
    fn with(self, start: u32, num_bits: u32, value: u16) -> Self {
        Code(self.0 & !(((1 << num_bits) - 1) << start) | value << start)
    }

    pub(super) fn is_kept_aside(self) -> bool {
        self.0 >> Self::ASIDE & 1 == 1
    }

    pub(super) fn is_attack(self) -> bool {
        self.0 & 0xFF != 0
    }

    pub(super) fn is_seen(self) -> bool {
        self.0 >> Self::SEEN & 1 == 1
    }

    /// Whether this is an attack of this kind.
    pub(super) fn is_of_kind(self, kind: u8) -> bool {
        self.0 & 0xFF == u16::from(kind) + 1
    }

    pub(super) fn is_of_history(self, bucket: HistoryBucket) -> bool {
        self.0 >> Self::HISTORY & 3 == bucket as u16
    }

    pub(super) fn is_of_family(self, family: Family) -> bool {
        self.0 >> Self::FAMILY & 1 == family as u16
    }

    pub(super) fn is_after(self, days: DaysBucket) -> bool {
        self.0 >> Self::DAYS & 7 == days as u16
    }
}

/// Collects anomaly scores with their codes.
#[derive(Debug, Default)]
pub(super) struct Scores {
    /// Sorted.
    full: Vec<Vec<u64>>,
    filling: Vec<u64>,
    not_a_number: bool,
}

impl Scores {
    pub(super) fn push(&mut self, score: f32, code: Code) {
        self.not_a_number |= score.is_nan();
        // The complement, so that the highest score comes first.
        self.filling.push(u64::from(!ordered_bits(score)) << 32 | u64::from(code.0));
        if self.filling.len() == CHUNK {
            self.end_chunk();
        }
    }

    fn end_chunk(&mut self) {
        // Capacities double, from small ones to that of a chunk exactly.
        let mut chunk = std::mem::take(&mut self.filling);
        chunk.par_sort_unstable();
        self.full.push(chunk);
    }

    /// Ends the collecting.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where a score is not a number.
    pub(super) fn sort(mut self, detector: &str) -> Result<SortedScores> {
        if self.not_a_number {
            return Err(Error::data(
                "scores",
                format!("a score of `{detector}` is not a number"),
                "the model is broken: train again with a lower learning_rate",
            ));
        }
        self.end_chunk();
        Ok(SortedScores(self.full))
    }
}

/// Maps floats to integers of the same order; -0.0 and 0.0 become one.
pub(crate) fn ordered_bits(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// The inverse of [`ordered_bits`].
pub(crate) fn of_ordered_bits(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The score of the upper half of a key.
fn score_of(upper: u64) -> f32 {
    of_ordered_bits(!(upper as u32))
}

/// The numbers of events of each class with one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tie {
    pub(super) score: f32,
    pub(super) num_attacks: u64,
    pub(super) num_ordinary: u64,
}

impl Tie {
    /// The events among `codes`, with their numbers, that are wanted.
    pub(super) fn of(score: f32, codes: &[(Code, u64)], is_wanted: impl Fn(Code) -> bool) -> Self {
        let mut tie = Tie { score, num_attacks: 0, num_ordinary: 0 };
        for (code, num) in codes.iter().filter(|(code, _)| is_wanted(*code)) {
            *(if code.is_attack() { &mut tie.num_attacks } else { &mut tie.num_ordinary }) += num;
        }
        tie
    }

    pub(super) fn is_empty(&self) -> bool {
        self.num_attacks + self.num_ordinary == 0
    }
}

/// Scores in descending order, in sorted chunks.
#[derive(Debug)]
pub(super) struct SortedScores(Vec<Vec<u64>>);

impl SortedScores {
    /// Calls `on_tie` for every score, the highest first, with the codes of its events and their numbers; no code
    /// comes twice.
    pub(super) fn for_each_tie(&self, mut on_tie: impl FnMut(f32, &[(Code, u64)])) {
        let mut rests: Vec<&[u64]> = self.0.iter().map(Vec::as_slice).collect();
        let firsts = rests.iter().enumerate().filter_map(|(i, rest)| Some(Reverse((*rest.first()?, i))));
        let mut heap: BinaryHeap<_> = firsts.collect();
        let mut codes: Vec<(Code, u64)> = Vec::new();
        let mut current = None;
        while let Some(mut top) = heap.peek_mut() {
            let Reverse((key, i)) = *top;
            let num = rests[i].iter().take_while(|other| **other == key).count();
            rests[i] = &rests[i][num..];
            match rests[i].first() {
                Some(next) => *top = Reverse((*next, i)),
                None => _ = std::collections::binary_heap::PeekMut::pop(top),
            }
            let (score, code) = (key >> 32, Code(key as u16));
            if let Some(last) = current.replace(score)
                && last != score
            {
                on_tie(score_of(last), &codes);
                codes.clear();
            }
            match codes.last_mut() {
                Some((last, total)) if *last == code => *total += num as u64,
                _ => codes.push((code, num as u64)),
            }
        }
        if let Some(last) = current {
            on_tie(score_of(last), &codes);
        }
    }

    /// How many events have each code that occurs.
    pub(super) fn codes(&self) -> Vec<(Code, u64)> {
        let mut counts = vec![0; Code::NUM_CODES];
        self.0.iter().flatten().for_each(|key| counts[usize::from(*key as u16)] += 1);
        let all = counts.into_iter().enumerate().filter(|(_, num)| *num > 0);
        all.map(|(code, num)| (Code(code as u16), num)).collect()
    }

    /// Lowest and highest score that is finite; `None` without any.
    pub(super) fn range(&self) -> Option<(f32, f32)> {
        let finite = |key: &&u64| score_of(key.to_owned() >> 32).is_finite();
        let lowest = self.0.iter().filter_map(|chunk| chunk.iter().rfind(finite)).max()?;
        let highest = self.0.iter().filter_map(|chunk| chunk.iter().find(finite)).min()?;
        Some((score_of(lowest >> 32), score_of(highest >> 32)))
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
        let ties = |is_wanted: &dyn Fn(Code) -> bool| {
            let mut ties = Vec::new();
            sorted.for_each_tie(|score, codes| ties.push(Tie::of(score, codes, is_wanted)));
            ties.retain(|tie| !tie.is_empty());
            ties
        };
        let all = ties(&|_| true);
        let found: Vec<f32> = all.iter().map(|tie| tie.score).collect();
        assert_eq!(found, [f32::INFINITY, 7.5, 1e-40, 0.0, -1e-40, -7.5, f32::NEG_INFINITY]);
        assert_eq!((all[3].num_attacks, all[3].num_ordinary), (1, 1));
        assert_eq!(sorted.range(), Some((-7.5, 7.5)));
        let seen: Vec<f32> = ties(&Code::is_seen).iter().map(|tie| tie.score).collect();
        assert_eq!(seen, [f32::INFINITY, 7.5, 1e-40, 0.0]);
        assert_eq!(ties(&|code| code.is_of_kind(254)).len(), 4);
        assert_eq!(ties(&|code| code.is_of_kind(0)).len(), 0);
        let new = ties(&|code: Code| code.is_of_history(HistoryBucket::None));
        assert_eq!(new.iter().map(|tie| tie.score).collect::<Vec<_>>(), [f32::INFINITY]);
    }

    /// Chunks are merged: no score comes twice, and each with its whole number.
    #[test]
    fn more_scores_than_a_chunk_are_merged() {
        let mut scores = Scores::default();
        let num = 2 * CHUNK + 6;
        for i in 0..num {
            scores.push((i % 3) as f32, Code::new((i % 2 == 0).then_some(1), true, HistoryBucket::Many));
        }
        let sorted = scores.sort("x").unwrap();
        let mut ties = Vec::new();
        sorted.for_each_tie(|score, codes| {
            assert_eq!(codes.len(), 2);
            ties.push(Tie::of(score, codes, |_| true));
        });
        assert_eq!(ties.iter().map(|tie| tie.score).collect::<Vec<_>>(), [2.0, 1.0, 0.0]);
        for tie in ties {
            assert!((tie.num_attacks + tie.num_ordinary).abs_diff(num as u64 / 3) <= 1, "{tie:?}");
            assert!(tie.num_attacks.abs_diff(tie.num_ordinary) <= 1, "{tie:?}");
        }
        assert_eq!(sorted.codes().iter().map(|(_, num)| num).sum::<u64>(), num as u64);
    }

    #[test]
    fn a_score_that_is_not_a_number_is_an_error() {
        let mut scores = Scores::default();
        scores.push(f32::NAN, Code::new(None, true, HistoryBucket::None));
        assert_eq!(scores.sort("x").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn what_a_code_says_does_not_mix() {
        for (kind, seen, index, aside) in [(None, true, 3, true), (Some(254), false, 0, false)] {
            let (bucket, days) = (HistoryBucket::ALL[index], DaysBucket::ALL[index]);
            let family = Family::ALL[index % 2];
            let code = Code::new(kind, seen, bucket).kept_aside(!aside).kept_aside(aside);
            let code = code.after(DaysBucket::Many).after(days).of_family(Family::Ipv6).of_family(family);
            assert_eq!((code.is_attack(), code.is_seen()), (kind.is_some(), seen));
            assert_eq!((code.is_of_history(bucket), code.is_kept_aside()), (true, aside));
            assert!(code.is_after(days) && code.is_of_family(family));
            assert!(!code.is_after(DaysBucket::Many) && !code.is_of_family(Family::ALL[1 - index % 2]));
            assert_eq!(kind.is_some_and(|kind| code.is_of_kind(kind)), kind.is_some());
            assert!(usize::from(code.0) < Code::NUM_CODES);
        }
    }
}
