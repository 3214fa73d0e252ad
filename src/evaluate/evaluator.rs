//! Takes events, scores them with their attacks, and finds the figures.

use rayon::prelude::*;

use super::attacks::{AttackKind, OtherUsers, neighbour, random_address};
use super::calibrate::{Calibrated, ChosenOn, Reliability, calibrate, choose};
use super::detector::{Found, Part, examine, is_kind_or_ordinary, walk};
use super::evaluation::{BAYES, Detector, Evaluation, MODEL};
use super::figures::{FPR_TARGETS, TPR_TARGETS, Targets};
use super::history::BASELINES;
use super::options::{Attacks, EvaluateOptions, EvaluatedEvent};
use super::scores::{Code, HistoryBucket, Scores, SortedScores};
use super::times::Times;
use crate::event::hash_entity;
use crate::inference::{PAIRS_PER_BATCH, Scorer, anomaly_score};
use crate::thresholds::Threshold;
use crate::thresholds::calibration::Calibration;
use crate::{At, Error, Event, Result};

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

/// What the model's scores mean.
struct Meaning {
    calibration: Option<Calibration>,
    reliability: Option<Reliability>,
    thresholds: Vec<Threshold>,
}

impl<'a> Evaluator<'a> {
    /// For events without labels: each is scored against one random IPv4 address of the same entity, the same for
    /// the same `seed` and position.
    pub fn against_random_ipv4(scorer: &'a Scorer, seed: u64) -> Self {
        Self::new(scorer, EvaluateOptions::figures_alone(Attacks::RandomIpv4, seed))
    }

    /// Evaluates `scorer` as `options` say.
    pub fn new(scorer: &'a Scorer, options: EvaluateOptions<'a>) -> Self {
        let kinds = options.attacks.kinds_made();
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
        self.add_attacks(row.event, seconds);
        self.num_positions += 1;
        if self.pending.len() >= PAIRS_PER_BATCH { self.score_pending() } else { Ok(()) }
    }

    fn add_attacks(&mut self, event: Event, seconds: Option<u32>) {
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
                At::option("kind_column"),
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
        self.check_truths()?;
        let targets = self.targets();
        let truths_of_kinds = self.bayes.split_off(1);
        let sorted = self.sorted_scores()?;
        let (found, meaning) = rayon::join(
            || {
                let all = sorted.par_iter();
                let found = all.map(|(name, sorted)| examine(name, sorted, &self.kinds, &targets));
                found.collect::<Result<Vec<Found>>>()
            },
            || self.meaning(&sorted[0].1),
        );
        let (found, meaning) = (found?, meaning?);
        let (tpr, fpr) = found[0].above_zero;
        let (mut detectors, curves): (Vec<_>, Vec<_>) =
            found.into_iter().map(|found| ((found.curve.name.clone(), found.detector), found.curve)).unzip();
        let model = &detectors[0].1.all;
        let (auc, num_attacks) = (model.auc.unwrap_or_default(), model.num_attacks);
        if self.has_truth()
            && let Some((_, bayes)) = detectors.last_mut()
        {
            self.add_own_ratios(bayes, truths_of_kinds, &targets)?;
        }
        let Meaning { calibration, reliability, thresholds } = meaning;
        Ok(Evaluation {
            auc,
            num_events: self.num_events,
            num_attacks,
            attacks: self.options.attacks.name(),
            tpr,
            fpr,
            history: if self.options.history.is_some() { "history" } else { "model" },
            num_history_events: self.options.history.map(|history| history.len() as u64),
            num_days: self.times.num_days(),
            num_users: self.times.num_users(),
            detectors,
            reliability,
            thresholds,
            calibration,
            curves,
        })
    }

    fn has_truth(&self) -> bool {
        self.num_truths > 0
    }

    /// True likelihood ratios are known of all events or of none.
    fn check_truths(&self) -> Result<()> {
        if !self.has_truth() || self.num_truths == self.num_events {
            return Ok(());
        }
        let num_missing = self.num_events - self.num_truths;
        let what = format!("{num_missing} of {} events have no likelihoods", self.num_events);
        Err(Error::data(At::option("truth"), what, "give the file that belongs to the data"))
    }

    fn targets(&self) -> Targets {
        let mut tpr = [&TPR_TARGETS, &self.options.tpr_targets[..]].concat();
        tpr.sort_by(f64::total_cmp);
        tpr.dedup();
        let days_and_users = self.times.num_days().zip(self.times.num_users());
        let user_days = days_and_users.map(|(days, users)| days * users as f64 / 1000.0);
        Targets { tpr, fpr: FPR_TARGETS.to_vec(), user_days }
    }

    /// The scores of each detector that there is, by its name: the model first, the best possible one last.
    fn sorted_scores(&mut self) -> Result<Vec<(&'static str, SortedScores)>> {
        let baselines = BASELINES.into_iter().zip(std::mem::take(&mut self.baselines));
        let baselines = baselines.filter(|_| self.options.history.is_some());
        let bayes = self.bayes.drain(..).map(|scores| (BAYES, scores)).filter(|_| self.num_truths > 0);
        let model = (MODEL, std::mem::take(&mut self.model));
        let all = std::iter::once(model).chain(baselines).chain(bayes);
        all.map(|(name, scores)| Ok((name, scores.sort(name)?))).collect()
    }

    /// What the model's scores mean, as far as that is wanted.
    fn meaning(&self, sorted: &SortedScores) -> Result<Meaning> {
        let data_digest = self.digest.finalize().to_hex();
        let on = ChosenOn {
            attacks: self.options.attacks.name(),
            data_digest: &data_digest,
            num_seconds: self.times.num_seconds(),
        };
        let thresholds = choose(sorted, &self.options.thresholds, &on)?;
        let calibrated = match self.options.wants_calibration() {
            true => calibrate(sorted, &data_digest),
            false => None,
        };
        let (calibration, reliability) = match calibrated {
            Some(Calibrated { calibration, reliability }) => (Some(calibration), reliability),
            None => (None, None),
        };
        Ok(Meaning { calibration, reliability, thresholds })
    }

    /// Puts, against each kind of attacks whose true ratio is known by itself, the figures of that ratio.
    fn add_own_ratios(&self, bayes: &mut Detector, ratios: Vec<Scores>, targets: &Targets) -> Result<()> {
        for (kind, ratios) in self.options.truth_kinds.iter().zip(ratios) {
            let Some(i) = self.kinds.iter().position(|known| known == kind) else { continue };
            let part: [Part<'_>; 1] = [Box::new(move |code| is_kind_or_ordinary(code, i))];
            bayes.by_kind[i].1 = walk(&ratios.sort(BAYES)?, &part, targets, |_| ()).remove(0);
        }
        Ok(())
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
        let of_history: Vec<[f32; BASELINES.len()]> = match self.options.history {
            Some(history) => events.par_iter().map(|event| history.scores(*event)).collect(),
            None => Vec::new(),
        };
        if self.options.wants_calibration() {
            self.digest_pending();
        }
        let num_ratios = self.bayes.len();
        // Where an event has none of its own, `check_truths` finds them missing.
        let has_truths = self.truths.len() == self.pending.len() * num_ratios;
        for (i, (pending, dot_product)) in self.pending.iter().zip(dot_products).enumerate() {
            let code = self.code_of(pending);
            self.model.push(anomaly_score(dot_product), code);
            for (scores, score) in self.baselines.iter_mut().zip(of_history.get(i).into_iter().flatten()) {
                scores.push(*score, code);
            }
            if has_truths {
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

    fn code_of(&self, pending: &Pending) -> Code {
        let entity = pending.event.entity;
        let num_training_events = match self.options.history {
            Some(history) => history.num_events(entity),
            None if self.scorer.entity_seen(entity) => self.scorer.num_row_events(entity).into(),
            None => 0,
        };
        let bucket = HistoryBucket::of(num_training_events);
        Code::new(pending.kind, num_training_events > 0, bucket).kept_aside(pending.is_kept_aside)
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
