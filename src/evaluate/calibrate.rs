//! Thresholds that keep a wanted rate, the calibration of the model's scores, and how well that holds.

use serde::Serialize;

use super::scores::{Code, SortedScores, Tie};
use crate::thresholds::calibration::{Calibration, CalibrationBuilder};
use crate::thresholds::wilson;
use crate::thresholds::{Criterion, Threshold, WantedThreshold};
use crate::{Error, Result};

/// Bins of equal width of the probabilities.
pub const NUM_RELIABILITY_BINS: usize = 10;

/// How true calibrated probabilities are: a calibration from one half of the events, tried on the other. Which event
/// belongs to which half is decided by a hash of its position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Events of the half on which it was tried.
    pub num_events: u64,
    /// Attacks among them.
    pub num_attacks: u64,
    /// Brier (1950): the mean squared difference of the probability from 1 for an attack and from 0 for an ordinary
    /// event, 0..=1.
    pub brier_score: f64,
    /// The difference of the mean probability from the share of attacks, averaged over the events of all bins
    /// (Naeini et al. 2015), 0..=1.
    pub expected_calibration_error: f64,
    /// [`NUM_RELIABILITY_BINS`] bins of equal width over 0..=1, without those that are empty.
    pub bins: Vec<ReliabilityBin>,
}

/// Events with a probability in one bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// The lower end of the bin, which belongs to it.
    pub from: f64,
    /// The upper end.
    pub to: f64,
    /// Events.
    pub num_events: u64,
    /// Attacks among them.
    pub num_attacks: u64,
    /// Mean of the probabilities.
    pub mean_probability: f64,
    /// Share of attacks.
    pub attack_share: f64,
    /// Its Wilson interval of 95 %.
    pub attack_share_ci: [f64; 2],
}

/// What the model's scores were found to mean.
#[derive(Debug)]
pub(super) struct Calibrated {
    /// From all events.
    pub(super) calibration: Calibration,
    /// `None` where a half lacks a class.
    pub(super) reliability: Option<Reliability>,
}

/// Calibrates scores, of which there are some of both classes.
pub(super) fn calibrate(sorted: &SortedScores, data_digest: &str) -> Option<Calibrated> {
    let codes = sorted.codes();
    let num_ordinary = |is_wanted: fn(Code) -> bool| Tie::of(0.0, &codes, is_wanted).num_ordinary;
    let is_fitted = |code: Code| !code.is_kept_aside();
    let mut of_all = CalibrationBuilder::new(num_ordinary(|_| true));
    let mut of_half = CalibrationBuilder::new(num_ordinary(is_fitted));
    sorted.for_each_tie(|score, codes| {
        let (all, half) = (Tie::of(score, codes, |_| true), Tie::of(score, codes, is_fitted));
        of_all.add(score, all.num_attacks, all.num_ordinary);
        if !half.is_empty() {
            of_half.add(score, half.num_attacks, half.num_ordinary);
        }
    });
    let calibration = of_all.finish(data_digest.to_string())?;
    let reliability = of_half.finish(String::new()).and_then(|half| reliability(sorted, &half));
    Some(Calibrated { calibration, reliability })
}

/// Tries a calibration on the events that were kept aside.
fn reliability(sorted: &SortedScores, calibration: &Calibration) -> Option<Reliability> {
    let mut bins = [(0_u64, 0_u64, 0.0_f64); NUM_RELIABILITY_BINS];
    let (mut num_attacks, mut num_ordinary, mut squares) = (0, 0, 0.0);
    sorted.for_each_tie(|score, codes| {
        let tie = Tie::of(score, codes, Code::is_kept_aside);
        if tie.is_empty() {
            return;
        }
        let (attacks, ordinary) = (tie.num_attacks as f64, tie.num_ordinary as f64);
        let probability = calibration.probability(score);
        squares += attacks * (1.0 - probability).powi(2) + ordinary * probability.powi(2);
        num_attacks += tie.num_attacks;
        num_ordinary += tie.num_ordinary;
        let i = (probability * NUM_RELIABILITY_BINS as f64) as usize;
        let bin = &mut bins[i.min(NUM_RELIABILITY_BINS - 1)];
        bin.0 += tie.num_attacks + tie.num_ordinary;
        bin.1 += tie.num_attacks;
        bin.2 += (attacks + ordinary) * probability;
    });
    if num_attacks == 0 || num_ordinary == 0 {
        return None;
    }
    let edge = |i: usize| i as f64 / NUM_RELIABILITY_BINS as f64;
    let bins = bins.iter().enumerate().filter(|(_, bin)| bin.0 > 0).map(|(i, (num, attacks, sum))| {
        let (num_events, num_attacks) = (*num, *attacks);
        ReliabilityBin {
            from: edge(i),
            to: edge(i + 1),
            num_events,
            num_attacks,
            mean_probability: sum / num_events as f64,
            attack_share: num_attacks as f64 / num_events as f64,
            attack_share_ci: wilson(num_attacks, num_events),
        }
    });
    let bins: Vec<_> = bins.collect();
    let num_events = num_attacks + num_ordinary;
    let error = |bin: &ReliabilityBin| {
        bin.num_events as f64 / num_events as f64 * (bin.mean_probability - bin.attack_share).abs()
    };
    Some(Reliability {
        num_events,
        num_attacks,
        brier_score: squares / num_events as f64,
        expected_calibration_error: bins.iter().map(error).sum(),
        bins,
    })
}

/// The data that thresholds are chosen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChosenOn<'a> {
    /// Where attacks come from: `labelled`, `added` or `random_ipv4`.
    pub(super) attacks: &'a str,
    pub(super) data_digest: &'a str,
    /// From the first ordinary event to the last, where times are known.
    pub(super) num_seconds: Option<u64>,
}

/// Chooses thresholds among the scores that occur: for a wanted TPR the highest that reaches it, for an FPR or alerts
/// a day the lowest that stays within.
///
/// # Errors
///
/// [`Error::Data`] where even the highest score flags too many ordinary events, and [`Error::Config`] where alerts a
/// day are wanted of events without times.
pub(super) fn choose(
    sorted: &SortedScores,
    wanted: &[WantedThreshold],
    on: &ChosenOn<'_>,
) -> Result<Vec<Threshold>> {
    let Tie { num_attacks, num_ordinary, .. } = Tie::of(0.0, &sorted.codes(), |_| true);
    let days = on.num_seconds.map(|seconds| seconds as f64 / 86_400.0);
    if days.is_none()
        && let Some(wanted) = wanted.iter().find(|wanted| wanted.criterion == Criterion::AlertsPerDay)
    {
        let help = "name the column of the events' times: time_column";
        return Err(Error::config(wanted.at(), "the events have no times", help));
    }
    let Found { least_ordinary, flagged } = find(sorted, wanted, [num_attacks, num_ordinary], days);
    let thresholds = wanted.iter().zip(flagged).map(|(wanted, flagged)| {
        let Flagged { value, attacks, ordinary } = flagged.ok_or_else(|| {
            let what = format!("{least_ordinary} of {num_ordinary} ordinary events share the highest score");
            let help = "no threshold flags fewer of them: allow more, or take more events to choose it on";
            Error::data(wanted.at(), what, help)
        })?;
        Ok(Threshold {
            name: wanted.name.clone(),
            value,
            criterion: wanted.criterion,
            target: wanted.target,
            num_attacks,
            num_flagged_attacks: attacks,
            num_ordinary,
            num_flagged_ordinary: ordinary,
            num_seconds: on.num_seconds,
            attacks: on.attacks.to_string(),
            data_digest: on.data_digest.to_string(),
        })
    });
    thresholds.collect()
}

/// A score, and how many events of each class have at least that.
#[derive(Clone, Copy)]
struct Flagged {
    value: f32,
    attacks: u64,
    ordinary: u64,
}

/// What was found for wanted thresholds.
struct Found {
    /// Ordinary events with the highest score.
    least_ordinary: u64,
    /// For each; `None` where even the highest score flags too many.
    flagged: Vec<Option<Flagged>>,
}

/// Finds thresholds among the scores of events, of which there are so many of each class.
fn find(
    sorted: &SortedScores,
    wanted: &[WantedThreshold],
    [num_attacks, num_ordinary]: [u64; 2],
    days: Option<f64>,
) -> Found {
    let mut found = vec![None; wanted.len()];
    let (mut attacks, mut ordinary) = (0, 0);
    let mut least_ordinary = None;
    sorted.for_each_tie(|value, codes| {
        let tie = Tie::of(value, codes, |_| true);
        attacks += tie.num_attacks;
        ordinary += tie.num_ordinary;
        least_ordinary.get_or_insert(ordinary);
        let (tpr, fpr) = (attacks as f64 / num_attacks as f64, ordinary as f64 / num_ordinary as f64);
        for (wanted, found) in wanted.iter().zip(&mut found) {
            let is_better = match wanted.criterion {
                Criterion::TargetTpr => found.is_none() && tpr >= wanted.target,
                Criterion::TargetFpr => fpr <= wanted.target,
                Criterion::AlertsPerDay => ordinary as f64 / days.unwrap_or(0.0) <= wanted.target,
            };
            if is_better {
                *found = Some(Flagged { value, attacks, ordinary });
            }
        }
    });
    Found { least_ordinary: least_ordinary.unwrap_or_default(), flagged: found }
}
