//! How good a model is: on labelled events, against attacks that are added, or against random IPv4 as the
//! reference system does it; beside it the detectors that the counts of past events make.
//!
//! `evaluator` scores events and their attacks into `scores`, by counts that stand still or, `online`, move with the events;
//! `detector` walks over the scores of each detector once, for its `figures`, its `curve` and those of parts of the events;
//! `calibrate` chooses thresholds, `keep` writes them into the model's folder.

mod attacks;
mod baselines;
mod breakdown;
mod calibrate;
mod curve;
mod detector;
mod evaluation;
mod evaluator;
mod family;
mod figures;
mod folds;
mod keep;
mod online;
mod options;
mod other_users;
mod past;
mod pending;
pub mod report;
mod scores;
mod split;
#[cfg(test)]
mod tests;
mod times;

pub use attacks::{AddedAttacks, AttackKind, parse_attacks};
pub use baselines::BASELINES;
pub use calibrate::{NUM_RELIABILITY_BINS, Reliability, ReliabilityBin};
pub use curve::{CurvePoint, DetectorCurve, Histogram};
#[cfg(test)]
use detector::figures_of;
pub use evaluation::{BAYES, Breakdown, Detector, Evaluation, MODEL};
pub use evaluator::Evaluator;
pub use family::Family;
pub use figures::{FPR_TARGETS, Figures, OperatingPoint, TPR_TARGETS};
pub use folds::{DetectorMeans, Fold, FoldsEvaluation, Means};
pub use keep::keep_thresholds;
pub use options::{Attacks, EvaluateOptions, EvaluatedEvent};
pub use past::PastEvents;
pub(crate) use scores::{of_ordered_bits, ordered_bits};
pub use split::TimeSplit;
