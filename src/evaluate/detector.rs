//! The figures of one detector, of all events and of parts of them, from one walk over its scores.

use super::breakdown::{DaysBucket, HistoryBucket};
use super::curve::{CurveBuilder, DetectorCurve};
use super::evaluation::Detector;
use super::family::Family;
use super::figures::{Figures, FiguresBuilder, Targets};
use super::options::NamedKind;
use super::scores::{Code, SortedScores, Tie};
use crate::{Error, Result};

/// Which events a part of the figures is about.
pub(super) type Part<'a> = Box<dyn Fn(Code) -> bool + 'a>;

/// The attacks of a kind and the ordinary events that they are held against.
pub(super) fn of_kind(index: usize, kind: &NamedKind) -> Part<'static> {
    let family = kind.family;
    Box::new(move |code| match code.is_attack() {
        true => code.is_of_kind(index as u8),
        false => family.is_none_or(|family| code.is_of_family(family)),
    })
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

/// Named parts, of which each has figures.
type Parts<'a> = Vec<(String, Part<'a>)>;

fn kinds<'a>(kinds: &'a [NamedKind], codes: &'a [(Code, u64)]) -> Parts<'a> {
    // Kinds that were asked for and found no event of their family are left out.
    let is_there = |index: usize| codes.iter().any(|(code, _)| code.is_of_kind(index as u8));
    let of = |(index, kind): (usize, &NamedKind)| (kind.name.clone(), of_kind(index, kind));
    kinds.iter().enumerate().filter(|(index, _)| is_there(*index)).map(of).collect()
}

fn families<'a>() -> Parts<'a> {
    let of = |family: Family| -> Part<'a> { Box::new(move |code| code.is_of_family(family)) };
    Family::ALL.map(|family| (family.name().into(), of(family))).into()
}

fn seen_and_unseen<'a>() -> Parts<'a> {
    let of = |is_seen: bool| -> Part<'a> { Box::new(move |code| code.is_seen() == is_seen) };
    [("seen", true), ("unseen", false)].map(|(name, is_seen)| (name.into(), of(is_seen))).into()
}

fn histories<'a>() -> Parts<'a> {
    let of = |bucket: HistoryBucket| -> Part<'a> { Box::new(move |code| code.is_of_history(bucket)) };
    HistoryBucket::ALL.map(|bucket| (bucket.name().into(), of(bucket))).into()
}

fn days<'a>() -> Parts<'a> {
    let of = |bucket: DaysBucket| -> Part<'a> { Box::new(move |code| code.is_after(bucket)) };
    DaysBucket::ALL.map(|bucket| (bucket.name().into(), of(bucket))).into()
}

/// What of the parts is of entities that were seen.
fn of_seen<'a>(parts: Parts<'a>) -> Parts<'a> {
    let seen = |part: Part<'a>| -> Part<'a> { Box::new(move |code| code.is_seen() && part(code)) };
    parts.into_iter().map(|(name, part)| (name, seen(part))).collect()
}

/// All figures of a detector, and what is drawn of it.
///
/// # Errors
///
/// [`Error::Data`] where a class has no members.
pub(super) fn examine(
    name: &str,
    sorted: &SortedScores,
    named_kinds: &[NamedKind],
    targets: &Targets,
) -> Result<Found> {
    let codes = sorted.codes();
    let Tie { num_attacks: m, num_ordinary: n, .. } = Tie::of(0.0, &codes, |_| true);
    if m == 0 || n == 0 {
        let missing = if m == 0 { "attacks (label 1)" } else { "ordinary events (label 0)" };
        return Err(Error::data("events", format!("there are no {missing}"), "an AUC needs both classes"));
    }
    let breakdowns = [
        kinds(named_kinds, &codes),
        families(),
        seen_and_unseen(),
        of_seen(kinds(named_kinds, &codes)),
        of_seen(families()),
        histories(),
        days(),
    ];
    let lengths = breakdowns.each_ref().map(Vec::len);
    let everything: Part<'_> = Box::new(|_| true);
    let (names, parts): (Vec<String>, Vec<Part<'_>>) = breakdowns.into_iter().flatten().unzip();
    let parts: Vec<Part<'_>> = std::iter::once(everything).chain(parts).collect();
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
    let mut named = names.into_iter().zip(figures);
    let [by_kind, by_family, by_seen, seen_by_kind, seen_by_family, by_history, by_days] =
        lengths.map(|length| named.by_ref().take(length).collect());
    Ok(Found {
        detector: Detector {
            all,
            by_kind,
            by_family,
            by_seen,
            seen_by_kind,
            seen_by_family,
            by_history,
            by_days,
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
