//! How good a model is: on labelled events, or against random IPv4 as the reference system does it.

mod roc;

use ipsight_kernels::philox::{Stream, philox4x32_10, stream_key};
use serde::Serialize;

pub use roc::{auc, rates_above};

use crate::score::{PAIRS_PER_BATCH, Scorer, anomaly_score};
use crate::{Error, Event, Result};

/// What `ipsight evaluate` found. An attack is the positive class and the score is the anomaly score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Area under the ROC curve, 0..=1, exact with ties.
    pub auc: f64,
    /// Events that were scored, attacks included.
    pub num_events: u64,
    /// Attacks among them.
    pub num_attacks: u64,
    /// What an attack is here: `labelled`, or `random_ipv4` with one generated for each event.
    pub attacks: &'static str,
    /// Share of attacks with an anomaly score above 0.
    pub tpr: f64,
    /// Share of ordinary events with an anomaly score above 0.
    pub fpr: f64,
}

/// Collects events, scores them in batches, and keeps 4 bytes an event until [`Evaluator::finish`].
pub struct Evaluator<'a> {
    scorer: &'a Scorer,
    seed: u64,
    labelled: bool,
    pending: Vec<(Event, bool)>,
    num_positions: u64,
    ordinary: Vec<f32>,
    attacks: Vec<f32>,
}

impl<'a> Evaluator<'a> {
    /// For events that come with labels.
    pub fn labelled(scorer: &'a Scorer) -> Self {
        Self::new(scorer, 0, true)
    }

    /// For events without labels: each is scored against one random IPv4 address of the same entity (R = 1,
    /// S = 0), the same for the same `seed` and position.
    pub fn against_random_ipv4(scorer: &'a Scorer, seed: u64) -> Self {
        Self::new(scorer, seed, false)
    }

    fn new(scorer: &'a Scorer, seed: u64, labelled: bool) -> Self {
        let (pending, ordinary, attacks) = (Vec::new(), Vec::new(), Vec::new());
        Self { scorer, seed, labelled, pending, num_positions: 0, ordinary, attacks }
    }

    /// Adds an event; `is_attack` is its label and must be false for events without labels.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where scoring fails.
    pub fn push(&mut self, event: Event, is_attack: bool) -> Result<()> {
        self.pending.push((event, is_attack));
        if !self.labelled {
            self.pending.push((Event { ip: random_ipv4(self.seed, self.num_positions), ..event }, true));
        }
        self.num_positions += 1;
        if self.pending.len() >= PAIRS_PER_BATCH { self.score_pending() } else { Ok(()) }
    }

    /// Scores what is left and computes the figures.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where one of the two classes is missing or a score is not a number, and
    /// [`Error::Device`] where scoring fails.
    pub fn finish(mut self) -> Result<Evaluation> {
        self.score_pending()?;
        if self.ordinary.is_empty() || self.attacks.is_empty() {
            let missing =
                if self.attacks.is_empty() { "attacks (label 1)" } else { "ordinary events (label 0)" };
            return Err(Error::data(
                "labels",
                format!("there are no {missing}"),
                "an AUC needs both classes",
            ));
        }
        let (num_attacks, num_ordinary) = (self.attacks.len() as u64, self.ordinary.len() as u64);
        let (tpr, fpr) = rates_above(0.0, &self.attacks, &self.ordinary);
        Ok(Evaluation {
            auc: auc(self.attacks, self.ordinary)?,
            num_events: num_attacks + num_ordinary,
            num_attacks,
            attacks: if self.labelled { "labelled" } else { "random_ipv4" },
            tpr,
            fpr,
        })
    }

    fn score_pending(&mut self) -> Result<()> {
        let events: Vec<Event> = self.pending.iter().map(|(event, _)| *event).collect();
        for (dot_product, (_, is_attack)) in self.scorer.dot_products(&events)?.iter().zip(&self.pending) {
            let class = if *is_attack { &mut self.attacks } else { &mut self.ordinary };
            class.push(anomaly_score(*dot_product));
        }
        self.pending.clear();
        Ok(())
    }
}

/// The random address that the event at `position` is evaluated against.
fn random_ipv4(seed: u64, position: u64) -> u32 {
    let counter = [position as u32, (position >> 32) as u32, 0, 0];
    philox4x32_10(counter, stream_key(seed, Stream::EvaluationNegatives))[0]
}
