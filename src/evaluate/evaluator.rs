//! Takes events, scores them with their attacks, and finds the figures.

use rayon::prelude::*;

use super::attacks::{AddedAttacks, AttackKind, random_address};
use super::baselines::{self, AS_TABLE, BASELINES};
use super::breakdown::{DaysBucket, HistoryBucket};
use super::calibrate::{Calibrated, ChosenOn, Reliability, calibrate, choose};
use super::detector::{Found, Part, examine, of_kind, walk};
use super::evaluation::{BAYES, Detector, Evaluation, MODEL};
use super::family::Family;
use super::figures::{FPR_TARGETS, TPR_TARGETS, Targets};
use super::online::{MovingCounts, Timeline};
use super::options::{Attacks, EvaluateOptions, EvaluatedEvent, NamedKind};
use super::other_users::{OtherUsers, Waiting};
use super::past::{self, PastEvents};
use super::pending::Pending;
use super::scores::{Code, Scores, SortedScores};
use super::times::Times;
use crate::event::hash_entity;
use crate::history::{Detector as ModelDetector, History, Owners, Usage};
use crate::inference::{PAIRS_PER_BATCH, Scorer, anomaly_score};
use crate::thresholds::Threshold;
use crate::thresholds::calibration::Calibration;
use crate::{At, Error, Event, Result};

/// Collects events, scores them in batches, and keeps 8 bytes an event and detector until
/// [`Evaluator::finish`].
pub struct Evaluator<'a> {
    scorer: &'a Scorer,
    options: EvaluateOptions<'a>,
    kinds: Vec<NamedKind>,
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

/// What is known of events before each of them.
#[derive(Default)]
struct Known {
    /// By the model's usage history.
    model: Option<Vec<Usage>>,
    /// By the past events.
    past: Option<Vec<Usage>>,
}

impl Known {
    /// As [`Known::default`], with what `look_up` finds in each history that there is.
    fn of(
        evaluator: &Evaluator<'_>,
        look_up: impl Fn(&History, Option<&Owners>) -> Result<Vec<Usage>>,
    ) -> Result<Self> {
        let of_model = |detector: &ModelDetector| look_up(&detector.history, detector.owners.as_ref());
        let model = evaluator.scorer.detector().map(of_model).transpose()?;
        let past = evaluator.options.past.map(|past| look_up(past.history(), past.owners())).transpose()?;
        Ok(Self { model, past })
    }
}

/// Pairs whose counts are looked up together where they move: some 200 MB.
const PAIRS_PER_LOOKUP: usize = 1 << 19;

/// What the model's scores mean.
struct Meaning {
    calibration: Option<Calibration>,
    reliability: Option<Reliability>,
    thresholds: Vec<Threshold>,
}

impl<'a> Evaluator<'a> {
    /// For events without labels: each is scored against one random address of its family and the same entity, the same
    /// for the same `seed` and position.
    pub fn against_random_ipv4(scorer: &'a Scorer, seed: u64) -> Self {
        Self::new(scorer, EvaluateOptions::figures_alone(Attacks::RandomIpv4, seed))
    }

    /// Bytes of the scores of so many events with an attack each.
    pub fn scores_bytes(num_events: u64) -> u64 {
        2 * size_of::<u64>() as u64 * num_events
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
        let position = self.num_positions;
        let seconds = row.seconds.and_then(|seconds| u32::try_from(seconds).ok());
        let is_kept_aside = is_kept_aside(position);
        let event = Pending { event: row.event, seconds, position, kind, is_kept_aside };
        self.pending.push(event);
        self.truths.extend(row.log_likelihood_ratios);
        if !row.is_attack {
            self.times.add(row.event.entity, row.seconds);
        }
        self.add_attacks(&event);
        self.num_positions += 1;
        let is_full = self.pending.len() >= PAIRS_PER_BATCH && !self.options.is_online;
        if is_full { self.score_pending() } else { Ok(()) }
    }

    /// Adds the attacks that belong beside an event.
    fn add_attacks(&mut self, own: &Pending) {
        let (seed, position, event) = (self.options.seed, own.position, own.event);
        let attack = |kind: usize, address| Pending {
            event: Event { address, ..event },
            kind: Some(kind as u8),
            ..*own
        };
        match &self.options.attacks {
            Attacks::Labelled => {}
            Attacks::RandomIpv4 => {
                let kind = Family::of(event.address) as usize;
                self.pending.push(attack(kind, random_address(seed, position, event.address)));
            }
            Attacks::Added(added) => {
                if added.iter().any(|added| added.kind == AttackKind::OtherUsers) {
                    self.other_users.add(event);
                }
                let hits = |(_, added): &(usize, &AddedAttacks)| added.hits(seed, position, event.address);
                for (kind, added) in added.iter().enumerate().filter(hits) {
                    match added.address(seed, position, event.address) {
                        Some(address) => self.pending.push(attack(kind, address)),
                        None => self.other_users.wait(Waiting { event, seconds: own.seconds, position }),
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
        let index = self.kinds.iter().position(|known| known.name == kind).unwrap_or_else(|| {
            self.kinds.push(NamedKind { name: kind.into_owned(), family: None });
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
        if !self.options.is_online {
            self.score_pending()?;
        }
        self.add_other_users()?;
        if self.options.is_online {
            self.score_online()?;
        }
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
            history: if self.options.past.is_some() { "history" } else { "model" },
            num_history_events: self.options.past.map(PastEvents::num_events),
            online: self.options.is_online,
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
        let has_owners = self.options.past.is_some_and(|past| past.owners().is_some());
        let is_there = |name: &str| self.options.past.is_some() && (has_owners || name != AS_TABLE);
        let baselines = baselines.filter(|(name, _)| is_there(name));
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
            let Some(i) = self.kinds.iter().position(|known| known.name == *kind) else { continue };
            let part: [Part<'_>; 1] = [of_kind(i, &self.kinds[i])];
            let Some((_, figures)) = bayes.by_kind.iter_mut().find(|(name, _)| name == kind) else {
                continue;
            };
            *figures = walk(&ratios.sort(BAYES)?, &part, targets, |_| ()).remove(0);
        }
        Ok(())
    }

    /// Adds the attacks with addresses of other entities, and scores them where their order makes no difference.
    fn add_other_users(&mut self) -> Result<()> {
        let Attacks::Added(added) = &self.options.attacks else { return Ok(()) };
        let Some(kind) = added.iter().position(|added| added.kind == AttackKind::OtherUsers) else {
            return Ok(());
        };
        let attacks = std::mem::take(&mut self.other_users).attacks(self.options.seed)?;
        for attacks in attacks.chunks(PAIRS_PER_BATCH) {
            for Waiting { event, seconds, position } in attacks.iter().copied() {
                // No event of the data has this place.
                let is_kept_aside = is_kept_aside(self.num_positions);
                self.pending.push(Pending {
                    event,
                    seconds,
                    position,
                    kind: Some(kind as u8),
                    is_kept_aside,
                });
                self.num_positions += 1;
            }
            if !self.options.is_online {
                self.score_pending()?;
            }
        }
        Ok(())
    }

    /// Scores what is pending by counts that stand still.
    fn score_pending(&mut self) -> Result<()> {
        let (pending, truths) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.truths));
        let events: Vec<Event> = pending.iter().map(|pending| pending.event).collect();
        // Events whose times are not known are scored as of the last one that the model counted.
        let times: Option<Vec<u32>> = pending.iter().map(|pending| pending.seconds).collect();
        let scores = self.scorer.scores_at(&events, times.as_deref())?;
        let known =
            Known::of(self, |history, owners| Ok(past::usages(history, owners, &events, times.as_deref())))?;
        let has_truths = truths.len() == pending.len() * self.bayes.len();
        self.add(&pending, if has_truths { &truths } else { &[] }, &scores, &known);
        Ok(())
    }

    /// Scores all that is pending, each event and attack by the counts of the events before it.
    fn score_online(&mut self) -> Result<()> {
        let (pending, truths) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.truths));
        let timeline = Timeline::new(&pending);
        let of_model = |detector: &'a ModelDetector| {
            MovingCounts::new(&detector.history, detector.owners.as_ref(), &timeline, &pending)
        };
        let model = self.scorer.detector().map(of_model).transpose()?;
        let of_past =
            |past: &'a PastEvents| MovingCounts::new(past.history(), past.owners(), &timeline, &pending);
        let past = self.options.past.map(of_past).transpose()?;
        let num_ratios = self.bayes.len();
        let has_truths = truths.len() == pending.len() * num_ratios;
        for (start, chunk) in (0..).step_by(PAIRS_PER_LOOKUP).zip(pending.chunks(PAIRS_PER_LOOKUP)) {
            let look_up =
                |counts: &Option<MovingCounts<'_>>| counts.as_ref().map(|counts| counts.usages(start, chunk));
            let known = Known { model: look_up(&model), past: look_up(&past) };
            let scores = match (self.scorer.detector(), &known.model) {
                (Some(detector), Some(usages)) => detector.scores_of(usages),
                _ => {
                    let events: Vec<Event> = chunk.iter().map(|pending| pending.event).collect();
                    self.scorer.dot_products(&events)?
                }
            };
            let truths = match has_truths {
                true => &truths[start * num_ratios..(start + chunk.len()) * num_ratios],
                false => &[],
            };
            self.add(chunk, truths, &scores, &known);
        }
        Ok(())
    }

    /// Takes the scores of events, of each detector that there is, and the true likelihood ratios where each of the events
    /// has them.
    fn add(&mut self, pending: &[Pending], truths: &[f32], scores: &[f32], known: &Known) {
        if self.options.wants_calibration() {
            self.digest(pending);
        }
        let num_ratios = self.bayes.len();
        let past = known.past.as_deref().unwrap_or_default();
        let of_baselines: Vec<[f32; BASELINES.len()]> = (past.par_iter().zip(pending))
            .map(|(usage, pending)| baselines::scores(usage, Family::of(pending.event.address)))
            .collect();
        for (i, (pending, score)) in pending.iter().zip(scores).enumerate() {
            let code = self.code_of(pending, i, known);
            self.model.push(anomaly_score(*score), code);
            let baselines = of_baselines.get(i).into_iter().flatten();
            for (scores, score) in self.baselines.iter_mut().zip(baselines) {
                scores.push(*score, code);
            }
            for (scores, truth) in self.bayes.iter_mut().zip(truths.iter().skip(i * num_ratios)) {
                scores.push(*truth, code);
            }
        }
        self.num_truths += (truths.len() / num_ratios) as u64;
        self.num_events += pending.len() as u64;
    }

    /// What is known of the event at an index.
    fn code_of(&self, pending: &Pending, index: usize, known: &Known) -> Code {
        let entity = pending.event.entity;
        let of = |usages: &Option<Vec<Usage>>| usages.as_ref().map(|usages| usages[index]);
        let (model, past) = (of(&known.model), of(&known.past));
        let num_past_events = match past.or(model) {
            Some(usage) => usage.num_events.into(),
            None if self.scorer.entity_seen(entity) => self.scorer.num_row_events(entity).into(),
            None => 0,
        };
        // Before the evaluation began, where counts move.
        let is_seen = match self.options.past {
            Some(past) => past.history().knows(entity),
            None => self.scorer.entity_seen(entity),
        };
        // A history without times knows none.
        let days = [model, past].into_iter().flatten().map(|usage| usage.days_since_last);
        let days = days.filter(|_| pending.seconds.is_some()).find(|days| *days >= 0.0);
        Code::new(pending.kind, is_seen, HistoryBucket::of(num_past_events))
            .kept_aside(pending.is_kept_aside)
            .of_family(Family::of(pending.event.address))
            .after(days.map_or(DaysBucket::Unknown, DaysBucket::of))
    }

    /// See [`Calibration::data_digest`].
    fn digest(&mut self, pending: &[Pending]) {
        let mut bytes = Vec::with_capacity(17 * pending.len());
        for Pending { event, kind, .. } in pending {
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
