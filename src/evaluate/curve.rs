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

/// The ROC of ties in descending order of score, with `m` attacks and `n` ordinary events among them.
pub(super) fn roc(ties: impl Iterator<Item = Tie>, m: u64, n: u64) -> Vec<CurvePoint> {
    let point = |flagged: &Flagged| {
        let num_flagged = flagged.attacks + flagged.ordinary;
        let precision = if num_flagged == 0 { 1.0 } else { flagged.attacks as f64 / num_flagged as f64 };
        let (tpr, fpr) = (flagged.attacks as f64 / m as f64, flagged.ordinary as f64 / n as f64);
        CurvePoint { threshold: flagged.threshold, fpr, tpr, precision }
    };
    // The cell of the drawing that a point falls in. Below one in a hundred million all is one column.
    let cell = |point: &CurvePoint| {
        let column = (point.fpr.max(1e-8).log10() * POINTS_PER_DECADE).floor();
        (column as i64, (point.fpr * POINTS_OF_RATE) as i64, (point.tpr * POINTS_OF_RATE) as i64)
    };
    let mut flagged = Flagged::default();
    let mut last = point(&flagged);
    let mut points = vec![last];
    for tie in ties {
        flagged.threshold = Some(tie.score);
        flagged.attacks += tie.num_attacks;
        flagged.ordinary += tie.num_ordinary;
        let next = point(&flagged);
        // The last point of a cell is its best for a column, and the first of the next begins a new one.
        if cell(&next) != cell(&last) {
            if points.last() != Some(&last) {
                points.push(last);
            }
            points.push(next);
        }
        last = next;
    }
    if points.last() != Some(&last) {
        points.push(last);
    }
    points
}

/// The histograms of ties over `range`; scores outside of it, if there are any, count for the bins at the ends.
pub(super) fn histogram(ties: impl Iterator<Item = Tie>, range: (f32, f32), m: u64, n: u64) -> Histogram {
    let (low, high) = (f64::from(range.0), f64::from(range.1));
    let mut histogram = Histogram { range, ordinary: vec![0.0; NUM_BINS], attacks: vec![0.0; NUM_BINS] };
    for tie in ties {
        let place = (f64::from(tie.score) - low) / (high - low) * NUM_BINS as f64;
        // A cast of a float saturates, and takes 0 for what is no number (all scores equal).
        let bin = (place as usize).min(NUM_BINS - 1);
        histogram.ordinary[bin] += tie.num_ordinary as f64 / n as f64;
        histogram.attacks[bin] += tie.num_attacks as f64 / m as f64;
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tie(score: f32, num_attacks: u64, num_ordinary: u64) -> Tie {
        Tie { score, num_attacks, num_ordinary }
    }

    #[test]
    fn a_roc_begins_with_nothing_and_ends_with_everything() {
        let points = roc([tie(2.0, 3, 0), tie(1.0, 1, 1), tie(0.0, 0, 9)].into_iter(), 4, 10);
        let found: Vec<_> = points.iter().map(|point| (point.fpr, point.tpr, point.precision)).collect();
        assert_eq!(found, [(0.0, 0.0, 1.0), (0.0, 0.75, 1.0), (0.1, 1.0, 0.8), (1.0, 1.0, 4.0 / 14.0)]);
        assert_eq!(points[0].threshold, None);
        assert_eq!(points[2].threshold, Some(1.0));
    }

    #[test]
    fn many_thresholds_become_few_points_without_bending_the_curve() {
        let num = 200_000;
        let ties = (0..num).map(|i| tie(-(i as f32), u64::from(i % 2 == 0), u64::from(i % 2 == 1)));
        let points = roc(ties, num / 2, num / 2);
        assert!((300..3000).contains(&points.len()), "{}", points.len());
        for pair in points.windows(2) {
            assert!(pair[0].fpr <= pair[1].fpr && pair[0].tpr <= pair[1].tpr);
            assert!(pair[1].tpr - pair[0].tpr <= 1.0 / POINTS_OF_RATE + 1e-4, "{pair:?}");
        }
    }

    #[test]
    fn a_histogram_holds_everything_once() {
        let ties = || [tie(1.0, 1, 0), tie(0.0, 2, 1), tie(-1.0, 1, 3)].into_iter();
        let found = histogram(ties(), (-1.0, 1.0), 4, 4);
        assert_eq!((found.attacks[NUM_BINS - 1], found.attacks[NUM_BINS / 2]), (0.25, 0.5));
        assert_eq!((found.ordinary[0], found.ordinary.iter().sum::<f64>()), (0.75, 1.0));
        let equal = histogram([tie(5.0, 1, 1)].into_iter(), (5.0, 5.0), 1, 1);
        assert_eq!((equal.attacks[0], equal.ordinary[0]), (1.0, 1.0));
    }
}
