//! `ipsight compare` as a whole: its figures against counts made here, and its gates.

mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use support::{Outcome, generated_and_trained, ipsight, small_config};
use tempfile::TempDir;

/// `run/model`, with thresholds, and `new/model`, which began from it and learned the logins of the next days.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("200", "19", &small_config(3));
    let root = folder.path();
    let next = ["--train", "logins/validation.csv", "--init-from", "run", "--output", "new"];
    ipsight(root, &[&["train", "--config", "small.toml"][..], &next].concat(), b"").expect(0, &[]);
    let evaluate = ["evaluate", "--model", "run/model", "--data", "logins/validation.csv"];
    let wanted = ["--attacks", "default", "--target-fpr", "step_up=0.1", "--target-fpr", "investigate=0.01"];
    ipsight(root, &[&evaluate[..], &wanted].concat(), b"").expect(0, &[]);
    folder
});

fn root() -> &'static Path {
    FIXTURE.path()
}

fn compare(args: &[&str]) -> Outcome {
    ipsight(root(), &[&["compare", "run/model", "new/model", "--device", "ndarray"], args].concat(), b"")
}

const DATA: [&str; 2] = ["--data", "logins/test.csv"];

/// The anomaly scores of a file's events by a model, as `ipsight score` says them.
fn scores(model: &str, data: &str) -> Vec<f64> {
    let score = ["score", "--model", model, "--device", "ndarray", "--input", data];
    let scored = ipsight(root(), &score, b"").expect(0, &[]).stdout;
    let is_column = |header: &str| header == "anomaly_score";
    let column = scored.lines().next().unwrap().split(',').position(is_column).unwrap();
    scored
        .lines()
        .skip(1)
        .map(|line| f64::from(line.split(',').nth(column).unwrap().parse::<f32>().unwrap()))
        .collect()
}

#[track_caller]
fn assert_close(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-9, "{found} instead of {expected}");
}

/// Mean ranks by counting for each score those below it and those like it.
fn ranks(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = |score: &f64| {
        let below = sorted.partition_point(|other| other < score);
        let up_to = sorted.partition_point(|other| other <= score);
        (below + up_to + 1) as f64 / 2.0
    };
    scores.iter().map(rank).collect()
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |a: &[f64], mean_a: f64, b: &[f64], mean_b: f64| {
        a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>()
    };
    product(a, mean_a, b, mean_b) / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
}

#[test]
fn every_figure_is_what_the_scores_say() {
    let found = compare(&[&DATA[..], &["--json", "--top", "5"]].concat()).expect(0, &[]).json();
    let [old, new] = ["run/model", "new/model"].map(|model| scores(model, "logins/test.csv"));
    let num_events = old.len();
    assert_eq!((&found["num_events"], &found["attacks"]), (&num_events.into(), &"random_ipv4".into()));
    assert_eq!(found["num_attacks"], num_events);

    // The AUCs are those of `evaluate`, to the last bit.
    for (model, key) in [("run/model", "old"), ("new/model", "new")] {
        let args = ["evaluate", "--model", model, "--device", "ndarray", "--json"];
        let evaluation = ipsight(root(), &[&args[..], &DATA].concat(), b"").expect(0, &[]).json();
        assert_eq!(found[key]["auc"], evaluation["auc"]);
        assert_eq!(found[key]["auc_ci"], evaluation["detectors"]["ipsight"]["auc_ci"]);
        let inspect = ["inspect", "--model", model, "--json"];
        let manifest = ipsight(root(), &inspect, b"").expect(0, &[]).json();
        assert_eq!(found[key]["blake3"], manifest["files"]["model.safetensors"]["blake3"]);
    }
    let auc = |key: &str| found[key]["auc"].as_f64().unwrap();
    assert_close(&found["auc_drop"], auc("old") - auc("new"));
    let rho = pearson(&ranks(&old), &ranks(&new));
    assert!(rho > 0.5 && rho < 0.99, "{rho}");
    assert_close(&found["rank_correlation"], rho);

    // Ten bins of as many scores of the old model, and what the new one's make of them.
    let bins = found["score_bins"].as_array().unwrap();
    assert_eq!(bins.len(), 10);
    let (mut low, mut psi) = (f64::NEG_INFINITY, 0.0);
    for bin in bins {
        let high = bin["to"].as_f64().map_or(f64::INFINITY, |high| f64::from(high as f32));
        let count = |scores: &[f64]| scores.iter().filter(|score| **score > low && **score <= high).count();
        let (num_old, num_new) = (count(&old), count(&new));
        assert_eq!((&bin["num_old"], &bin["num_new"]), (&num_old.into(), &num_new.into()));
        assert!(num_old.abs_diff(num_events / 10) <= 2, "{num_old}");
        let share = |num: usize| (num as f64 + 0.5) / (num_events as f64 + 5.0);
        psi += (share(num_new) - share(num_old)) * (share(num_new) / share(num_old)).ln();
        low = high;
    }
    assert_close(&found["score_psi"], psi);

    // The entities that moved most.
    let text = fs::read_to_string(root().join("logins/test.csv")).unwrap();
    let mut by_entity: HashMap<&str, (f64, f64, f64)> = HashMap::new();
    for (line, (old, new)) in text.lines().zip(old.iter().zip(&new)) {
        let sums = by_entity.entry(line.split(',').next().unwrap()).or_default();
        *sums = (sums.0 + 1.0, sums.1 + old, sums.2 + new);
    }
    assert_eq!(found["num_entities"], by_entity.len());
    let mut changes: Vec<_> =
        by_entity.iter().map(|(entity, (num, old, new))| ((new - old) / num, *entity)).collect();
    changes.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
    let moved = found["moved_entities"].as_array().unwrap();
    assert_eq!(moved.len(), 5);
    for (moved, (change, entity)) in moved.iter().zip(changes) {
        assert_eq!(moved["entity"], entity);
        let (num, old, new) = by_entity[entity];
        assert_eq!(moved["num_events"], num as u64);
        assert_close(&moved["old_mean"], old / num);
        assert_close(&moved["new_mean"], new / num);
        assert_close(&moved["change"], change);
    }
}

/// The lower and upper end after Wilson, from the roots of the quadratic equation that defines them.
fn wilson(count: usize, total: usize) -> [f64; 2] {
    let (n, p, z2) = (total as f64, count as f64 / total as f64, 1.959_963_984_540_054f64.powi(2));
    let (a, b, c) = (1.0 + z2 / n, -(2.0 * p + z2 / n), p * p);
    let root = (b * b - 4.0 * a * c).sqrt();
    [(-b - root) / (2.0 * a), (-b + root) / (2.0 * a)]
}

#[test]
fn thresholds_are_held_to_what_they_promised() {
    // `far.csv` has every login from where nobody ever was, so that all are above any threshold.
    let text = fs::read_to_string(root().join("logins/test.csv")).unwrap();
    let far: String = text
        .lines()
        .enumerate()
        .map(|(i, line)| format!("{},{}.{}.7.9\n", line.split(',').next().unwrap(), 224 + i % 16, i % 251))
        .collect();
    fs::write(root().join("far.csv"), far).unwrap();
    let inspect = ["inspect", "--model", "run/model", "--json"];
    let promised = ipsight(root(), &inspect, b"").expect(0, &[]).json()["thresholds"].clone();
    let mut verdicts = Vec::new();
    for data in ["logins/test.csv", "far.csv"] {
        let found = compare(&["--data", data, "--json"]).expect(0, &[]).json();
        let thresholds = found["thresholds"].as_array().unwrap();
        assert_eq!(thresholds.len(), 2);
        for (threshold, promised) in thresholds.iter().zip(promised.as_array().unwrap()) {
            for key in ["name", "value"] {
                assert_eq!(threshold[key], promised[key]);
            }
            assert_close(&threshold["promised_fpr"], promised["fpr"].as_f64().unwrap());
            let ends = |ci: &Value| [0, 1].map(|i| ci[i].as_f64().unwrap());
            let then = ends(&promised["fpr_ci"]);
            assert_eq!(ends(&threshold["promised_fpr_ci"]), then);
            for (model, key) in [("run/model", "old"), ("new/model", "new")] {
                let scores = scores(model, data);
                let value = threshold["value"].as_f64().unwrap();
                // Both are the shortest text of one float32.
                let num_flagged = scores.iter().filter(|score| **score as f32 >= value as f32).count();
                let now = wilson(num_flagged, scores.len());
                assert_close(&threshold[key]["fpr"], num_flagged as f64 / scores.len() as f64);
                let found = ends(&threshold[key]["fpr_ci"]);
                assert!(found.iter().zip(now).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?} {now:?}");
                let verdict = match (now[0] > then[1], now[1] < then[0]) {
                    (true, _) => "higher",
                    (_, true) => "lower",
                    _ => "holds",
                };
                assert_eq!(threshold[key]["verdict"], verdict);
                verdicts.push((data, key, verdict));
            }
        }
    }
    assert!(verdicts.contains(&("far.csv", "old", "higher")), "{verdicts:?}");
    assert!(verdicts.contains(&("logins/test.csv", "old", "holds")), "{verdicts:?}");
    let text = compare(&["--data", "far.csv"]).expect(0, &[]).stdout;
    assert!(text.contains("investigate") && text.contains("HIGHER"), "{text}");
}

#[test]
fn gates_exit_with_1_and_name_what_is_missed() {
    let gates = |values: [&str; 4]| {
        let flags = ["--min-auc", "--max-auc-drop", "--min-rank-correlation", "--max-psi"];
        let gates: Vec<&str> =
            flags.into_iter().zip(values).flat_map(|(flag, value)| [flag, value]).collect();
        compare(&[&DATA[..], &gates].concat())
    };
    gates(["0.5", "0.2", "0.3", "5"]).expect(0, &[]);
    let missed = gates(["1", "0", "1", "0"]);
    let drop = missed.stderr.contains("--max-auc-drop 0");
    let missed = missed.expect(1, &["--min-auc 1", "--min-rank-correlation 1", "--max-psi 0"]);
    assert!(missed.stdout.contains("rank correlation of the scores"), "whoever misses one wants to see why");
    let json = compare(&[&DATA[..], &["--json"]].concat()).expect(0, &[]).json();
    assert_eq!(drop, json["auc_drop"].as_f64().unwrap() > 0.0);
    // The other way round one of the two is worse.
    let turned =
        ["compare", "new/model", "run/model", "--device", "ndarray", "--max-auc-drop", "0", "--json"];
    let turned = ipsight(root(), &[&turned[..], &DATA].concat(), b"");
    assert_eq!((turned.code == Some(1)) as u8 + u8::from(drop), 1, "{turned:?}");
    assert_eq!(turned.json()["auc_drop"].as_f64().unwrap(), -json["auc_drop"].as_f64().unwrap());
    gates(["0.5", "2", "0", "0"]).expect(2, &["--max-auc-drop"]);
    gates(["0.5", "1", "0", "nan"]).expect(2, &["--max-psi"]);
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let args = ["compare", "run/model", "run/model", "--device", "ndarray", "--json", "--reference"];
    let gates = ["--max-auc-drop", "0", "--min-rank-correlation", "1", "--max-psi", "0"];
    let args = [&args[..], &["logins/test.csv"], &DATA, &gates].concat();
    let found = ipsight(root(), &args, b"").expect(0, &[]).json();
    assert_eq!(found["moved_entities"], serde_json::json!([]));
    assert_eq!(found["networks"]["psi"], 0.0);
    for threshold in found["thresholds"].as_array().unwrap() {
        assert_eq!(threshold["old"], threshold["new"]);
    }
}

#[test]
fn attacks_decide_the_auc_and_nothing_else() {
    let text = fs::read_to_string(root().join("logins/test.csv")).unwrap();
    let mut rows = String::from("user,address,is_attack\n");
    for (i, line) in text.lines().enumerate() {
        rows += &format!("{line},0\n");
        if i % 3 == 0 {
            rows += &format!("{},{}.7.{}.9,1\n", line.split(',').next().unwrap(), i % 223 + 1, i % 250);
        }
    }
    fs::write(root().join("labelled.csv"), rows).unwrap();
    let columns = ["--entity-column", "user", "--ip-column", "address", "--label-column", "is_attack"];
    let labelled = [&["--data", "labelled.csv", "--labels", "--json"][..], &columns].concat();
    let mut labelled = compare(&labelled).expect(0, &[]).json();
    let mut plain = compare(&[&DATA[..], &["--json"]].concat()).expect(0, &[]).json();
    let mut added = compare(&[&DATA[..], &["--attacks", "default", "--json"]].concat()).expect(0, &[]).json();
    assert_eq!((&labelled["attacks"], &added["attacks"]), (&"labelled".into(), &"added".into()));
    assert_eq!(labelled["num_attacks"], text.lines().count().div_ceil(3));
    assert_ne!(labelled["old"]["auc"], plain["old"]["auc"]);
    for found in [&mut labelled, &mut plain, &mut added] {
        for key in ["attacks", "num_attacks", "old", "new", "auc_drop"] {
            assert!(found.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
    }
    assert_eq!(labelled, plain);
    assert_eq!(added, plain);
}

#[test]
fn networks_are_held_against_the_reference() {
    let with = |data: &str, reference: &str| {
        compare(&["--data", data, "--reference", reference, "--json"]).expect(0, &[]).json()["networks"]
            .clone()
    };
    let found = with("logins/test.csv", "logins/train.csv");
    let (psi, by_chance) = (found["psi"].as_f64().unwrap(), found["psi_by_chance"].as_f64().unwrap());
    assert!(psi > 0.2 * by_chance && psi < 3.0 * by_chance, "nothing has changed: {found}");
    // Prepared events are the same events.
    ipsight(root(), &["prepare", "logins/train.csv", "--output", "train.arrow"], b"").expect(0, &[]);
    assert_eq!(with("logins/test.csv", "train.arrow"), found);
    // A tenth of the logins from networks that were not there before.
    let text = fs::read_to_string(root().join("logins/test.csv")).unwrap();
    let move_tenth = |(i, line): (usize, &str)| match (i % 10, line.split_once(',').unwrap()) {
        (0, (user, _)) => format!("{user},203.0.113.{}\n", i % 250),
        _ => format!("{line}\n"),
    };
    fs::write(root().join("moved.csv"), text.lines().enumerate().map(move_tenth).collect::<String>())
        .unwrap();
    let moved = with("moved.csv", "logins/train.csv")["psi"].as_f64().unwrap();
    assert!(moved > 3.0 * psi && moved > 0.25, "{moved} and {psi}");
    let text = compare(&["--data", "moved.csv", "--reference", "train.arrow"]).expect(0, &[]).stdout;
    assert!(text.contains("PSI of the /16 networks against"), "{text}");
    assert!(compare(&[&DATA[..], &["--json"]].concat()).expect(0, &[]).json().get("networks").is_none());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    compare(&["--data", "nowhere.csv"]).expect(4, &["nowhere.csv"]);
    ipsight(root(), &["compare", "run/model", "nowhere", "--data", "logins/test.csv"], b"")
        .expect(4, &["nowhere"]);
    ipsight(root(), &["prepare", "logins/test.csv", "--output", "test.arrow"], b"").expect(0, &[]);
    compare(&["--data", "test.arrow"]).expect(3, &["test.arrow", "hashes, not entities"]);
    compare(&["--data", "logins/test.csv", "--labels"]).expect(3, &[]);
    compare(&[]).expect(2, &["--data"]);
}
