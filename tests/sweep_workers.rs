//! What a sweep reports of trainings that were killed, and trials that come from elsewhere.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Outcome, ipsight, python, trials};
use tempfile::TempDir;

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 200
vector_dim = 8
mini_batch_size = 500
learning_rate = 0.02
epochs = 2
[training]
device = "ndarray"
[data.generated]
users = 50
days = 10
seed = 3
"#;

const RANDOM: &str = r#"
base = "small.toml"
method = "random"
seed = 5
[budget]
trials = 2
[parameters.learning_rate]
log_uniform = [0.001, 0.1]
[parameters.vector_dim]
values = [4, 8, 16]
"#;

fn folder(sweep: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
    folder
}

fn sweep(root: &Path, more: &[&str]) -> Outcome {
    ipsight(root, &[&["sweep", "--config", "sweep.toml", "--output", "out"], more].concat(), b"")
}

#[test]
fn a_killed_training_is_reported_with_its_signal_and_its_memory() {
    let folder = folder(RANDOM);
    let root = folder.path();
    // The first training is killed after it has logged, the second exits as a launcher does whose task was killed.
    let script = "#!/bin/sh\n\
                  echo 'validation: 120,607 events' >&2\n\
                  if mkdir first 2>/dev/null; then kill -9 $$; fi\n\
                  echo 'task 0: Out Of Memory' >&2\n\
                  exit 137\n";
    fs::write(root.join("launch.sh"), script).unwrap();
    let launcher = format!("sh {}", root.join("launch.sh").display());
    sweep(root, &["--launcher", &launcher])
        .expect(1, &["failed: killed by SIGKILL", "failed: exit code 137"]);
    let found = trials(&root.join("out"));
    let killed = &found[0]["failure"];
    assert!(killed.starts_with("killed by SIGKILL, peak memory "), "{killed}");
    assert!(!killed.contains("120,607"), "the last line of its log is no reason: {killed}");
    let memory: f64 = killed.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!((0.1..1000.0).contains(&memory), "{killed}");
    let exited = &found[1]["failure"];
    assert!(
        exited.starts_with("exit code 137, peak memory ") && exited.contains("Out Of Memory"),
        "{exited}"
    );
    assert!(fs::read_to_string(root.join("out/report.html")).unwrap().contains("killed by SIGKILL"));
}

#[test]
fn the_memory_is_that_of_the_training() {
    let folder = folder(RANDOM);
    let root = folder.path();
    // It holds 200 MB when it is killed.
    let script = "exec python3 -c 'import os; held = b\"x\" * 200_000_000; os.kill(os.getpid(), 9)'\n";
    fs::write(root.join("launch.sh"), script).unwrap();
    if !python(root, "os", &["-c", ""]) {
        return;
    }
    let launcher = format!("sh {}", root.join("launch.sh").display());
    sweep(root, &["--launcher", &launcher]).expect(1, &["killed by SIGKILL"]);
    for trial in trials(&root.join("out")) {
        let memory: f64 = trial["failure"].split_whitespace().find_map(|word| word.parse().ok()).unwrap();
        assert!((190.0..260.0).contains(&memory), "{}", trial["failure"]);
    }
}

#[test]
fn a_trial_that_optuna_enqueued_is_run_on_resuming() {
    let folder = folder(RANDOM);
    let root = folder.path();
    sweep(root, &[]).expect(0, &[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sweep_enqueue.py");
    let asked =
        [r#"{"vector_dim": 16}"#, r#"{"vector_dim": 7}"#, r#"{"learning_rate": 0.05, "vector_dim": 4}"#];
    if !python(root, "optuna", &[&[script, "out/journal.log"][..], &asked].concat()) {
        return;
    }
    sweep(root, &["--resume"])
        .expect(0, &["trial 3  failed: it was enqueued with vector_dim = 7, not one of 4, 8, 16"]);
    let found = trials(&root.join("out"));
    let states: Vec<&str> = found.iter().map(|trial| trial["state"].as_str()).collect();
    assert_eq!(states, ["complete", "complete", "complete", "failed", "complete"]);
    assert_eq!(found[2]["vector_dim"], "16");
    let sampled: f64 = found[2]["learning_rate"].parse().unwrap();
    assert!((0.001..=0.1).contains(&sampled), "what was not asked for is the sampler's: {sampled}");
    assert_eq!((found[4]["vector_dim"].as_str(), found[4]["learning_rate"].as_str()), ("4", "0.05"));
    assert_eq!(found[4]["asked_by"], "somebody");

    // Optuna finds its trials done, with the values that it asked for; and a second resumption has nothing to do.
    let read = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sweep_optuna.py");
    assert!(python(root, "optuna", &[read, "--output", "read.json", "out/journal.log"]));
    let theirs: Value = serde_json::from_slice(&fs::read(root.join("read.json")).unwrap()).unwrap();
    let theirs = theirs["trials"].as_array().unwrap();
    let states: Vec<&str> = theirs.iter().map(|trial| trial["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]);
    assert_eq!(theirs[4]["params"], serde_json::json!({"learning_rate": 0.05, "vector_dim": 4}));
    assert_eq!(theirs[4]["value"].as_f64().map(|value| value.to_string()), Some(found[4]["value"].clone()));
    sweep(root, &["--resume"]).expect(0, &[]);
    assert_eq!(trials(&root.join("out")).len(), 5);
}

#[test]
fn a_value_that_was_edited_in_the_journal_is_refused() {
    let folder = folder(RANDOM);
    let root = folder.path();
    sweep(root, &[]).expect(0, &[]);
    let path = root.join("out/journal.log");
    let journal = fs::read_to_string(&path).unwrap();
    let line = journal.lines().position(|line| line.contains("\"values\":[0.")).unwrap();
    fs::write(&path, journal.replacen("\"values\":[0.", "\"values\":[1.", 1)).unwrap();
    let place = format!("journal.log:{}", line + 1);
    sweep(root, &["--resume"]).expect(3, &[&place, "edited", "help: restore the journal from a copy"]);
    fs::write(&path, journal).unwrap();
    sweep(root, &["--resume"]).expect(0, &[]);
}

#[test]
fn the_auc_of_one_family_can_be_the_metric() {
    let folder = folder(&format!("metric = \"discriminator_auc_ipv6\"\n{RANDOM}"));
    let root = folder.path();
    let users = ["generate", "--users", "60", "--days", "10", "--seed", "3", "--output", "logins"];
    ipsight(root, &[&users[..], &["--ipv6-users", "0.5", "--ipv6-logins", "0.6"]].concat(), b"")
        .expect(0, &[]);
    let data = ["--train", "logins/train.csv", "--set", "model.addresses=both"];
    let words = ["discriminator_auc_ipv6 needs validation events"];
    sweep(root, &[&data[..], &["--dry-run"]].concat()).expect(2, &words);
    let data = [&data[..], &["--validation", "logins/validation.csv"]].concat();
    sweep(root, &data).expect(0, &[]);
    sweep(root, &[&data[..], &["--resume"]].concat()).expect(0, &[]);
    for trial in trials(&root.join("out")) {
        assert_eq!(trial["value"], trial["discriminator_auc_ipv6"]);
        assert_ne!(trial["discriminator_auc_ipv4"], trial["discriminator_auc_ipv6"]);
    }
}
