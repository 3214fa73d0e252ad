//! What to evaluate, and beside what.

use super::attacks::{AddedAttacks, AttackKind};
use super::family::Family;
use super::past::PastEvents;
use crate::Event;
use crate::thresholds::WantedThreshold;

/// A kind of attacks, by which figures are broken down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedKind {
    pub(super) name: String,
    /// The family of the only events that can have attacks of this kind, and that these are held against.
    pub(super) family: Option<Family>,
}

impl From<AttackKind> for NamedKind {
    fn from(kind: AttackKind) -> Self {
        Self { name: kind.name().into(), family: kind.family() }
    }
}

/// Where attacks come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Attacks {
    /// From the data, by their labels.
    Labelled,
    /// One random address beside each event (R = 1, S = 0), as the reference's `discriminator_auc` has it; of the family
    /// of the event's own.
    RandomIpv4,
    /// Beside some of the events, whose labels must be false; at most one entry of each kind.
    Added(Vec<AddedAttacks>),
}

impl Attacks {
    /// The name in [`super::Evaluation::attacks`].
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Labelled => "labelled",
            Self::RandomIpv4 => "random_ipv4",
            Self::Added(_) => "added",
        }
    }

    /// The kinds of attacks that are known before any event is: those that are made.
    pub(super) fn kinds_made(&self) -> Vec<NamedKind> {
        match self {
            Self::Labelled => Vec::new(),
            Self::RandomIpv4 => {
                [AttackKind::UniformIpv4, AttackKind::UniformIpv6].map(NamedKind::from).into()
            }
            Self::Added(added) => added.iter().map(|added| added.kind.into()).collect(),
        }
    }
}

/// What to evaluate, and beside what.
#[derive(Clone, Debug)]
pub struct EvaluateOptions<'a> {
    /// Where attacks come from.
    pub attacks: Attacks,
    /// Determines the addresses of attacks that are made, together with the positions of the events.
    pub seed: u64,
    /// The events before those that are evaluated, for the baselines.
    pub past: Option<&'a PastEvents>,
    /// Whether each ordinary event is counted after it was scored, so that the usage history of the model and what the
    /// baselines know move with the events. Their order is that of their times, and of the data where these are equal or
    /// not known. Attacks are never counted. All events are then held in memory.
    pub is_online: bool,
    /// Detection rates at which the false positive rate is wanted beside those of [`super::TPR_TARGETS`], 0..=1.
    pub tpr_targets: Vec<f64>,
    /// Kinds of attacks for which the true likelihood ratio is known by itself. Against one kind, another ratio is
    /// the best than against the mix of all.
    pub truth_kinds: Vec<String>,
    /// Whether to calibrate the model's scores.
    pub calibrates: bool,
    /// Thresholds to choose.
    pub thresholds: Vec<WantedThreshold>,
}

impl EvaluateOptions<'_> {
    /// Whether the model's scores are calibrated: thresholds come with a calibration.
    pub(super) fn wants_calibration(&self) -> bool {
        self.calibrates || !self.thresholds.is_empty()
    }

    /// The model's figures, and nothing beside them.
    pub fn figures_alone(attacks: Attacks, seed: u64) -> Self {
        Self {
            attacks,
            seed,
            past: None,
            is_online: false,
            tpr_targets: Vec::new(),
            truth_kinds: Vec::new(),
            calibrates: false,
            thresholds: Vec::new(),
        }
    }
}

/// An event of the data with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct EvaluatedEvent<'a> {
    /// Entity and address.
    pub event: Event,
    /// Its label; false for events without labels.
    pub is_attack: bool,
    /// The kind of a labelled attack; `attack` where it is `None` or empty.
    pub kind: Option<&'a [u8]>,
    /// Unix seconds.
    pub seconds: Option<i64>,
    /// The true log likelihood ratios, high for attacks: that against all attacks, then those against each of
    /// [`EvaluateOptions::truth_kinds`]. Empty where they are unknown; for all events or for none.
    pub log_likelihood_ratios: &'a [f32],
}
