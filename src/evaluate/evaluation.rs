//! What an evaluation finds.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::calibrate::Reliability;
use super::curve::DetectorCurve;
use super::figures::Figures;
use crate::thresholds::Threshold;
use crate::thresholds::calibration::Calibration;

/// The name of the evaluated model among the detectors.
pub const MODEL: &str = "ipsight";

/// The name of the best possible detector, where the generative model is known.
pub const BAYES: &str = "bayes";

/// What `ipsight evaluate` found. An attack is the positive class and the score is the anomaly score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model's area under the ROC curve, 0..=1, exact with ties.
    pub auc: f64,
    /// Events that were scored, attacks included.
    pub num_events: u64,
    /// Attacks among them.
    pub num_attacks: u64,
    /// What an attack is here: `labelled`, `added`, or `random_ipv4` with one generated for each event.
    pub attacks: &'static str,
    /// Share of attacks to which the model gives an anomaly score above 0.
    pub tpr: f64,
    /// Share of ordinary events to which the model gives an anomaly score above 0.
    pub fpr: f64,
    /// Where the numbers of training events come from, and so `by_seen` and `by_history`: `history`, which counts
    /// each entity's own; or `model`, which knows those of the entity's table row, shared or not.
    pub history: &'static str,
    /// Events of the history, where there is one.
    pub num_history_events: Option<u64>,
    /// Days from the first ordinary event to the last, where times are known.
    pub num_days: Option<f64>,
    /// Entities with ordinary events, where times are known.
    pub num_users: Option<u64>,
    /// The figures of each detector by its name: [`MODEL`] first, then [`super::BASELINES`] where there is a history,
    /// and [`BAYES`] where the truth is known.
    #[serde(serialize_with = "as_map")]
    pub detectors: Vec<(String, Detector)>,
    /// How true the calibrated probabilities of the model are; `None` where they were not wanted, or too few events
    /// of a class are there to try them on.
    pub reliability: Option<Reliability>,
    /// The chosen thresholds, in the order in which they were wanted.
    pub thresholds: Vec<Threshold>,
    /// What the model's scores mean, where that was wanted.
    #[serde(skip)]
    pub calibration: Option<Calibration>,
    /// What the report draws of each detector.
    #[serde(skip)]
    pub curves: Vec<DetectorCurve>,
}

/// Figures of a detector, and of parts of the events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detector {
    /// Over all events.
    #[serde(flatten)]
    pub all: Figures,
    /// For each kind of attacks: they against all ordinary events.
    #[serde(serialize_with = "as_map")]
    pub by_kind: Vec<(String, Figures)>,
    /// Events of entities that were in the training events (`seen`) and that were not (`unseen`).
    #[serde(serialize_with = "as_map")]
    pub by_seen: Vec<(String, Figures)>,
    /// Events of entities by how many training events they have: `0`, `1-9`, `10-99`, `100+`.
    #[serde(serialize_with = "as_map")]
    pub by_history: Vec<(String, Figures)>,
}

fn as_map<S: Serializer, T: Serialize>(
    entries: &[(String, T)],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(entries.len()))?;
    for (name, value) in entries {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

impl Evaluation {
    /// The model's own figures.
    pub fn model(&self) -> &Detector {
        &self.detectors[0].1
    }
}
