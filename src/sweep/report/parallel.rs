//! Parallel coordinates: an axis for each parameter, and each trial a line through its values.

use std::fmt::Write;

use ipsight_report::svg::{Axis, document, path_through};
use ipsight_report::text::{escaped, shortened};
use ipsight_search::space::Space;
use ipsight_search::study::{Study, Trial, TrialState};

use super::domains::{axis, choice};
use super::plots::{BEST_COLOUR, told, with_value};

/// Between two axes: two names of [`NAME_CHARS`] stand above each other there.
const STEP: f64 = 136.0;
const NAME_CHARS: usize = 32;
const LEFT: f64 = 96.0;
const TOP: f64 = 58.0;
const BOTTOM: f64 = 350.0;
/// Where a line passes an axis whose parameter does not vary in its trial.
const INACTIVE: f64 = BOTTOM + 30.0;

/// Colours from the worst to the best, variables of the page's style.
const NUM_COLOURS: usize = 6;

/// The drawing; the last axis is the metric's. The colour is that of a trial's rank: values crowd near the best.
pub(super) fn parallel(space: &Space, study: &Study, metric: &Axis) -> String {
    let axes: Vec<Axis> = space.parameters.iter().map(|parameter| axis(parameter, 120)).collect();
    let x = |position: usize| LEFT + STEP * position as f64;
    let width = x(axes.len()) + 84.0;
    // Many lines are faint, so that it is seen where they are dense.
    let faint = (8.0 / (study.trials.len().max(1) as f64).sqrt()).clamp(0.4, 1.0);
    let line = |trial: &Trial, value: f64| {
        let parameters = space.parameters.iter().enumerate().map(|(i, parameter)| {
            let place = choice(trial, i).map(|choice| y(parameter.domain.to_unit(choice)));
            (x(i), place.unwrap_or(INACTIVE))
        });
        let points: Vec<_> = parameters.chain([(x(axes.len()), y(metric.scale.share(value)))]).collect();
        let text = escaped(&told(trial, value));
        move |colour: &str, width: f64| {
            let opacity = if colour == BEST_COLOUR { 1.0 } else { faint };
            format!(
                "<path class=\"curve line\" style=\"stroke:var(--{colour});stroke-width:{width};stroke-opacity:{opacity:.2}\" d=\"{}\">\
                 <title>{text}</title></path>\n",
                path_through(&points)
            )
        }
    };
    let mut body = String::new();
    let best = study.best().map(|trial| trial.number);
    let (mut counted, others): (Vec<_>, Vec<_>) =
        with_value(study).partition(|(trial, _)| trial.state == TrialState::Complete && trial.is_feasible());
    for (trial, value) in others {
        body += &line(trial, value)("grid", 1.0);
    }
    // The better ones lie above.
    counted.sort_by(|a, b| study.goal.loss(b.1).total_cmp(&study.goal.loss(a.1)));
    for (i, (trial, value)) in counted.iter().enumerate().filter(|(_, (trial, _))| best != Some(trial.number))
    {
        body += &line(trial, *value)(&format!("v{}", i * NUM_COLOURS / counted.len()), 1.5);
    }
    for (trial, value) in counted.iter().filter(|(trial, _)| best == Some(trial.number)) {
        body += &line(trial, *value)(BEST_COLOUR, 3.5);
    }
    for (i, axis) in axes.iter().chain([metric]).enumerate() {
        let has_condition = space.parameters.get(i).is_some_and(|parameter| parameter.when.is_some());
        draw_axis(&mut body, axis, x(i), i % 2 == 1, has_condition);
    }
    document((width, INACTIVE + 24.0), "Each trial as a line through its parameters and its value", &body)
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

/// Names of neighbours stand at two heights. Texts have the page's colour around them: lines run behind.
fn draw_axis(body: &mut String, axis: &Axis, x: f64, is_lower: bool, has_condition: bool) {
    let name = escaped(&shortened(&axis.label, NAME_CHARS));
    let name_y = if is_lower { 38.0 } else { 18.0 };
    // Writing to memory does not fail.
    let _ = writeln!(
        body,
        "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/>\
         <text class=\"halo\" x=\"{x:.1}\" y=\"{name_y}\" text-anchor=\"middle\">{name}</text>"
    );
    let inactive = has_condition.then_some((INACTIVE, "not varied"));
    let ticks = axis.ticks.iter().map(|(tick, text)| (y(axis.scale.share(*tick)), text.as_str()));
    for (at, text) in ticks.chain(inactive) {
        let text = escaped(&shortened(text, 14));
        let _ = writeln!(
            body,
            "<line class=\"axis\" x1=\"{:.1}\" y1=\"{at:.1}\" x2=\"{x:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick halo\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            x - 4.0,
            x - 7.0,
            at + 4.5
        );
    }
}
