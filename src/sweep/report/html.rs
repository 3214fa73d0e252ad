//! The parts of the page around the drawings and tables.

use ipsight_report::page::{csv_link, document, figure, section, tile};
use ipsight_report::svg::NAMESPACE;
use ipsight_report::text::{escaped, grouped, significant};
use ipsight_search::importance::{MIN_TRIALS, fanova};
use ipsight_search::study::{Study, TrialState};

use super::domains;
use super::parallel::parallel;
use super::plots::{self, KEY, completed_axis, goal_text, metric_axis};
use super::subject::Subject;
use super::tables;

/// Trials that are shown without being asked for.
const MAX_OPEN_ROWS: usize = 100;

/// What the drawings of a sweep need beyond those of an evaluation: colours from the worst to the best, lines that
/// stand out when they are pointed at, and keys.
const STYLE: &str = "\
.plot{--v0:#d3dae1;--v1:#b4c8da;--v2:#86aed2;--v3:#4f8fc4;--v4:#1f6cae;--v5:#003f7d}\
.plot .line{stroke-linecap:round;stroke-linejoin:round}.plot .line:hover{stroke:var(--c3);stroke-width:5;stroke-opacity:1}\
.plot .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}\
.across{overflow-x:auto}.across .plot{min-width:var(--least)}\
.key{white-space:nowrap;margin-right:.7rem}.key i{display:inline-block;width:.65em;height:.65em;margin-right:.35em;\
background:#0060a8}.key .dot,.key .ring{border-radius:50%}.key .best{background:#00805c;width:.9em;height:.9em}\
.key .ring,.key .square{background:none;border:2px solid #6a737d}.key .square{border-color:#d55e00}\
.key .ramp{width:6em;background:linear-gradient(90deg,#d3dae1,#86aed2,#1f6cae,#003f7d)}\
.text td{white-space:normal;text-align:left;overflow-wrap:anywhere;min-width:8rem}.text th{text-align:left}\
.some{max-width:700px}\
@media screen and (prefers-color-scheme:dark){\
.plot{--v0:#3a424b;--v1:#475e73;--v2:#4b7595;--v3:#5497c6;--v4:#7fc0ee;--v5:#c9e8ff}\
.key i{background:#5cb0f0}.key .best{background:#3ec9a0}.key .ring{border-color:#9aa4af}.key .square{border-color:#f08a4b}\
.key .ramp{background:linear-gradient(90deg,#3a424b,#4b7595,#7fc0ee,#c9e8ff)}}\
@media screen and (max-width:600px){.across .plot{font-size:15px}.across .plot .tick{font-size:13px}}\
@media print{.across .plot{min-width:0}.key i{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The whole page, at any time of the sweep: without trials it says so. A function of the subject alone.
pub fn page(subject: &Subject<'_>) -> String {
    let body = [
        heading(subject),
        best(subject),
        drawings(subject),
        importance(subject),
        slices(subject),
        failures(subject.study),
        trials(subject),
        section("What was searched", "", &searched(subject)),
    ];
    // Text cannot be taken for the attribute: its quotes are escaped.
    document(&format!("ipsight sweep {}", subject.name), STYLE, &body.concat().replace(NAMESPACE, ""))
}

fn heading(subject: &Subject<'_>) -> String {
    let study = subject.study;
    let counted = |state: TrialState| study.trials.iter().filter(|trial| trial.state == state).count();
    let best = study.best();
    let value = best.and_then(|best| best.value).map_or("\u{2013}".into(), significant);
    let states = [
        (counted(TrialState::Pruned), "pruned"),
        (counted(TrialState::Failed), "failed"),
        (counted(TrialState::Running), "running"),
        (counted(TrialState::Waiting), "waiting"),
    ];
    let mut told = match num_infeasible(study) {
        0 => format!("{} complete", counted(TrialState::Complete)),
        num => format!("{} complete ({num} with a constraint violated)", counted(TrialState::Complete)),
    };
    told.extend(states.iter().filter(|(num, _)| *num > 0).map(|(num, name)| format!(", {num} {name}")));
    let epochs: f64 = study.trials.iter().filter_map(tables::epochs).sum();
    let seconds: f64 = study.trials.iter().filter_map(tables::seconds).sum();
    let tiles = [
        tile(&format!("best {}", subject.metric), &value, goal_text(study.goal)),
        tile(
            "best trial",
            &best.map_or("\u{2013}".into(), |best| best.number.to_string()),
            "complete, all constraints hold",
        ),
        tile("trials", &grouped(study.trials.len() as u64), &told),
        tile("epochs trained", &grouped(epochs as u64), "by all trials together"),
        tile(
            "time",
            &elapsed(study).map_or("\u{2013}".into(), duration),
            &format!("sum of the trials: {}", duration(seconds)),
        ),
    ];
    format!("<h1>Sweep {}</h1>\n<div class=\"tiles\">\n{}</div>\n", escaped(subject.name), tiles.concat())
}

fn num_infeasible(study: &Study) -> usize {
    study.trials.iter().filter(|trial| trial.state == TrialState::Complete && !trial.is_feasible()).count()
}

/// Seconds from the begin of the first trial to the end of the last.
fn elapsed(study: &Study) -> Option<f64> {
    let first = study.trials.iter().filter_map(tables::started).reduce(f64::min)?;
    let last = study.trials.iter().filter_map(|trial| trial.ended).reduce(f64::max)?;
    Some(last - first).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

fn best(subject: &Subject<'_>) -> String {
    let Some(best) = subject.study.best() else {
        return "<p>No trial is complete with all constraints held, so there is no best one.</p>\n".into();
    };
    let toml = subject.best_toml.map_or(String::new(), |toml| {
        format!(
            "<details><summary>The whole configuration</summary>\n<pre>{}</pre></details>\n",
            escaped(toml)
        )
    });
    let content = format!(
        "<div class=\"text\">{}</div>\n{toml}<details><summary>Its other figures</summary>\n{}</details>\n",
        tables::best(subject.space, best),
        tables::best_figures(best)
    );
    section("Best configuration", &format!("Trial {}.", best.number), &content)
}

fn drawings(subject: &Subject<'_>) -> String {
    let Subject { space, study, metric, .. } = subject;
    let axis = metric_axis(study, metric);
    if plots::with_value(study).next().is_none() {
        return section("The course of the sweep", "No trial has a value yet.", &epochs(subject));
    }
    let history = figure(
        &plots::history(study, &axis.axis),
        &format!(
            "The value of each trial and, as a line, the best so far. {}{KEY}",
            outside(axis.num_outside)
        ),
    );
    let course = format!("<div class=\"plots\">\n{history}{}</div>\n", epochs(subject));
    let completed = completed_axis(study, metric);
    let least = 136 * space.parameters.len() + 180;
    let inactive = match space.parameters.iter().any(|parameter| parameter.when.is_some()) {
        true => "A line passes below an axis where the parameter does not vary in the trial. ",
        false => "",
    };
    let parallel = format!(
        "<figure><div class=\"across\" style=\"--least:{least}px\">\n{}</div><figcaption>Complete trials, coloured by \
         rank: <span class=\"key\">worst <i class=\"ramp\"></i>best</span><span class=\"key\"><i class=\"dot \
         best\"></i>the best</span> {inactive}Thin grey: pruned, or a constraint is violated. {}</figcaption></figure>\n",
        parallel(space, study, &completed.axis),
        outside(completed.num_outside)
    );
    section("The course of the sweep", "", &course)
        + &section("Parallel coordinates", "Each line is a trial; point at one for its value.", &parallel)
}

/// The curves over epochs, where there are such.
fn epochs(subject: &Subject<'_>) -> String {
    let Some((svg, num_outside)) = plots::curves(subject.study, subject.watched) else {
        return String::new();
    };
    let caption = format!(
        "The metric that is watched, over the epochs. Blue: complete; grey with a ring at its end: pruned; yellow: under way; green: the best. {}",
        outside(num_outside)
    );
    figure(&svg, &caption)
}

fn outside(num: usize) -> String {
    match num {
        0 => String::new(),
        1 => "One value is far outside and stands at the edge. ".into(),
        _ => format!("{num} values are far outside and stand at the edge. "),
    }
}

const IMPORTANCE: &str = "fANOVA (Hutter, Hoos & Leyton-Brown 2014): the share of the metric's variance over the whole \
space that a parameter explains alone, by a random forest over the completed trials. Where few trials were made the \
forest guesses, and a parameter that hardly matters keeps a small share.";

fn importance(subject: &Subject<'_>) -> String {
    let content = match fanova(subject.space, subject.study) {
        Some(shares) => {
            format!(
                "<div class=\"some\">{}</div>\n",
                figure(&plots::importance(&subject.space.parameters, &shares), "Importance by fANOVA.")
            )
        }
        None => format!("<p>That takes at least {MIN_TRIALS} completed trials with different values.</p>\n"),
    };
    section("Importance of the parameters", IMPORTANCE, &content)
}

fn slices(subject: &Subject<'_>) -> String {
    let Subject { space, study, metric, .. } = subject;
    let axis = metric_axis(study, metric).axis;
    let num_trials = plots::with_value(study).count();
    if num_trials == 0 {
        return String::new();
    }
    let slice = |(i, parameter)| {
        let varies =
            plots::with_value(study).filter(|(trial, _)| domains::choice(trial, i).is_some()).count();
        let left_out = match num_trials - varies {
            0 => String::new(),
            num => format!("Not varied in {num} of {num_trials} trials, which are left out. "),
        };
        figure(&plots::slice(study, i, parameter, &axis), &format!("{left_out}{KEY}"))
    };
    let figures: String = space.parameters.iter().enumerate().map(slice).collect();
    section("The value over each parameter", "", &format!("<div class=\"plots\">\n{figures}</div>\n"))
}

fn failures(study: &Study) -> String {
    let table = tables::failures(study);
    table.map_or(String::new(), |table| {
        section("Failures", "", &format!("<div class=\"text\">{table}</div>\n"))
    })
}

fn trials(subject: &Subject<'_>) -> String {
    let Subject { space, study, .. } = subject;
    let link = csv_link("trials.csv", "Download the trials as CSV", &tables::trials_csv(space, study));
    let open = if study.trials.len() <= MAX_OPEN_ROWS { " open" } else { "" };
    let content = format!(
        "{link}<details{open}><summary>{} trials</summary>\n{}</details>\n",
        study.trials.len(),
        tables::trials(space, study)
    );
    section("All trials", "A dash stands where a parameter does not vary.", &content)
}

fn searched(subject: &Subject<'_>) -> String {
    let entries = [
        ("metric", format!("{}: {}", subject.metric, goal_text(subject.study.goal))),
        ("method", subject.method.into()),
        ("early stopping", subject.early_stopping.into()),
        ("data", subject.data.join(", ")),
    ];
    let entries: String =
        entries.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(value))).collect();
    format!("<dl>\n{entries}</dl>\n<div class=\"text\">{}</div>\n", tables::space(subject.space))
}
