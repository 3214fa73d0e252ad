//! Thresholds from `evaluate` to `score`: what was promised on one part of the logins holds on another.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::LazyLock;

use ipsight::event::{hash_entity, parse_ipv4};
use ipsight_kernels::philox::{Stream, philox4x32_10, stream_key};
use serde_json::Value;
use support::{Outcome, generated_and_trained, ipsight};
use tempfile::TempDir;

/// Logins of 400 users with a model of them; `choose.csv` and `check.csv` are of the days after the training, with
/// attacks between them, and of no day in common.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("400", "23", SMALL);
    let root = folder.path();
    for (name, file, seed) in [("choose.csv", "validation.csv", 1), ("check.csv", "test.csv", 2)] {
        let text = fs::read_to_string(root.join("logins").join(file)).unwrap();
        fs::write(root.join(name), labelled(&text, seed)).unwrap();
    }
    folder
});

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 800
vector_dim = 16
mini_batch_size = 500
learning_rate = 0.02
epochs = 3
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#;

/// Days over which `choose.csv` is spread.
const NUM_DAYS: f64 = 2.0;

/// `user,ip,label,time`: after every fourth login an attack on its user from a random address.
fn labelled(logins: &str, seed: u64) -> String {
    let num = logins.lines().count();
    let mut rows = String::new();
    for (i, line) in logins.lines().enumerate() {
        let seconds = 1_700_000_000 + (NUM_DAYS * 86_400.0 - 1.0) as usize * i / (num - 1);
        rows += &format!("{line},0,{seconds}\n");
        if i % 4 == 0 {
            let user = line.split(',').next().unwrap();
            let word = philox4x32_10([i as u32, 0, 0, 0], stream_key(seed, Stream::EvaluationNegatives))[0];
            rows += &format!("{user},{},1,{seconds}\n", Ipv4Addr::from(word));
        }
    }
    rows
}

fn root() -> &'static Path {
    FIXTURE.path()
}

/// The model of the fixture under a name of its own, so that tests do not share `thresholds.json`.
fn model(name: &str) -> String {
    let folder = root().join(name);
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(root().join("run/model")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    name.into()
}

fn evaluate(model: &str, args: &[&str]) -> Outcome {
    let fixed =
        ["evaluate", "--device", "ndarray", "--labels", "--json", "--model", model, "--data", "choose.csv"];
    ipsight(root(), &[&fixed[..], args].concat(), b"")
}

fn score(model: &str, input: &str, args: &[&str]) -> Outcome {
    let fixed = ["score", "--device", "ndarray", "--model", model];
    ipsight(root(), &[&fixed[..], args].concat(), input.as_bytes())
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn is_attack(row: &str) -> bool {
    row.split(',').nth(2) == Some("1")
}

/// The shares of a file's attacks and of its ordinary rows for which something holds, with their numbers.
fn rates(rows: &str, holds: impl Fn(usize) -> bool) -> [(f64, f64); 2] {
    [true, false].map(|wanted| {
        let of_class: Vec<usize> =
            rows.lines().enumerate().filter(|(_, row)| is_attack(row) == wanted).map(|(i, _)| i).collect();
        let count = of_class.iter().filter(|i| holds(**i)).count();
        (count as f64 / of_class.len() as f64, of_class.len() as f64)
    })
}

/// Rates on fresh events lie in the promised intervals, widened by the sampling error of the fresh events.
#[test]
fn thresholds_keep_their_rates_on_fresh_events() {
    let model = model("fresh");
    let wanted = [
        "--target-fpr",
        "step_up=0.02",
        "--target-fpr=investigate=0.002",
        "--target-tpr",
        "catch=0.99",
        "--alerts-per-day",
        "busy=60",
        "--time-column",
        "4",
    ];
    let found = evaluate(&model, &wanted).expect(0, &["fresh/thresholds.json"]).json();
    let promised: BTreeMap<&str, &Value> = found["thresholds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|threshold| (threshold["name"].as_str().unwrap(), threshold))
        .collect();
    assert_eq!(promised.keys().copied().collect::<Vec<_>>(), ["busy", "catch", "investigate", "step_up"]);

    // On the events that they were chosen on, the rates are those that were told, to the event.
    let rows = read("choose.csv");
    let scores = anomaly_scores(&score(&model, &rows, &[]).expect(0, &[]).stdout);
    let ordinary = rows.lines().filter(|row| !is_attack(row)).count() as f64;
    for (name, threshold) in &promised {
        let value = threshold["value"].as_f64().unwrap() as f32;
        let [(tpr, _), (fpr, _)] = rates(&rows, |i| scores[i] >= value);
        assert!((threshold["tpr"].as_f64().unwrap() - tpr).abs() < 1e-14, "{name}: {tpr} {threshold}");
        assert!((threshold["fpr"].as_f64().unwrap() - fpr).abs() < 1e-14, "{name}: {fpr} {threshold}");
        // The next score would not do.
        let next = |is_lower: bool| {
            let others =
                scores.iter().copied().filter(|score| if is_lower { *score < value } else { *score > value });
            if is_lower { others.fold(f32::MIN, f32::max) } else { others.fold(f32::MAX, f32::min) }
        };
        let at = |value: f32| rates(&rows, |i| scores[i] >= value);
        let alerts = |fpr: f64| fpr * ordinary / NUM_DAYS;
        match *name {
            "step_up" => assert!(fpr <= 0.02 && at(next(true))[1].0 > 0.02, "{threshold}"),
            "investigate" => assert!(fpr <= 0.002 && at(next(true))[1].0 > 0.002, "{threshold}"),
            "catch" => assert!(tpr >= 0.99 && at(next(false))[0].0 < 0.99, "{threshold}"),
            _ => assert!(alerts(fpr) <= 60.0 && alerts(at(next(true))[1].0) > 60.0, "{threshold}"),
        }
    }
    let busy = promised["busy"]["alerts_per_day"].as_f64().unwrap();
    assert!((59.0..=60.0).contains(&busy), "{busy}");

    let rows = read("check.csv");
    let scored = score(&model, &rows, &[]).expect(0, &[]).stdout;
    let scores = anomaly_scores(&scored);
    let mut differing = Vec::new();
    for (name, threshold) in &promised {
        let value = threshold["value"].as_f64().unwrap() as f32;
        for (rate, (share, num)) in ["tpr", "fpr"].into_iter().zip(rates(&rows, |i| scores[i] >= value)) {
            let interval = |end: usize| threshold[format!("{rate}_ci")][end].as_f64().unwrap();
            let promised = threshold[rate].as_f64().unwrap();
            let error = 1.96 * (promised * (1.0 - promised) / num).sqrt();
            if !(interval(0) - error..=interval(1) + error).contains(&share) {
                differing.push(format!("{name}: {rate} {share} of {num}, promised {threshold}"));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));

    // What is decided is the strictest that is reached.
    let mut by_value: Vec<(f32, &str)> = promised
        .iter()
        .map(|(name, threshold)| (threshold["value"].as_f64().unwrap() as f32, *name))
        .collect();
    by_value.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut seen = BTreeMap::new();
    for (line, score) in scored.lines().skip(1).zip(&scores) {
        let decision = line.rsplit(',').next().unwrap();
        let expected = by_value.iter().find(|(value, _)| score >= value).map_or("allow", |(_, name)| *name);
        assert_eq!(decision, expected, "{line}");
        *seen.entry(decision).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 5, "{seen:?}");

    // Percentiles and probabilities hold on fresh events too.
    let column = |i: usize| scored.lines().skip(1).map(move |line| field(line, i)).collect::<Vec<f32>>();
    let (percentiles, probabilities) = (column(5), column(6));
    for wanted in [0.1, 0.5, 0.9, 0.99] {
        let [_, (share, num)] = rates(&rows, |i| percentiles[i] < wanted);
        let error = 1.96 * (f64::from(wanted) * (1.0 - f64::from(wanted)) / num).sqrt();
        assert!(
            (share - f64::from(wanted)).abs() <= 3.0 * error,
            "{share} of ordinary events below {wanted}"
        );
    }
    let mean = probabilities.iter().map(|p| f64::from(*p)).sum::<f64>() / probabilities.len() as f64;
    assert!((mean - 0.2).abs() < 0.01, "{mean}, and one in five is an attack");
    let reliability = &found["reliability"];
    let error = reliability["expected_calibration_error"].as_f64().unwrap();
    // Telling everybody the base rate has a Brier score of .16.
    assert!(reliability["brier_score"].as_f64().unwrap() < 0.08 && error < 0.03, "{reliability}");
}

fn field(line: &str, column: usize) -> f32 {
    line.split(',').nth(column).unwrap().parse().unwrap()
}

fn anomaly_scores(csv: &str) -> Vec<f32> {
    csv.lines().skip(1).map(|line| field(line, 3)).collect()
}

#[test]
fn score_adds_columns_where_there_are_thresholds_and_nothing_elsewhere() {
    let model = model("columns");
    let input = read("logins/test.csv").lines().take(300).collect::<Vec<_>>().join("\n");
    let formats = |suffix: &str, more: &[&str]| {
        ["csv", "jsonl", "parquet"].map(|format| {
            let output = format!("columns{suffix}.{format}");
            let args = [&["--format", format, "--output", &output][..], more].concat();
            score(&model, &input, &args).expect(0, &[]);
            output
        })
    };
    let [plain_csv, plain_jsonl, plain_parquet] = formats("_plain", &[]);
    score(&model, &input, &["--attack-prior", "0.1"])
        .expect(2, &["--attack-prior", "thresholds.json", "--target-fpr"]);
    evaluate(&model, &["--target-fpr", "0.05"]).expect(0, &[]);
    let [csv, jsonl, parquet] = formats("", &[]);

    let (csv, plain) = (read(&csv), read(&plain_csv));
    assert_eq!(
        csv.lines().next().unwrap(),
        "entity,ip,dot_product,anomaly_score,entity_seen,percentile,probability,decision"
    );
    assert_eq!(plain.lines().next().unwrap(), "entity,ip,dot_product,anomaly_score,entity_seen");
    let mut decisions = BTreeMap::new();
    for ((row, plain), (json, plain_json)) in
        csv.lines().zip(plain.lines()).skip(1).zip(read(&jsonl).lines().zip(read(&plain_jsonl).lines()))
    {
        let more = row.strip_prefix(plain).unwrap().strip_prefix(',').unwrap();
        let [percentile, probability, decision] = more.split(',').collect::<Vec<_>>().try_into().unwrap();
        *decisions.entry(decision.to_string()).or_insert(0) += 1;
        let more_json =
            json.strip_prefix(plain_json.strip_suffix('}').unwrap()).unwrap().strip_prefix(',').unwrap();
        let more: Value = serde_json::from_str(&format!("{{{more_json}")).unwrap();
        let keys: Vec<_> = more.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["percentile", "probability", "decision"]);
        assert_eq!(more["percentile"].as_f64().unwrap() as f32, percentile.parse::<f32>().unwrap());
        assert_eq!(more["probability"].as_f64().unwrap() as f32, probability.parse::<f32>().unwrap());
        assert_eq!(more["decision"], decision);
        let reached = percentile.parse::<f32>().unwrap() > 0.95;
        assert_eq!(decision, if reached { "alert" } else { "allow" }, "{row}");
    }
    assert_eq!(decisions.len(), 2, "{decisions:?}");

    let columns = |name: &str| {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        let reader = SerializedFileReader::new(fs::File::open(root().join(name)).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        rows.iter()
            .map(|row| {
                row.get_column_iter()
                    .map(|(name, value)| (name.clone(), value.to_string()))
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let (rows, plain_rows) = (columns(&parquet), columns(&plain_parquet));
    assert_eq!(rows.len(), 300);
    for ((row, plain), csv) in rows.iter().zip(&plain_rows).zip(csv.lines().skip(1)) {
        assert_eq!(row[..5], plain[..]);
        let names: Vec<&str> = row[5..].iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["percentile", "probability", "decision"]);
        let fields: Vec<&str> = csv.split(',').collect();
        assert_eq!(row[5].1.parse::<f32>().unwrap(), fields[5].parse::<f32>().unwrap());
        assert_eq!(row[7].1.trim_matches('"'), fields[7]);
    }

    // With rarer attacks the probabilities fall by Bayes' rule, from one attack in five; nothing else changes.
    let [moved, ..] = formats("_moved", &["--attack-prior", "0.001"]);
    for (row, moved) in csv.lines().zip(read(&moved).lines()).skip(1) {
        let odds = |line: &str| f64::from(field(line, 6)) / (1.0 - f64::from(field(line, 6)));
        let expected = odds(row) / 0.25 * 0.001 / 0.999;
        assert!((odds(moved) / expected - 1.0).abs() < 1e-2, "{row} {moved}");
        let others = |line: &str| {
            line.split(',')
                .enumerate()
                .filter(|(i, _)| *i != 6)
                .map(|(_, f)| f.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(others(row), others(moved));
    }
    for wrong in ["0", "1", "nan", "x"] {
        score(&model, &input, &["--attack-prior", wrong]).expect(2, &["--attack-prior"]);
    }
}

#[test]
fn the_file_keeps_other_names_and_the_same_run_gives_the_same_bytes() {
    let model = model("names");
    let path = "names/thresholds.json";
    evaluate(&model, &["--target-fpr", "step_up=0.05", "--target-tpr", "catch=0.9"]).expect(0, &[]);
    let first = read(path);
    evaluate(&model, &["--target-fpr", "step_up=0.05", "--target-tpr", "catch=0.9"]).expect(0, &[]);
    assert_eq!(read(path), first);
    // An evaluation that asks for none leaves the file alone.
    evaluate(&model, &[]).expect(0, &[]);
    assert_eq!(read(path), first);
    evaluate(&model, &["--target-fpr", "step_up=0.01"]).expect(0, &[]);
    let second: Value = serde_json::from_str(&read(path)).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    let named = |file: &Value, name: &str| {
        file["thresholds"].as_array().unwrap().iter().find(|t| t["name"] == name).unwrap().clone()
    };
    assert_eq!(second["thresholds"].as_array().unwrap().len(), 2);
    assert_eq!(named(&second, "catch"), named(&first, "catch"));
    assert_eq!(named(&second, "step_up")["target"], 0.01);

    // The digest is what its documentation says, and the model the weights' checksum.
    let mut bytes = Vec::new();
    for row in read("choose.csv").lines() {
        let fields: Vec<&str> = row.split(',').collect();
        bytes.extend(hash_entity(fields[0].as_bytes()).to_le_bytes());
        bytes.extend(u64::from(parse_ipv4(fields[1].as_bytes()).unwrap()).to_le_bytes());
        bytes.push(u8::from(is_attack(row)));
    }
    assert_eq!(second["calibration"]["data_digest"], blake3::hash(&bytes).to_hex().as_str());
    assert_eq!(named(&second, "catch")["data_digest"], second["calibration"]["data_digest"]);
    let weights = fs::read(root().join("names/model.safetensors")).unwrap();
    assert_eq!(second["model"], blake3::hash(&weights).to_hex().as_str());

    let inspect = |more: &[&str]| {
        ipsight(root(), &[&["inspect", "--model", "names"], more].concat(), b"").expect(0, &[])
    };
    let text = inspect(&[]).stdout;
    for words in ["thresholds.json: calibrated on", "step_up", "catch", "0.9"] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert_eq!(inspect(&["--json"]).json()["thresholds"], second["thresholds"]);
}

#[test]
fn thresholds_of_other_weights_and_damaged_ones_are_refused() {
    let model = model("refused");
    let path = root().join("refused/thresholds.json");
    evaluate(&model, &["--target-fpr", "0.05"]).expect(0, &[]);
    let good = fs::read(&path).unwrap();
    let refused = |words: &[&str]| {
        let words = [words, &["refused/thresholds.json", "help:"]].concat();
        score(&model, "user_1,1.2.3.4\n", &[]).expect(3, &words);
        evaluate(&model, &["--target-fpr", "0.01"]).expect(3, &words);
        ipsight(root(), &["inspect", "--model", "refused"], b"").expect(3, &words);
    };
    for len in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..len]).unwrap();
        refused(&["delete it", "--target-fpr"]);
    }
    let mut flipped = good.clone();
    flipped[good.len() / 3] ^= 4;
    fs::write(&path, &flipped).unwrap();
    refused(&["delete it"]);

    let other = SMALL.to_string() + "validation = [\"logins/validation.csv\"]\n";
    fs::write(root().join("other.toml"), other).unwrap();
    let train = ["train", "--config", "other.toml", "--set", "training.seed=9", "--output", "other"];
    ipsight(root(), &train, b"").expect(0, &[]);
    fs::write(root().join("other/model/thresholds.json"), &good).unwrap();
    let foreign = score("other/model", "user_1,1.2.3.4\n", &[]);
    foreign.expect(3, &["other/model/thresholds.json", "other weights", "delete it"]);
    evaluate("other/model", &["--target-fpr", "0.01"]).expect(3, &["other weights", "delete it"]);
    // It is in nobody's way where no thresholds are asked for.
    evaluate("other/model", &[]).expect(0, &[]);
    fs::remove_file(root().join("other/model/thresholds.json")).unwrap();
    evaluate("other/model", &["--target-fpr", "0.01"]).expect(0, &[]);
    fs::write(&path, &good).unwrap();
    score(&model, "user_1,1.2.3.4\n", &[]).expect(0, &[]);
}

#[test]
fn what_cannot_be_is_said_and_leaves_no_file() {
    let model = model("wrong");
    for (args, words) in [
        (&["--target-fpr", "allow=0.1"][..], &["--target-fpr", "allow"][..]),
        (&["--target-tpr", "Step Up=0.1"], &["--target-tpr", "Step Up"]),
        (&["--target-fpr", "1.5"], &["--target-fpr", "1.5"]),
        (&["--alerts-per-day", "x=-1", "--time-column", "4"], &["--alerts-per-day", "-1"]),
        (&["--alerts-per-day", "x=10"], &["--time-column"]),
        (&["--target-fpr", "0.1", "--target-tpr", "0.9"], &["alert=0.1", "alert=0.9", "name"]),
    ] {
        evaluate(&model, args).expect(2, words);
    }
    // All rows tie: whatever flags one flags all.
    let tied: String = (0..50).map(|i| format!("user_1,10.0.0.1,{}\n", i % 2)).collect();
    fs::write(root().join("tied.csv"), tied).unwrap();
    let tied = ["evaluate", "--model", &model, "--data", "tied.csv", "--labels", "--target-fpr", "x=0.5"];
    ipsight(root(), &tied, b"").expect(3, &["--target-fpr x=0.5", "25 of 25 ordinary events", "help:"]);
    assert!(!root().join("wrong/thresholds.json").exists());
    // Made attacks will do, and a gate that is missed does not undo what was chosen.
    let made =
        ["evaluate", "--model", &model, "--data", "logins/validation.csv", "--attacks", "uniform_ipv4=0.2"];
    let made = [&made[..], &["--target-fpr", "0.01", "--min-auc", "1"]].concat();
    ipsight(root(), &made, b"").expect(1, &["--min-auc", "wrong/thresholds.json"]);
    let file: Value = serde_json::from_str(&read("wrong/thresholds.json")).unwrap();
    assert_eq!(file["thresholds"][0]["attacks"], "added");
    assert_eq!(file["thresholds"][0]["name"], "alert");
}

#[test]
fn the_report_shows_thresholds_and_reliability() {
    let model = model("report");
    let args = ["--target-fpr", "step_up=0.02", "--report", "thresholds.html", "--plots", "plots"];
    let found = evaluate(&model, &args).expect(0, &["plots/reliability.svg"]).json();
    let page = read("thresholds.html");
    let threshold = &found["thresholds"][0];
    for value in [&threshold["tpr"], &threshold["fpr"], &threshold["tpr_ci"][0], &threshold["fpr_ci"][1]] {
        let text = format!("{:.5}", value.as_f64().unwrap());
        assert!(page.contains(&text), "no {text}");
    }
    let reliability = &found["reliability"];
    for words in ["step_up", "target-fpr 0.02", "Calibration", "--attack-prior"] {
        assert!(page.contains(words), "no {words}");
    }
    for key in ["brier_score", "expected_calibration_error"] {
        assert!(page.contains(&format!("{:.6}", reliability[key].as_f64().unwrap())), "no {key}");
    }
    for name in ["roc", "scores", "precision_recall", "thresholds", "reliability"] {
        let svg = read(&format!("plots/{name}.svg"));
        assert!(svg.starts_with("<svg xmlns=") && page.contains(svg.trim()), "{name}: {svg}");
    }
    let bins = reliability["bins"].as_array().unwrap();
    let svg = read("plots/reliability.svg");
    assert_eq!(svg.matches("<circle").count(), bins.len(), "{svg}");
    let sum = |key: &str| bins.iter().map(|bin| bin[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(reliability["num_events"], sum("num_events"));
    assert_eq!(reliability["num_attacks"], sum("num_attacks"));
    // About half of the events are kept aside.
    let share = sum("num_events") as f64 / found["num_events"].as_f64().unwrap();
    assert!((share - 0.5).abs() < 0.02, "{share}");
}
