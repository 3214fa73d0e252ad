//! How good a model is: on labelled events, against attacks that are added, or against random IPv4 as the
//! reference system does it; beside it the detectors that a table of past events makes.
//!
//! `evaluator` scores events and their attacks into `scores`; `detector` walks over the scores of each detector once, for
//! its `figures`, its `curve` and those of parts of the events; `calibrate` chooses thresholds.

mod attacks;
mod calibrate;
mod curve;
mod detector;
mod evaluation;
mod evaluator;
mod figures;
mod history;
mod options;
pub mod report;
mod scores;
#[cfg(test)]
mod tests;
mod times;

pub use attacks::{AddedAttacks, AttackKind, parse_attacks};
pub use calibrate::{NUM_RELIABILITY_BINS, Reliability, ReliabilityBin};
pub use curve::{CurvePoint, DetectorCurve, Histogram};
#[cfg(test)]
use detector::figures_of;
pub use evaluation::{BAYES, Detector, Evaluation, MODEL};
pub use evaluator::Evaluator;
pub use figures::{FPR_TARGETS, Figures, OperatingPoint, TPR_TARGETS};
pub use history::{BASELINES, History};
pub use options::{Attacks, EvaluateOptions, EvaluatedEvent};
pub(crate) use scores::{of_ordered_bits, ordered_bits};
