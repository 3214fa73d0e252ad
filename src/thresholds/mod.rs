//! `thresholds.json` of a model folder: named thresholds with what is to be expected of them, and the calibration of
//! the scores; and the decisions that follow.
//!
//! It belongs to the weights that it names, holds no clock, and ends with a checksum of all before.

pub mod calibration;
mod file;
mod interval;
mod threshold;
mod wanted;

pub use file::{FORMAT_VERSION, THRESHOLDS, Thresholds, Verdict};
pub(crate) use interval::{Z, wilson};
pub use threshold::Threshold;
pub use wanted::{ALLOW, Criterion, DEFAULT_NAME, WantedThreshold};
