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
    /// What an attack is here: `labelled`, `added`, or `random_ipv4` with one random address, of the event's family, for
    /// each event.
    pub attacks: &'static str,
    /// Share of attacks to which the model gives an anomaly score above 0.
    pub tpr: f64,
    /// Share of ordinary events to which the model gives an anomaly score above 0.
    pub fpr: f64,
    /// Where the numbers of past events come from, and so `by_seen` and `by_history`: `history`, the past events that were
    /// given; or `model`, which knows the entity's own where it has a usage history, else those of the entity's table row,
    /// shared or not.
    pub history: &'static str,
    /// Past events that were given, where there are some.
    pub num_history_events: Option<u64>,
    /// Whether each ordinary event was counted after it was scored.
    pub online: bool,
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
    /// For each kind of attacks: they against all ordinary events, or against those of one family where only that has
    /// attacks of this kind.
    #[serde(serialize_with = "as_map")]
    pub by_kind: Vec<(String, Figures)>,
    /// Events with IPv4 addresses (`ipv4`) and with IPv6 addresses (`ipv6`).
    #[serde(serialize_with = "as_map")]
    pub by_family: Vec<(String, Figures)>,
    /// Events of entities that have events before the evaluated ones (`seen`) and that have none (`unseen`).
    #[serde(serialize_with = "as_map")]
    pub by_seen: Vec<(String, Figures)>,
    /// As `by_kind`, of entities that were seen.
    #[serde(serialize_with = "as_map")]
    pub seen_by_kind: Vec<(String, Figures)>,
    /// As `by_family`, of entities that were seen.
    #[serde(serialize_with = "as_map")]
    pub seen_by_family: Vec<(String, Figures)>,
    /// Events of entities by how many past events they have, with those counted meanwhile: `0`, `1-9`, `10-99`, `100+`.
    #[serde(serialize_with = "as_map")]
    pub by_history: Vec<(String, Figures)>,
    /// Events by the days since the entity's last past event: `0-1`, `1-7`, `7-30`, `30-180`, `180+`; those of which they
    /// are not known, because times are not or there is no such event, are in none of these.
    #[serde(serialize_with = "as_map")]
    pub by_days: Vec<(String, Figures)>,
}

pub(super) fn as_map<S: Serializer, T: Serialize>(
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

impl Detector {
    /// The breakdowns, with what divides the events in words.
    pub fn breakdowns(&self) -> [Breakdown<'_>; 7] {
        let are_divided = |parts: &[(String, Figures)]| {
            parts.iter().filter(|(_, figures)| figures.num_attacks + figures.num_ordinary > 0).count() > 1
        };
        let (has_unseen, has_both) = (are_divided(&self.by_seen), are_divided(&self.by_family));
        [
            ("kind of attack", &self.by_kind, true),
            ("family", &self.by_family, has_both),
            ("entity in past events", &self.by_seen, true),
            ("kind of attack, entity seen", &self.seen_by_kind, has_unseen),
            ("family, entity seen", &self.seen_by_family, has_unseen && has_both),
            ("past events of the entity", &self.by_history, true),
            ("days since its last event", &self.by_days, true),
        ]
        .map(|(title, parts, is_new)| {
            let has_figures = parts.iter().any(|(_, figures)| figures.auc.is_some());
            Breakdown { title, parts, says_more: is_new && has_figures }
        })
    }
}

/// Figures of parts of the events.
#[derive(Clone, Copy, Debug)]
pub struct Breakdown<'a> {
    /// What divides the events, in words.
    pub title: &'static str,
    /// The parts by their names.
    pub parts: &'a [(String, Figures)],
    /// Whether there are figures, and not those of another breakdown or of all events once more.
    pub says_more: bool,
}
