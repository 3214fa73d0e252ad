//! The figures of one detector, of all events and of parts of them, from one walk over its scores.

use super::curve::{CurveBuilder, DetectorCurve};
use super::evaluation::Detector;
use super::figures::{Figures, FiguresBuilder, Targets};
use super::scores::{Code, HistoryBucket, SortedScores, Tie};
use crate::{Error, Result};

/// Which events a part of the figures is about.
pub(super) type Part<'a> = Box<dyn Fn(Code) -> bool + 'a>;

pub(super) fn is_kind_or_ordinary(code: Code, kind: usize) -> bool {
    !code.is_attack() || code.is_of_kind(kind as u8)
}

/// The figures of each part, from one walk over the scores; `on_tie` sees every tie of all events.
pub(super) fn walk(
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
pub(super) struct Found {
    pub(super) detector: Detector,
    pub(super) curve: DetectorCurve,
    /// The shares of attacks and of ordinary events with a score above 0.
    pub(super) above_zero: (f64, f64),
}

/// All figures of a detector, and what is drawn of it.
///
/// # Errors
///
/// [`Error::Data`] where a class has no members.
pub(super) fn examine(
    name: &str,
    sorted: &SortedScores,
    kinds: &[String],
    targets: &Targets,
) -> Result<Found> {
    let Tie { num_attacks: m, num_ordinary: n, .. } = Tie::of(0.0, &sorted.codes(), |_| true);
    if m == 0 || n == 0 {
        let missing = if m == 0 { "attacks (label 1)" } else { "ordinary events (label 0)" };
        return Err(Error::data("events", format!("there are no {missing}"), "an AUC needs both classes"));
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
    })
}

/// The figures of given scores.
#[cfg(test)]
pub(super) fn figures_of(positives: &[f32], negatives: &[f32], targets: &Targets) -> Result<Figures> {
    let mut scores = super::scores::Scores::default();
    let code = |kind| Code::new(kind, true, HistoryBucket::None);
    positives.iter().for_each(|score| scores.push(*score, code(Some(0))));
    negatives.iter().for_each(|score| scores.push(*score, code(None)));
    let everything: [Part<'_>; 1] = [Box::new(|_| true)];
    Ok(walk(&scores.sort("scores")?, &everything, targets, |_| ()).remove(0))
}
