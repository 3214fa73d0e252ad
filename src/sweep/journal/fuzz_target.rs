//! The fuzz target of journals.

use std::path::Path;

use serde_json::Value;

use super::json;
use super::replay::Replay;
use crate::sweep::space::{Condition, Domain, Parameter, Space};
use crate::sweep::study::Goal;

/// A journal: what counts of it is read again as the same, and each line is the JSON that serde_json has it for.
pub fn journal(bytes: &[u8]) {
    let path = Path::new("journal.log");
    let space = space();
    for line in bytes.split(|byte| *byte == b'\n') {
        check_line(line);
    }
    for goal in [Goal::Maximize, Goal::Minimize] {
        let Ok(replay) = Replay::of(path, bytes, goal, &space) else { continue };
        assert!(replay.num_whole_bytes <= bytes.len());
        let Ok(again) = Replay::of(path, &bytes[..replay.num_whole_bytes], goal, &space) else {
            panic!("what counts of a journal is refused")
        };
        assert_eq!(again.num_whole_bytes, replay.num_whole_bytes);
        assert_eq!((&again.name, &again.attrs), (&replay.name, &replay.attrs));
        // A NaN, which a journal may hold, is not equal to itself.
        assert_eq!(format!("{:?}", again.study), format!("{:?}", replay.study));
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
