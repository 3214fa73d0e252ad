//! The figures of folds that follow each other in time, and their means.

use serde::Serialize;

use super::evaluation::{Detector, Evaluation, as_map};
use super::figures::{Figures, by_target};
use super::split::TimeSplit;

/// Evaluations of models that each know only what is before their fold.
#[derive(Clone, Debug, Serialize)]
pub struct FoldsEvaluation {
    /// The folds in the order of their times.
    pub folds: Vec<Fold>,
    /// Means over the folds, each weighted by its ordinary events, of each detector by its name.
    #[serde(serialize_with = "as_map")]
    pub means: Vec<(String, DetectorMeans)>,
}

/// One fold.
#[derive(Clone, Debug, Serialize)]
pub struct Fold {
    /// What was past and what was evaluated.
    #[serde(flatten)]
    pub split: TimeSplit,
    /// Its figures.
    pub evaluation: Evaluation,
}

/// Means of a detector's figures over the folds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetectorMeans {
    /// Of all events.
    pub all: Means,
    /// Of the events of entities that have events before the fold.
    pub seen: Means,
}

/// Means of figures over the folds that have them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Means {
    /// Ordinary events of these folds.
    pub num_ordinary: u64,
    /// Area under the ROC curve; none where no fold has both attacks and ordinary events.
    pub auc: Option<f64>,
    /// The false positive rate for each detection rate.
    #[serde(serialize_with = "by_target")]
    pub fpr_at_tpr: Vec<(f64, f64)>,
}

impl FoldsEvaluation {
    /// Takes at least one fold; all have the same detectors.
    pub fn new(folds: Vec<Fold>) -> Self {
        let detectors = folds.first().map_or(&[][..], |fold| &fold.evaluation.detectors);
        let means = detectors.iter().enumerate().map(|(index, (name, _))| {
            let of_folds = || folds.iter().map(|fold| &fold.evaluation.detectors[index].1);
            let all: Vec<&Figures> = of_folds().map(|detector| &detector.all).collect();
            let seen: Vec<&Figures> = of_folds().filter_map(seen).collect();
            (name.clone(), DetectorMeans { all: Means::of(&all), seen: Means::of(&seen) })
        });
        let means = means.collect();
        Self { folds, means }
    }

    /// The means of the model.
    pub fn model(&self) -> &DetectorMeans {
        &self.means[0].1
    }
}

/// The figures of entities that have past events.
fn seen(detector: &Detector) -> Option<&Figures> {
    detector.by_seen.iter().find(|(name, _)| name == "seen").map(|(_, figures)| figures)
}

impl Means {
    /// Folds without attacks or without ordinary events have no part in them.
    fn of(folds: &[&Figures]) -> Self {
        let counted = folds.iter().filter(|figures| figures.auc.is_some());
        let mut means = Self::default();
        let mut sum_of_aucs = 0.0;
        for figures in counted {
            let weight = figures.num_ordinary as f64;
            means.num_ordinary += figures.num_ordinary;
            sum_of_aucs += weight * figures.auc.unwrap_or_default();
            for (target, point) in &figures.fpr_at_tpr {
                match means.fpr_at_tpr.iter_mut().find(|(known, _)| known == target) {
                    Some((_, sum)) => *sum += weight * point.fpr,
                    None => means.fpr_at_tpr.push((*target, weight * point.fpr)),
                }
            }
        }
        let num = means.num_ordinary as f64;
        means.auc = (means.num_ordinary > 0).then(|| sum_of_aucs / num);
        means.fpr_at_tpr.iter_mut().for_each(|(_, sum)| *sum /= num);
        means
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::OperatingPoint;
    use super::*;

    #[test]
    fn means_are_weighted_by_ordinary_events() {
        let figures = |num_ordinary, auc, fpr| {
            let fpr_at_tpr = vec![(0.9, OperatingPoint { fpr, ..OperatingPoint::default() })];
            Figures { num_ordinary, auc, fpr_at_tpr, ..Figures::default() }
        };
        let folds = [figures(30, Some(0.5), 0.4), figures(10, Some(1.0), 0.0), figures(1000, None, 0.9)];
        let means = Means::of(&folds.iter().collect::<Vec<_>>());
        let fpr_at_tpr = vec![(0.9, 12.0 / 40.0)];
        assert_eq!(means, Means { num_ordinary: 40, auc: Some(25.0 / 40.0), fpr_at_tpr });
        assert_eq!(Means::of(&[&folds[2]]), Means::default());
    }
}
