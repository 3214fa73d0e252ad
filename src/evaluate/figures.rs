//! Figures of one detector from its scores in order. All of them count ties exactly; see [`Figures`].

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::scores::Tie;
use crate::thresholds::{Z, wilson};

/// The detection rates at which the false positive rate is reported.
pub const TPR_TARGETS: [f64; 5] = [0.90, 0.95, 0.98453, 0.99, 0.999];

/// The false positive rates at which the detection rate is reported.
pub const FPR_TARGETS: [f64; 3] = [1e-4, 1e-3, 1e-2];

/// How well a detector tells attacks (the positive class) from ordinary events, by anomaly scores.
///
/// An event is flagged when its score is at or above a threshold; thresholds are the scores that occur, and
/// nothing is interpolated between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Attacks.
    pub num_attacks: u64,
    /// Ordinary events.
    pub num_ordinary: u64,
    /// Area under the ROC curve, 0..=1, ties counting one half (the Mann-Whitney statistic); `None` where a
    /// class is missing.
    pub auc: Option<f64>,
    /// Its interval of 95 % after DeLong, DeLong & Clarke-Pearson (1988), in O(n log n) with midranks (Sun & Xu,
    /// 2014), cut to 0..=1; `None` where a class has fewer than two events.
    pub auc_ci: Option<[f64; 2]>,
    /// Average precision: sum of precision times the gain in recall over all thresholds, 0..=1.
    pub average_precision: Option<f64>,
    /// For a detection rate: the point with the lowest FPR whose TPR is at least that.
    #[serde(serialize_with = "by_target")]
    pub fpr_at_tpr: Vec<(f64, OperatingPoint)>,
    /// For a false positive rate: the point with the highest TPR whose FPR is at most that.
    #[serde(serialize_with = "by_target")]
    pub tpr_at_fpr: Vec<(f64, OperatingPoint)>,
}

/// A threshold and what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Events with a score at or above this are flagged; `None` where no threshold will do and nothing is. JSON has
    /// no infinite numbers: there such a threshold, which only true likelihood ratios have, is `null` too.
    pub threshold: Option<f32>,
    /// Share of attacks that are flagged.
    pub tpr: f64,
    /// Its Wilson interval of 95 %, the threshold taken as given.
    pub tpr_ci: [f64; 2],
    /// Share of ordinary events that are flagged.
    pub fpr: f64,
    /// Its Wilson interval of 95 %, the threshold taken as given.
    pub fpr_ci: [f64; 2],
    /// Ordinary events that are flagged, per day and 1,000 entities that have ordinary events; attacks are left
    /// out, as their number in test data is not that of real life. `None` without times.
    pub alerts_per_day_per_1000_users: Option<f64>,
}

pub(super) fn by_target<S: Serializer, T: Serialize>(
    points: &[(f64, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(points.len()))?;
    for (target, point) in points {
        map.serialize_entry(&target.to_string(), point)?;
    }
    map.end()
}

/// The points of [`Figures`].
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// Detection rates.
    pub(super) tpr: Vec<f64>,
    /// False positive rates.
    pub(super) fpr: Vec<f64>,
    /// Days times thousands of entities, where times are known.
    pub(super) user_days: Option<f64>,
}

/// The number of flagged events of each class at a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flagged {
    pub(super) threshold: Option<f32>,
    pub(super) attacks: u64,
    pub(super) ordinary: u64,
}

/// Computes [`Figures`] from ties in descending order of score.
#[derive(Debug)]
pub(super) struct FiguresBuilder<'a> {
    targets: &'a Targets,
    /// Attacks and ordinary events in all.
    m: u64,
    n: u64,
    flagged: Flagged,
    ranks: Ranks,
    average_precision: f64,
    at_tpr: Vec<Option<Flagged>>,
    at_fpr: Vec<Flagged>,
}

impl<'a> FiguresBuilder<'a> {
    /// For `m` attacks and `n` ordinary events.
    pub(super) fn new(m: u64, n: u64, targets: &'a Targets) -> Self {
        FiguresBuilder {
            targets,
            m,
            n,
            flagged: Flagged::default(),
            ranks: Ranks::default(),
            average_precision: 0.0,
            at_tpr: vec![None; targets.tpr.len()],
            at_fpr: vec![Flagged::default(); targets.fpr.len()],
        }
    }

    /// Adds the tie with the next lower score.
    pub(super) fn add(&mut self, tie: &Tie) {
        if tie.is_empty() || self.m == 0 || self.n == 0 {
            return;
        }
        let flagged = &mut self.flagged;
        self.ranks.add(flagged, tie, self.n);
        flagged.threshold = Some(tie.score);
        flagged.attacks += tie.num_attacks;
        flagged.ordinary += tie.num_ordinary;
        if tie.num_attacks > 0 {
            let precision = flagged.attacks as f64 / (flagged.attacks + flagged.ordinary) as f64;
            self.average_precision += tie.num_attacks as f64 / self.m as f64 * precision;
        }
        let (tpr, fpr) = (flagged.attacks as f64 / self.m as f64, flagged.ordinary as f64 / self.n as f64);
        for (target, point) in self.targets.tpr.iter().zip(&mut self.at_tpr) {
            if point.is_none() && tpr >= *target {
                *point = Some(*flagged);
            }
        }
        for (target, point) in self.targets.fpr.iter().zip(&mut self.at_fpr) {
            if fpr <= *target && flagged.attacks > point.attacks {
                *point = *flagged;
            }
        }
    }

    /// The figures, when all ties were added.
    pub(super) fn finish(self) -> Figures {
        let FiguresBuilder { targets, m, n, flagged, ranks, average_precision, at_tpr, at_fpr } = self;
        if m == 0 || n == 0 {
            return Figures { num_attacks: m, num_ordinary: n, ..Figures::default() };
        }
        let point = |flagged: Flagged| operating_point(flagged, m, n, targets.user_days);
        // The last threshold flags everything, so that every detection rate is reached.
        let at_tpr = at_tpr.into_iter().map(|found| found.unwrap_or(flagged));
        let (auc, variance) = ranks.auc(m, n);
        Figures {
            num_attacks: m,
            num_ordinary: n,
            auc: Some(auc),
            auc_ci: variance.map(|variance| {
                let half = Z * variance.sqrt();
                [(auc - half).max(0.0), (auc + half).min(1.0)]
            }),
            average_precision: Some(average_precision),
            fpr_at_tpr: targets.tpr.iter().copied().zip(at_tpr.map(point)).collect(),
            tpr_at_fpr: targets.fpr.iter().copied().zip(at_fpr.into_iter().map(point)).collect(),
        }
    }
}

/// Sums over the ranks that the AUC and its variance are made of, in integers: exact up to 2^31 events a class.
#[derive(Debug, Default)]
struct Ranks {
    /// Pairs of an attack and an ordinary event with the attack higher, twice, and ties once.
    pairs: u128,
    /// For each attack the square of that number over the ordinary events, summed.
    attack_squares: u128,
    /// For each ordinary event the square of that number over the attacks, summed.
    ordinary_squares: u128,
}

impl Ranks {
    /// Adds the tie below the events that are `flagged`, of `n` ordinary events in all.
    fn add(&mut self, flagged: &Flagged, tie: &Tie, n: u64) {
        let (attacks, ordinary) = (u128::from(tie.num_attacks), u128::from(tie.num_ordinary));
        let attacks_above = 2 * u128::from(flagged.attacks) + attacks;
        let ordinary_below = 2 * (u128::from(n) - u128::from(flagged.ordinary)) - ordinary;
        self.pairs += ordinary * attacks_above;
        self.attack_squares += attacks * ordinary_below * ordinary_below;
        self.ordinary_squares += ordinary * attacks_above * attacks_above;
    }

    /// The AUC and its variance; see [`Figures::auc_ci`].
    fn auc(&self, m: u64, n: u64) -> (f64, Option<f64>) {
        let (attacks, ordinary) = (u128::from(m), u128::from(n));
        let auc = self.pairs as f64 / (2 * attacks * ordinary) as f64;
        // The sample variance of the `size` placements, whose sum is `pairs` and which are up to twice `others`;
        // divided by their number.
        let part = |size: u128, squares: u128, others: u128| {
            let deviations = (size * squares).saturating_sub(self.pairs * self.pairs) as f64;
            let scale = 2.0 * others as f64;
            deviations / (size as f64 * (size - 1) as f64) / (scale * scale) / size as f64
        };
        let variance = (m > 1 && n > 1).then(|| {
            part(attacks, self.attack_squares, ordinary) + part(ordinary, self.ordinary_squares, attacks)
        });
        (auc, variance)
    }
}

fn operating_point(flagged: Flagged, m: u64, n: u64, user_days: Option<f64>) -> OperatingPoint {
    OperatingPoint {
        threshold: flagged.threshold,
        tpr: flagged.attacks as f64 / m as f64,
        tpr_ci: wilson(flagged.attacks, m),
        fpr: flagged.ordinary as f64 / n as f64,
        fpr_ci: wilson(flagged.ordinary, n),
        alerts_per_day_per_1000_users: user_days.map(|user_days| flagged.ordinary as f64 / user_days),
    }
}
