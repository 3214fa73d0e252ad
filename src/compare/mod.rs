//! How a new model differs from an old one on recent events: what has to be known before the one takes the place of
//! the other.
//!
//! Attacks, labelled or made, decide the AUC and nothing else; all other figures are of the ordinary events.

mod entities;
mod networks;
mod score_pairs;
mod stability;

use serde::Serialize;

pub use entities::MovedEntity;
pub use networks::{NetworkMix, NetworkStability};
pub use score_pairs::ScoreBin;
pub use stability::psi;

use entities::EntityMeans;
use score_pairs::ScorePairs;

use crate::evaluate::{Attacks, EvaluateOptions, EvaluatedEvent, Evaluation, Evaluator};
use crate::inference::{LoadedModel, PAIRS_PER_BATCH, anomaly_score};
use crate::thresholds::{Threshold, Thresholds, wilson};
use crate::{Event, Result};

/// What `ipsight compare` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Ordinary events.
    pub num_events: u64,
    /// Their entities.
    pub num_entities: u64,
    /// Attacks, which only the AUC knows.
    pub num_attacks: u64,
    /// What an attack is here, as in [`Evaluation::attacks`].
    pub attacks: &'static str,
    /// The old model.
    pub old: ComparedModel,
    /// The new model.
    pub new: ComparedModel,
    /// The old model's AUC less the new one's, -1..=1: above 0 the new one is worse.
    pub auc_drop: f64,
    /// Spearman's rank correlation of both models' scores, ties with their mean rank, -1..=1; `None` where a model
    /// gives one score to all events.
    pub rank_correlation: Option<f64>,
    /// [`psi`] of the new model's scores against the old one's, 0 or more.
    pub score_psi: f64,
    /// The bins of it: between deciles of the old model's scores, fewer where deciles are equal.
    pub score_bins: Vec<ScoreBin>,
    /// How the events' networks differ from those of the reference, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<NetworkStability>,
    /// The entities whose mean score moved most, those first.
    pub moved_entities: Vec<MovedEntity>,
    /// The old model's thresholds, the strictest first.
    pub thresholds: Vec<ThresholdDrift>,
}

/// One of the two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedModel {
    /// BLAKE3 of its weights, in hexadecimal.
    pub blake3: String,
    /// As [`Evaluation::auc`].
    pub auc: f64,
    /// Its interval of 95 %, as [`crate::evaluate::Figures::auc_ci`].
    pub auc_ci: Option<[f64; 2]>,
}

/// What has become of a threshold of the old model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ThresholdDrift {
    /// Its name.
    pub name: String,
    /// The anomaly score from which on it is reached.
    pub value: f32,
    /// The share of ordinary events that was to be expected to reach it, 0..=1.
    pub promised_fpr: f64,
    /// Its Wilson interval of 95 %.
    pub promised_fpr_ci: [f64; 2],
    /// On the recent events, by the old model.
    pub old: FprNow,
    /// On the recent events, by the new model at the same value.
    pub new: FprNow,
}

/// The share of the recent ordinary events that reach a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FprNow {
    /// 0..=1.
    pub fpr: f64,
    /// Its Wilson interval of 95 %.
    pub fpr_ci: [f64; 2],
    /// Whether that is what was promised.
    pub verdict: Promise,
}

/// Whether a promised rate holds: it does unless the two intervals of 95 % are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// The intervals meet.
    Holds,
    /// More events reach it than were promised.
    Higher,
    /// Fewer do, so that it may detect less, too.
    Lower,
}

/// What to compare on.
#[derive(Debug)]
pub struct CompareOptions {
    /// Where attacks come from.
    pub attacks: Attacks,
    /// As [`EvaluateOptions::seed`].
    pub seed: u64,
    /// How many of the moved entities are wanted.
    pub num_moved_entities: usize,
}

/// Takes events one by one, scores them by both models in batches, and keeps 8 bytes an ordinary event, 16 bytes an
/// event or attack for the two AUCs, and some 100 bytes and its name an entity, until [`Comparer::finish`].
pub struct Comparer<'a> {
    models: [&'a LoadedModel; 2],
    evaluators: [Evaluator<'a>; 2],
    thresholds: Vec<ThresholdCounts>,
    reference: Option<&'a NetworkMix>,
    networks: NetworkMix,
    entities: EntityMeans,
    pairs: ScorePairs,
    pending: Vec<Event>,
    num_moved_entities: usize,
}

/// How many events reach a threshold by each model.
struct ThresholdCounts {
    threshold: Threshold,
    num_flagged: [u64; 2],
}

impl<'a> Comparer<'a> {
    /// Compares `new` with `old`, whose thresholds are given where there are some. `reference` is the mix of networks that
    /// the events' own is compared with.
    pub fn new(
        [old, new]: [&'a LoadedModel; 2],
        thresholds: Option<&Thresholds>,
        reference: Option<&'a NetworkMix>,
        options: &CompareOptions,
    ) -> Self {
        let models = [old, new];
        let evaluator = |model: &'a LoadedModel| {
            let of = EvaluateOptions::figures_alone(options.attacks.clone(), options.seed);
            Evaluator::new(&model.scorer, of)
        };
        let counts =
            |threshold: &Threshold| ThresholdCounts { threshold: threshold.clone(), num_flagged: [0; 2] };
        Self {
            models,
            evaluators: models.map(evaluator),
            thresholds: thresholds.map_or(&[][..], Thresholds::thresholds).iter().map(counts).collect(),
            reference,
            networks: NetworkMix::default(),
            entities: EntityMeans::default(),
            pairs: ScorePairs::default(),
            pending: Vec::new(),
            num_moved_entities: options.num_moved_entities,
        }
    }

    /// Adds an event, of an entity by its name.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::push`].
    pub fn push(&mut self, entity: &[u8], event: EvaluatedEvent<'_>) -> Result<()> {
        for evaluator in &mut self.evaluators {
            evaluator.push(event)?;
        }
        if event.is_attack {
            return Ok(());
        }
        self.networks.add(event.event.address);
        self.entities.name(event.event.entity, entity);
        self.pending.push(event.event);
        if self.pending.len() >= PAIRS_PER_BATCH { self.score_pending() } else { Ok(()) }
    }

    fn score_pending(&mut self) -> Result<()> {
        let [old, new] = self.models.map(|model| model.scorer.scores(&self.pending));
        for (event, (old, new)) in self.pending.iter().zip(old?.into_iter().zip(new?)) {
            let scores = [old, new].map(anomaly_score);
            self.entities.add(event.entity, scores);
            self.pairs.push(scores);
            for ThresholdCounts { threshold, num_flagged } in &mut self.thresholds {
                for (num_flagged, score) in num_flagged.iter_mut().zip(scores) {
                    *num_flagged += u64::from(score >= threshold.value);
                }
            }
        }
        self.pending.clear();
        Ok(())
    }

    /// Scores what is left and computes the figures.
    ///
    /// # Errors
    ///
    /// As [`Evaluator::finish`].
    pub fn finish(mut self) -> Result<Comparison> {
        self.score_pending()?;
        let [old, new] = self.evaluators;
        // They find scores that are no numbers, which the rest could not rank.
        let evaluations = [old.finish()?, new.finish()?];
        let num_events = self.networks.num_events();
        let num_entities = self.entities.len() as u64;
        let ranked = self.pairs.rank()?;
        let counts = |of: fn(&ScoreBin) -> u64| ranked.bins.iter().map(of).collect::<Vec<u64>>();
        let [old, new] = [0, 1].map(|i| compared(self.models[i], &evaluations[i]));
        Ok(Comparison {
            num_events,
            num_entities,
            num_attacks: evaluations[0].num_attacks,
            attacks: evaluations[0].attacks,
            auc_drop: old.auc - new.auc,
            old,
            new,
            rank_correlation: ranked.correlation,
            score_psi: psi(&counts(|bin| bin.num_old), &counts(|bin| bin.num_new)),
            networks: self.reference.map(|reference| self.networks.stability(reference)),
            moved_entities: self.entities.moved_most(self.num_moved_entities),
            thresholds: self.thresholds.iter().map(|counts| counts.drift(num_events)).collect(),
            score_bins: ranked.bins,
        })
    }
}

fn compared(model: &LoadedModel, evaluation: &Evaluation) -> ComparedModel {
    ComparedModel {
        blake3: model.manifest.weights_digest().unwrap_or_default().into(),
        auc: evaluation.auc,
        auc_ci: evaluation.model().all.auc_ci,
    }
}

impl ThresholdCounts {
    fn drift(&self, num_events: u64) -> ThresholdDrift {
        let (promised_fpr, promised_fpr_ci) = self.threshold.fpr();
        let [old, new] = self.num_flagged.map(|num_flagged| {
            let fpr_ci = wilson(num_flagged, num_events);
            let verdict = match (fpr_ci, promised_fpr_ci) {
                ([low, _], [_, promised_high]) if low > promised_high => Promise::Higher,
                ([_, high], [promised_low, _]) if high < promised_low => Promise::Lower,
                _ => Promise::Holds,
            };
            FprNow { fpr: num_flagged as f64 / num_events as f64, fpr_ci, verdict }
        });
        let (name, value) = (self.threshold.name.clone(), self.threshold.value);
        ThresholdDrift { name, value, promised_fpr, promised_fpr_ci, old, new }
    }
}

#[cfg(test)]
mod tests;
