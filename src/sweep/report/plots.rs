//! The report's drawings over two axes, and the bars of importance.

use std::fmt::Write;

use ipsight_report::svg::{Axis, Mark, Outline, Plot, Scale, document};
use ipsight_report::text::{escaped, shortened, significant};
use ipsight_search::space::Parameter;
use ipsight_search::study::{Goal, Study, Trial, TrialState};

use super::domains::{axis, choice, choice_text};
use super::tables::state;

const COMPLETE: Mark = Mark { outline: Outline::Dot, colour: "c0", radius: 4.0 };
const PRUNED: Mark = Mark { outline: Outline::Ring, colour: "soft", radius: 3.5 };
const INFEASIBLE: Mark = Mark { outline: Outline::Square, colour: "attack", radius: 3.5 };
const BEST: Mark = Mark { outline: Outline::Dot, colour: BEST_COLOUR, radius: 7.0 };

/// Of all that is drawn of the best trial.
pub(super) const BEST_COLOUR: &str = "c2";

/// What the marks mean, as HTML.
pub(super) const KEY: &str = "<span class=\"key\"><i class=\"dot\"></i>complete</span> \
<span class=\"key\"><i class=\"dot best\"></i>the best</span> <span class=\"key\"><i class=\"ring\"></i>pruned</span> \
<span class=\"key\"><i class=\"square\"></i>a constraint is violated</span>";

/// Points of all curves together; of more than these some are left out.
const MAX_CURVE_POINTS: usize = 30_000;

/// Characters under an axis of the whole width.
const AXIS_CHARS: usize = 56;

/// The axis of the metric, and what it does not show.
pub(super) struct ValueAxis {
    pub(super) axis: Axis,
    /// Values beyond its ends, which stand there.
    pub(super) num_outside: usize,
}

/// The axis of some values: from the least to the greatest, but not further beyond the quartiles of `typical` than
/// three times their distance (the outer fences of Tukey, 1977), so that one trial that went astray does not press all
/// others into a line. What is in `kept` is always shown.
fn value_axis(
    values: impl Iterator<Item = f64>,
    typical: impl Iterator<Item = f64>,
    kept: impl Iterator<Item = f64>,
    label: &str,
) -> ValueAxis {
    let [values, typical, kept] = [finite(values), finite(typical), finite(kept)];
    let label = shortened(label, 40);
    let (Some(mut low), Some(mut high)) = (values.first().copied(), values.last().copied()) else {
        return ValueAxis { axis: Axis::new(Scale::Linear(0.0, 1.0), &label), num_outside: 0 };
    };
    if let Some(last) = typical.len().checked_sub(1) {
        let (lower, upper) = (typical[last / 4], typical[(3 * last).div_ceil(4)]);
        let reach = 3.0 * (upper - lower);
        if reach > 0.0 && reach.is_finite() {
            let within =
                || values.iter().copied().filter(|value| (lower - reach..=upper + reach).contains(value));
            (low, high) = (within().fold(lower, f64::min), within().fold(upper, f64::max));
        }
    }
    for value in kept {
        (low, high) = (low.min(value), high.max(value));
    }
    let num_outside = values.iter().filter(|value| !(low..=high).contains(*value)).count();
    let room = if low < high { 0.04 * (high - low) } else { (0.01 * low.abs()).max(1e-6) };
    ValueAxis { axis: Axis::new(Scale::Linear(low - room, high + room), &label), num_outside }
}

/// Sorted, without what is no number.
fn finite(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    finite.sort_by(f64::total_cmp);
    finite
}

/// The axis of the metric over the trials that have it. The completed ones are typical: those that were pruned after
/// few epochs are often far from all others.
pub(super) fn metric_axis(study: &Study, metric: &str) -> ValueAxis {
    let all = with_value(study).map(|(_, value)| value);
    value_axis(all, completed(study), study.best().and_then(|best| best.value).into_iter(), metric)
}

/// The same over the completed trials alone.
pub(super) fn completed_axis(study: &Study, metric: &str) -> ValueAxis {
    let best = study.best().and_then(|best| best.value);
    value_axis(completed(study), completed(study), best.into_iter(), metric)
}

fn completed(study: &Study) -> impl Iterator<Item = f64> {
    with_value(study).filter(|(trial, _)| trial.state == TrialState::Complete).map(|(_, value)| value)
}

/// The trials at their end, with values that are numbers.
pub(super) fn with_value(study: &Study) -> impl Iterator<Item = (&Trial, f64)> {
    let ended = study.trials.iter().filter(|t| matches!(t.state, TrialState::Complete | TrialState::Pruned));
    ended.filter_map(|trial| Some((trial, trial.value.filter(|value| value.is_finite())?)))
}

/// As [`with_value`], those to look at first last, since they are drawn above the others.
fn by_rank(study: &Study) -> Vec<(&Trial, f64)> {
    let best = study.best().map(|trial| trial.number);
    let mut trials: Vec<_> = with_value(study).collect();
    trials.sort_by_key(|(trial, _)| match trial.state {
        _ if best == Some(trial.number) => 3,
        TrialState::Pruned => 0,
        _ if !trial.is_feasible() => 1,
        _ => 2,
    });
    trials
}

fn mark(study: &Study, trial: &Trial) -> Mark {
    match trial.state {
        _ if study.best().is_some_and(|best| best.number == trial.number) => BEST,
        TrialState::Pruned => PRUNED,
        _ if !trial.is_feasible() => INFEASIBLE,
        _ => COMPLETE,
    }
}

/// A trial in words.
pub(super) fn told(trial: &Trial, value: f64) -> String {
    let violated = if trial.is_feasible() { "" } else { ", a constraint is violated" };
    format!("trial {} ({}{violated}): {}", trial.number, state(trial), significant(value))
}

/// Whole numbers only.
fn whole_axis(low: f64, high: f64, label: &str) -> Axis {
    let (from, to) = if low < high { (low, high) } else { (low - 0.5, low + 0.5) };
    let mut axis = Axis::new(Scale::Linear(from, to), label);
    axis.ticks.retain(|(tick, _)| tick.fract() == 0.0);
    axis
}

/// The value of each trial by its number, and the best so far.
pub(super) fn history(study: &Study, metric: &Axis) -> String {
    let last = study.trials.last().map_or(0, |trial| trial.number) as f64;
    let mut plot = Plot::with_axes(&whole_axis(0.0, last, "trial"), metric);
    let mut best: Option<f64> = None;
    let mut steps = Vec::new();
    for (trial, value) in with_value(study) {
        let counts = trial.state == TrialState::Complete && trial.is_feasible();
        if counts && best.is_none_or(|best| study.goal.is_better(value, best)) {
            best = Some(value);
            steps.push((trial.number as f64, value));
        }
    }
    steps.extend(best.map(|best| (last, best)));
    plot.steps_of_class(BEST_COLOUR, steps.into_iter());
    for (trial, value) in by_rank(study) {
        plot.spot(mark(study, trial), (trial.number as f64, value), &told(trial, value));
    }
    plot.finish("The value of each trial, and the best so far")
}

/// The metric of each trial over its epochs, and how many values are beyond the axis; none where there are no epochs.
pub(super) fn curves(study: &Study, metric: &str) -> Option<(String, usize)> {
    let best = study.best();
    let mut trials: Vec<&Trial> =
        study.trials.iter().filter(|trial| !trial.intermediate.is_empty()).collect();
    trials.sort_by_key(|trial| match trial.state {
        _ if best.is_some_and(|best| best.number == trial.number) => 3,
        TrialState::Complete => 2,
        TrialState::Running => 1,
        _ => 0,
    });
    let last = trials.iter().filter_map(|trial| trial.intermediate.keys().next_back()).max()?;
    let values = || trials.iter().flat_map(|trial| trial.intermediate.values().copied());
    let of_best = best.into_iter().flat_map(|best| best.intermediate.values().copied());
    let values = value_axis(values(), values(), of_best, metric);
    let first = trials.iter().filter_map(|trial| trial.intermediate.keys().next()).min()?;
    let mut plot = Plot::with_axes(&whole_axis(f64::from(*first), f64::from(*last), "epoch"), &values.axis);
    // Many lines are faint, so that it is seen where they are dense.
    let opacity = (6.0 / (trials.len() as f64).sqrt()).clamp(0.15, 0.9);
    let max_points = (MAX_CURVE_POINTS / trials.len()).max(8);
    for trial in trials {
        let points: Vec<(f64, f64)> =
            trial.intermediate.iter().map(|(epoch, value)| (f64::from(*epoch), *value)).collect();
        // A line would join what lies on both sides of what is no number: it is left out.
        let points: Vec<_> = points.into_iter().filter(|(_, value)| value.is_finite()).collect();
        let Some((epoch, value)) = points.last().copied() else { continue };
        let text =
            format!("trial {} ({}), epoch {epoch}: {}", trial.number, state(trial), significant(value));
        let is_best = best.is_some_and(|best| best.number == trial.number);
        let (colour, look) = match trial.state {
            _ if is_best => (BEST_COLOUR, (3.0, 1.0)),
            TrialState::Complete => ("c0", (1.4, opacity)),
            TrialState::Running => ("c1", (1.4, 0.9)),
            _ => ("soft", (1.1, opacity)),
        };
        plot.line_through(colour, look, thinned(&points, max_points), &text);
        if trial.state == TrialState::Pruned {
            plot.spot(PRUNED, (epoch, value), &text);
        }
        if is_best {
            for (epoch, value) in points {
                let text = format!("trial {}, the best, epoch {epoch}: {}", trial.number, significant(value));
                plot.spot(Mark { radius: 4.0, ..BEST }, (epoch, value), &text);
            }
        }
    }
    Some((plot.finish("The metric of each trial over its epochs"), values.num_outside))
}

/// At most so many of the points, evenly, the first and the last among them.
fn thinned(points: &[(f64, f64)], max: usize) -> impl Iterator<Item = (f64, f64)> {
    let step = points.len().div_ceil(max).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(i, _)| i % step == 0 || *i == last).map(|(_, point)| *point)
}

/// The value over one parameter, for the trials in which that varies.
pub(super) fn slice(study: &Study, position: usize, parameter: &Parameter, metric: &Axis) -> String {
    let mut plot = Plot::with_axes(&axis(parameter, AXIS_CHARS), metric);
    let share = parameter.domain.num_values().filter(|num| *num <= 12).map_or(0.0, |num| 0.5 / num as f64);
    for (trial, value) in by_rank(study) {
        let Some(choice) = choice(trial, position) else { continue };
        // Where there are few values, marks stand beside each other: multiples of the golden ratio spread evenly.
        let aside = share * ((trial.number as f64 * 0.618_033_988_75).fract() - 0.5);
        let at = (parameter.domain.to_unit(choice) + aside, value);
        let taken = choice_text(parameter, Some(choice), true);
        plot.spot(
            mark(study, trial),
            at,
            &format!("{}, {} {taken}", told(trial, value), shortened(&parameter.name, 40)),
        );
    }
    plot.finish(&format!("The value over {}", parameter.name))
}

/// A bar for each parameter, the longest first, and one for what no parameter explains alone.
pub(super) fn importance(parameters: &[Parameter], shares: &[f64]) -> String {
    const ROW: f64 = 46.0;
    const LENGTH: f64 = 576.0;
    let mut bars: Vec<(&str, f64, &str)> = parameters
        .iter()
        .zip(shares)
        .map(|(parameter, share)| (parameter.name.as_str(), *share, "c0"))
        .collect();
    bars.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rest = (1.0 - shares.iter().sum::<f64>()).max(0.0);
    bars.push(("together only (interactions)", rest, "soft"));
    let mut body = String::new();
    for (i, (name, share, colour)) in bars.iter().enumerate() {
        let top = ROW * i as f64 + 8.0;
        let (text, whole) = (escaped(&shortened(name, 34)), escaped(name));
        let percent = format!("{:.1} %", 100.0 * share);
        // Writing to memory does not fail.
        let _ = writeln!(
            body,
            "<text x=\"12\" y=\"{:.1}\">{text}<title>{whole}</title></text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{percent}</text>\n\
             <rect style=\"fill:var(--grid)\" x=\"12\" y=\"{bar:.1}\" width=\"{LENGTH}\" height=\"12\"/>\
             <rect style=\"fill:var(--{colour})\" x=\"12\" y=\"{bar:.1}\" width=\"{:.1}\" height=\"12\">\
             <title>{whole}: {percent}</title></rect>",
            top + 15.0,
            12.0 + LENGTH,
            top + 15.0,
            share.clamp(0.0, 1.0) * LENGTH,
            bar = top + 23.0,
        );
    }
    document(
        (600.0, ROW * bars.len() as f64 + 8.0),
        "The share of the variance that each parameter explains",
        &body,
    )
}

/// In words which way is better.
pub(super) fn goal_text(goal: Goal) -> &'static str {
    match goal {
        Goal::Maximize => "more is better",
        Goal::Minimize => "less is better",
    }
}
