//! A sweep's journal is one of Optuna's: Optuna reads in it what we wrote.

mod support;

use std::fs;
use std::path::Path;

use ipsight_search::journal::{Ending, Journal, first_line};
use ipsight_search::space::{Assignment, Choice, Condition, Domain, Parameter, Space};
use ipsight_search::study::{Goal, Study, Trial, TrialState};
use serde_json::{Map, Value, json};
use support::python;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sweep_optuna.py");

#[test]
fn optuna_reads_what_we_wrote() {
    for goal in [Goal::Maximize, Goal::Minimize] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut journal, mut study) = begun(&path, "sweep \"ü\" 1", goal);
        journal.set_study_attr("seed", json!(7)).unwrap();
        journal.set_study_attr("config", json!({"epochs": 3, "device": null})).unwrap();
        journal.set_metric_name("validation AUC").unwrap();
        write_trials(&mut journal, &mut study);
        let Some(read) = read_by_optuna(folder.path(), &["journal.jsonl".into()]) else { return };
        assert_eq!(read[0]["name"], "sweep \"ü\" 1");
        assert_eq!(read[0]["metric_names"], json!(["validation AUC"]));
        assert_eq!(read[0]["user_attrs"], Value::Object(journal.study_attrs().clone()));
        assert_same(&study, &read[0]);
        // Optuna reads without leaving anything behind that we refuse.
        assert_eq!(Journal::open(&path, goal, &space()).unwrap().1, study);
    }
}

#[test]
fn optuna_reads_what_was_cut_off_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    let (mut journal, mut study) = begun(&path, "cut", Goal::Maximize);
    write_trials(&mut journal, &mut study);
    let bytes = fs::read(&path).unwrap();
    let (mut studies, mut names) = (Vec::new(), Vec::new());
    for cut in cuts(&bytes) {
        let name = format!("cut_{cut}");
        let path = folder.path().join(&name);
        fs::write(&path, &bytes[..cut]).unwrap();
        let (mut journal, mut study) = Journal::open(&path, Goal::Maximize, &space()).unwrap();
        for trial in 0..study.trials.len() {
            if !study.trials[trial].is_finished() {
                journal.report(&mut study, trial, 9, 0.75).unwrap();
                journal
                    .finish(&mut study, trial, ending(TrialState::Complete, 0.75), 1_720_000_300.0)
                    .unwrap();
            }
        }
        journal.begin_trial(&mut study, assignment(3), 1_720_000_400.0).unwrap();
        studies.push(study);
        names.push(name);
    }
    let Some(read) = read_by_optuna(folder.path(), &names) else { return };
    assert_eq!(read.len(), studies.len());
    for (study, read) in studies.iter().zip(&read) {
        assert_same(study, read);
    }
}

/// A journal with its first line.
fn begun(path: &Path, name: &str, goal: Goal) -> (Journal, Study) {
    fs::write(path, first_line(name, goal)).unwrap();
    Journal::open(path, goal, &space()).unwrap()
}

/// The ends of all lines but for the first one's, and a place within each line and before its end.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let ends: Vec<usize> =
        bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1).collect();
    let within = ends.windows(2).flat_map(|ends| [ends[0], ends[0].midpoint(ends[1]), ends[1] - 1]);
    within.chain([bytes.len()]).collect()
}

/// What Optuna reads in each of the journals; none after saying `skipped` where there is no Optuna.
fn read_by_optuna(folder: &Path, journals: &[String]) -> Option<Vec<Value>> {
    let journals = journals.iter().map(String::as_str);
    let args: Vec<&str> = [SCRIPT, "--output", "read.jsonl"].into_iter().chain(journals).collect();
    if !python(folder, "optuna", &args) {
        return None;
    }
    let text = fs::read_to_string(folder.join("read.jsonl")).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[track_caller]
fn assert_same(study: &Study, read: &Value) {
    let direction = if study.goal == Goal::Maximize { "MAXIMIZE" } else { "MINIMIZE" };
    assert_eq!(read["direction"], direction);
    let expected: Vec<Value> = study.trials.iter().map(as_optuna_has_it).collect();
    assert_eq!(read["trials"].as_array().unwrap().len(), expected.len());
    for (expected, read) in expected.iter().zip(read["trials"].as_array().unwrap()) {
        assert_eq!(expected, &without(read, "distributions"));
        check_distributions(read);
    }
    let best = study.best().map(|trial| {
        json!({"number": trial.number, "value": trial.value.map(number), "params": params(&trial.assignment)})
    });
    assert_eq!(best.unwrap_or(Value::Null), read["best"]);
}

fn as_optuna_has_it(trial: &Trial) -> Value {
    let state = match trial.state {
        TrialState::Waiting => "WAITING",
        TrialState::Running => "RUNNING",
        TrialState::Complete => "COMPLETE",
        TrialState::Pruned => "PRUNED",
        TrialState::Failed => "FAIL",
    };
    let intermediate: Map<String, Value> =
        trial.intermediate.iter().map(|(epoch, value)| (epoch.to_string(), number(*value))).collect();
    let mut user_attrs = trial.figures.clone();
    if let Some(failure) = &trial.failure {
        user_attrs.insert("failure".into(), json!(failure));
    }
    json!({
        "number": trial.number,
        "state": state,
        "value": trial.value.map(number),
        "params": params(&trial.assignment),
        "intermediate": intermediate,
        "user_attrs": user_attrs,
        "constraints": trial.constraints.iter().copied().map(number).collect::<Vec<_>>(),
        "started": trial.started,
        "ended": trial.ended,
    })
}

fn params(assignment: &Assignment) -> Map<String, Value> {
    let space = space();
    let as_optuna_has_it = |value| match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(value) => json!(value),
        toml::Value::Float(value) => json!(value),
        toml::Value::Boolean(value) => json!(value),
        other => json!(other.to_string()),
    };
    space
        .values(assignment)
        .map(|(parameter, value)| (parameter.name.clone(), as_optuna_has_it(value)))
        .collect()
}

fn check_distributions(trial: &Value) {
    let expected = json!({
        "model": "CategoricalDistribution(choices=('plain', 'memory', 'mémoire \"2\"'))",
        "mixed": "CategoricalDistribution(choices=('[0, 8, 12]', 1, 0.5, True))",
        "rate": "FloatDistribution(high=0.125, log=True, low=0.0001, step=None)",
        "decay": "FloatDistribution(high=1.0, log=False, low=-1.0, step=None)",
        "cells": "IntDistribution(high=9223372036854775807, log=False, low=-4, step=1)",
        "dim": "IntDistribution(high=256, log=True, low=8, step=1)",
    });
    for (name, distribution) in trial["distributions"].as_object().unwrap() {
        assert_eq!(expected[name], *distribution);
    }
    let names = |field: &str| trial[field].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("distributions"), names("params"));
}

fn without(value: &Value, field: &str) -> Value {
    let fields = value.as_object().unwrap().iter().filter(|(name, _)| *name != field);
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// As the script has a number.
fn number(value: f64) -> Value {
    match value {
        _ if value.is_nan() => json!("nan"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        _ => json!(value),
    }
}

/// Trials of every state, best ones that violate a constraint or were pruned, and numbers that are none. NaN equals
/// nothing, so that a study with it can only be compared here.
fn write_trials(journal: &mut Journal, study: &mut Study) {
    let states = [
        ending(TrialState::Complete, 0.5),
        Ending { constraints: vec![0.0, -1.5], ..ending(TrialState::Complete, 0.625) },
        Ending { constraints: vec![-1.0, 0.25], ..ending(TrialState::Complete, 0.875) },
        Ending { constraints: vec![f64::NAN], ..ending(TrialState::Complete, 0.125) },
        ending(TrialState::Pruned, 0.9375),
        Ending {
            value: None,
            failure: Some("the loss\nis \"NaN\" 💥".into()),
            ..ending(TrialState::Failed, 0.0)
        },
        ending(TrialState::Complete, f64::NAN),
        Ending { constraints: vec![f64::INFINITY], ..ending(TrialState::Complete, f64::INFINITY) },
        Ending { constraints: vec![1.0], ..ending(TrialState::Complete, f64::NEG_INFINITY) },
        ending(TrialState::Complete, 0.25),
        Ending { constraints: vec![-0.5], ..ending(TrialState::Complete, 0.25) },
        Ending { constraints: vec![-0.5], ..ending(TrialState::Complete, 0.625) },
    ];
    for (number, ending) in states.into_iter().enumerate() {
        let now = 1_720_000_000.0 + number as f64 / 8.0;
        let trial = journal.begin_trial(study, assignment(number), now).unwrap();
        journal.report(study, trial, 1, 0.5).unwrap();
        journal.report(study, trial, 3, if number == 7 { f64::INFINITY } else { 3e-5 }).unwrap();
        journal.set_figure(study, trial, "seconds", json!(1.5)).unwrap();
        journal.set_figure(study, trial, "by_kind", json!({"a": [1, 0.25, null], "é": "x"})).unwrap();
        journal.finish(study, trial, ending, now + 100.25).unwrap();
    }
    for number in 0..2 {
        let trial = journal.begin_trial(study, assignment(number), 1_720_000_200.5).unwrap();
        journal.report(study, trial, 1, 0.5).unwrap();
    }
}

fn ending(state: TrialState, value: f64) -> Ending {
    Ending { state, value: Some(value), constraints: Vec::new(), failure: None }
}

fn space() -> Space {
    let parameter = |name: &str, domain, when| Parameter {
        name: name.into(),
        key: format!("hyperparameters.{name}"),
        domain,
        when,
    };
    let prefixes = toml::Value::Array(vec![0.into(), 8.into(), 12.into()]);
    let with_memory = Some(Condition { parameter: 0, indices: vec![1] });
    let models = vec!["plain".into(), "memory".into(), "mémoire \"2\"".into()];
    Space {
        parameters: vec![
            parameter("model", Domain::Values(models), None),
            parameter("mixed", Domain::Values(vec![prefixes, 1.into(), 0.5.into(), true.into()]), None),
            parameter("rate", Domain::LogUniform { low: 1e-4, high: 0.125 }, None),
            parameter("decay", Domain::Uniform { low: -1.0, high: 1.0 }, None),
            parameter("cells", Domain::Int { low: -4, high: i64::MAX }, with_memory),
            parameter("dim", Domain::LogInt { low: 8, high: 256 }, None),
        ],
    }
}

fn assignment(number: usize) -> Assignment {
    space().assign(|position, _| match position {
        0 => Choice::Index(number % 3),
        1 => Choice::Index(number % 4),
        2 => Choice::Float((1 + number) as f64 / 1024.0),
        3 => Choice::Float(-0.0625 * number as f64),
        4 => Choice::Int(if number == 1 { i64::MAX } else { -4 }),
        _ => Choice::Int(8 << (number % 6)),
    })
}
