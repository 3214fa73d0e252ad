//! How good a model is: on labelled events, against attacks that are added, or against random IPv4 as the
//! reference system does it; beside it the detectors that a table of past events makes.

mod attacks;
mod calibrate;
mod curve;
mod figures;
mod history;
pub mod report;
mod roc;
mod scores;

use std::collections::HashSet;

use rayon::prelude::*;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use attacks::{AddedAttacks, AttackKind, parse_attacks};
pub use calibrate::{NUM_RELIABILITY_BINS, Reliability, ReliabilityBin};
pub use curve::{CurvePoint, DetectorCurve, Histogram};
pub use figures::{FPR_TARGETS, Figures, OperatingPoint, TPR_TARGETS};
pub use history::{BASELINES, History};
pub use roc::auc;
pub(crate) use scores::{of_ordered_bits, ordered_bits};

use attacks::{OtherUsers, neighbour, random_address};
use calibrate::{Calibrated, ChosenOn, calibrate, choose};
use curve::CurveBuilder;
use figures::{FiguresBuilder, Targets};
use scores::{Code, HistoryBucket, Scores, SortedScores, Tie};

use crate::event::hash_entity;
use crate::inference::{PAIRS_PER_BATCH, Scorer, anomaly_score};
use crate::thresholds::calibration::Calibration;
use crate::thresholds::{Threshold, WantedThreshold};
use crate::{Error, Event, Result};

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
    /// The figures of each detector by its name: [`MODEL`] first, then [`BASELINES`] where there is a history,
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

/// Where attacks come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Attacks {
    /// From the data, by their labels.
    Labelled,
    /// One random IPv4 address beside each event (R = 1, S = 0), as the reference's `discriminator_auc` has it.
    RandomIpv4,
    /// Beside some of the events, whose labels must be false; at most one entry of each kind.
    Added(Vec<AddedAttacks>),
}

/// What to evaluate, and beside what.
#[derive(Debug)]
pub struct EvaluateOptions<'a> {
    /// Where attacks come from.
    pub attacks: Attacks,
    /// Determines the addresses of attacks that are made, together with the positions of the events.
    pub seed: u64,
    /// The training events, for the baselines.
    pub history: Option<&'a History>,
    /// Detection rates at which the false positive rate is wanted beside those of [`TPR_TARGETS`], 0..=1.
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
    /// The model's figures, and nothing beside them.
    pub fn figures_alone(attacks: Attacks, seed: u64) -> Self {
        Self {
            attacks,
            seed,
            history: None,
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

/// Collects events, scores them in batches, and keeps 8 bytes an event and detector until
/// [`Evaluator::finish`].
pub struct Evaluator<'a> {
    scorer: &'a Scorer,
    options: EvaluateOptions<'a>,
    kinds: Vec<String>,
    pending: Vec<Pending>,
    num_positions: u64,
    other_users: OtherUsers,
    times: Times,
    model: Scores,
    baselines: [Scores; BASELINES.len()],
    /// True likelihood ratios of the pending events, all of an event one after the other.
    truths: Vec<f32>,
    /// The true likelihood ratios against all attacks, then those against each kind.
    bayes: Vec<Scores>,
    num_events: u64,
    num_truths: u64,
    digest: blake3::Hasher,
}

/// An event that waits to be scored.
#[derive(Clone, Copy)]
struct Pending {
    event: Event,
    /// Unix seconds, where they are known.
    seconds: Option<u32>,
    /// The index of the attack's kind.
    kind: Option<u8>,
    /// Whether it is kept aside, to try on it the calibration that is made from the others.
    is_kept_aside: bool,
}

impl<'a> Evaluator<'a> {
    /// For events without labels: each is scored against one random IPv4 address of the same entity, the same for
    /// the same `seed` and position.
    pub fn against_random_ipv4(scorer: &'a Scorer, seed: u64) -> Self {
        Self::new(scorer, EvaluateOptions::figures_alone(Attacks::RandomIpv4, seed))
    }

    /// Evaluates `scorer` as `options` say.
    pub fn new(scorer: &'a Scorer, options: EvaluateOptions<'a>) -> Self {
        let kinds = match &options.attacks {
            Attacks::Labelled => Vec::new(),
            Attacks::RandomIpv4 => vec![AttackKind::UniformIpv4.name().into()],
            Attacks::Added(added) => added.iter().map(|added| added.kind.name().into()).collect(),
        };
        let bayes = (0..=options.truth_kinds.len()).map(|_| Scores::default()).collect();
        Self {
            scorer,
            options,
            kinds,
            pending: Vec::new(),
            num_positions: 0,
            other_users: OtherUsers::default(),
            times: Times::default(),
            model: Scores::default(),
            baselines: Default::default(),
            truths: Vec::new(),
            bayes,
            num_events: 0,
            num_truths: 0,
            digest: blake3::Hasher::new(),
        }
    }

    /// Adds an event without label, at its time in Unix seconds where that is known; see [`Evaluator::push`].
    ///
    /// # Errors
    ///
    /// As [`Evaluator::push`].
    pub fn push_event(&mut self, event: Event, time: Option<u32>) -> Result<()> {
        let (kind, seconds) = (None, time.map(i64::from));
        self.push(EvaluatedEvent { event, is_attack: false, kind, seconds, log_likelihood_ratios: &[] })
    }

    /// Adds an event, and the attacks that belong beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] where scoring fails, [`Error::Data`] where there are more than 255 kinds of attacks.
    pub fn push(&mut self, row: EvaluatedEvent<'_>) -> Result<()> {
        let kind = if row.is_attack { Some(self.kind_index(row.kind)?) } else { None };
        let is_kept_aside = is_kept_aside(self.num_positions);
        let seconds = row.seconds.and_then(|seconds| u32::try_from(seconds).ok());
        self.pending.push(Pending { event: row.event, seconds, kind, is_kept_aside });
        self.truths.extend(row.log_likelihood_ratios);
        if !row.is_attack {
            self.times.add(row.event.entity, row.seconds);
        }
        self.add_attacks(row.event, seconds)?;
        self.num_positions += 1;
        if self.pending.len() >= PAIRS_PER_BATCH { self.score_pending() } else { Ok(()) }
    }

    fn add_attacks(&mut self, event: Event, seconds: Option<u32>) -> Result<()> {
        let (seed, position) = (self.options.seed, self.num_positions);
        let is_kept_aside = is_kept_aside(position);
        let mut add = |kind, address| {
            let event = Event { address, ..event };
            self.pending.push(Pending { event, seconds, kind: Some(kind), is_kept_aside });
        };
        let random = random_address(seed, position, event.address);
        match &self.options.attacks {
            Attacks::Labelled => {}
            Attacks::RandomIpv4 => add(0, random),
            Attacks::Added(added) => {
                if added.iter().any(|added| added.kind == AttackKind::OtherUsers) {
                    self.other_users.add(event);
                }
                for (index, added) in added.iter().enumerate().filter(|(_, added)| added.hits(seed, position))
                {
                    let kind = index as u8;
                    match added.kind {
                        AttackKind::UniformIpv4 => add(kind, random),
                        AttackKind::Neighbour => add(kind, neighbour(seed, position, event.address)),
                        AttackKind::OtherUsers => self.other_users.wait(event, seconds, position),
                    }
                }
            }
        }
        Ok(())
    }

    fn kind_index(&mut self, kind: Option<&[u8]>) -> Result<u8> {
        let kind = match kind {
            None | Some(b"") => "attack".into(),
            Some(kind) => String::from_utf8_lossy(kind),
        };
        // There are few of them.
        let index = self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind.into_owned());
            self.kinds.len() - 1
        });
        u8::try_from(index).ok().filter(|_| index < Code::MAX_KINDS).ok_or_else(|| {
            Error::data(
                "--kind-column",
                format!("more than {} kinds of attacks", Code::MAX_KINDS),
                "name the column of the attack's kind, or leave it out",
            )
        })
    }

    /// Scores what is left and computes the figures.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where one of the two classes is missing or a score is not a number, and
    /// [`Error::Device`] where scoring fails.
    pub fn finish(mut self) -> Result<Evaluation> {
        self.score_pending()?;
        self.score_other_users()?;
        let num_days = self.times.num_days();
        let num_users = num_days.map(|_| self.times.users.len() as u64);
        let mut tpr_targets = TPR_TARGETS.to_vec();
        tpr_targets.extend(&self.options.tpr_targets);
        tpr_targets.sort_by(f64::total_cmp);
        tpr_targets.dedup();
        let user_days = num_days.zip(num_users).map(|(days, users)| days * users as f64 / 1000.0);
        let targets = Targets { tpr: tpr_targets, fpr: FPR_TARGETS.to_vec(), user_days };

        let attacks = match self.options.attacks {
            Attacks::Labelled => "labelled",
            Attacks::RandomIpv4 => "random_ipv4",
            Attacks::Added(_) => "added",
        };
        let data_digest = self.digest.finalize().to_hex();
        let on = ChosenOn { attacks, data_digest: &data_digest, num_seconds: self.times.num_seconds() };
        let meaning = |sorted: &SortedScores| {
            let chosen = choose(sorted, &self.options.thresholds, &on)?;
            let calibrates = self.options.calibrates || !chosen.is_empty();
            Ok((if calibrates { calibrate(sorted, &data_digest) } else { None }, chosen))
        };

        let has_history = self.options.history.is_some();
        let has_truth = self.num_truths > 0;
        if has_truth && self.num_truths < self.num_events {
            let num_missing = self.num_events - self.num_truths;
            let what = format!("{num_missing} of {} events have no likelihoods", self.num_events);
            return Err(Error::data("--truth", what, "give the file that belongs to the data"));
        }
        let baselines = BASELINES.into_iter().zip(self.baselines).filter(|_| has_history);
        let mut bayes = self.bayes.into_iter();
        let of_all = bayes.next().filter(|_| has_truth).map(|scores| (BAYES, scores));
        let scores: Vec<_> = [(MODEL, self.model)].into_iter().chain(baselines).chain(of_all).collect();
        let found: Vec<_> = scores
            .into_par_iter()
            .map(|(name, scores)| {
                let sorted = scores.sort(name)?;
                let found = detector(name, &sorted, &self.kinds, &targets)?;
                Ok(if name == MODEL { Found { model: meaning(&sorted)?, ..found } } else { found })
            })
            .collect::<Result<_>>()?;
        let (tpr, fpr) = found[0].above_zero;
        let (mut detectors, mut curves) = (Vec::new(), Vec::new());
        let (mut calibrated, mut thresholds) = (None, Vec::new());
        for Found { detector, curve, model, .. } in found {
            calibrated = calibrated.or(model.0);
            thresholds.extend(model.1);
            detectors.push((curve.name.clone(), detector));
            curves.push(curve);
        }
        let (auc, num_attacks) = {
            let model: &Detector = &detectors[0].1;
            (model.all.auc.unwrap_or_default(), model.all.num_attacks)
        };
        if has_truth && let Some((_, truth)) = detectors.last_mut() {
            for (kind, scores) in self.options.truth_kinds.iter().zip(bayes) {
                let Some(i) = self.kinds.iter().position(|known| known == kind) else { continue };
                let part: [Part<'_>; 1] = [Box::new(move |code| is_kind_or_ordinary(code, i))];
                let mut figures = walk(&scores.sort(BAYES)?, &part, &targets, |_| ());
                truth.by_kind[i].1 = figures.remove(0);
            }
        }
        let (calibration, reliability) = match calibrated {
            Some(Calibrated { calibration, reliability }) => (Some(calibration), reliability),
            None => (None, None),
        };
        Ok(Evaluation {
            auc,
            num_events: self.num_events,
            num_attacks,
            attacks,
            tpr,
            fpr,
            history: if has_history { "history" } else { "model" },
            num_history_events: self.options.history.map(|history| history.len() as u64),
            num_days,
            num_users,
            detectors,
            reliability,
            thresholds,
            calibration,
            curves,
        })
    }

    fn score_other_users(&mut self) -> Result<()> {
        let Attacks::Added(added) = &self.options.attacks else { return Ok(()) };
        let Some(kind) = added.iter().position(|added| added.kind == AttackKind::OtherUsers) else {
            return Ok(());
        };
        let attacks = std::mem::take(&mut self.other_users).attacks(self.options.seed)?;
        for events in attacks.chunks(PAIRS_PER_BATCH) {
            for (event, seconds) in events {
                // They have no position left, but a place among themselves.
                let is_kept_aside = is_kept_aside(self.num_positions);
                let (event, seconds, kind) = (*event, *seconds, Some(kind as u8));
                self.pending.push(Pending { event, seconds, kind, is_kept_aside });
                self.num_positions += 1;
            }
            self.score_pending()?;
        }
        Ok(())
    }

    fn score_pending(&mut self) -> Result<()> {
        let events: Vec<Event> = self.pending.iter().map(|pending| pending.event).collect();
        // Events whose times are not known are scored as of the last one that the model counted.
        let times: Option<Vec<u32>> = self.pending.iter().map(|pending| pending.seconds).collect();
        let dot_products = self.scorer.scores_at(&events, times.as_deref())?;
        let history = self.options.history;
        let of_history: Vec<[f32; BASELINES.len()]> = match history {
            Some(history) => events.par_iter().map(|event| history.scores(*event)).collect(),
            None => Vec::new(),
        };
        if self.options.calibrates || !self.options.thresholds.is_empty() {
            self.digest_pending();
        }
        let num_ratios = self.bayes.len();
        for (i, (pending, dot_product)) in self.pending.iter().zip(dot_products).enumerate() {
            let entity = pending.event.entity;
            let num_training_events = match history {
                Some(history) => history.num_events(entity),
                None if self.scorer.entity_seen(entity) => self.scorer.num_row_events(entity).into(),
                None => 0,
            };
            let bucket = HistoryBucket::of(num_training_events);
            let code = Code::new(pending.kind, num_training_events > 0, bucket);
            let code = code.kept_aside(pending.is_kept_aside);
            self.model.push(anomaly_score(dot_product), code);
            for (scores, score) in self.baselines.iter_mut().zip(of_history.get(i).into_iter().flatten()) {
                scores.push(*score, code);
            }
            // Where an event has none of its own, `finish` finds them missing.
            if self.truths.len() == self.pending.len() * self.bayes.len() {
                for (scores, truth) in self.bayes.iter_mut().zip(&self.truths[i * num_ratios..]) {
                    scores.push(*truth, code);
                }
                self.num_truths += 1;
            }
        }
        self.truths.clear();
        self.num_events += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// See [`Calibration::data_digest`].
    fn digest_pending(&mut self) {
        let mut bytes = Vec::with_capacity(17 * self.pending.len());
        for Pending { event, kind, .. } in &self.pending {
            bytes.extend(event.entity.to_le_bytes());
            bytes.extend(event.address.bits().to_le_bytes());
            bytes.push(u8::from(kind.is_some()));
        }
        self.digest.update(&bytes);
    }
}

/// Whether the event at a position belongs to the half that calibrations are tried on: at random, but the same
/// for the same position.
fn is_kept_aside(position: u64) -> bool {
    hash_entity(&position.to_le_bytes()) & 1 == 1
}

/// When the ordinary events were, and whose.
#[derive(Debug, Default)]
struct Times {
    range: Option<(i64, i64)>,
    users: HashSet<u64>,
}

impl Times {
    fn add(&mut self, entity: u64, seconds: Option<i64>) {
        let Some(seconds) = seconds else { return };
        let (first, last) = self.range.unwrap_or((seconds, seconds));
        self.range = Some((first.min(seconds), last.max(seconds)));
        self.users.insert(entity);
    }

    fn num_days(&self) -> Option<f64> {
        self.num_seconds().map(|seconds| seconds as f64 / 86_400.0)
    }

    fn num_seconds(&self) -> Option<u64> {
        // The last second counts too, so that it is never zero.
        self.range.map(|(first, last)| last.abs_diff(first).saturating_add(1))
    }
}

/// Which events a part of the figures is about.
type Part<'a> = Box<dyn Fn(Code) -> bool + 'a>;

fn is_kind_or_ordinary(code: Code, kind: usize) -> bool {
    !code.is_attack() || code.is_of_kind(kind as u8)
}

/// The figures of each part, from one walk over the scores; `on_tie` sees every tie of all events.
fn walk(
    sorted: &SortedScores,
    parts: &[Part<'_>],
    targets: &Targets,
    mut on_tie: impl FnMut(&Tie),
) -> Vec<Figures> {
    let codes = sorted.codes();
    let builder = |part: &Part<'_>| {
        let Tie { num_attacks, num_ordinary, .. } = Tie::of(0.0, &codes, part);
        FiguresBuilder::new(num_attacks, num_ordinary, targets)
    };
    let mut builders: Vec<_> = parts.iter().map(builder).collect();
    sorted.for_each_tie(|score, codes| {
        on_tie(&Tie::of(score, codes, |_| true));
        for (builder, part) in builders.iter_mut().zip(parts) {
            builder.add(&Tie::of(score, codes, part));
        }
    });
    builders.into_iter().map(FiguresBuilder::finish).collect()
}

/// What was found of one detector.
struct Found {
    detector: Detector,
    curve: DetectorCurve,
    /// The shares of attacks and of ordinary events with a score above 0.
    above_zero: (f64, f64),
    /// Of the model alone: its calibration, and the thresholds that are wanted.
    model: (Option<Calibrated>, Vec<Threshold>),
}

/// All figures of a detector, and what is drawn of it.
fn detector(name: &str, sorted: &SortedScores, kinds: &[String], targets: &Targets) -> Result<Found> {
    let Tie { num_attacks: m, num_ordinary: n, .. } = Tie::of(0.0, &sorted.codes(), |_| true);
    if m == 0 || n == 0 {
        let missing = if m == 0 { "attacks (label 1)" } else { "ordinary events (label 0)" };
        return Err(Error::data("labels", format!("there are no {missing}"), "an AUC needs both classes"));
    }
    let mut parts: Vec<Part<'_>> = vec![Box::new(|_| true)];
    for kind in 0..kinds.len() {
        parts.push(Box::new(move |code| is_kind_or_ordinary(code, kind)));
    }
    for is_seen in [true, false] {
        parts.push(Box::new(move |code| code.is_seen() == is_seen));
    }
    for bucket in HistoryBucket::ALL {
        parts.push(Box::new(move |code| code.is_of_history(bucket)));
    }
    let mut curve = CurveBuilder::new(m, n, sorted.range().unwrap_or_default());
    let mut above = [0, 0];
    let figures = walk(sorted, &parts, targets, |tie| {
        curve.add(tie);
        if tie.score > 0.0 {
            above = [above[0] + tie.num_attacks, above[1] + tie.num_ordinary];
        }
    });
    let mut figures = figures.into_iter();
    let all = figures.next().unwrap_or_default();
    let mut named = |names: Vec<String>| names.into_iter().zip(figures.by_ref()).collect();
    Ok(Found {
        detector: Detector {
            all,
            by_kind: named(kinds.to_vec()),
            by_seen: named(["seen", "unseen"].map(String::from).to_vec()),
            by_history: named(HistoryBucket::ALL.map(|bucket| bucket.name().into()).to_vec()),
        },
        curve: curve.finish(name),
        above_zero: (above[0] as f64 / m as f64, above[1] as f64 / n as f64),
        model: (None, Vec::new()),
    })
}

/// The figures of given scores.
fn figures_of(positives: &[f32], negatives: &[f32], targets: &Targets) -> Result<Figures> {
    let mut scores = Scores::default();
    let code = |kind| Code::new(kind, true, HistoryBucket::None);
    positives.iter().for_each(|score| scores.push(*score, code(Some(0))));
    negatives.iter().for_each(|score| scores.push(*score, code(None)));
    let everything: [Part<'_>; 1] = [Box::new(|_| true)];
    Ok(walk(&scores.sort("scores")?, &everything, targets, |_| ()).remove(0))
}

#[cfg(test)]
mod tests;
