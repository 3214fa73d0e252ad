use std::fs;
use std::io;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::space::{Choice, Condition, Domain, Parameter};

#[test]
fn a_journal_cut_at_any_byte_is_the_study_after_the_last_whole_event() {
    let Written { folder, path, snapshots, .. } = written();
    let bytes = fs::read(&path).unwrap();
    let cut_path = folder.path().join("cut");
    let first_line = snapshots[0].0;
    for cut in 0..=bytes.len() {
        fs::write(&cut_path, &bytes[..cut]).unwrap();
        let opened = Journal::open(&cut_path, Goal::Maximize, &space());
        if cut < first_line {
            assert!(matches!(opened, Err(Error::Empty { .. })), "{cut}");
            continue;
        }
        let (mut journal, mut study) = opened.unwrap_or_else(|error| panic!("{cut}: {error}"));
        let (length, expected, attrs) = snapshots.iter().rfind(|(length, ..)| *length <= cut).unwrap();
        assert_eq!((&study, journal.study_attrs()), (expected, attrs), "{cut}");
        assert_eq!(fs::read(&cut_path).unwrap(), bytes[..*length], "{cut}");
        if cut % 29 == 0 {
            for trial in 0..study.trials.len() {
                if !study.trials[trial].is_finished() {
                    journal.finish(&mut study, trial, complete(0.1), 50.0).unwrap();
                }
            }
            let number = journal.begin_trial(&mut study, assignment(0), 60.0).unwrap();
            journal.report(&mut study, number, 1, 0.3).unwrap();
            assert_eq!(Journal::open(&cut_path, Goal::Maximize, &space()).unwrap().1, study, "{cut}");
        }
    }
}

#[test]
fn a_value_that_is_set_already_is_not_written_again() {
    let Written { folder: _folder, path, mut journal, mut study, .. } = written();
    let length = fs::metadata(&path).unwrap().len();
    let running = study.trials.iter().position(|trial| !trial.is_finished()).unwrap();
    journal.report(&mut study, running, 1, 0.75).unwrap();
    journal.set_study_attr("seed", json!(7)).unwrap();
    journal.set_figure(&mut study, running, "seconds", json!(1.5)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    assert_eq!(study.trials[running].intermediate[&1], 0.1 + 0.2);
}

#[test]
fn nan_and_infinities_are_stored_as_in_optuna() {
    let (_folder, path) = empty_folder();
    let (mut journal, mut study) = begun(&path, "s", Goal::Minimize);
    let states = [TrialState::Complete, TrialState::Pruned, TrialState::Failed];
    for (trial, state) in states.into_iter().enumerate() {
        journal.begin_trial(&mut study, assignment(0), 1.0).unwrap();
        journal.report(&mut study, trial, 1, f64::NEG_INFINITY).unwrap();
        let ending = Ending { state, constraints: vec![f64::NAN, -0.5], ..complete(f64::NAN) };
        journal.finish(&mut study, trial, ending, 2.0).unwrap();
    }
    journal.begin_trial(&mut study, assignment(0), 1.0).unwrap();
    journal.finish(&mut study, 3, complete(f64::INFINITY), 2.0).unwrap();
    let states: Vec<_> = study.trials.iter().map(|trial| (trial.state, trial.value)).collect();
    let (failed, pruned) = (TrialState::Failed, TrialState::Pruned);
    let infinite = (TrialState::Complete, Some(f64::INFINITY));
    assert_eq!(states, [(failed, None), (pruned, None), (failed, None), infinite]);
    assert_eq!(study.trials[0].failure.as_deref(), Some("the metric is not a number"));
    assert_eq!(study.trials[0].constraints, [f64::INFINITY, -0.5]);
    assert_eq!(Journal::open(&path, Goal::Minimize, &space()).unwrap().1, study);
}

#[test]
fn lines_that_optuna_adds_are_skipped() {
    let Written { folder: _folder, path, study, .. } = written();
    let lines = [
        r#"{"op_code":0,"worker_id":"w","study_name":"näme \"1\"","directions":[2]}"#,
        r#"{"op_code":3,"worker_id":"w","study_id":0,"system_attr":{"dashboard:note_ver":1}}"#,
        r#"{"op_code":9,"worker_id":"w","trial_id":3,"system_attr":{"dashboard:note":"x"}}"#,
    ];
    fs::write(&path, fs::read_to_string(&path).unwrap() + &lines.join("\n") + "\n").unwrap();
    assert_eq!(Journal::open(&path, Goal::Maximize, &space()).unwrap().1, study);
}

#[test]
fn a_journal_of_another_sweep_is_refused_by_the_parameter() {
    let Written { folder: _folder, path, .. } = written();
    let refusal = |goal, change: &dyn Fn(&mut Vec<Parameter>)| {
        let mut other = space();
        change(&mut other.parameters);
        match Journal::open(&path, goal, &other) {
            Err(Error::OtherStudy { at, what }) => format!("{at} {what}"),
            other => panic!("{other:?}"),
        }
    };
    let goal = refusal(Goal::Minimize, &|_| ());
    assert!(goal.contains("journal:1 ") && goal.contains("maximize, not to minimize"), "{goal}");
    let check = |change: &dyn Fn(&mut Vec<Parameter>), words: &[&str]| {
        let refusal = refusal(Goal::Maximize, change);
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
    };
    let rate = |low| Domain::LogUniform { low, high: 0.1 };
    check(&|all| all[2].domain = rate(2e-4), &["journal:3 ", "`rate` was", "0.0001", "0.0002"]);
    check(&|all| all[2].domain = Domain::Uniform { low: 1e-4, high: 0.1 }, &["`rate`", "true", "false"]);
    check(&|all| all[0].domain = Domain::Values(vec!["memory".into()]), &["`model` was", "plain"]);
    check(&|all| drop(all.pop()), &["`dim` is not in the search space"]);
    check(&|all| all.push(Parameter { name: "new".into(), ..all[1].clone() }), &["`new` did not vary"]);
    check(&|all| all[4].when = None, &["`cells` did not vary"]);
    check(&|all| all[1].when = all[4].when.clone(), &["`bits` varied"]);
    Journal::open(&path, Goal::Maximize, &space()).unwrap();
}

#[test]
fn a_line_that_no_journal_holds_is_refused_by_its_number() {
    let Written { folder: _folder, path, .. } = written();
    let whole = fs::read_to_string(&path).unwrap();
    let last = whole.lines().count() + 1;
    let ended = r#""state":1,"values":[0.5],"datetime_complete":"2024-05-31T23:59:59.000000+00:00""#;
    let cases = [
        ("nonsense".to_string(), "not a JSON object"),
        ("\"\u{0}\"".into(), "not a JSON object"),
        ("{}".into(), "`op_code`"),
        (r#"{"op_code":1,"study_id":0}"#.into(), "operation 1"),
        (r#"{"op_code":0,"study_name":"other","directions":[2]}"#.into(), "second study, `other`"),
        (r#"{"op_code":2,"study_id":1,"user_attr":{"a":1}}"#.into(), "there is one study"),
        (r#"{"op_code":2,"study_id":0,"user_attr":{}}"#.into(), "one attribute"),
        (r#"{"op_code":4,"study_id":0,"datetime_start":"x"}"#.into(), "`state`"),
        (format!(r#"{{"op_code":6,"trial_id":0,{ended}}}"#), "trial 0 has ended before"),
        (format!(r#"{{"op_code":6,"trial_id":9,{ended}}}"#), "no trial 9"),
        (format!(r#"{{"op_code":6,"trial_id":3,{ended}}}"#).replace("[0.5]", "null"), "no value"),
        (format!(r#"{{"op_code":6,"trial_id":3,{ended}}}"#).replace("[0.5]", "[1,2]"), "`values`"),
        (format!(r#"{{"op_code":6,"trial_id":3,{ended}}}"#).replace("2024-", "2024"), "`datetime_complete`"),
        (format!(r#"{{"op_code":6,"trial_id":3,{ended}}}"#).replace(":1,", ":4,"), "`state`"),
        (r#"{"op_code":7,"trial_id":3,"step":-1,"intermediate_value":0.5}"#.into(), "`step`"),
        (r#"{"op_code":7,"trial_id":3,"step":4,"intermediate_value":null}"#.into(), "`intermediate_value`"),
        (r#"{"op_code":7,"trial_id":1,"step":4,"intermediate_value":1}"#.into(), "trial 1 has ended"),
        (r#"{"op_code":9,"trial_id":3,"system_attr":{"constraints":["a"]}}"#.into(), "`constraints`"),
    ];
    let refusal = |text: String| {
        fs::write(&path, text).unwrap();
        match Journal::open(&path, Goal::Maximize, &space()) {
            Err(Error::Corrupt { at, what }) => (at, what),
            other => panic!("{other:?}"),
        }
    };
    for (line, words) in cases {
        let (at, what) = refusal(format!("{whole}{line}\n"));
        assert!(at.ends_with(&format!("journal:{last}")) && what.contains(words), "{line}: {at} {what}");
    }
    // Those of an earlier version had no checksums.
    let whole = without_checks(&whole);
    let out_of_range = whole.replacen(r#""rate":0.01"#, r#""rate":0.5"#, 1);
    assert!(refusal(out_of_range).1.contains("`rate` cannot be 0.5"));
    // The state of trial 1 is the last of the three lines of its ending.
    let is_state = |line: &&str| line.contains(r#""op_code":6"#) && line.contains(r#""trial_id":1,"#);
    let without_state: String =
        whole.lines().filter(|line| !is_state(line)).map(|line| format!("{line}\n")).collect();
    let (_, what) = refusal(without_state);
    assert!(what.contains("ending of trial 1 before this line is not whole"), "{what}");
    let (_, what) = refusal(whole.lines().skip(1).map(|line| format!("{line}\n")).collect());
    assert!(what.contains("not that of a study"), "{what}");
}

#[test]
fn a_value_that_was_edited_is_refused_by_its_line() {
    let Written { folder: _folder, path, .. } = written();
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    for edited in 0..lines.len() {
        // One digit of its last number before the checksum, or a letter of its last word.
        let (fields, check) = lines[edited].split_once(",\"check\"").unwrap();
        let at = fields.rfind(|char: char| char.is_ascii_alphanumeric()).unwrap();
        let other = if &fields[at..=at] == "1" { "2" } else { "1" };
        let line = format!("{}{other}{},\"check\"{check}", &fields[..at], &fields[at + 1..]);
        let text: String = [&lines[..edited], &[line.as_str()], &lines[edited + 1..]].concat().concat();
        fs::write(&path, text).unwrap();
        match Journal::open(&path, Goal::Maximize, &space()) {
            Err(Error::Corrupt { at, what }) => {
                assert!(at.ends_with(&format!("journal:{}", edited + 1)), "{at}");
                assert!(what.contains("edited") || what.contains("not a JSON object"), "{what}");
            }
            other => panic!("line {}: {other:?}", edited + 1),
        }
        let text: String = [&lines[..edited], &lines[edited + 1..]].concat().concat();
        fs::write(&path, text).unwrap();
        let opened = Journal::open(&path, Goal::Maximize, &space());
        assert!(opened.is_err() || edited + 1 == lines.len(), "without line {}", edited + 1);
    }
    // An earlier version wrote no checksums; what is written from now on has them.
    fs::write(&path, without_checks(&whole)).unwrap();
    let (mut journal, mut study) = Journal::open(&path, Goal::Maximize, &space()).unwrap();
    journal.finish(&mut study, 3, complete(0.5), 9.0).unwrap();
    assert_eq!(Journal::open(&path, Goal::Maximize, &space()).unwrap().1, study);
}

/// As `enqueue_trial` of Optuna 5.0.0 writes it.
fn enqueued(values: &str) -> String {
    format!(
        r#"{{"op_code":4,"worker_id":"6a0e-17","study_id":0,"datetime_start":null,"state":4,"value":null,"values":null,"distributions":{{}},"params":{{}},"user_attrs":{{"memo":"x"}},"system_attrs":{{"fixed_params":{values}}},"intermediate_values":{{}}}}"#
    ) + "\n"
}

#[test]
fn a_trial_that_optuna_enqueued_waits_and_begins() {
    let (_folder, path) = empty_folder();
    let (mut journal, mut study) = begun(&path, "s", Goal::Maximize);
    let add = |line: &str| open_file(&path).unwrap().write_all(line.as_bytes()).unwrap();
    let values = r#"{"model": "memory", "bits": "[0, 8, 12]", "rate": 0.01, "dim": 16.0, "cells": 5}"#;
    // While the journal is open, before and after a trial of our own.
    add(&enqueued(values));
    assert_eq!(journal.begin_trial(&mut study, assignment(0), 5.0).unwrap(), 1);
    add(&enqueued(r#"{"rate": 7}"#));
    add("{\"op_code\":2,\"worker_id\":\"x\",\"study_id\":0,\"user_attr\":{\"note\":1}}\n{\"op_co");
    journal.read_enqueued(&mut study).unwrap();
    journal.read_enqueued(&mut study).unwrap();
    let states: Vec<TrialState> = study.trials.iter().map(|trial| trial.state).collect();
    assert_eq!(states, [TrialState::Waiting, TrialState::Running, TrialState::Waiting]);
    assert_eq!(study.trials[0].figures["memo"], "x");
    let choices = enqueued_choices(&space(), &study.trials[0]).unwrap();
    let expected = [
        Some(Choice::Index(1)),
        Some(Choice::Index(0)),
        Some(Choice::Float(0.01)),
        None,
        Some(Choice::Int(5)),
        Some(Choice::Int(16)),
    ];
    assert_eq!(choices, expected);
    let why = enqueued_choices(&space(), &study.trials[2]).unwrap_err();
    assert!(why.contains("rate = 7") && why.contains("0.0001"), "{why}");
    let unknown = Trial { enqueued: json!({"speed": 1}).as_object().cloned(), ..study.trials[2].clone() };
    let why = enqueued_choices(&space(), &unknown).unwrap_err();
    assert!(why.contains("`speed`") && why.contains("rate"), "{why}");

    // The line that Optuna had begun is removed, as one that was cut off.
    let (mut journal, mut study) = Journal::open(&path, Goal::Maximize, &space()).unwrap();
    assert_eq!(study.trials.iter().map(|trial| trial.state).collect::<Vec<_>>(), states);
    let before = (fs::read(&path).unwrap(), study.clone());
    let sampled = assignment(1);
    let given = space().assign(|position, _| choices[position].or(sampled[position]).unwrap());
    journal.begin_waiting(&mut study, 0, given, 6.0).unwrap();
    journal
        .finish(&mut study, 2, Ending { state: TrialState::Failed, value: None, ..complete(0.0) }, 7.0)
        .unwrap();
    journal.finish(&mut study, 0, complete(0.5), 8.0).unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!(Journal::open(&path, Goal::Maximize, &space()).unwrap().1, study);
    // Cut off within its beginning, it still waits.
    let first_state = whole.len() - before.0.len();
    let begins =
        before.0.len() + whole[before.0.len()..].windows(12).position(|w| w == b"\"op_code\":6,").unwrap();
    for cut in [before.0.len() + 3, begins - 1, begins + 9] {
        assert!(cut < before.0.len() + first_state);
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(Journal::open(&path, Goal::Maximize, &space()).unwrap().1, before.1, "{cut}");
        assert_eq!(fs::read(&path).unwrap(), before.0);
    }
}

fn without_checks(journal: &str) -> String {
    let without =
        |line: &str| line.split_once(",\"check\"").map_or(line.into(), |(fields, _)| format!("{fields}}}"));
    journal.lines().map(|line| without(line) + "\n").collect()
}

#[test]
fn a_write_that_fails_changes_neither_study_nor_journal() {
    let Written { folder: _folder, path, mut journal, mut study, .. } = written();
    let (length, before) = (fs::metadata(&path).unwrap().len(), study.clone());
    // Each write to this device fails as on a full disk, and it cannot be cut.
    journal.file = open_file(Path::new("/dev/full")).unwrap();
    let error = journal.finish(&mut study, 3, complete(0.5), 9.0).unwrap_err();
    let Error::Io { path: named, source, .. } = &error else { panic!("{error:?}") };
    assert_eq!((named, source.kind()), (&path, io::ErrorKind::StorageFull));
    assert!(journal.begin_trial(&mut study, assignment(0), 9.0).is_err(), "not after half a line");
    assert_eq!(study, before);

    // The same on a disk that has half a line, and space again.
    journal.file = open_file(&path).unwrap();
    journal.torn_at = Some(length);
    journal.file.write_all(b"{\"op_code\":6,\"tri").unwrap();
    journal.finish(&mut study, 3, complete(0.5), 9.0).unwrap();
    assert_eq!(Journal::open(&path, Goal::Maximize, &space()).unwrap().1, study);
}

#[test]
#[should_panic(expected = "trial 0 has ended")]
fn a_trial_ends_once() {
    let Written { folder: _folder, mut journal, mut study, .. } = written();
    let _ = journal.finish(&mut study, 0, complete(1.0), 2.0);
}

/// A journal with all that there is, and the study after each event by the file's length.
struct Written {
    folder: TempDir,
    path: PathBuf,
    journal: Journal,
    study: Study,
    snapshots: Vec<(usize, Study, Map<String, Value>)>,
}

fn written() -> Written {
    let (folder, path) = empty_folder();
    let (mut journal, mut study) = begun(&path, "näme \"1\"", Goal::Maximize);
    let mut snapshots = Vec::new();
    let mut keep = |journal: &Journal, study: &Study| {
        let length = fs::metadata(&path).unwrap().len() as usize;
        snapshots.push((length, study.clone(), journal.study_attrs().clone()));
    };
    keep(&journal, &study);
    journal.set_study_attr("seed", json!(7)).unwrap();
    keep(&journal, &study);
    for number in 0..4 {
        journal.begin_trial(&mut study, assignment(number), 1.795e9 + number as f64 / 7.0).unwrap();
        keep(&journal, &study);
    }
    journal.set_metric_name("AUC").unwrap();
    keep(&journal, &study);
    for epoch in 1..=2 {
        for trial in 0..4 {
            let value = 0.1 * trial as f64 + 0.1 + 0.2 * f64::from(epoch);
            let value = if trial == 3 && epoch == 1 { 0.1 + 0.2 } else { value };
            journal.report(&mut study, trial, epoch, value).unwrap();
            keep(&journal, &study);
        }
    }
    for (name, value) in [("seconds", json!(1.5)), ("by_\"kind\"", json!({"a": [1, 0.1 + 0.2, null, "é\n"]}))]
    {
        journal.set_figure(&mut study, 3, name, value).unwrap();
        keep(&journal, &study);
    }
    let endings = [
        Ending { constraints: vec![-0.25, 1.0 / 3.0], ..complete(2.0 / 3.0) },
        Ending {
            state: TrialState::Failed,
            value: None,
            constraints: vec![0.5],
            failure: Some("line 1\nline \"2\"".into()),
        },
        Ending { state: TrialState::Pruned, ..complete(0.5) },
    ];
    for (trial, ending) in endings.into_iter().enumerate() {
        journal.finish(&mut study, trial, ending, 1.796e9).unwrap();
        keep(&journal, &study);
    }
    Written { folder, path, journal, study, snapshots }
}

/// A journal with its first line.
fn begun(path: &Path, name: &str, goal: Goal) -> (Journal, Study) {
    fs::write(path, first_line(name, goal)).unwrap();
    Journal::open(path, goal, &space()).unwrap()
}

fn empty_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    (folder, path)
}

fn complete(value: f64) -> Ending {
    Ending { state: TrialState::Complete, value: Some(value), constraints: Vec::new(), failure: None }
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
    Space {
        parameters: vec![
            parameter("model", Domain::Values(vec!["plain".into(), "memory".into()]), None),
            parameter("bits", Domain::Values(vec![prefixes, 1.into(), 0.5.into(), true.into()]), None),
            parameter("rate", Domain::LogUniform { low: 1e-4, high: 0.1 }, None),
            parameter("decay", Domain::Uniform { low: 0.0, high: 1.0 }, None),
            parameter("cells", Domain::Int { low: 1, high: i64::MAX }, with_memory),
            parameter("dim", Domain::LogInt { low: 8, high: 256 }, None),
        ],
    }
}

fn assignment(number: usize) -> Assignment {
    space().assign(|position, _| match position {
        0 => Choice::Index(number % 2),
        1 => Choice::Index(number % 4),
        2 => Choice::Float(0.01 + number as f64 / 3000.0),
        3 => Choice::Float(number as f64 / 3.0),
        4 => Choice::Int(i64::MAX - number as i64),
        _ => Choice::Int(8 + number as i64),
    })
}
