use proptest::prelude::*;
use serde_json::Value;

use super::baselines;
use super::breakdown::HistoryBucket;
use super::calibrate::{Calibrated, ChosenOn, calibrate, choose};
use super::detector::figures_of;
use super::family::Family;
use super::figures::Targets;
use super::scores::{Code, Scores};
use super::times::Times;
use super::{BASELINES, FPR_TARGETS, PastEvents, TPR_TARGETS};
use crate::Result;
use crate::data::Events;
use crate::event::Address;
use crate::thresholds::{Criterion, WantedThreshold};

/// Values of scikit-learn, SciPy and NumPy; see tests/golden/make_evaluation.py.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/evaluation.json")).unwrap()
}

/// Says where `found` is not `expected`: numbers may differ by 1e-12, thresholds (in `f32`) by 1e-6 of their size.
fn differences(at: &str, found: &Value, expected: &Value, differing: &mut Vec<String>) {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            if found.keys().ne(expected.keys()) {
                differing.push(format!("{at}: other keys"));
            }
            for (key, value) in expected {
                differences(&format!("{at}.{key}"), &found[key], value, differing);
            }
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                differences(&format!("{at}[{i}]"), found, expected, differing);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let tolerance = if at.ends_with("threshold") { 1e-6 * (1.0 + b.abs()) } else { 1e-12 };
            if (a - b).abs() > tolerance || a.is_nan() {
                differing.push(format!("{at}: {a} instead of {b}"));
            }
        }
        _ if found == expected => {}
        _ => differing.push(format!("{at}: {found} instead of {expected}")),
    }
}

#[test]
fn figures_are_those_of_scikit_learn_with_ties() {
    let golden = golden();
    let cases = golden["figures"].as_array().unwrap();
    assert!(cases.len() >= 8);
    let mut differing = Vec::new();
    for case in cases {
        let class = |wanted: i64| {
            let labels = case["labels"].as_array().unwrap().iter();
            let scores = case["scores"].as_array().unwrap().iter().zip(labels);
            let of_class = scores.filter(|(_, label)| **label == wanted);
            of_class.map(|(score, _)| score.as_f64().unwrap() as f32).collect::<Vec<_>>()
        };
        let targets = Targets { tpr: TPR_TARGETS.to_vec(), fpr: FPR_TARGETS.to_vec(), user_days: None };
        let found = figures_of(&class(1), &class(0), &targets).unwrap();
        let found = serde_json::to_value(found).unwrap();
        for key in ["auc", "auc_ci", "average_precision", "fpr_at_tpr", "tpr_at_fpr"] {
            let mut found = found[key].clone();
            for point in found.as_object_mut().into_iter().flat_map(|points| points.values_mut()) {
                assert_eq!(point["alerts_per_day_per_1000_users"], Value::Null);
                point.as_object_mut().unwrap().shift_remove("alerts_per_day_per_1000_users");
            }
            let at = format!("{}: {key}", case["name"]);
            differences(&at, &found, &case[key], &mut differing);
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Percentiles, probabilities, reliability and thresholds of scikit-learn and NumPy; see
/// tests/golden/make_calibration.py.
#[test]
fn calibrations_are_those_of_scikit_learn_with_ties() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/calibration.json")).unwrap();
    let cases = golden.as_array().unwrap();
    assert!(cases.len() >= 7);
    let mut differing = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut scores = Scores::default();
        for (i, score) in case["scores"].as_array().unwrap().iter().enumerate() {
            let kind = (case["labels"][i] == 1).then_some(3);
            let code = Code::new(kind, i % 3 == 0, HistoryBucket::ALL[i % 4]);
            let is_aside = case["is_aside"][i].as_bool().unwrap();
            scores.push(score.as_f64().unwrap() as f32, code.kept_aside(is_aside));
        }
        let sorted = scores.sort("x").unwrap();
        let Calibrated { calibration, reliability } = calibrate(&sorted, "digest").unwrap();
        assert_eq!((calibration.data_digest.as_str(), calibration.find_fault()), ("digest", None));
        for (i, asked) in case["asked"].as_array().unwrap().iter().enumerate() {
            let asked = asked.as_f64().unwrap() as f32;
            for (what, found) in [
                ("percentiles", calibration.percentile(asked)),
                ("probabilities", calibration.probability(asked)),
            ] {
                let at = format!("{name}: {what} of {asked}");
                differences(&at, &found.into(), &case[what][i], &mut differing);
            }
        }
        let found = serde_json::to_value(reliability.unwrap()).unwrap();
        differences(&format!("{name}: reliability"), &found, &case["reliability"], &mut differing);

        let seconds = (case["num_days"].as_f64().unwrap() * 86_400.0) as u64;
        let on = ChosenOn { attacks: "labelled", data_digest: "digest", num_seconds: Some(seconds) };
        for threshold in case["thresholds"].as_array().unwrap() {
            let wanted = WantedThreshold {
                name: "x".into(),
                criterion: serde_json::from_value(threshold["criterion"].clone()).unwrap(),
                target: threshold["target"].as_f64().unwrap(),
            };
            let at = format!("{name}: {}", wanted.at());
            let found = match choose(&sorted, &[wanted], &on) {
                Err(error) => {
                    assert_eq!(error.exit_code(), 3, "{error}");
                    Value::Null
                }
                Ok(found) => serde_json::to_value(&found[0]).unwrap(),
            };
            let expected = &threshold["found"];
            for (key, expected) in expected.as_object().into_iter().flatten() {
                differences(&format!("{at}: {key}"), &found[key], expected, &mut differing);
            }
            assert_eq!(found.is_null(), expected.is_null(), "{at}");
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn alerts_a_day_need_times() {
    let mut scores = Scores::default();
    for kind in [None, Some(0)] {
        scores.push(0.0, Code::new(kind, true, HistoryBucket::None));
    }
    let wanted = WantedThreshold::parse(Criterion::AlertsPerDay, "5").unwrap();
    let on = ChosenOn { attacks: "labelled", data_digest: "", num_seconds: None };
    let error = choose(&scores.sort("x").unwrap(), &[wanted], &on).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.help().unwrap().contains("time_column"), "{error:?}");
}

/// Tables, Freeman's ratio and the closed form over both families; see tests/golden/make_baselines.py.
#[test]
fn baselines_are_those_of_a_python_twin() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/baselines.json")).unwrap();
    let pairs = |key: &str| {
        let pairs = golden[key].as_array().unwrap().iter();
        let pair = |pair: &Value| {
            (pair[0].as_u64().unwrap(), Address::from_bits(pair[1].as_str().unwrap().parse().unwrap()))
        };
        pairs.map(pair).collect::<Vec<_>>()
    };
    let (entities, addresses) = pairs("history").into_iter().unzip();
    let past = PastEvents::new(&Events::from_columns(entities, addresses)).unwrap();
    let events = pairs("events");
    let num_ipv6 = events.iter().filter(|(_, address)| !address.is_ipv4()).count();
    assert!(num_ipv6 >= 50 && events.len() - num_ipv6 >= 50);
    for ((entity, address), expected) in events.into_iter().zip(golden["scores"].as_array().unwrap()) {
        let usage = past.history().usage(entity, address, None);
        let found = baselines::scores(&usage, Family::of(address));
        for (i, found) in found[..6].iter().enumerate() {
            let expected = expected[i].as_f64().unwrap() as f32;
            let tolerance = if i < 4 { 0.0 } else { 1e-5 };
            assert!((found - expected).abs() <= tolerance, "{} of {entity}, {address}", BASELINES[i]);
        }
    }
}

/// Events a second apart of 500 users over half a day: 2 % of 43,200 events are 864, over .5 days and .5
/// thousand users 3,456.
#[test]
fn alerts_are_told_per_day_and_thousand_users() {
    let mut times = Times::default();
    let mut scores = Vec::new();
    for i in 0..43_200_u64 {
        times.add(i % 500, Some(1_000_000 + i as i64));
        scores.push(if i % 50 == 0 { 1.0 } else { 0.0 });
    }
    let num_days = times.num_days().unwrap();
    assert_eq!((num_days, times.num_users()), (0.5, Some(500)));
    let targets = Targets { tpr: vec![0.9], fpr: vec![], user_days: Some(num_days * 0.5) };
    let point = figures_of(&[1.0, 1.0], &scores, &targets).unwrap().fpr_at_tpr[0].1;
    assert_eq!((point.fpr, point.alerts_per_day_per_1000_users), (0.02, Some(3456.0)));
    assert_eq!(Times::default().num_days(), None);
}

/// Area under the ROC curve, of given scores.
fn auc(positives: &[f32], negatives: &[f32]) -> Result<Option<f64>> {
    let targets = Targets { tpr: Vec::new(), fpr: Vec::new(), user_days: None };
    Ok(figures_of(positives, negatives, &targets)?.auc)
}

/// scikit-learn's roc_auc_score on fixtures with ties; see tests/golden/make_auc.py.
#[test]
fn an_auc_is_that_of_scikit_learn() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/auc.json")).unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let label = |i: usize| case["labels"][i].as_i64().unwrap() == 1;
        let scores = case["scores"].as_array().unwrap();
        let class = |wanted: bool| {
            let of_class = scores.iter().enumerate().filter(|(i, _)| label(*i) == wanted);
            of_class.map(|(_, score)| score.as_f64().unwrap() as f32).collect::<Vec<_>>()
        };
        let ours = auc(&class(true), &class(false)).unwrap().unwrap();
        let theirs = case["auc"].as_f64().unwrap();
        assert!((ours - theirs).abs() < 1e-12, "{}: {ours} against {theirs}", case["name"]);
    }
}

proptest! {
    #[test]
    fn negating_the_scores_mirrors_the_auc(
        positives in prop::collection::vec(-5i8..5, 1..60),
        negatives in prop::collection::vec(-5i8..5, 1..60),
    ) {
        let auc = |sign: f32| {
            let floats = |scores: &[i8]| scores.iter().map(|s| sign * f32::from(*s)).collect::<Vec<_>>();
            auc(&floats(&positives), &floats(&negatives)).unwrap().unwrap()
        };
        prop_assert!((auc(1.0) + auc(-1.0) - 1.0).abs() < 1e-12);
    }
}

#[test]
fn without_numbers_or_without_a_class_there_is_no_auc() {
    assert_eq!(auc(&[f32::NAN], &[0.0]).unwrap_err().exit_code(), 3);
    assert_eq!(auc(&[1.0], &[]).unwrap(), None);
}
