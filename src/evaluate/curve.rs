//! What is drawn of a detector: its ROC in a bounded number of points, and the histograms of its scores.

use super::figures::Flagged;
use super::scores::Tie;

/// Points per decade of the false positive rate, and points over the whole of either rate.
const POINTS_PER_DECADE: f64 = 50.0;
const POINTS_OF_RATE: f64 = 300.0;

/// Bins of a histogram.
pub const NUM_BINS: usize = 60;

/// One threshold of a ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// Events with a score at or above this are flagged; `None` for the first point, at which nothing is.
    pub threshold: Option<f32>,
    /// Share of ordinary events that are flagged.
    pub fpr: f64,
    /// Share of attacks that are flagged.
    pub tpr: f64,
    /// Share of the flagged events that are attacks; 1 where none is flagged.
    pub precision: f64,
}

/// How the scores of the two classes are distributed over equal bins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Lower end of the first bin and upper end of the last.
    pub range: (f32, f32),
    /// Share of the ordinary events in each bin.
    pub ordinary: Vec<f64>,
    /// Share of the attacks in each bin.
    pub attacks: Vec<f64>,
}

/// What is drawn of one detector.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorCurve {
    /// The detector's name, a key of `detectors`.
    pub name: String,
    /// From nothing flagged to everything flagged. Every point is exact; points nearer to the last one kept than
    /// can be seen are left out.
    pub roc: Vec<CurvePoint>,
    /// The scores of both classes.
    pub histogram: Histogram,
}

/// Draws ties in descending order of score.
pub(super) struct CurveBuilder {
    /// Attacks and ordinary events in all.
    m: u64,
    n: u64,
    flagged: Flagged,
    last: CurvePoint,
    roc: Vec<CurvePoint>,
    histogram: Histogram,
}

impl CurveBuilder {
    /// For `m` attacks and `n` ordinary events with scores in `range`; others, if there are any, count for the
    /// bins at its ends.
    pub(super) fn new(m: u64, n: u64, range: (f32, f32)) -> Self {
        let last = CurvePoint { threshold: None, fpr: 0.0, tpr: 0.0, precision: 1.0 };
        let (ordinary, attacks) = (vec![0.0; NUM_BINS], vec![0.0; NUM_BINS]);
        let histogram = Histogram { range, ordinary, attacks };
        CurveBuilder { m, n, flagged: Flagged::default(), last, roc: vec![last], histogram }
    }

    /// Adds the tie with the next lower score.
    pub(super) fn add(&mut self, tie: &Tie) {
        let (m, n) = (self.m as f64, self.n as f64);
        self.flagged.attacks += tie.num_attacks;
        self.flagged.ordinary += tie.num_ordinary;
        let (attacks, ordinary) = (self.flagged.attacks as f64, self.flagged.ordinary as f64);
        let next = CurvePoint {
            threshold: Some(tie.score),
            fpr: ordinary / n,
            tpr: attacks / m,
            precision: attacks / (attacks + ordinary),
        };
        // The last point of a cell is kept, and the first of the next.
        if cell(&next) != cell(&self.last) {
            self.keep_last();
            self.roc.push(next);
        }
        self.last = next;

        let (low, high) = self.histogram.range;
        let place = (f64::from(tie.score) - f64::from(low)) / (f64::from(high) - f64::from(low));
        // A cast of a float saturates, and takes 0 for what is no number (all scores equal).
        let bin = ((place * NUM_BINS as f64) as usize).min(NUM_BINS - 1);
        self.histogram.ordinary[bin] += tie.num_ordinary as f64 / n;
        self.histogram.attacks[bin] += tie.num_attacks as f64 / m;
    }

    fn keep_last(&mut self) {
        if self.roc.last() != Some(&self.last) {
            self.roc.push(self.last);
        }
    }

    /// What is drawn, when all ties were added.
    pub(super) fn finish(mut self, name: &str) -> DetectorCurve {
        self.keep_last();
        DetectorCurve { name: name.to_string(), roc: self.roc, histogram: self.histogram }
    }
}

/// The cell of the drawings that a point falls in. Below one in a hundred million all is one column.
fn cell(point: &CurvePoint) -> (i64, i64, i64) {
    let column = (point.fpr.max(1e-8).log10() * POINTS_PER_DECADE).floor();
    (column as i64, (point.fpr * POINTS_OF_RATE) as i64, (point.tpr * POINTS_OF_RATE) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tie(score: f32, num_attacks: u64, num_ordinary: u64) -> Tie {
        Tie { score, num_attacks, num_ordinary }
    }

    fn curve(ties: impl IntoIterator<Item = Tie>, m: u64, n: u64, range: (f32, f32)) -> DetectorCurve {
        let mut curve = CurveBuilder::new(m, n, range);
        ties.into_iter().for_each(|tie| curve.add(&tie));
        curve.finish("x")
    }

    #[test]
    fn a_roc_begins_with_nothing_and_ends_with_everything() {
        let points = curve([tie(2.0, 3, 0), tie(1.0, 1, 1), tie(0.0, 0, 9)], 4, 10, (0.0, 2.0)).roc;
        let found: Vec<_> = points.iter().map(|point| (point.fpr, point.tpr, point.precision)).collect();
        assert_eq!(found, [(0.0, 0.0, 1.0), (0.0, 0.75, 1.0), (0.1, 1.0, 0.8), (1.0, 1.0, 4.0 / 14.0)]);
        assert_eq!(points[0].threshold, None);
        assert_eq!(points[2].threshold, Some(1.0));
    }

    #[test]
    fn many_thresholds_become_few_points_without_bending_the_curve() {
        let num = 200_000;
        let ties = (0..num).map(|i| tie(-(i as f32), u64::from(i % 2 == 0), u64::from(i % 2 == 1)));
        let points = curve(ties, num / 2, num / 2, (-1.0, 0.0)).roc;
        assert!((300..3000).contains(&points.len()), "{}", points.len());
        for pair in points.windows(2) {
            assert!(pair[0].fpr <= pair[1].fpr && pair[0].tpr <= pair[1].tpr);
            assert!(pair[1].tpr - pair[0].tpr <= 1.0 / POINTS_OF_RATE + 1e-4, "{pair:?}");
        }
    }

    #[test]
    fn a_histogram_holds_everything_once() {
        let ties = [tie(1.0, 1, 0), tie(0.0, 2, 1), tie(-1.0, 1, 3)];
        let found = curve(ties, 4, 4, (-1.0, 1.0)).histogram;
        assert_eq!((found.attacks[NUM_BINS - 1], found.attacks[NUM_BINS / 2]), (0.25, 0.5));
        assert_eq!((found.ordinary[0], found.ordinary.iter().sum::<f64>()), (0.75, 1.0));
        let equal = curve([tie(5.0, 1, 1)], 1, 1, (5.0, 5.0)).histogram;
        assert_eq!((equal.attacks[0], equal.ordinary[0]), (1.0, 1.0));
    }
}
