//! Commands at the same time on one folder: each has begun before another ends.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use support::{Outcome, command, generated_and_trained, ipsight, small_config};
use tempfile::TempDir;

/// Logins with a model, and `other`, another model of them.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("100", "5", &small_config(1));
    let other = ["train", "--config", "small.toml", "--set", "training.seed=9", "--output", "other"];
    ipsight(folder.path(), &other, b"").expect(0, &[]);
    folder
});

/// More bytes than a pipe holds: when all are written, the other side has begun to read.
const NUM_BYTES: usize = 400_000;

/// A command that reads its events from stdin and waits for the last of them.
struct Begun {
    child: Child,
    stdin: ChildStdin,
}

impl Begun {
    /// Starts a command and returns when it has begun to read `rows`.
    fn new(folder: &Path, args: &[&str], rows: &str) -> Self {
        let mut command = command(folder, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut num_written = 0;
        while num_written < NUM_BYTES {
            stdin.write_all(rows.as_bytes()).unwrap();
            num_written += rows.len();
        }
        Self { child, stdin }
    }

    /// Lets it read to the end.
    fn finish(self) -> Outcome {
        drop(self.stdin);
        Outcome::of(self.child)
    }
}

fn evaluation(folder: &Path, threshold: &str) -> Begun {
    let args =
        ["evaluate", "--device", "ndarray", "--model", "model", "--data", "-", "--target-fpr", threshold];
    Begun::new(folder, &args, &fs::read_to_string(FIXTURE.path().join("logins/validation.csv")).unwrap())
}

/// A folder with a copy of one of the models.
fn folder_with(run: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&FIXTURE.path().join(run).join("model"), &folder.path().join("model"));
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn evaluations_of_one_model_keep_each_others_thresholds() {
    let folder = folder_with("run");
    let root = folder.path();
    let names: Vec<String> = (0..6).map(|i| format!("level_{i}")).collect();
    let begun: Vec<Begun> =
        names.iter().enumerate().map(|(i, name)| evaluation(root, &format!("{name}=0.0{}", i + 1))).collect();
    assert!(!root.join("model/thresholds.json").exists(), "all have begun before one ends");
    // Their ends are at the same time.
    let threads: Vec<_> = begun.into_iter().map(|begun| std::thread::spawn(|| begun.finish())).collect();
    for thread in threads {
        thread.join().unwrap().expect(0, &["model/thresholds.json"]);
    }
    let text = fs::read_to_string(root.join("model/thresholds.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let thresholds = file["thresholds"].as_array().unwrap();
    let mut found: Vec<&str> = thresholds.iter().map(|found| found["name"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, names);
    let hidden = fs::read_dir(root.join("model")).unwrap().flatten();
    assert_eq!(hidden.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")).count(), 0);
    ipsight(root, &["score", "--model", "model", "--input", "-"], b"user_1,1.2.3.4\n").expect(0, &[]);
}

#[test]
fn an_evaluation_writes_nothing_where_another_model_has_come_meanwhile() {
    let folder = folder_with("run");
    let root = folder.path();
    copy(&FIXTURE.path().join("other/model"), &root.join("new"));
    let begun = evaluation(root, "old=0.1");
    fs::rename(root.join("model"), root.join("before")).unwrap();
    fs::rename(root.join("new"), root.join("model")).unwrap();
    let words = ["model", "another model has taken the place", "help: run the same command again"];
    let outcome = begun.finish().expect(3, &words);
    assert!(
        outcome.stdout.contains("AUC"),
        "the figures are those of the model that was read: {}",
        outcome.stdout
    );
    for model in ["model", "before"] {
        assert!(!root.join(model).join("thresholds.json").exists());
        ipsight(root, &["score", "--model", model, "--input", "-"], b"user_1,1.2.3.4\n").expect(0, &[]);
    }
    // What is advised works.
    evaluation(root, "new=0.1").finish().expect(0, &["model/thresholds.json"]);
}

#[test]
fn a_training_that_replaces_the_model_does_the_same() {
    let folder = folder_with("run");
    let root = folder.path();
    for name in ["small.toml", "logins"] {
        std::os::unix::fs::symlink(FIXTURE.path().join(name), root.join(name)).unwrap();
    }
    let train = |seed: &str| {
        let args = ["train", "--config", "small.toml", "--set", seed, "--overwrite", "--output", "."];
        ipsight(root, &args, b"").expect(0, &[]);
    };
    let begun = evaluation(root, "old=0.1");
    train("training.seed=11");
    begun.finish().expect(3, &["another model has taken the place"]);
    assert!(!root.join("model/thresholds.json").exists());
    // The same model again is the one that was evaluated.
    let begun = evaluation(root, "same=0.1");
    train("training.seed=11");
    begun.finish().expect(0, &["model/thresholds.json"]);
    ipsight(root, &["score", "--model", "model", "--input", "-"], b"user_1,1.2.3.4\n").expect(0, &[]);
}

#[test]
fn trainings_without_a_folder_each_take_their_own() {
    let root = FIXTURE.path();
    let rows = fs::read_to_string(root.join("logins/train.csv")).unwrap();
    fs::create_dir_all(root.join("runs/small-2")).unwrap();
    let args = ["train", "--config", "small.toml", "--train", "-"];
    let begun: Vec<Begun> = (0..3).map(|_| Begun::new(root, &args, &rows)).collect();
    let threads: Vec<_> = begun.into_iter().map(|begun| std::thread::spawn(|| begun.finish())).collect();
    let mut models: Vec<String> = threads
        .into_iter()
        .map(|thread| {
            let stdout = thread.join().unwrap().expect(0, &[]).stdout;
            stdout.lines().find_map(|line| line.strip_prefix("model: ")).expect(&stdout).to_string()
        })
        .collect();
    models.sort();
    assert_eq!(models, ["runs/small-1/model", "runs/small-3/model", "runs/small-4/model"]);
    for model in models {
        ipsight(root, &["inspect", "--model", &model], b"").expect(0, &[]);
    }
}

#[test]
fn a_run_removes_what_runs_left_and_nothing_that_another_verb_writes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let config = small_config(1).replace("logins/", &format!("{}/logins/", FIXTURE.path().display()));
    fs::write(root.join("small.toml"), config).unwrap();
    let train = ["train", "--config", "small.toml", "--overwrite", "--output", "run"];
    ipsight(root, &train, b"").expect(0, &[]);
    for name in [".ipsight-report", ".ipsight-run-config"] {
        fs::write(root.join("run").join(name), "half").unwrap();
    }
    ipsight(root, &train, b"").expect(0, &[]);
    assert!(root.join("run/.ipsight-report").exists(), "an evaluation may be writing it");
    assert!(!root.join("run/.ipsight-run-config").exists());
}
