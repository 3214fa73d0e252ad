//! `ipsight evaluate` of a model with a usage history, on logs of both families with times: attacks of every kind, a log
//! that is cut in time, and events that are counted as they come.

mod support;

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use support::{Outcome, ipsight};
use tempfile::TempDir;

const CONFIG: &str = r#"
[hyperparameters]
num_entity_vectors = 200
vector_dim = 8
mini_batch_size = 500
epochs = 1
[model]
detector = "history"
addresses = "both"
[training]
device = "ndarray"
"#;

const START: u64 = 1_700_000_000;
const NUM_EVENTS: usize = 6000;

/// A log, its first four fifths and the rest, and a model of these four fifths.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let lines = log();
    let write = |name: &str, lines: &[String]| fs::write(folder.path().join(name), lines.concat()).unwrap();
    let (train, test) = lines.split_at(NUM_EVENTS * 4 / 5);
    write("all.csv", &lines);
    write("train.csv", train);
    write("test.csv", test);
    // The order of lines says nothing.
    let mut reversed = test.to_vec();
    reversed.reverse();
    write("reversed.csv", &reversed);
    fs::write(folder.path().join("both.toml"), CONFIG).unwrap();
    let train =
        ["train", "--config", "both.toml", "--train", "train.csv", "--time-column", "3", "--output", "run"];
    ipsight(folder.path(), &train, b"").expect(0, &[]);
    folder
});

/// Events a minute apart of accounts with homes of both families, which some leave for another in the last fifth.
fn log() -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let event = |i: usize| {
        let account = rng.random_range(0..50_u32);
        let has_moved = account % 3 == 0 && i >= NUM_EVENTS * 4 / 5;
        let home = if has_moved { 100 + account } else { account };
        let address = match rng.random_range(0..20) {
            0 => format!("{}.{}.1.1", rng.random_range(1..200), rng.random_range(0..200)),
            1..13 => format!("10.{home}.7.{}", rng.random_range(0..10)),
            _ => format!("2001:db8:{home:x}:{:x}::1", rng.random_range(0..4)),
        };
        format!("user_{account},{address},{}\n", START + 60 * i as u64)
    };
    (0..NUM_EVENTS).map(event).collect()
}

fn root() -> &'static Path {
    FIXTURE.path()
}

fn evaluate(args: &[&str]) -> Outcome {
    ipsight(
        root(),
        &[&["evaluate", "--model", "run/model", "--device", "ndarray", "--json"], args].concat(),
        b"",
    )
}

fn auc_of(found: &Value, detector: &str) -> f64 {
    found["detectors"][detector]["auc"].as_f64().unwrap()
}

#[test]
fn attacks_of_every_kind_are_of_the_family_of_their_event() {
    let kinds = ["--attacks", "uniform=1", "other_users=1", "neighbour=1"];
    let found =
        evaluate(&[&["--data", "test.csv", "--history", "train.csv"], &kinds[..]].concat()).expect(0, &[]);
    let found = found.json();
    let num_ipv6 = fs::read_to_string(root().join("test.csv")).unwrap().matches("2001:").count();
    let num_ipv4 = NUM_EVENTS / 5 - num_ipv6;
    let detector = &found["detectors"]["ipsight"];
    let keys: Vec<&String> = detector["by_kind"].as_object().unwrap().keys().collect();
    let of_ipv6 = ["uniform_ipv6", "neighbour_48", "neighbour_32"];
    let expected = ["uniform_ipv4", of_ipv6[0], "other_users", "neighbour", of_ipv6[1], of_ipv6[2]];
    assert_eq!(keys, expected);
    for kind in expected {
        let figures = &detector["by_kind"][kind];
        let num = match kind {
            "other_users" => num_ipv4 + num_ipv6,
            _ if of_ipv6.contains(&kind) => num_ipv6,
            _ => num_ipv4,
        };
        assert_eq!((&figures["num_attacks"], &figures["num_ordinary"]), (&num.into(), &num.into()), "{kind}");
    }
    for (family, num, num_kinds) in [("ipv4", num_ipv4, 3), ("ipv6", num_ipv6, 4)] {
        let figures = &detector["by_family"][family];
        assert_eq!(figures["num_ordinary"], num, "{family}");
        assert_eq!(figures["num_attacks"], num_kinds * num, "{family}");
        assert_eq!(&detector["seen_by_family"][family], figures, "all accounts were seen");
    }
    // The account has used several /64 of its /48, but no other /48.
    let table = &found["detectors"]["subnet_16_table"]["by_kind"];
    let [near, far] = ["neighbour_48", "neighbour_32"].map(|kind| table[kind]["auc"].as_f64().unwrap());
    assert!((near - 0.5).abs() < 0.01 && far > near + 0.1, "{near} {far}");
    // Only one family's events get the attacks of that family.
    let found = evaluate(&["--data", "test.csv", "--attacks", "uniform_ipv6=1"]).expect(0, &[]).json();
    assert_eq!(found["num_attacks"], num_ipv6);
}

#[test]
fn a_log_that_is_cut_in_time_is_evaluated_as_its_two_parts_are() {
    let more = ["--time-column", "3", "--attacks", "other_users=1", "neighbour=0.5"];
    let parts =
        evaluate(&[&["--data", "test.csv", "--history", "train.csv"], &more[..]].concat()).expect(0, &[]);
    let cut = evaluate(&[&["--data", "all.csv", "--split", "0.8"], &more[..]].concat());
    let cut = cut.expect(0, &["4800 events before 2023-11-18T06:13:20Z are past, 1200 from then on"]);
    assert!(!cut.stderr.contains("too good"), "{}", cut.stderr);
    assert_eq!(cut.json(), parts.json());
    let prepare =
        ["prepare", "all.csv", "--time-column", "3", "--output", "all.arrow", "--addresses", "both"];
    ipsight(root(), &prepare, b"").expect(0, &[]);
    let prepared =
        evaluate(&[&["--data", "all.arrow", "--split", "0.8"], &more[2..]].concat()).expect(0, &[]);
    assert_eq!(prepared.json(), parts.json());
    // The model knows events behind an earlier cut.
    evaluate(&[&["--data", "all.csv", "--split", "0.5"], &more[..]].concat()).expect(0, &["too good"]);
    for (flags, code, words) in [
        (&["--split", "1"][..], 2, "--split"),
        (&["--split", "0.8", "--history", "train.csv"], 2, "--history"),
        (&["--split", "0.00001", "--time-column", "3"], 3, "--split"),
    ] {
        evaluate(&[&["--data", "all.csv"], flags].concat()).expect(code, &[words]);
    }
    evaluate(&["--data", "all.csv", "--split", "0.8"]).expect(2, &["--time-column: all.csv:1 has no time"]);
}

/// Labelled rows: the test's events and, beside some, an attack with another account's address.
fn labelled() -> Vec<(String, IpAddr, u64, bool)> {
    let text = fs::read_to_string(root().join("test.csv")).unwrap();
    let rows: Vec<(String, IpAddr, u64)> = text.lines().map(parsed).collect();
    let mut labelled = Vec::new();
    for (i, (account, address, seconds)) in rows.iter().enumerate() {
        labelled.push((account.clone(), *address, *seconds, false));
        let (_, other, _) = rows[(7 * i + 11) % rows.len()];
        labelled.push((account.clone(), other, *seconds, true));
    }
    labelled
}

fn parsed(line: &str) -> (String, IpAddr, u64) {
    let fields: Vec<&str> = line.split(',').collect();
    (fields[0].into(), fields[1].parse().unwrap(), fields[2].parse().unwrap())
}

/// The address without its last bits, as the tables of all lengths see it.
fn network(address: IpAddr, lengths: [u32; 2]) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(u32::from(address)) >> (32 - lengths[0])),
        IpAddr::V6(address) => (false, u128::from(address) >> (128 - lengths[1])),
    }
}

fn auc(attacks: &[i64], ordinary: &[i64]) -> f64 {
    let twice: u64 = attacks
        .iter()
        .flat_map(|a| ordinary.iter().map(move |o| if a > o { 2 } else { u64::from(a == o) }))
        .sum();
    twice as f64 / (2 * attacks.len() * ordinary.len()) as f64
}

#[test]
fn online_each_ordinary_event_is_counted_after_it_was_scored() {
    let rows = labelled();
    let line = |(account, address, seconds, is_attack): &(String, IpAddr, u64, bool)| {
        format!("{account},{address},{seconds},{}\n", u8::from(*is_attack))
    };
    fs::write(root().join("labelled.csv"), rows.iter().map(line).collect::<String>()).unwrap();
    fs::write(root().join("reversed_labels.csv"), rows.iter().rev().map(line).collect::<String>()).unwrap();
    let with = |data: &str, more: &[&str]| {
        let flags = ["--data", data, "--labels", "--label-column", "4", "--time-column", "3"];
        evaluate(&[&flags[..], more].concat()).expect(0, &[]).json()
    };
    let found = with("labelled.csv", &["--history", "train.csv", "--online"]);
    assert_eq!(found["online"], true);
    for (name, lengths) in [
        ("ip_table", [32, 64]),
        ("subnet_24_table", [24, 56]),
        ("subnet_16_table", [16, 48]),
        ("subnet_8_table", [8, 32]),
    ] {
        let mut counts: HashMap<(String, (bool, u128)), i64> = HashMap::new();
        for (account, address, _) in fs::read_to_string(root().join("train.csv")).unwrap().lines().map(parsed)
        {
            *counts.entry((account, network(address, lengths))).or_default() += 1;
        }
        let mut scores = [Vec::new(), Vec::new()];
        // An attack stands behind its event in the file, at the same second.
        for (account, address, _, is_attack) in &rows {
            let count = counts.entry((account.clone(), network(*address, lengths))).or_default();
            scores[usize::from(*is_attack)].push(-*count);
            *count += i64::from(!is_attack);
        }
        let expected = auc(&scores[1], &scores[0]);
        assert!((auc_of(&found, name) - expected).abs() < 1e-12, "{name}: {expected} {found}");
    }
    // What moved is learned on the way, and the model does without the past events.
    let frozen = with("labelled.csv", &["--history", "train.csv"]);
    for detector in ["ipsight", "closed_form", "likelihood_ratio"] {
        let [online, frozen] = [&found, &frozen].map(|found| auc_of(found, detector));
        assert!(online > frozen + 0.02, "{detector}: {online} {frozen}");
    }
    let alone = with("labelled.csv", &["--online"]);
    assert_eq!(auc_of(&alone, "ipsight"), auc_of(&found, "ipsight"));
    assert_eq!(alone["detectors"].as_object().unwrap().len(), 1);
    // Events of one second are in the order of the file, others in that of their times: here an attack comes before its
    // event, which makes a small difference.
    let reversed = with("reversed_labels.csv", &["--online"]);
    assert!((auc_of(&reversed, "ipsight") - auc_of(&alone, "ipsight")).abs() < 0.01);
}

#[test]
fn the_order_of_lines_says_nothing_online() {
    let num_events = |found: &Value, part: &str| {
        found["detectors"]["ipsight"]["by_history"][part]["num_ordinary"].as_u64().unwrap()
    };
    let with = |data: &str| {
        let flags = ["--data", data, "--time-column", "3", "--online", "--attacks", "uniform=1"];
        evaluate(&flags).expect(0, &[]).json()
    };
    let [found, reversed] = ["test.csv", "reversed.csv"].map(with);
    for part in ["0", "1-9", "10-99", "100+"] {
        assert_eq!(num_events(&found, part), num_events(&reversed, part), "{part}");
    }
    // Accounts come to 100 events on the way.
    let days = &found["detectors"]["ipsight"]["by_days"];
    assert_eq!(days["0-1"]["num_ordinary"], NUM_EVENTS / 5, "{days}");
    let frozen =
        evaluate(&["--data", "test.csv", "--time-column", "3", "--attacks", "uniform=1"]).expect(0, &[]);
    assert!(num_events(&found, "100+") > num_events(&frozen.json(), "100+"));
}

#[test]
fn a_model_of_the_engine_alone_has_nothing_to_count() {
    let config = CONFIG.replace("\"history\"", "\"engine\"").replace("\"both\"", "\"ipv4\"");
    fs::write(root().join("engine.toml"), config).unwrap();
    let train = ["train", "--config", "engine.toml", "--train", "ipv4.csv", "--output", "engine"];
    let text = fs::read_to_string(root().join("train.csv")).unwrap();
    let ipv4: String =
        text.lines().filter(|line| !line.contains(':')).map(|line| format!("{line}\n")).collect();
    fs::write(root().join("ipv4.csv"), ipv4).unwrap();
    ipsight(root(), &train, b"").expect(0, &[]);
    let evaluate = ["evaluate", "--model", "engine/model", "--data", "ipv4.csv", "--online", "--json"];
    ipsight(root(), &evaluate, b"").expect(2, &["--online", "--history"]);
    let found =
        ipsight(root(), &[&evaluate[..], &["--history", "ipv4.csv"]].concat(), b"").expect(0, &[]).json();
    assert!(found["detectors"]["closed_form"]["auc"].is_f64());
}

#[test]
fn the_last_fold_is_evaluated_as_by_a_model_of_all_events_before_it() {
    let args = ["--data", "all.csv", "--time-column", "3", "--attacks", "other_users=1"];
    let outcome =
        evaluate(&[&args[..], &["--folds", "4"]].concat()).expect(0, &["fold 4/4: 4800 events before"]);
    let found = outcome.json();
    let folds = found["folds"].as_array().unwrap();
    assert_eq!(folds.len(), 4);
    for (number, fold) in (1..).zip(folds) {
        assert_eq!(fold["num_past"], number * NUM_EVENTS / 5);
        assert_eq!(fold["num_evaluated"], NUM_EVENTS / 5);
    }
    let split = evaluate(&[&args[..], &["--split", "0.8"]].concat()).expect(0, &[]).json();
    for key in ["num_events", "auc"] {
        assert_eq!(folds[3]["evaluation"][key], split[key], "{key}");
    }
    for detector in ["ipsight", "closed_form", "subnet_16_table"] {
        let all = |fold: &Value| auc_of(&fold["evaluation"], detector);
        let mean = folds.iter().map(all).sum::<f64>() / 4.0;
        let of_all = &found["means"][detector]["all"];
        assert!((of_all["auc"].as_f64().unwrap() - mean).abs() < 1e-9, "{detector}");
        assert_eq!(of_all["num_ordinary"], 4 * NUM_EVENTS / 5);
        assert!(of_all["fpr_at_tpr"]["0.99"].is_number());
    }
}

#[test]
fn folds_need_times_and_a_usage_history() {
    let args = ["--data", "all.csv", "--attacks", "other_users=1", "--folds"];
    let timed = [&args[..], &["4", "--time-column", "3"]].concat();
    evaluate(&[&args[..], &["4"]].concat()).expect(2, &["--time-column"]);
    evaluate(&[&args[..], &["0", "--time-column", "3"]].concat()).expect(2, &["1..=1000"]);
    evaluate(&[&timed[..], &["--split", "0.5"]].concat()).expect(2, &["--folds", "--split"]);
    evaluate(&[&timed[..], &["--min-auc", "0.999999"]].concat()).expect(1, &["is below --min-auc"]);
    let engine = ["--set", "model.detector=engine", "--output", "engine-folds"];
    let train = ["train", "--config", "both.toml", "--train", "train.csv", "--time-column", "3"];
    ipsight(root(), &[&train[..], &engine].concat(), b"").expect(0, &[]);
    let of_engine =
        [&["evaluate", "--model", "engine-folds/model", "--device", "ndarray"], &timed[..]].concat();
    ipsight(root(), &of_engine, b"").expect(2, &["this model is the engine alone", "--split"]);
    fs::write(root().join("few.csv"), "a,192.0.2.1,1700000000\nb,192.0.2.2,1700000000\n").unwrap();
    let few = ["--data", "few.csv", "--time-column", "3", "--folds", "2"];
    evaluate(&few).expect(3, &["too few", "take fewer folds"]);
}
