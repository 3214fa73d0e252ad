//! Fuzz targets of sweeps: their files and their journals.

use std::path::Path;

use ipsight_search::journal::{self, json};
use ipsight_search::space::{Assignment, Choice, Condition, Domain, Parameter, Space};
use ipsight_search::study::Goal;
use serde_json::Value;

use super::plan::SweepPlan;
use crate::config::layers::Layers;

/// A sweep's TOML: what is taken is written as TOML that holds the same, and has a first trial.
pub fn sweep(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(plan) = read(text) else { return };
    // Tables are in another order there, in which a condition may come before what it names: it is for comparison alone.
    let written: toml::Table = plan.to_toml().parse().unwrap_or_default();
    assert_eq!(written.get("parameters").and_then(|written| written.as_table()), Some(&plan.file.parameters));
    for u in [0.0, 0.5, 1.0] {
        let assignment = first(&plan.space, u);
        // A trial of values that exclude each other is an error, and it is told.
        let _ = plan.training_config(0, &assignment, 1);
        assert!(plan.space.values(&assignment).count() <= plan.space.parameters.len());
    }
}

fn first(space: &Space, u: f64) -> Assignment {
    space.assign(|_, parameter| -> Choice { parameter.domain.from_unit(u) })
}

fn read(text: &str) -> Option<SweepPlan> {
    let mut layers = Layers::default();
    layers.add_text("sweep.toml", text).ok()?;
    // Not whatever file a name happens to lead to.
    if layers.table().contains_key("base") {
        return None;
    }
    SweepPlan::of_layers(Path::new("sweep.toml"), layers, &[]).ok()
}

/// A journal: what counts of it is read again as the same, and each line is the JSON that serde_json has it for.
pub fn journal(bytes: &[u8]) {
    let path = Path::new("journal.log");
    let space = space();
    for line in bytes.split(|byte| *byte == b'\n') {
        check_line(line);
    }
    for goal in [Goal::Maximize, Goal::Minimize] {
        let Ok(contents) = journal::read(path, bytes, goal, &space) else { continue };
        assert!(contents.num_whole_bytes <= bytes.len());
        let Ok(again) = journal::read(path, &bytes[..contents.num_whole_bytes], goal, &space) else {
            panic!("the part of a journal that counts is refused")
        };
        // A NaN, which a journal may hold, is not equal to itself.
        assert_eq!(format!("{again:?}"), format!("{contents:?}"));
    }
}

fn check_line(line: &[u8]) {
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Ok(expected) = serde_json::from_str::<Value>(line) else {
        // Python's JSON has more numbers.
        let _ = json::read(line);
        return;
    };
    let Ok(read) = json::read(line) else { panic!("JSON is refused") };
    assert!(are_same(&read, &expected));
}

/// Equal, but for floats, of which serde_json gets the last bit wrong, and for texts that begin with the mark.
fn are_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => true,
        (_, Value::String(b)) if b.starts_with('\0') => true,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| are_same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// One parameter of each kind, and one with a condition.
fn space() -> Space {
    let parameter = |name: &str, domain, when| Parameter {
        name: name.into(),
        key: format!("hyperparameters.{name}"),
        domain,
        when,
    };
    Space {
        parameters: vec![
            parameter("model", Domain::Values(vec!["plain".into(), "memory".into()]), None),
            parameter("rate", Domain::LogUniform { low: 1e-4, high: 0.1 }, None),
            parameter("decay", Domain::Uniform { low: 0.0, high: 1.0 }, None),
            parameter(
                "cells",
                Domain::Int { low: 1, high: i64::MAX },
                Some(Condition { parameter: 0, indices: vec![1] }),
            ),
            parameter("dim", Domain::LogInt { low: 8, high: 256 }, None),
        ],
    }
}
