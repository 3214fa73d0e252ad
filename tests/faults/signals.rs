//! A second signal, and one that comes while a validation runs.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::support::command;
use super::{difference, folder, train, train_args};

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn start(root: &Path, args: &[&str]) -> Child {
    let mut command = command(root, args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until so many lines of figures are told.
fn wait_for_figures(root: &Path, output: &str, num_lines: usize, child: &mut Child) {
    let path = root.join(output).join("metrics.jsonl");
    while fs::read_to_string(&path).unwrap_or_default().lines().count() < num_lines {
        assert!(child.try_wait().unwrap().is_none(), "it came to its end too early");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Validation of so many events takes far longer than the training.
const LONG_VALIDATION: usize = 3_000_000;

#[test]
fn a_signal_during_a_validation_leaves_a_checkpoint_to_go_on_from() {
    let folder = folder();
    let root = folder.path();
    let rows = fs::read_to_string(root.join("validation.csv")).unwrap();
    fs::write(root.join("long.csv"), rows.repeat(LONG_VALIDATION / 220)).unwrap();
    let long = ["--validation", "long.csv", "--set", "hyperparameters.epochs=1"];
    train(root, "whole", &long).expect(0, &[]);
    let mut child = start(root, &train_args("stopped", &long));
    // The epoch has 20 steps, and figures are told every 4: after the fifth there is only the validation left.
    wait_for_figures(root, "stopped", 5, &mut child);
    send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    train(root, "stopped", &long).expect(0, &["going on"]);
    assert_eq!(difference(&root.join("stopped"), &root.join("whole")), None);
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let folder = folder();
    let root = folder.path();
    // One step of 20 million pairs is not interrupted by the first.
    let rows = fs::read_to_string(root.join("train.csv")).unwrap();
    fs::write(root.join("long.csv"), rows.repeat(1000)).unwrap();
    let slow = [
        "--train",
        "long.csv",
        "--set",
        "hyperparameters.mini_batch_size=500000",
        "--set",
        "hyperparameters.random_negative_sampling_rate=40",
        "--set",
        "hyperparameters.epochs=50",
        "--set",
        "hyperparameters.batch_metrics_publish_interval=1",
    ];
    let mut child = start(root, &train_args("run", &slow));
    wait_for_figures(root, "run", 1, &mut child);
    send("-INT", &child);
    // Two that come together are one.
    std::thread::sleep(Duration::from_millis(200));
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!root.join("run/model").exists(), "the second signal let it save a model");
}
