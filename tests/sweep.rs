//! A search from its TOML file to its best model: what it refuses, what it survives, what it leaves.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use support::{Outcome, ipsight, python, trials};
use tempfile::TempDir;

/// A training of a tenth of a second.
const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 400
vector_dim = 8
mini_batch_size = 500
learning_rate = 0.02
epochs = 4
[training]
device = "ndarray"
[data.generated]
users = 100
days = 10
seed = 3
"#;

const RANDOM: &str = r#"
base = "small.toml"
method = "random"
seed = 5
[budget]
trials = 5
[parameters.learning_rate]
log_uniform = [0.001, 0.1]
[parameters.vector_dim]
values = [4, 8, 16]
[parameters.num_ip_encoder_layers]
values = [1, 2]
[parameters.warmup_steps]
values = [5, 10]
when = { num_ip_encoder_layers = [2] }
"#;

const ASHA: &str = r#"
base = "small.toml"
method = "tpe"
seed = 2
[budget]
trials = 9
[early_stopping]
method = "asha"
reduction_factor = 2
[parameters.learning_rate]
log_uniform = [0.0001, 0.1]
[parameters.mini_batch_size]
log_int = [100, 5000]
"#;

/// A folder with `small.toml`, and sweeps of each name and text.
fn folder(sweeps: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    for (name, text) in sweeps {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn sweep(root: &Path, config: &str, output: &str, more: &[&str]) -> Outcome {
    ipsight(root, &[&["sweep", "--config", config, "--output", output], more].concat(), b"")
}

fn start(root: &Path, config: &str, output: &str, more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args([&["sweep", "--json", "--config", config, "--output", output], more].concat())
        .current_dir(root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a trial came to, times left out.
fn outcomes(folder: &Path) -> Vec<BTreeMap<String, String>> {
    const MEASURED: [&str; 5] = ["seconds", "wall_seconds", "positives_per_second", "started", "ended"];
    let mut trials = trials(folder);
    trials.iter_mut().for_each(|trial| trial.retain(|name, _| !MEASURED.contains(&name.as_str())));
    trials
}

/// Trials that ended, as the events of one or several commands tell it.
fn finished(events: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<u64> = events
        .iter()
        .filter(|event| event["event"] == "finished")
        .map(|event| event["trial"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// The sweeps by [`RANDOM`] and [`ASHA`] that nothing cut off.
static WHOLE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = folder(&[("random.toml", RANDOM), ("asha.toml", ASHA)]);
    sweep(folder.path(), "random.toml", "random", &[]).expect(0, &["trial 0  begins", "the best so far"]);
    sweep(folder.path(), "asha.toml", "asha", &[]).expect(0, &["pauses after epoch 1"]);
    folder
});

#[test]
fn the_best_model_is_kept_and_its_configuration_trains_it_again() {
    let root = WHOLE.path();
    let found = trials(&root.join("random"));
    assert_eq!(found.len(), 5);
    let value = |trial: &BTreeMap<String, String>| trial["value"].parse::<f64>().unwrap();
    let best = found.iter().max_by(|a, b| value(a).total_cmp(&value(b))).unwrap();
    let inspected =
        ipsight(root, &["inspect", "--model", "random/best", "--json"], b"").expect(0, &[]).json();
    assert_eq!(inspected["training"]["discriminator_auc"].as_f64().unwrap(), value(best));
    ipsight(root, &["train", "--config", "random/best.toml", "--output", "again"], b"").expect(0, &[]);
    let weights = |model: &str| fs::read(root.join(model).join("model.safetensors")).unwrap();
    assert!(weights("again/model") == weights("random/best"), "best.toml trains another model");
    let config = fs::read_to_string(root.join("random/best.toml")).unwrap();
    assert!(config.contains(&format!("vector_dim = {}", best["vector_dim"])), "{config}");
    // Where there is one layer, the steps of the warm-up do not vary.
    assert!(
        found.iter().all(|trial| (trial["num_ip_encoder_layers"] == "1") == trial["warmup_steps"].is_empty())
    );
    let left = fs::read_dir(root.join("random/trials/00000/run-0")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name == "model" || name == "checkpoints"), "{left:?}");
}

#[test]
fn a_report_asks_for_nothing() {
    let page = fs::read_to_string(WHOLE.path().join("asha/report.html")).unwrap();
    for word in ["fANOVA", "learning_rate", "mini_batch_size", "<svg", "default-src 'none'"] {
        assert!(page.contains(word), "{word}");
    }
    for word in ["<script", "http://", "https://", "src=", "NaN", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn asha_stops_most_and_lets_the_best_go_on() {
    let found = trials(&WHOLE.path().join("asha"));
    assert_eq!(found.len(), 9);
    let by_state = |state: &str| found.iter().filter(|trial| trial["state"] == state).count();
    assert!(by_state("pruned") >= 4 && by_state("complete") >= 1, "{found:?}");
    assert_eq!(by_state("pruned") + by_state("complete"), 9);
    let epochs = |trial: &BTreeMap<String, String>| {
        let log = WHOLE
            .path()
            .join(format!("asha/trials/{:05}/run-0/metrics.jsonl", trial["number"].parse::<u32>().unwrap()));
        fs::read_to_string(log).unwrap().lines().filter(|line| line.contains("\"epoch\"")).count()
    };
    for trial in &found {
        let expected: &[usize] = if trial["state"] == "complete" { &[4] } else { &[1, 2] };
        assert!(expected.contains(&epochs(trial)), "{trial:?}: {} epochs", epochs(trial));
    }
}

#[test]
fn trials_side_by_side_come_to_the_same() {
    let root = WHOLE.path();
    sweep(root, "random.toml", "two_jobs", &["--jobs", "2"]).expect(0, &[]);
    assert_eq!(outcomes(&root.join("two_jobs")), outcomes(&root.join("random")));
}

/// Kills sweeps with SIGKILL after a number of events, again and again, and goes on with each to its end.
fn kill_and_go_on(config: &str, whole: &str, jobs: &str, kills: &[usize]) {
    let root = WHOLE.path();
    let output = format!("killed_{whole}_{jobs}");
    let mut told = Vec::new();
    for (i, num_events) in kills.iter().enumerate() {
        let resume: &[&str] = if i == 0 { &[] } else { &["--resume"] };
        let mut child = start(root, config, &output, &[&["--jobs", jobs], resume].concat());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        told.extend(
            lines
                .by_ref()
                .take(*num_events)
                .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()),
        );
        child.kill().unwrap();
        // What was written before it died was told, too.
        told.extend(lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()));
        child.wait().unwrap();
    }
    let last = sweep(root, config, &output, &["--jobs", jobs, "--resume", "--json"]).expect(0, &[]);
    told.extend(last.json_lines());
    let found = outcomes(&root.join(&output));
    let num_trials = found.len() as u64;
    let mut numbers = finished(&told);
    // An end that was written down may not have been told any more, but none is told twice.
    numbers.dedup();
    assert_eq!(numbers.len(), finished(&told).len(), "a trial ended twice: {told:?}");
    assert!(numbers.iter().all(|number| *number < num_trials));
    assert!(
        found.iter().all(|trial| trial["state"] == "complete" || trial["state"] == "pruned"),
        "{found:?}"
    );
    if jobs == "1" {
        assert_eq!(found, outcomes(&root.join(whole)));
        let best = |output: &str| fs::read(root.join(output).join("best/model.safetensors")).unwrap();
        assert!(best(&output) == best(whole));
    }
    // An epoch is told again only where a kill came between that and the journal: of each trial under way one.
    let mut epochs: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    for event in told.iter().filter(|event| event["event"] == "epoch") {
        *epochs
            .entry((event["trial"].as_u64().unwrap(), event["num_epochs"].as_u64().unwrap()))
            .or_default() += 1;
    }
    let num_again: usize = epochs.values().map(|times| times - 1).sum();
    assert!(num_again <= kills.len() * jobs.parse::<usize>().unwrap(), "{epochs:?}");
}

#[test]
fn a_sweep_that_was_killed_goes_on_as_if_it_had_not_been() {
    kill_and_go_on("random.toml", "random", "1", &[1, 2, 5, 3, 1]);
    kill_and_go_on("asha.toml", "asha", "1", &[2, 4, 3, 7, 5]);
}

#[test]
fn two_jobs_that_were_killed_go_on() {
    kill_and_go_on("asha.toml", "asha", "2", &[3, 6, 2]);
}

#[test]
fn a_signal_stops_a_sweep_that_goes_on_later() {
    let root = WHOLE.path();
    let mut child = start(root, "random.toml", "stopped", &[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("\"epoch\"") {}
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(143), "{rest:?}");
    sweep(root, "random.toml", "stopped", &[]).expect(2, &["the folder holds a sweep", "add --resume"]);
    sweep(root, "random.toml", "stopped", &["--resume"]).expect(0, &[]);
    assert_eq!(outcomes(&root.join("stopped")), outcomes(&root.join("random")));
    // One that is over has nothing left to do.
    let again = sweep(root, "random.toml", "stopped", &["--resume", "--json"]).expect(0, &[]).json_lines();
    assert_eq!(again.len(), 1, "{again:?}");
}

#[test]
fn a_sweep_goes_on_with_more_trials_and_with_nothing_else() {
    let folder = folder(&[("sweep.toml", RANDOM)]);
    let root = folder.path();
    sweep(root, "sweep.toml", "out", &[]).expect(0, &[]);
    fs::write(root.join("sweep.toml"), RANDOM.replace("seed = 5", "seed = 6")).unwrap();
    sweep(root, "sweep.toml", "out", &["--resume"])
        .expect(2, &["this folder is of another sweep: seed: 5 then, 6 now"]);
    fs::write(root.join("sweep.toml"), RANDOM.replace("trials = 5", "trials = 6")).unwrap();
    let more = sweep(root, "sweep.toml", "out", &["--resume", "--json"]).expect(0, &[]);
    assert_eq!(finished(&more.json_lines()), [5]);
    assert_eq!(trials(&root.join("out")).len(), 6);
    sweep(root, "sweep.toml", "none", &["--resume"]).expect(2, &["there is no sweep to go on with"]);
    fs::create_dir(root.join("full")).unwrap();
    fs::write(root.join("full/file"), "").unwrap();
    sweep(root, "sweep.toml", "full", &[]).expect(2, &["the folder holds something else"]);
}

#[test]
fn a_trial_that_fails_takes_nothing_down() {
    const BAD: &str = r#"
base = "small.toml"
method = "grid"
[parameters.learning_rate]
values = [0.02, 10.0]
[parameters.random_negative_sampling_rate]
values = [0, 1]
[parameters.num_entity_vectors]
values = [400, 250_000_000]
[config.hyperparameters]
shuffled_negative_sampling_rate = 0
num_ip_encoder_layers = 60
vector_dim = 16
epochs = 1
"#;
    let folder = folder(&[("bad.toml", BAD)]);
    let root = folder.path();
    sweep(root, "bad.toml", "out", &[]).expect(0, &["failed: "]);
    let found = trials(&root.join("out"));
    let states: Vec<&str> = found.iter().map(|trial| trial["state"].as_str()).collect();
    assert_eq!(states, ["failed", "failed", "complete", "failed", "failed", "failed", "failed", "failed"]);
    let failure = |number: usize| found[number]["failure"].as_str();
    assert!(failure(0).contains("random_negative_sampling_rate + shuffled_negative_sampling_rate = 0"));
    assert!(failure(3).contains("are needed, but "), "{}", failure(3));
    assert!(failure(6).contains("became"), "{}", failure(6));
}

#[test]
fn a_sweep_of_which_every_trial_fails_ends() {
    let text = RANDOM.replace("trials = 5", "epochs = 1000000")
        + "[config.hyperparameters]\nrandom_negative_sampling_rate = 1\nnum_entity_vectors = 250_000_000\n";
    let text = text.replace("values = [4, 8, 16]", "values = [4096]");
    let folder = folder(&[("sweep.toml", &text)]);
    let root = folder.path();
    sweep(root, "sweep.toml", "out", &[]).expect(1, &["no trial came to its end"]);
    let found = trials(&root.join("out"));
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|trial| trial["failure"].contains("are needed, but ")), "{:?}", found[0]);
}

#[test]
fn of_equal_trials_the_first_is_the_best_and_its_model_is_kept() {
    // The first one waits for the second, which comes to the same.
    const EQUAL: &str = r#"
base = "small.toml"
method = "grid"
metric = "model_bytes"
goal = "maximize"
[parameters.epochs]
values = [8, 1]
"#;
    let folder = folder(&[("equal.toml", EQUAL)]);
    let root = folder.path();
    let events = sweep(root, "equal.toml", "out", &["--jobs", "2", "--json"]).expect(0, &[]).json_lines();
    assert_eq!(events.last().unwrap()["best"]["trial"], 0);
    let model = ipsight(root, &["inspect", "--model", "out/best", "--json"], b"").expect(0, &[]).json();
    assert_eq!(model["training"]["num_epochs"], 8);
    assert!(fs::read_to_string(root.join("out/best.toml")).unwrap().contains("epochs = 8\n"));
}

#[test]
fn labelled_events_evaluate_a_trial() {
    const LABELLED: &str = r#"
base = "small.toml"
method = "grid"
metric = "evaluation.auc"
[evaluation]
data = ["logins/test_labelled.csv"]
labels = true
kind_column = "4"
[parameters.vector_dim]
values = [8]
"#;
    let wrong = LABELLED.replace("kind_column = \"4\"", "kind_column = \"9\"");
    let folder = folder(&[("labelled.toml", LABELLED), ("wrong.toml", &wrong)]);
    let root = folder.path();
    let logins = ["generate", "--users", "50", "--days", "10", "--seed", "7", "--output", "logins"];
    ipsight(root, &logins, b"").expect(0, &[]);
    let events = sweep(root, "labelled.toml", "out", &["--json"]).expect(0, &[]).json_lines();
    let labelled = ["--data", "logins/test_labelled.csv", "--labels", "--json"];
    let evaluated = ipsight(root, &[&["evaluate", "--model", "out/best"][..], &labelled].concat(), b"");
    assert_eq!(events.last().unwrap()["best"]["value"], evaluated.expect(0, &[]).json()["auc"]);
    // What no trial could be judged by is refused before the first.
    sweep(root, "wrong.toml", "wrong", &[]).expect(3, &["test_labelled.csv"]);
}

#[test]
fn a_disk_that_fails_ends_a_sweep_and_not_its_trials() {
    let folder = folder(&[("sweep.toml", RANDOM)]);
    let root = folder.path();
    // Its launcher says what `train` says where it cannot write.
    fs::write(root.join("launch.sh"), "echo 'error: model: cannot write: No space left' >&2\nexit 4\n")
        .unwrap();
    let launcher = format!("sh {}", root.join("launch.sh").display());
    sweep(root, "sweep.toml", "out", &["--launcher", &launcher]).expect(4, &["No space left"]);
    sweep(root, "sweep.toml", "out", &["--resume"]).expect(0, &[]);
    assert_eq!(outcomes(&root.join("out")), outcomes(&WHOLE.path().join("random")));
}

#[test]
fn other_data_under_the_same_name_is_refused() {
    let text = RANDOM.replace(
        "[budget]",
        "[config.data]\ntrain = [\"train.arrow\"]\nvalidation = [\"train.arrow\"]\n[budget]",
    );
    let folder = folder(&[("sweep.toml", &text)]);
    let root = folder.path();
    let small = SMALL.split("[data.generated]").next().unwrap();
    fs::write(root.join("small.toml"), small).unwrap();
    let prepare = |num: u32| {
        let rows: String = (0..num).map(|i| format!("user_{},10.{}.0.{}\n", i % 9, i % 9, i % 200)).collect();
        ipsight(root, &["prepare", "-", "--output", "train.arrow"], rows.as_bytes()).expect(0, &[]);
    };
    prepare(2000);
    sweep(root, "sweep.toml", "out", &[]).expect(0, &[]);
    assert!(!root.join("out/data/train.arrow").exists(), "a prepared file is used where it lies");
    prepare(2001);
    sweep(root, "sweep.toml", "out", &["--resume"])
        .expect(2, &["not the events that the sweep was begun on"]);
    prepare(2000);
    sweep(root, "sweep.toml", "out", &["--resume"]).expect(0, &[]);
    // Those of the validation likewise.
    let valid = ["--validation", "valid.arrow"];
    fs::copy(root.join("train.arrow"), root.join("valid.arrow")).unwrap();
    sweep(root, "sweep.toml", "other", &valid).expect(0, &[]);
    prepare(1999);
    fs::rename(root.join("train.arrow"), root.join("valid.arrow")).unwrap();
    prepare(2000);
    let words = ["valid.arrow", "not the events that the sweep was begun on"];
    sweep(root, "sweep.toml", "other", &[&valid[..], &["--resume"]].concat()).expect(2, &words);
}

#[test]
fn without_a_single_good_trial_a_sweep_fails() {
    let text = RANDOM.replace("trials = 5", "trials = 2") + "[constraints]\nmodel_bytes = { max = 10 }\n";
    let folder = folder(&[("sweep.toml", &text)]);
    let root = folder.path();
    sweep(root, "sweep.toml", "out", &[]).expect(1, &["violates a constraint", "no trial came to its end"]);
    assert!(!root.join("out/best").exists() && !root.join("out/best.toml").exists());
}

#[test]
fn a_constraint_keeps_a_better_trial_from_being_the_best() {
    const SIZES: &str = r#"
base = "small.toml"
method = "grid"
metric = "evaluation.fpr_at_tpr.0.9"
[constraints]
model_bytes = { max = 100_000 }
"evaluation.by_kind.other_users.auc" = { min = 0.1 }
[evaluation]
attacks = ["other_users=0.5"]
[parameters.vector_dim]
values = [64, 4]
"#;
    let folder = folder(&[("sizes.toml", SIZES)]);
    let root = folder.path();
    let events = sweep(root, "sizes.toml", "out", &["--json"]).expect(0, &[]).json_lines();
    let best = &events.last().unwrap()["best"];
    assert_eq!(best["trial"], 1);
    let found = trials(&root.join("out"));
    assert!(
        found[0]["value"].parse::<f64>().unwrap() <= found[1]["value"].parse::<f64>().unwrap(),
        "{found:?}"
    );
    // The same figure by hand.
    let args =
        ["evaluate", "--model", "out/best", "--data", "out/data/validation.arrow", "--seed", "0", "--json"];
    let evaluated =
        ipsight(root, &[&args[..], &["--attacks", "other_users=0.5"]].concat(), b"").expect(0, &[]).json();
    assert_eq!(best["value"], evaluated["detectors"]["ipsight"]["fpr_at_tpr"]["0.9"]["fpr"]);
}

#[test]
fn a_trial_of_several_seeds_is_their_mean() {
    let text = RANDOM.replace("trials = 5", "trials = 1") + "[config.training]\nseed = 8\n";
    let text = text.replace("method = \"random\"", "method = \"random\"\nseeds_per_trial = 2");
    let folder = folder(&[("sweep.toml", &text)]);
    let root = folder.path();
    sweep(root, "sweep.toml", "out", &[]).expect(0, &[]);
    let aucs: Vec<f64> = [0, 1]
        .map(|training| {
            let log = fs::read_to_string(root.join(format!("out/trials/00000/run-{training}/metrics.jsonl")))
                .unwrap();
            let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
            last["discriminator_auc"].as_f64().unwrap()
        })
        .into();
    assert_ne!(aucs[0], aucs[1]);
    let value: f64 = trials(&root.join("out"))[0]["value"].parse().unwrap();
    assert!((value - (aucs[0] + aucs[1]) / 2.0).abs() < 1e-12);
    let better = if aucs[0] >= aucs[1] { 8 } else { 9 };
    let config = fs::read_to_string(root.join("out/best.toml")).unwrap();
    assert!(config.contains(&format!("seed = {better}\n")), "{config}");
}

#[test]
fn hours_end_a_sweep_and_stop_what_runs() {
    let text = RANDOM.replace("trials = 5", "hours = 0.0004") + "[config.hyperparameters]\nepochs = 100000\n";
    let folder = folder(&[("sweep.toml", &text)]);
    let root = folder.path();
    sweep(root, "sweep.toml", "out", &["--jobs", "2"])
        .expect(1, &["stopped after epoch", "no trial came to its end"]);
    let found = trials(&root.join("out"));
    assert!(found.len() == 2 && found.iter().all(|trial| trial["state"] == "pruned"), "{found:?}");
}

#[test]
fn the_median_rule_stops_what_is_below_it() {
    let text = RANDOM.replace("trials = 5", "trials = 8").replace("[0.001, 0.1]", "[1e-6, 0.1]")
        + "[early_stopping]\nmethod = \"median\"\nmin_trials = 3\n[config.hyperparameters]\nepochs = 12\n";
    let folder = folder(&[("sweep.toml", &text)]);
    sweep(folder.path(), "sweep.toml", "out", &[]).expect(0, &["stopped after epoch"]);
    let found = trials(&folder.path().join("out"));
    assert!(found.iter().take(3).all(|trial| trial["state"] == "complete"), "{found:?}");
    assert!(found.iter().any(|trial| trial["state"] == "pruned"), "{found:?}");
}

#[test]
fn a_launcher_starts_every_training() {
    let folder = folder(&[("sweep.toml", RANDOM)]);
    let root = folder.path();
    fs::write(root.join("launch.sh"), "#!/bin/sh\necho \"$2\" >> launched\nshift\nexec \"$@\"\n").unwrap();
    let launcher = format!("sh {} first", root.join("launch.sh").display());
    sweep(root, "sweep.toml", "out", &["--launcher", &launcher]).expect(0, &[]);
    let launched = fs::read_to_string(root.join("launched")).unwrap();
    assert_eq!(launched.lines().count(), 5);
    assert!(launched.lines().all(|line| line.ends_with("ipsight")), "{launched}");
}

#[test]
fn a_dry_run_says_what_it_would_cost_and_writes_nothing() {
    let folder = folder(&[("random.toml", RANDOM), ("asha.toml", ASHA)]);
    let root = folder.path();
    let dry = |config: &str, more: &[&str]| {
        ipsight(root, &[&["sweep", "--config", config, "--dry-run"], more].concat(), b"").expect(0, &[])
    };
    let shown = dry("random.toml", &[]).stdout;
    for line in [
        "5 trials by random",
        "hyperparameters.learning_rate = 0.001 to 0.1, in the logarithm",
        "training.warmup_steps = one of 5, 10, where num_ip_encoder_layers is 2",
        "a trial trains 4 epochs",
        "trial 4: learning_rate=",
    ] {
        assert!(shown.contains(line), "no `{line}` in\n{shown}");
    }
    let document = dry("random.toml", &["--json"]).json();
    let listed = document["trials"].as_array().unwrap();
    assert_eq!(listed.len(), 5);
    // What it would try is what it tries.
    let tried = trials(&WHOLE.path().join("random"));
    for (listed, tried) in listed.iter().zip(&tried) {
        let rate: f64 = tried["learning_rate"].parse().unwrap();
        assert!((listed["parameters"]["learning_rate"].as_f64().unwrap() - rate).abs() < 1e-12);
    }
    let positives = document["num_events"].as_u64().unwrap() * 4;
    assert_eq!(listed[0]["positives"].as_u64().unwrap(), positives);
    assert!(listed[0]["memory_bytes"].as_u64().unwrap() > 100_000);
    let shown = dry("asha.toml", &[]).stdout;
    assert!(shown.contains("asha: of 2 trials one goes on after epoch 1, 2, 4"), "{shown}");
    assert_eq!(fs::read_dir(root).unwrap().count(), 3, "nothing was written");
}

#[test]
fn what_is_wrong_in_the_file_is_refused_with_its_line_and_the_nearest_name() {
    let lines = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    };
    for (text, words) in [
        (
            lines(RANDOM, "[parameters.vector_dim]", "[parameters.vector_dims]"),
            &[
                "bad.toml:9: parameters.vector_dims: there is no configuration key",
                "did you mean `vector_dim`?",
            ][..],
        ),
        (
            lines(RANDOM, "[0.001, 0.1]", "[0.1, 0.001]"),
            &["bad.toml:8: parameters.learning_rate.log_uniform: the range of log_uniform is empty"],
        ),
        (
            lines(RANDOM, "[0.001, 0.1]", "[0.1, 100]"),
            &["bad.toml:8:", "learning_rate = 100.0 is out of range", "allowed: 1e-6..=10"],
        ),
        (lines(RANDOM, "[4, 8, 16]", "[]"), &["bad.toml:10:", "there is no value to choose"]),
        (
            lines(RANDOM, "[4, 8, 16]", "[4, 8.5]"),
            &["bad.toml:10:", "vector_dim = 8.5 is a float, expected an integer"],
        ),
        (lines(RANDOM, "values = [4, 8, 16]", "uniform = [4, 8]"), &["bad.toml:10:", "expected an integer"]),
        (
            lines(RANDOM, "values = [4, 8, 16]", "valeus = [4]"),
            &["bad.toml:10:", "unknown key `valeus`", "did you mean `values`?"],
        ),
        (lines(RANDOM, "method = \"random\"", "method = \"tpa\""), &["bad.toml:3:", "did you mean `tpe`?"]),
        (
            lines(RANDOM, "method = \"random\"", "metod = \"tpe\""),
            &["bad.toml:3:", "unknown key `metod`", "did you mean `method`?"],
        ),
        (
            lines(RANDOM, "method = \"random\"", "method = \"grid\""),
            &["bad.toml:7", "ranges over real numbers"],
        ),
        (lines(RANDOM, "trials = 5", ""), &["bad.toml:5", "has no end by itself"]),
        (
            lines(RANDOM, "{ num_ip_encoder_layers = [2] }", "{ num_ip_encoder_layers = [3] }"),
            &["bad.toml:15:", "is never 3", "its values: 1, 2"],
        ),
        (
            lines(RANDOM, "{ num_ip_encoder_layers = [2] }", "{ num_ip_encoder_layer = [2] }"),
            &["bad.toml:15:", "did you mean `num_ip_encoder_layers`?"],
        ),
        (lines(RANDOM, "seed = 5", "metric = \"auc\""), &["bad.toml:4:", "unknown metric `auc`"]),
        (lines(RANDOM, "seed = 5", "goal = \"up\""), &["bad.toml:4:", "valid values: maximize, minimize"]),
        (
            lines(
                RANDOM,
                "[parameters.vector_dim]\nvalues = [4, 8, 16]",
                "[parameters.device]\nvalues = [\"auto\"]",
            ),
            &["bad.toml:9:", "does not change what a training comes to"],
        ),
        (
            lines(RANDOM, "[budget]", "[config.hyperparameters]\nepoch = 3\n[budget]"),
            &["bad.toml:6: config.hyperparameters.epoch", "did you mean `epochs`?"],
        ),
        (
            lines(
                ASHA,
                "[parameters.mini_batch_size]\nlog_int = [100, 5000]",
                "[parameters.epochs]\nint = [1, 5]",
            ),
            &["bad.toml:8:", "asha compares trials of the same number of epochs"],
        ),
        (
            lines(ASHA, "seed = 2", "metric = \"loss\"") + "[constraints]\nlos = { min = 1 }\n",
            &["unknown metric `los`", "did you mean `loss`?"],
        ),
        (
            lines(ASHA, "seed = 2", "") + "[constraints]\nloss = { min = 1, max = 0 }\n",
            &["no bounds between which"],
        ),
        (lines(RANDOM, "base = \"small.toml\"", "base = \"smal.toml\""), &["smal.toml"]),
    ] {
        let folder = folder(&[("bad.toml", &text)]);
        let outcome = sweep(folder.path(), "bad.toml", "out", &[]);
        let code = if words[0] == "smal.toml" { 4 } else { 2 };
        outcome.expect(code, words);
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn optuna_reads_the_journal_of_a_sweep() {
    let root = WHOLE.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sweep_optuna.py");
    for name in ["random", "asha"] {
        let journal = root.join(name).join("journal.log");
        let command = format!(
            "import json, subprocess, sys\nout = subprocess.check_output([sys.executable, {:?}, {:?}])\nopen('{name}.json', 'wb').write(out)",
            script.display().to_string(),
            journal.display().to_string()
        );
        if !python(root, "optuna", &["-c", &command]) {
            return;
        }
        let theirs: Value =
            serde_json::from_slice(&fs::read(root.join(format!("{name}.json"))).unwrap()).unwrap();
        let ours = trials(&root.join(name));
        assert_eq!(theirs["trials"].as_array().unwrap().len(), ours.len());
        for (theirs, ours) in theirs["trials"].as_array().unwrap().iter().zip(&ours) {
            assert_eq!(theirs["state"].as_str().unwrap().to_lowercase(), ours["state"]);
            let value: f64 = ours["value"].parse().unwrap();
            assert!((theirs["value"].as_f64().unwrap() - value).abs() <= 1e-15);
            let rate = theirs["params"]["learning_rate"].as_f64().unwrap();
            // serde_json misreads a last bit now and then.
            let ours_rate: f64 = ours["learning_rate"].parse().unwrap();
            assert!((rate - ours_rate).abs() <= 1e-15, "{rate} {ours_rate}");
        }
    }
}

#[test]
fn the_sweeps_that_come_with_the_program_can_be_run() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sweeps");
    let folder = folder(&[]);
    let root = folder.path();
    ipsight(root, &["generate", "--users", "20", "--days", "10", "--seed", "7", "--output", "logins"], b"")
        .expect(0, &[]);
    let mut count = 0;
    for entry in fs::read_dir(configs).unwrap() {
        let path = entry.unwrap().path().display().to_string();
        let data = ["--train", "logins/train.csv", "--validation", "logins/validation.csv"];
        ipsight(root, &[&["sweep", "--config", &path, "--dry-run", "--json"][..], &data].concat(), b"")
            .expect(0, &[])
            .json();
        count += 1;
    }
    assert!(count >= 3, "{count} files");
}
