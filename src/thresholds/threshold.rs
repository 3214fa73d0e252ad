use serde::{Deserialize, Serialize, Serializer};

use super::interval::wilson;
use super::wanted::{Criterion, is_name};

/// A named threshold, and the events that it was chosen on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Threshold {
    /// Its name, which is the decision on events that reach it.
    pub name: String,
    /// The anomaly score from which on it is reached.
    pub value: f32,
    /// What it was to keep.
    pub criterion: Criterion,
    /// The rate or the number that it was to keep.
    pub target: f64,
    /// Attacks.
    pub num_attacks: u64,
    /// Those of them that reach it.
    pub num_flagged_attacks: u64,
    /// Ordinary events.
    pub num_ordinary: u64,
    /// Those of them that reach it.
    pub num_flagged_ordinary: u64,
    /// From the first ordinary event to the last, both included, where times were known.
    pub num_seconds: Option<u64>,
    /// What was an attack there: `labelled`, `added` or `random_ipv4`, as in an evaluation.
    pub attacks: String,
    /// As [`super::calibration::Calibration::data_digest`].
    pub data_digest: String,
}

impl Threshold {
    /// The share of attacks that is to be expected to reach it, and its Wilson interval of 95 %.
    pub fn tpr(&self) -> (f64, [f64; 2]) {
        share(self.num_flagged_attacks, self.num_attacks)
    }

    /// The share of ordinary events that is to be expected to reach it, and its Wilson interval of 95 %.
    pub fn fpr(&self) -> (f64, [f64; 2]) {
        share(self.num_flagged_ordinary, self.num_ordinary)
    }

    /// Ordinary events a day that reach it; attacks are left out, as their number in test data is not that of real
    /// life. `None` without times.
    pub fn alerts_per_day(&self) -> Option<f64> {
        self.num_seconds.map(|seconds| self.num_flagged_ordinary as f64 / (seconds as f64 / 86_400.0))
    }

    /// Whether its figures are those of a threshold.
    pub(super) fn is_sound(&self) -> bool {
        is_name(&self.name)
            && self.value.is_finite()
            && self.num_attacks > 0
            && self.num_ordinary > 0
            && self.num_flagged_attacks <= self.num_attacks
            && self.num_flagged_ordinary <= self.num_ordinary
            && self.num_seconds != Some(0)
    }
}

fn share(count: u64, total: u64) -> (f64, [f64; 2]) {
    (count as f64 / total as f64, wilson(count, total))
}

/// With the rates beside the counts that they follow from.
impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            name: &'a str,
            value: f32,
            criterion: Criterion,
            target: f64,
            tpr: f64,
            tpr_ci: [f64; 2],
            fpr: f64,
            fpr_ci: [f64; 2],
            alerts_per_day: Option<f64>,
            num_attacks: u64,
            num_flagged_attacks: u64,
            num_ordinary: u64,
            num_flagged_ordinary: u64,
            num_seconds: Option<u64>,
            attacks: &'a str,
            data_digest: &'a str,
        }
        let ((tpr, tpr_ci), (fpr, fpr_ci)) = (self.tpr(), self.fpr());
        let written = Written {
            name: &self.name,
            value: self.value,
            criterion: self.criterion,
            target: self.target,
            tpr,
            tpr_ci,
            fpr,
            fpr_ci,
            alerts_per_day: self.alerts_per_day(),
            num_attacks: self.num_attacks,
            num_flagged_attacks: self.num_flagged_attacks,
            num_ordinary: self.num_ordinary,
            num_flagged_ordinary: self.num_flagged_ordinary,
            num_seconds: self.num_seconds,
            attacks: &self.attacks,
            data_digest: &self.data_digest,
        };
        written.serialize(serializer)
    }
}
