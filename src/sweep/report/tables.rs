//! The trials as tables and as CSV.

use std::collections::BTreeSet;

use ipsight_report::page::{strings, table};
use ipsight_report::text::significant;
use ipsight_search::space::{Parameter, Space};
use ipsight_search::study::{Study, Trial, TrialState};
use serde_json::Value;

use super::domains::{choice, choice_text, condition_text, domain_text};
use crate::sweep::figures::{self, TRAINED_EPOCHS, WALL_SECONDS};

/// The trials as a CSV file: `number,state,value`, the parameters by their names, the figures by theirs,
/// `constraints,failure,started,ended`. Numbers are whole; what a trial does not have is empty. Violations of
/// constraints are divided by semicolons, and times are seconds since 1970 (UTC).
pub fn trials_csv(space: &Space, study: &Study) -> String {
    let figures = figure_names(study);
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let mut write = |row: Vec<String>| drop(writer.write_record(row));
    let names = space.parameters.iter().map(|parameter| parameter.name.as_str());
    let header = ["number", "state", "value"].into_iter().chain(names).chain(figures.iter().copied());
    write(header.chain(["constraints", "failure", "started", "ended"]).map(String::from).collect());
    for trial in &study.trials {
        let number = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        let mut row = vec![trial.number.to_string(), state(trial).into(), number(trial.value)];
        row.extend(space.parameters.iter().enumerate().map(|(i, parameter)| {
            let choice = choice(trial, i);
            choice.map_or(String::new(), |_| choice_text(parameter, choice, false))
        }));
        row.extend(figures.iter().map(|name| trial.figures.get(*name).map_or(String::new(), figure_text)));
        row.push(trial.constraints.iter().map(f64::to_string).collect::<Vec<_>>().join(";"));
        row.push(trial.failure.clone().unwrap_or_default());
        row.extend([number(started(trial)), number(trial.ended)]);
        write(row);
    }
    String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
}

/// When a trial began; `None` of one that was enqueued and has not.
pub(super) fn started(trial: &Trial) -> Option<f64> {
    Some(trial.started).filter(|started| *started > 0.0)
}

/// The names of all figures, in the order in which they first occur.
fn figure_names(study: &Study) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let names = study.trials.iter().flat_map(|trial| trial.figures.keys());
    names.map(String::as_str).filter(|name| seen.insert(*name)).collect()
}

fn figure_text(figure: &Value) -> String {
    match figure {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The state in a word.
pub(super) fn state(trial: &Trial) -> &'static str {
    match trial.state {
        TrialState::Waiting => "waiting",
        TrialState::Running => "running",
        TrialState::Complete => "complete",
        TrialState::Pruned => "pruned",
        TrialState::Failed => "failed",
    }
}

/// The epochs that all trainings of a trial have trained together, as it says, or else its last.
pub(super) fn epochs(trial: &Trial) -> Option<f64> {
    let last = || trial.intermediate.keys().next_back().map(|epoch| f64::from(*epoch));
    figures::number(trial, TRAINED_EPOCHS).or_else(last)
}

/// The time that a trial took, as it says, or else from its begin to its end.
pub(super) fn seconds(trial: &Trial) -> Option<f64> {
    figures::number(trial, WALL_SECONDS)
        .or_else(|| Some(trial.ended? - trial.started).filter(|s| s.is_finite() && *s >= 0.0))
}

fn number(value: Option<f64>) -> String {
    value.map_or("\u{2013}".into(), significant)
}

/// Whether the constraints hold, in words.
fn constraints(trial: &Trial) -> String {
    // What is no number does not hold, as in `Trial::is_feasible`.
    let violated = trial.constraints.iter().filter(|violation| **violation > 0.0 || violation.is_nan());
    let violated: Vec<_> = violated.map(|violation| significant(*violation)).collect();
    match (trial.constraints.len(), violated.len()) {
        (0, _) => "\u{2013}".into(),
        (_, 0) => "hold".into(),
        _ => format!("violated by {}", violated.join(", ")),
    }
}

/// All trials, one a row.
pub(super) fn trials(space: &Space, study: &Study) -> String {
    let best = study.best().map(|trial| trial.number);
    let names = space.parameters.iter().map(|parameter| parameter.name.clone());
    let mut header = strings(["trial", "state", "value", "constraints"]);
    header.extend(names.chain(strings(["epochs", "seconds"])));
    let row = |trial: &Trial| {
        let state = if best == Some(trial.number) { "complete, best" } else { state(trial) };
        let mut row = vec![trial.number.to_string(), state.into(), number(trial.value), constraints(trial)];
        let parameters = space.parameters.iter().enumerate();
        row.extend(parameters.map(|(i, parameter)| choice_text(parameter, choice(trial, i), true)));
        row.extend([number(epochs(trial)), number(seconds(trial).map(|s| (s * 10.0).round() / 10.0))]);
        row
    };
    table(&header, &study.trials.iter().map(row).collect::<Vec<_>>())
}

/// What the best trial takes of each parameter.
pub(super) fn best(space: &Space, best: &Trial) -> String {
    let parameters = space.parameters.iter().enumerate();
    let row = |(i, parameter): (usize, &Parameter)| {
        let value = match choice(best, i) {
            None => "does not vary here".into(),
            choice => choice_text(parameter, choice, false),
        };
        vec![parameter.name.clone(), value, parameter.key.clone()]
    };
    table(&strings(["parameter", "value", "configuration key"]), &parameters.map(row).collect::<Vec<_>>())
}

/// What the best trial says of itself beside the metric.
pub(super) fn best_figures(best: &Trial) -> String {
    let row = |(name, figure): (&String, &Value)| {
        vec![
            name.clone(),
            figure.as_f64().filter(|_| !figure.is_u64()).map_or(figure_text(figure), significant),
        ]
    };
    let rows: Vec<_> = best.figures.iter().map(row).collect();
    if rows.is_empty() { String::new() } else { table(&strings(["figure", "value"]), &rows) }
}

/// The trials without a result, with the reasons; none where there are no such.
pub(super) fn failures(study: &Study) -> Option<String> {
    let failed = study.trials.iter().filter(|t| t.state == TrialState::Failed || t.failure.is_some());
    let row = |trial: &Trial| {
        let reason = trial.failure.clone().unwrap_or_else(|| "no reason was kept".into());
        vec![trial.number.to_string(), reason.replace('\n', " ")]
    };
    let rows: Vec<_> = failed.map(row).collect();
    (!rows.is_empty()).then(|| table(&strings(["trial", "reason"]), &rows))
}

/// What was searched.
pub(super) fn space(space: &Space) -> String {
    let rows = space.parameters.iter().map(|parameter| {
        let (domain, when) = (domain_text(&parameter.domain), condition_text(space, parameter));
        vec![parameter.name.clone(), parameter.key.clone(), domain, when]
    });
    table(&strings(["parameter", "configuration key", "range", "varies when"]), &rows.collect::<Vec<_>>())
}
