//! `ipsight evaluate` as a whole: its figures against counts made here, its gates, and its report in a browser.

mod support;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use ipsight_kernels::philox::{Stream, philox4x32_10, stream_key};
use serde_json::Value;
use support::{Outcome, generated_and_trained, ipsight, small_config};
use tempfile::TempDir;

static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("200", "11", &small_config(3));
    let root = folder.path();
    write_rows(root);
    folder
});

/// Ordinary events and attacks of two kinds, some of entities that were never seen, with times over two days.
fn write_rows(root: &Path) {
    let test = fs::read_to_string(root.join("logins/test.csv")).unwrap();
    let mut rows = String::from("who,address,label,how,when\n");
    let mut truth = String::from("label,log_likelihood_ratio,log_likelihood_ratio_spray\n");
    for (i, line) in test.lines().take(2000).enumerate() {
        let (user, ip) = line.split_once(',').unwrap();
        let user = if i % 10 == 0 { format!("stranger_{}", i % 70) } else { user.to_string() };
        let seconds = 1_700_000_000 + 172_799 * i / 1999;
        rows += &format!("{user},{ip},0,,{seconds}\n");
        truth += &format!("0,{},{}\n", i % 7, i % 5);
        if i % 3 == 0 {
            let (kind, ip) = if i % 2 == 0 {
                ("spray", format!("{}.7.{}.9", i % 200, i % 250))
            } else {
                ("\"stuffing, slow\"", format!("10.{}.3.4", i % 250))
            };
            rows += &format!("{user},{ip},1,{kind},{seconds}\n");
            truth += &format!("1,{},{}\n", 3 + i % 9, 5 + i % 3);
        }
    }
    fs::write(root.join("rows.csv"), rows).unwrap();
    fs::write(root.join("truth.csv"), truth).unwrap();
}

const ROWS: [&str; 12] = [
    "--data",
    "rows.csv",
    "--labels",
    "--entity-column",
    "who",
    "--ip-column",
    "address",
    "--label-column",
    "label",
    "--kind-column",
    "how",
    "--json",
];

fn root() -> &'static Path {
    FIXTURE.path()
}

fn evaluate(args: &[&str]) -> Outcome {
    ipsight(root(), &[&["evaluate", "--model", "run/model", "--device", "ndarray"], args].concat(), b"")
}

fn lines(name: &str) -> Vec<String> {
    fs::read_to_string(root().join(name)).unwrap().lines().map(String::from).collect()
}

/// The anomaly scores of `entity,ip` lines, by `ipsight score`.
fn scores(rows: &str) -> Vec<f32> {
    let score = ["score", "--model", "run/model", "--device", "ndarray"];
    let outcome = ipsight(root(), &score, rows.as_bytes()).expect(0, &[]);
    let field = |line: &str| line.rsplit(',').nth(1).unwrap().parse().unwrap();
    outcome.stdout.lines().skip(1).map(field).collect()
}

/// Wins and half of the ties among all pairs.
fn auc(attacks: &[f32], ordinary: &[f32]) -> f64 {
    let twice: u64 = attacks
        .iter()
        .flat_map(|a| ordinary.iter().map(move |o| if a > o { 2 } else { u64::from(a == o) }))
        .sum();
    twice as f64 / (2 * attacks.len() * ordinary.len()) as f64
}

/// Up to the last bit, which is lost where the JSON is read.
#[track_caller]
fn assert_close(found: &Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-14, "{found} instead of {expected}");
}

#[test]
fn without_attacks_the_auc_is_the_references_discriminator_auc_bit_for_bit() {
    let lines = lines("logins/test.csv");
    let seed = 5;
    let random = |position: usize| {
        let key = stream_key(seed, Stream::EvaluationNegatives);
        Ipv4Addr::from(philox4x32_10([position as u32, 0, 0, 0], key)[0])
    };
    let attacks: String = lines
        .iter()
        .enumerate()
        .map(|(i, line)| format!("{},{}\n", line.split(',').next().unwrap(), random(i)))
        .collect();
    let ordinary = scores(&(lines.join("\n") + "\n"));
    let expected = auc(&scores(&attacks), &ordinary);
    for attacks in [&[][..], &["--attacks", "uniform_ipv4=1"]] {
        let data = ["--data", "logins/test.csv", "--seed", "5", "--json"];
        let outcome = evaluate(&[&data[..], attacks].concat()).expect(0, &[]);
        // As text: what reads JSON here may err in the last bit.
        let text = format!("\"auc\": {expected},");
        assert_eq!(outcome.stdout.matches(&text).count(), 7, "no {text} in {}", outcome.stdout);
        let found = outcome.json();
        assert_eq!(found["num_events"], 2 * lines.len());
        assert_eq!(found["num_attacks"], lines.len());
        assert_eq!(found["detectors"]["ipsight"]["by_kind"]["uniform_ipv4"]["num_attacks"], lines.len());
    }
}

/// A row of `rows.csv` as this file reads it.
struct Row {
    entity: String,
    ip: u32,
    kind: Option<&'static str>,
    score: f32,
}

fn rows() -> Vec<Row> {
    let lines = lines("rows.csv");
    let pair = |line: &String| line.split(',').take(2).collect::<Vec<_>>().join(",") + "\n";
    let scores = scores(&lines[1..].iter().map(pair).collect::<String>());
    let row = |(line, score): (&String, f32)| {
        let fields: Vec<&str> = line.split(',').collect();
        let kind = match (fields[2], fields[3]) {
            ("0", _) => None,
            (_, "spray") => Some("spray"),
            _ => Some("stuffing, slow"),
        };
        let ip = fields[1].parse::<Ipv4Addr>().unwrap().into();
        Row { entity: fields[0].into(), ip, kind, score }
    };
    lines[1..].iter().zip(scores).map(row).collect()
}

#[test]
fn every_part_has_the_auc_that_its_pairs_have() {
    let found = evaluate(&[&ROWS[..], &["--history", "logins/train.csv"]].concat());
    // The history has no header, so the columns' names are not those of its file.
    found.expect(2, &["logins/train.csv", "who"]);
    let history: String = ["who,address".to_string()]
        .into_iter()
        .chain(lines("logins/train.csv"))
        .fold(String::new(), |text, line| text + &line + "\n");
    fs::write(root().join("history.csv"), history).unwrap();
    let found = evaluate(&[&ROWS[..], &["--history", "history.csv"]].concat()).expect(0, &[]).json();
    let mut counts: HashMap<(String, u32, u32), u32> = HashMap::new();
    for line in lines("logins/train.csv") {
        let (user, ip) = line.split_once(',').unwrap();
        let ip = u32::from(ip.parse::<Ipv4Addr>().unwrap());
        for length in [0, 8, 16, 24, 32] {
            *counts.entry((user.into(), length, ip.checked_shr(32 - length).unwrap_or(0))).or_default() += 1;
        }
    }
    let count = |row: &Row, length: u32| {
        let key = (row.entity.clone(), length, row.ip.checked_shr(32 - length).unwrap_or(0));
        counts.get(&key).copied().unwrap_or(0)
    };
    let rows = rows();
    type Detector<'a> = (&'a str, &'a dyn Fn(&Row) -> f32);
    type Part<'a> = (&'a str, &'a str, &'a dyn Fn(&Row) -> bool);
    let detectors: [Detector<'_>; 5] = [
        ("ipsight", &|row| row.score),
        ("ip_table", &|row| -(count(row, 32) as f32)),
        ("subnet_24_table", &|row| -(count(row, 24) as f32)),
        ("subnet_16_table", &|row| -(count(row, 16) as f32)),
        ("subnet_8_table", &|row| -(count(row, 8) as f32)),
    ];
    let history = |row: &Row| count(row, 0);
    let parts: [Part<'_>; 13] = [
        ("by_kind", "spray", &|row| row.kind != Some("stuffing, slow")),
        ("by_kind", "stuffing, slow", &|row| row.kind != Some("spray")),
        ("by_seen", "seen", &|row| history(row) > 0),
        ("by_seen", "unseen", &|row| history(row) == 0),
        ("by_history", "0", &|row| history(row) == 0),
        ("by_history", "1-9", &|row| (1..10).contains(&history(row))),
        ("by_history", "10-99", &|row| (10..100).contains(&history(row))),
        ("by_history", "100+", &|row| history(row) >= 100),
        ("by_family", "ipv4", &|_| true),
        ("by_family", "ipv6", &|_| false),
        ("seen_by_family", "ipv4", &|row| history(row) > 0),
        ("seen_by_kind", "spray", &|row| history(row) > 0 && row.kind != Some("stuffing, slow")),
        // Without times nothing is known of days.
        ("by_days", "0-1", &|_| false),
    ];
    let mut num_checked = 0;
    for (name, score) in detectors {
        let detector = &found["detectors"][name];
        let all: Part<'_> = ("", "", &|_| true);
        for (by, part, is_wanted) in parts.into_iter().chain([all]) {
            let figures = if by.is_empty() { detector } else { &detector[by][part] };
            let of_class = |is_attack: bool| {
                let wanted = rows.iter().filter(|row| is_wanted(row) && row.kind.is_some() == is_attack);
                wanted.map(score).collect::<Vec<f32>>()
            };
            let (attacks, ordinary) = (of_class(true), of_class(false));
            assert_eq!(figures["num_attacks"], attacks.len(), "{name} {by} {part}");
            assert_eq!(figures["num_ordinary"], ordinary.len(), "{name} {by} {part}");
            if attacks.is_empty() || ordinary.is_empty() {
                assert!(figures["auc"].is_null(), "{name} {by} {part}");
                continue;
            }
            assert_close(&figures["auc"], auc(&attacks, &ordinary));
            num_checked += 1;
        }
    }
    assert!(num_checked >= 50, "{num_checked}");
    for name in ["likelihood_ratio", "closed_form"] {
        assert!(found["detectors"][name]["auc"].as_f64() > Some(0.5), "{found}");
    }
    assert_eq!(found["history"], "history");
    assert_eq!(found["num_history_events"], lines("logins/train.csv").len());
    // A prepared history holds hashes alone, which are enough.
    let prepare = ["prepare", "logins/train.csv", "--output", "train.arrow"];
    ipsight(root(), &prepare, b"").expect(0, &[]);
    let prepared = evaluate(&[&ROWS[..], &["--history", "train.arrow"]].concat()).expect(0, &[]).json();
    assert_eq!(prepared, found);
}

#[test]
fn json_has_every_documented_key_and_the_plain_ones() {
    let found = evaluate(&[&ROWS[..], &["--time-column", "when"]].concat()).expect(0, &[]).json();
    for key in ["auc", "tpr", "fpr"] {
        assert!(found[key].is_f64(), "{key}");
    }
    assert_eq!(found["attacks"], "labelled");
    assert_eq!(found["history"], "model");
    let model = &found["detectors"]["ipsight"];
    assert_eq!(model["auc"], found["auc"]);
    let (low, high) = (model["auc_ci"][0].as_f64(), model["auc_ci"][1].as_f64());
    assert!(low < model["auc"].as_f64() && model["auc"].as_f64() < high, "{model}");
    assert!(model["average_precision"].is_f64());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&model["fpr_at_tpr"]), ["0.9", "0.95", "0.98453", "0.99", "0.999"]);
    assert_eq!(keys(&model["tpr_at_fpr"]), ["0.0001", "0.001", "0.01"]);
    assert_eq!(keys(&model["by_history"]), ["0", "1-9", "10-99", "100+"]);
    // 2,000 ordinary events over two days.
    assert!((found["num_days"].as_f64().unwrap() - 2.0).abs() < 1e-3, "{}", found["num_days"]);
    let users = found["num_users"].as_f64().unwrap();
    for (target, point) in model["fpr_at_tpr"].as_object().unwrap() {
        assert!(point["tpr"].as_f64().unwrap() >= target.parse().unwrap(), "{target}");
        assert!(point["threshold"].is_f64() && point["fpr_ci"][1].is_f64(), "{point}");
        let alerts = point["alerts_per_day_per_1000_users"].as_f64().unwrap();
        let expected = point["fpr"].as_f64().unwrap() * 2000.0 / 2.0 / (users / 1000.0);
        assert!((alerts / expected - 1.0).abs() < 1e-3, "{alerts} {expected}");
    }
}

#[test]
fn added_attacks_are_a_function_of_the_seed() {
    let with = |seed: &str, attacks: &[&str]| {
        let data = ["--data", "logins/test.csv", "--json", "--seed", seed, "--attacks"];
        evaluate(&[&data[..], attacks].concat()).expect(0, &[]).json()
    };
    let kinds = ["uniform_ipv4=0.05", "other_users=0.2", "neighbour=1"];
    let found = with("1", &kinds);
    assert_eq!(found, with("1", &kinds));
    assert_ne!(found, with("2", &kinds));
    let num_test = lines("logins/test.csv").len() as f64;
    let by_kind = &found["detectors"]["ipsight"]["by_kind"];
    for (kind, fraction) in [("uniform_ipv4", 0.05), ("other_users", 0.2), ("neighbour", 1.0)] {
        let num = by_kind[kind]["num_attacks"].as_f64().unwrap();
        let deviation = (num_test * fraction * (1.0 - fraction)).sqrt();
        assert!((num - fraction * num_test).abs() <= 5.0 * deviation, "{kind}: {num} of {num_test}");
    }
    let auc = |kind: &str| by_kind[kind]["auc"].as_f64().unwrap();
    // The nearer the attacker, the harder it is.
    assert!(auc("uniform_ipv4") > 0.9 && auc("neighbour") < 0.7, "{by_kind}");
    let num_attacks = with("1", &["default"])["num_attacks"].as_f64().unwrap();
    assert!((num_attacks - 0.01 * num_test).abs() <= 5.0 * (0.01 * num_test).sqrt(), "{num_attacks}");
    for (attacks, word) in [("neighbor=1", "neighbour"), ("neighbour=2", "fraction"), ("neighbour", "KIND=")]
    {
        evaluate(&["--data", "logins/test.csv", "--attacks", attacks]).expect(2, &[word]);
    }
    evaluate(&[&ROWS[..], &["--attacks", "default"]].concat()).expect(2, &["--attacks"]);
    let alone: String = (0..50).map(|i| format!("u,10.0.0.{i}\n")).collect();
    fs::write(root().join("alone.csv"), alone).unwrap();
    evaluate(&["--data", "alone.csv", "--attacks", "other_users=1"]).expect(3, &["one entity"]);
}

/// `evaluate … | true` in a pipeline must not let a bad model pass, or lose what was asked for.
#[test]
fn a_reader_that_goes_away_stops_no_gate_and_no_file() {
    let report = FIXTURE.path().join("unread.html");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let evaluate = ["evaluate", "--model", "run/model", "--data", "logins/test.csv", "--min-auc", "1.0"];
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args(evaluate)
        .args(["--device", "ndarray", "--report", "unread.html"])
        .current_dir(FIXTURE.path())
        .stdin(std::process::Stdio::null())
        .stdout(writer)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--min-auc"), "{stderr}");
    assert!(report.exists(), "{stderr}");
}

#[test]
fn gates_that_are_missed_exit_with_1_and_say_which() {
    let gated = |gates: &[&str]| evaluate(&[&ROWS[..], gates].concat());
    let easy = ["--min-auc", "0.4", "--max-fpr-at-tpr", "0.5=1", "--max-fpr-at-tpr", "0.9=1"];
    let found = gated(&easy).expect(0, &[]).json();
    assert!(found["detectors"]["ipsight"]["fpr_at_tpr"]["0.5"]["fpr"].is_f64(), "{found}");
    let missed = gated(&["--max-fpr-at-tpr", "0.9=1", "--max-fpr-at-tpr", "0.97=0.0001"]);
    let missed = missed.expect(1, &["--max-fpr-at-tpr 0.97=0.0001"]);
    assert!(!missed.stderr.contains("0.9=1"), "{}", missed.stderr);
    gated(&["--min-auc", "0.9999", "--max-fpr-at-tpr", "0.99=0"])
        .expect(1, &["--min-auc 0.9999", "--max-fpr-at-tpr 0.99=0"]);
    // At the very rate that was reached the gate holds.
    let fpr = found["detectors"]["ipsight"]["fpr_at_tpr"]["0.95"]["fpr"].to_string();
    gated(&["--max-fpr-at-tpr", &format!("0.95={fpr}")]).expect(0, &[]);
    for wrong in ["0.9", "0.9=2", "x=0.1", "0.9=nan"] {
        gated(&["--max-fpr-at-tpr", wrong]).expect(2, &["--max-fpr-at-tpr"]);
    }
}

#[test]
fn the_truth_is_a_detector_and_must_belong_to_the_data() {
    let with = |truth: &str| evaluate(&[&ROWS[..], &["--truth", truth]].concat());
    let found = with("truth.csv").expect(0, &[]).json();
    let rows = lines("rows.csv");
    let truth = lines("truth.csv");
    let ratios = |column: usize, is_wanted: &dyn Fn(&str) -> bool| {
        let rows = rows[1..].iter().zip(&truth[1..]).filter(|(row, _)| is_wanted(row));
        rows.map(|(_, line)| line.split(',').nth(column).unwrap().parse().unwrap()).collect::<Vec<f32>>()
    };
    let is_ordinary = |row: &str| row.split(',').nth(2) == Some("0");
    let is_spray = |row: &str| row.contains(",spray,");
    let bayes = &found["detectors"]["bayes"];
    let all = auc(&ratios(1, &|row| !is_ordinary(row)), &ratios(1, &is_ordinary));
    assert_close(&bayes["auc"], all);
    // Against one kind its own ratio counts, where there is one.
    let spray = auc(&ratios(2, &is_spray), &ratios(2, &is_ordinary));
    assert_close(&bayes["by_kind"]["spray"]["auc"], spray);
    let of_all = auc(&ratios(1, &is_spray), &ratios(1, &is_ordinary));
    assert!((of_all - spray).abs() > 1e-3, "the ratios differ");

    let write = |name: &str, lines: &[String]| fs::write(root().join(name), lines.join("\n") + "\n").unwrap();
    write("short.csv", &truth[..100]);
    with("short.csv").expect(3, &["short.csv", "ends before"]);
    write("long.csv", &[&truth[..], &["0,1,1".into()]].concat());
    with("long.csv").expect(3, &["long.csv", "more rows"]);
    let mut other = truth.clone();
    other[5] = "1,1,1".into();
    write("other.csv", &other);
    with("other.csv").expect(3, &["other.csv:6", "label"]);
    other[5] = "0,nan,1".into();
    write("other.csv", &other);
    with("other.csv").expect(3, &["other.csv:6", "nan"]);
    write("column.csv", &["label,ratio".into(), "0,1".into()]);
    with("column.csv").expect(3, &["log_likelihood_ratio"]);
    with("none.csv").expect(4, &["none.csv"]);
}

#[test]
fn columns_of_kinds_and_times_that_are_wrong_are_named() {
    let with = |flag: &str, column: &str| evaluate(&[&ROWS[..9], &[flag, column]].concat());
    with("--kind-column", "kidn").expect(2, &["--kind-column", "kidn"]);
    with("--kind-column", "who").expect(2, &["--kind-column", "another role"]);
    with("--time-column", "how").expect(3, &["rows.csv:2", "time"]);
    evaluate(&["--data", "logins/test.csv", "--kind-column", "how"]).expect(2, &["--labels"]);
}

#[test]
fn people_get_a_table() {
    let without_json: Vec<&str> = ROWS.into_iter().filter(|arg| *arg != "--json").collect();
    let flags = ["--history", "train2.arrow", "--time-column", "when"];
    let prepare = ["prepare", "logins/train.csv", "--output", "train2.arrow"];
    ipsight(root(), &prepare, b"").expect(0, &[]);
    let text = evaluate(&[&without_json[..], &flags].concat()).expect(0, &[]).stdout;
    for words in ["labelled attacks", "AUC 0.", "at anomaly score > 0: TPR", "subnet_16_table", "FPR@0.98453"]
    {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
    for words in ["stuffing, slow", "unseen", "10-99", "a day per 1,000 users"] {
        assert!(text.contains(words), "no `{words}` in\n{text}");
    }
}

fn report() -> String {
    let prepare = ["prepare", "logins/train.csv", "--output", "train3.arrow"];
    ipsight(root(), &prepare, b"").expect(0, &[]);
    let flags = ["--history", "train3.arrow", "--truth", "truth.csv", "--report", "report.html"];
    let flags = [&flags[..], &["--plots", "plots", "--time-column", "when"]].concat();
    evaluate(&[&ROWS[..], &flags].concat()).expect(0, &["report.html", "plots/roc.svg"]);
    fs::read_to_string(root().join("report.html")).unwrap()
}

/// The names of the elements that are open at the end; panics where one closes that was not the last to open.
fn open_elements(xml: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "br", "!DOCTYPE"];
    let mut open: Vec<String> = Vec::new();
    for tag in xml.split('<').skip(1).map(|rest| rest.split_once('>').expect("a tag ends").0) {
        let name: &str = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if tag.ends_with('/') || VOID.contains(&name) => {}
            None => open.push(name.into()),
        }
    }
    open
}

#[test]
fn the_report_stands_alone_and_holds_the_numbers() {
    let page = report();
    assert!(open_elements(&page).is_empty());
    let links = page.matches("http").count();
    assert_eq!(links, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count() + 1, "and http-equiv");
    for tag in ["<script", "<link", "<img", "<iframe", "@import", "url("] {
        assert!(!page.contains(tag), "{tag}");
    }
    let found = evaluate(&[&ROWS[..], &["--history", "train3.arrow"]].concat()).expect(0, &[]).json();
    for (name, detector) in found["detectors"].as_object().unwrap() {
        assert!(page.contains(&format!("{:.5}", detector["auc"].as_f64().unwrap())), "{name}");
    }
    for words in ["bayes", "stuffing, slow", "100+", "num_entity_vectors", "data:text/csv", "rows.csv"] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(page.matches("<svg").count(), 5);
    let num_bins = found["reliability"]["bins"].as_array().unwrap().len();
    assert!(num_bins >= 5, "{}", found["reliability"]);
    assert_eq!(page.matches("<path class=\"curve\"").count(), 2 * 8 + 2 + num_bins);
    for name in ["roc", "scores", "precision_recall", "thresholds", "reliability"] {
        let svg = fs::read_to_string(root().join(format!("plots/{name}.svg"))).unwrap();
        assert!(open_elements(&svg).is_empty() && svg.contains("<title>"), "{name}");
        assert!(page.contains(svg.trim()), "{name} is not the page's");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
    }
}

/// A proxy that answers nothing and keeps the first line of every request.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = requests.clone();
    // It ends with the test's process.
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 1024];
            let num = stream.read(&mut buffer).unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..num]);
            kept.lock().unwrap().push(text.lines().next().unwrap_or_default().to_string());
            let _ =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (address, requests)
}

/// What a browser makes of a file: its document, its console, and the requests that it sent out.
fn browse(browser: &str, path: &Path) -> (String, Vec<String>, Vec<String>) {
    let (address, requests) = proxy();
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-default-apps", "--disable-extensions", "--enable-logging=stderr", "--dump-dom"])
        .args([format!("--proxy-server={address}"), format!("--user-data-dir={}", profile.path().display())])
        .args(["--proxy-bypass-list=<-loopback>", "--virtual-time-budget=3000"])
        .arg(format!("file://{}", path.display()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let console = stderr.lines().filter(|line| line.contains("CONSOLE")).map(String::from).collect();
    // The browser's own errands, which no flag stops for certain.
    let own = ["google.com", "googleapis.com", "gstatic.com", "gvt1.com"];
    let requests = requests.lock().unwrap().clone().into_iter();
    let requests = requests.filter(|request| !own.iter().any(|host| request.contains(host))).collect();
    (String::from_utf8_lossy(&output.stdout).into_owned(), console, requests)
}

#[test]
fn the_report_opens_in_a_browser_without_requests_or_errors() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    let Some(browser) = names.into_iter().find(runs) else {
        assert!(std::env::var_os("IPSIGHT_REQUIRE_CHROMIUM").is_none(), "there is no chromium");
        support::skipped("there is no chromium to open the report in");
        return;
    };
    // What is looked for would be found.
    let control = root().join("control.html");
    fs::write(&control, "<img src='http://outside.test/x.png'><script>nowhere()</script>").unwrap();
    let (_, console, requests) = browse(browser, &control);
    assert!(console.iter().any(|line| line.contains("nowhere")), "{console:?}");
    assert!(requests.iter().any(|request| request.contains("outside.test/x.png")), "{requests:?}");

    report();
    let (document, console, requests) = browse(browser, &root().join("report.html"));
    assert!(document.contains("How well the model tells attacks"), "{document}");
    assert_eq!(document.matches("<svg").count(), 5);
    assert_eq!(console, Vec::<String>::new());
    assert_eq!(requests, Vec::<String>::new());
}
