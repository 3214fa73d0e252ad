//! The scores of events by two models, 8 bytes an event, and what follows from their order.

use rayon::slice::ParallelSliceMut;
use serde::Serialize;

use crate::evaluate::{of_ordered_bits, ordered_bits};
use crate::{Error, Result};

/// Bins of the old model's scores.
const NUM_BINS: usize = 10;

/// Twice a rank has 32 bits.
const MAX_EVENTS: usize = (1 << 31) - 1;

/// How many events each model gives a score above that of the bin before, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreBin {
    /// The highest anomaly score of the bin; `None` for the last, which has no end.
    pub to: Option<f32>,
    /// By the old model.
    pub num_old: u64,
    /// By the new model.
    pub num_new: u64,
}

/// Collects the anomaly scores of events by the old and the new model, as two integers of the scores' order in one.
#[derive(Debug, Default)]
pub(super) struct ScorePairs(Vec<u64>);

/// What follows from the order of scores.
#[derive(Debug)]
pub(super) struct Ranked {
    /// As [`super::Comparison::rank_correlation`].
    pub(super) correlation: Option<f64>,
    /// As [`super::Comparison::score_bins`].
    pub(super) bins: Vec<ScoreBin>,
}

impl ScorePairs {
    /// Adds an event's scores by the old and the new model, which must be numbers.
    pub(super) fn push(&mut self, [old, new]: [f32; 2]) {
        self.0.push(u64::from(ordered_bits(old)) << 32 | u64::from(ordered_bits(new)));
    }

    /// Ranks the scores.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where there are more events than ranks have bits for.
    pub(super) fn rank(mut self) -> Result<Ranked> {
        if self.0.len() > MAX_EVENTS {
            let what = format!("{} ordinary events are too many to rank", self.0.len());
            return Err(Error::data("events", what, format!("give at most {MAX_EVENTS}")));
        }
        self.0.par_sort_unstable();
        let bins = bins(&self.0);
        // From now on the upper half is a rank by the old model, and then the score by the new one.
        let old_squares = replace_by_ranks(&mut self.0);
        self.0.iter_mut().for_each(|pair| *pair = pair.rotate_left(32));
        self.0.par_sort_unstable();
        let (products, new_squares) = sums_of_ranks(&self.0);
        let squares = (old_squares * new_squares).sqrt();
        Ok(Ranked { correlation: (squares > 0.0).then(|| (products / squares).clamp(-1.0, 1.0)), bins })
    }
}

fn upper(pair: u64) -> u32 {
    (pair >> 32) as u32
}

/// Bins that end at the deciles of the scores in the upper half, by which `pairs` are sorted. A decile is the lowest score
/// that at least so many tenths of the scores do not exceed (Hyndman and Fan's definition 1).
fn bins(pairs: &[u64]) -> Vec<ScoreBin> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let decile = |tenths: usize| upper(pairs[(tenths * pairs.len()).div_ceil(NUM_BINS) - 1]);
    let mut edges: Vec<u32> = (1..NUM_BINS).map(decile).collect();
    edges.dedup();
    let ends = edges.iter().map(|edge| Some(of_ordered_bits(*edge))).chain([None]);
    let mut bins: Vec<ScoreBin> = ends.map(|to| ScoreBin { to, num_old: 0, num_new: 0 }).collect();
    for pair in pairs {
        bins[edges.partition_point(|edge| *edge < upper(*pair))].num_old += 1;
        bins[edges.partition_point(|edge| *edge < *pair as u32)].num_new += 1;
    }
    bins
}

/// Puts, of pairs that are sorted, twice the mean rank (from 1) of the upper half's ties in its place. Gives the sum of
/// squares of the ranks' distances from their mean, fourfold.
fn replace_by_ranks(pairs: &mut [u64]) -> f64 {
    let mean = pairs.len() as f64 + 1.0;
    let (mut start, mut squares) = (0, 0.0);
    for ties in pairs.chunk_by_mut(|a, b| upper(*a) == upper(*b)) {
        let twice_rank = 2 * start + ties.len() + 1;
        squares += (twice_rank as f64 - mean).powi(2) * ties.len() as f64;
        ties.iter_mut().for_each(|pair| *pair = (twice_rank as u64) << 32 | u64::from(*pair as u32));
        start += ties.len();
    }
    squares
}

/// Of pairs that are sorted, with twice a rank in the lower half: the sum of its distances from the mean times those of
/// the upper half's ranks, and the sum of squares of these, fourfold.
fn sums_of_ranks(pairs: &[u64]) -> (f64, f64) {
    let mean = pairs.len() as f64 + 1.0;
    let (mut start, mut products, mut squares) = (0, 0.0, 0.0);
    for ties in pairs.chunk_by(|a, b| upper(*a) == upper(*b)) {
        let distance = (2 * start + ties.len() + 1) as f64 - mean;
        products += distance * ties.iter().map(|pair| f64::from(*pair as u32) - mean).sum::<f64>();
        squares += distance * distance * ties.len() as f64;
        start += ties.len();
    }
    (products, squares)
}
