//! What an anomaly score means: its percentile among ordinary events, and the probability of an attack.
//!
//! Both are monotone tables of counts, made from scores in order. Counts, not shares, are kept: they read back
//! exactly.

use serde::{Deserialize, Serialize};

/// Blocks of the isotonic regression, at most.
pub const MAX_BLOCKS: usize = 1000;

/// Percentiles are exact to this share of the ordinary events, and to a tenth of it for each power of ten that the
/// share above falls below 1 %.
pub const PERCENTILE_STEP: f64 = 1e-3;

/// The smallest share of ordinary events above a score that is distinguished from none.
const MIN_TAIL: f64 = 1e-8;

/// Tables from anomaly scores to percentiles and probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// BLAKE3 of the events, in hexadecimal: of each the entity's hash (8 bytes, little endian), the address's bits (8
    /// bytes, little endian) and 1 for an attack or 0, in the order in which they were scored.
    pub data_digest: String,
    /// Attacks among the events.
    pub num_attacks: u64,
    /// Ordinary events.
    pub num_ordinary: u64,
    /// Scores of ordinary events in ascending order, the lowest and the highest among them.
    percentiles: Vec<Knot>,
    /// The isotonic regression, in ascending order of scores.
    probabilities: Vec<Block>,
}

/// A score with the numbers of ordinary events below it, and below or at it: `[score, below, up_to]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Knot(f32, u64, u64);

/// The events of a range of scores, both ends included: `[low, high, attacks, ordinary]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Block(f32, f32, u64, u64);

impl Block {
    fn probability(&self) -> f64 {
        self.2 as f64 / (self.2 + self.3) as f64
    }

    fn num_events(&self) -> f64 {
        (self.2 + self.3) as f64
    }

    /// Whether attacks are at least as frequent as in the block above it: that is no order for a regression.
    fn is_at_least(&self, above: &Block) -> bool {
        let events = |block: &Block| u128::from(block.2) + u128::from(block.3);
        u128::from(self.2) * events(above) >= u128::from(above.2) * events(self)
    }

    /// Takes in the block below it.
    fn absorb(&mut self, below: Block) {
        *self = Block(below.0, self.1, self.2 + below.2, self.3 + below.3);
    }
}

impl Calibration {
    /// The share of attacks among the events, 0..=1: the base rate at which [`Calibration::probability`] holds.
    pub fn attack_prior(&self) -> f64 {
        self.num_attacks as f64 / (self.num_attacks + self.num_ordinary) as f64
    }

    /// The share of ordinary events with a lower score than this, 0..=1; those with an equal one do not count.
    /// Exact at the scores of the table; between two of them interpolated, and so off by less than
    /// [`PERCENTILE_STEP`] says.
    pub fn percentile(&self, score: f32) -> f64 {
        let i = self.percentiles.partition_point(|knot| knot.0 < score);
        let below = match (i.checked_sub(1).map(|i| self.percentiles[i]), self.percentiles.get(i)) {
            (_, Some(knot)) if knot.0 == score => knot.1 as f64,
            (Some(low), Some(high)) => interpolate(score, (low.0, low.2 as f64), (high.0, high.1 as f64)),
            (Some(low), None) => low.2 as f64,
            (None, _) => 0.0,
        };
        below / self.num_ordinary as f64
    }

    /// The probability that an event with this score is an attack, above 0 and below 1, at the base rate
    /// [`Calibration::attack_prior`]. It never falls where the score rises.
    ///
    /// By isotonic regression on the events (pool adjacent violators; Zadrozny & Elkan 2002), interpolated between
    /// its blocks. As if there were one attack more at the lowest score and one ordinary event more at the highest,
    /// after Laplace's rule of succession: a few events prove no certainty, and a probability of 0 or 1 would stay
    /// what it is at any other base rate.
    pub fn probability(&self, score: f32) -> f64 {
        let i = self.probabilities.partition_point(|block| block.1 < score);
        match (i.checked_sub(1).map(|i| self.probabilities[i]), self.probabilities.get(i)) {
            (Some(below), Some(block)) if score < block.0 => {
                interpolate(score, (below.1, below.probability()), (block.0, block.probability()))
            }
            (_, Some(block)) => block.probability(),
            (Some(below), None) => below.probability(),
            (None, None) => self.attack_prior(),
        }
    }

    /// What is wrong with tables that were read, if anything is.
    pub(crate) fn find_fault(&self) -> Option<&'static str> {
        let finite = |score: f32| score.is_finite();
        let n = self.num_ordinary;
        // Numbers that are read could be anything: sums of counts must not overflow.
        if ![self.num_attacks, n].iter().all(|count| (1..=1 << 60).contains(count)) {
            return Some("no attacks or no ordinary events, or impossibly many");
        }
        if !self.percentiles.iter().all(|knot| finite(knot.0) && knot.1 < knot.2 && knot.2 <= n)
            || !self.percentiles.is_sorted_by(|a, b| a.0 < b.0 && a.2 <= b.1)
            || self.percentiles.last().is_none_or(|knot| knot.2 != n)
        {
            return Some("percentiles that are not in order");
        }
        let is_whole = |block: &Block| finite(block.0) && finite(block.1) && block.0 <= block.1;
        let is_count = |block: &Block| block.2 <= 1 << 60 && block.3 <= 1 << 60 && block.2 + block.3 > 0;
        if !self.probabilities.iter().all(|block| is_whole(block) && is_count(block))
            || !self.probabilities.is_sorted_by(|a, b| a.1 < b.0 && a.probability() <= b.probability())
            || self.probabilities.is_empty()
        {
            return Some("probabilities that are not in order");
        }
        None
    }
}

fn interpolate(score: f32, (low, from): (f32, f64), (high, to): (f32, f64)) -> f64 {
    let share = (f64::from(score) - f64::from(low)) / (f64::from(high) - f64::from(low));
    from + share.clamp(0.0, 1.0) * (to - from)
}

/// Makes a [`Calibration`] from the events of each score, the highest score first.
#[derive(Debug, Default)]
pub(crate) struct CalibrationBuilder {
    num_attacks: u64,
    num_ordinary: u64,
    /// For each kept score: the ordinary events above it, and those at it.
    tails: Vec<(f32, u64, u64)>,
    last_tail: Option<(f32, u64, u64)>,
    /// Ordinary events in all, which are needed to know how fine the table must be.
    total_ordinary: u64,
    /// The highest first.
    blocks: Vec<Block>,
}

impl CalibrationBuilder {
    /// For events of which `total_ordinary` are ordinary.
    pub(crate) fn new(total_ordinary: u64) -> Self {
        Self { total_ordinary, ..Self::default() }
    }

    /// Adds the events with the next lower score, at least one.
    pub(crate) fn add(&mut self, score: f32, num_attacks: u64, num_ordinary: u64) {
        if num_ordinary > 0 {
            self.add_tail((score, self.num_ordinary, num_ordinary));
        }
        self.num_attacks += num_attacks;
        self.num_ordinary += num_ordinary;
        let one_more = u64::from(self.blocks.is_empty());
        self.blocks.push(Block(score, score, num_attacks, num_ordinary + one_more));
        self.pool();
    }

    /// Pools adjacent violators at the end.
    fn pool(&mut self) {
        while let [.., above, last] = &mut self.blocks[..]
            && last.is_at_least(above)
        {
            above.absorb(*last);
            self.blocks.pop();
        }
    }

    /// Keeps the first score of a cell and the last, so that between two kept ones there is less than a cell.
    fn add_tail(&mut self, tail: (f32, u64, u64)) {
        let cell = |tail: &(f32, u64, u64)| cell(tail.1 as f64 / self.total_ordinary as f64);
        if self.last_tail.is_none_or(|last| cell(&last) != cell(&tail)) {
            self.keep_last();
            self.tails.push(tail);
        }
        self.last_tail = Some(tail);
    }

    fn keep_last(&mut self) {
        if let Some(last) = self.last_tail
            && self.tails.last() != Some(&last)
        {
            self.tails.push(last);
        }
    }

    /// The tables, when all events were added, or `None` where a class is missing.
    pub(crate) fn finish(mut self, data_digest: String) -> Option<Calibration> {
        let (num_attacks, n) = (self.num_attacks, self.num_ordinary);
        if num_attacks == 0 || n == 0 {
            return None;
        }
        self.keep_last();
        let knot = |(score, above, at): &(f32, u64, u64)| Knot(*score, n - above - at, n - above);
        let percentiles = self.tails.iter().rev().map(knot).collect();
        // The last block holds the lowest score: what was pooled with it stays so when it gets more attacks.
        if let Some(last) = self.blocks.last_mut() {
            last.2 += 1;
        }
        self.pool();
        let mut probabilities = self.blocks;
        thin(&mut probabilities, MAX_BLOCKS);
        probabilities.reverse();
        Some(Calibration { data_digest, num_attacks, num_ordinary: n, percentiles, probabilities })
    }
}

/// The cell of the percentile table that a share of ordinary events above a score falls in: [`PERCENTILE_STEP`] wide,
/// and finer by powers of ten where the share is below 1 %.
fn cell(tail: f64) -> (i32, i64) {
    let tail = tail.max(MIN_TAIL);
    let decade = (tail.log10().floor() as i32 + 2).min(0);
    (decade, (tail / (PERCENTILE_STEP * 10f64.powi(decade))).floor() as i64)
}

/// Pools neighbours, those that differ least first, until at most `max` blocks are left. The loss is that of Ward
/// (1963): the growth of the sum of squared errors.
fn thin(blocks: &mut Vec<Block>, max: usize) {
    while blocks.len() > max {
        let loss = |a: &Block, b: &Block| {
            let (n, m) = (a.num_events(), b.num_events());
            n * m / (n + m) * (a.probability() - b.probability()).powi(2)
        };
        let mut losses: Vec<f64> = blocks.windows(2).map(|pair| loss(&pair[0], &pair[1])).collect();
        let excess = blocks.len() - max;
        let limit = *losses.select_nth_unstable_by(excess - 1, f64::total_cmp).1;
        let mut num_left = excess;
        let mut thinned: Vec<Block> = Vec::with_capacity(blocks.len());
        // No block is pooled twice in a round: its loss was that of the block before.
        let mut is_pooled = false;
        for block in blocks.drain(..) {
            match thinned.last_mut() {
                Some(above) if num_left > 0 && !is_pooled && loss(above, &block) <= limit => {
                    above.absorb(block);
                    num_left -= 1;
                    is_pooled = true;
                }
                _ => {
                    thinned.push(block);
                    is_pooled = false;
                }
            }
        }
        *blocks = thinned;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calibration(ties: &[(f32, u64, u64)]) -> Calibration {
        let mut builder = CalibrationBuilder::new(ties.iter().map(|tie| tie.2).sum());
        ties.iter().for_each(|(score, attacks, ordinary)| builder.add(*score, *attacks, *ordinary));
        builder.finish("digest".into()).unwrap()
    }

    #[test]
    fn a_percentile_counts_what_is_strictly_lower() {
        let found = calibration(&[(3.0, 1, 0), (2.0, 0, 1), (1.0, 2, 4), (0.0, 0, 5)]);
        let percentiles = [-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, f32::INFINITY].map(|s| found.percentile(s));
        assert_eq!(percentiles, [0.0, 0.0, 0.5, 0.5, 0.9, 0.9, 1.0, 1.0]);
        assert_eq!(found.find_fault(), None);
    }

    /// By hand: from above 3/4 with the one ordinary event more, then 1/2 and 2/3 pooled, then 1/9 with the one
    /// attack more.
    #[test]
    fn violators_are_pooled_and_no_probability_is_certain() {
        let found = calibration(&[(3.0, 3, 0), (2.0, 1, 1), (1.0, 2, 1), (0.0, 0, 8)]);
        let probabilities = [9.0, 3.0, 2.0, 1.5, 1.0, 0.0, -9.0].map(|score| found.probability(score));
        assert_eq!(probabilities, [0.75, 0.75, 0.6, 0.6, 0.6, 1.0 / 9.0, 1.0 / 9.0]);
        assert!((found.probability(0.5) - (0.6 + 1.0 / 9.0) / 2.0).abs() < 1e-15);
        let separated = calibration(&[(1.0, 1000, 0), (-1.0, 0, 1000)]);
        assert_eq!([-1.0, 1.0].map(|s| separated.probability(s)), [1.0 / 1001.0, 1000.0 / 1001.0]);
        let all_tied = calibration(&[(0.0, 3, 5)]);
        assert_eq!(all_tied.probability(0.0), 0.4);
    }

    #[test]
    fn a_class_that_is_missing_gives_no_tables() {
        let mut builder = CalibrationBuilder::new(1);
        builder.add(0.0, 0, 1);
        assert_eq!(builder.finish(String::new()), None);
    }

    /// A million events in one table of bounded size, exact to its step in the body and finer in the tail.
    #[test]
    fn percentiles_are_finer_in_the_tail() {
        let num = 1_000_000;
        let ties: Vec<_> = (0..num).map(|i| (-((i * i / num) as f32), u64::from(i == 0), 1)).collect();
        // Ties of the early ones, whose square grows slowly.
        let mut merged: Vec<(f32, u64, u64)> = Vec::new();
        for (score, attacks, ordinary) in ties {
            match merged.last_mut() {
                Some(last) if last.0 == score => *last = (score, last.1 + attacks, last.2 + ordinary),
                _ => merged.push((score, attacks, ordinary)),
            }
        }
        let found = calibration(&merged);
        assert!((1000..4000).contains(&found.percentiles.len()), "{}", found.percentiles.len());
        let mut above = 0;
        for (score, _, at) in merged {
            let exact = (num - above - at) as f64 / num as f64;
            let tail = above as f64 / num as f64;
            let step = PERCENTILE_STEP * 10f64.powf((tail.max(1e-6).log10().floor() + 2.0).min(0.0));
            let error = (found.percentile(score) - exact).abs();
            assert!(error <= step * (1.0 + 1e-9), "{score}: {error} of {step}");
            above += at;
        }
    }

    proptest! {
        #[test]
        fn tables_rise_and_keep_the_mean(
            counts in prop::collection::vec((0_u64..4, 0_u64..4), 2..300),
            max in 1_usize..20,
        ) {
            let ties: Vec<_> = counts
                .iter()
                .enumerate()
                .filter(|(_, (attacks, ordinary))| attacks + ordinary > 0)
                .map(|(i, (attacks, ordinary))| (-(i as f32), *attacks, *ordinary))
                .collect();
            prop_assume!(ties.iter().any(|tie| tie.1 > 0) && ties.iter().any(|tie| tie.2 > 0));
            let mut found = calibration(&ties);
            prop_assert_eq!(found.find_fault(), None);
            let num = |blocks: &[Block]| blocks.iter().map(|block| (block.2, block.3)).fold(
                (0, 0), |(a, o), (attacks, ordinary)| (a + attacks, o + ordinary));
            prop_assert_eq!(num(&found.probabilities), (found.num_attacks + 1, found.num_ordinary + 1));
            found.probabilities.reverse();
            thin(&mut found.probabilities, max);
            found.probabilities.reverse();
            prop_assert!(found.probabilities.len() <= max);
            prop_assert_eq!(num(&found.probabilities), (found.num_attacks + 1, found.num_ordinary + 1));
            prop_assert_eq!(found.find_fault(), None);
        }
    }
}
