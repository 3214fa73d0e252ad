//! `kill -9` at any time: the same command goes on, to the same bytes.
//!
//! `IPSIGHT_NUM_KILLS` says how many runs are killed, `IPSIGHT_FAULT_SEED` which draws are taken.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::support::failpoints::{self, How};
use super::support::{Outcome, command};
use super::{Draws, difference, folder_with_run, number, train, train_args};

/// Kills in the life of one run, at most.
const MAX_KILLS: u64 = 3;

fn num_runs() -> u64 {
    number("IPSIGHT_NUM_KILLS", 25)
}

/// Goes on with a run that was killed, to its end, and says what is wrong with it.
fn wrong_after(root: &Path, output: &str) -> Option<String> {
    let last = train(root, output, &[]);
    // The last kill may have come after the model was in place.
    let is_at_its_end = last.code == Some(2) && last.stderr.contains("is complete");
    if last.code != Some(0) && !is_at_its_end {
        return Some(format!("exit code {:?}: {}", last.code, last.stderr));
    }
    if is_at_its_end {
        // With a must it goes on from its last checkpoint, and removes what the kill left.
        let must = train(root, output, &["--resume", "must"]);
        if must.code != Some(0) {
            return Some(format!("--resume must: {:?}: {}", must.code, must.stderr));
        }
    }
    difference(&root.join(output), &root.join("whole"))
}

#[test]
fn kill_9_at_any_change_of_a_file_loses_nothing() {
    if !failpoints::available() {
        return;
    }
    let folder = folder_with_run();
    let root = folder.path();
    let seed = number("IPSIGHT_FAULT_SEED", 1);
    let mut draws = Draws(seed);
    let counted = failpoints::run(root, root, (How::Kill, 0), &train_args("counted", &[]));
    counted.outcome.expect(0, &[]);
    assert_eq!(difference(&root.join("counted"), &root.join("whole")), None);
    let (num_runs, mut num_kills, mut wrong) = (num_runs().div_ceil(2), 0, Vec::new());
    for run in 0..num_runs {
        let output = format!("run-{run}");
        // The first falls into each part of the run in turn, and those after it wherever the rest gets to.
        let width = counted.num_calls.div_ceil(num_runs);
        let mut at = (run * width + draws.below(width)).min(counted.num_calls - 1) + 1;
        let mut story = Vec::new();
        for _ in 0..=draws.below(MAX_KILLS) {
            let how = if draws.below(2) == 0 { How::Kill } else { How::KillHalf };
            let faulty = failpoints::run(root, root, (how, at), &train_args(&output, &[]));
            let is_killed = faulty.outcome.code.is_none();
            story.push(format!("{how:?} {at} {:?}", faulty.hit));
            if is_killed != faulty.hit.is_some() || (story.len() == 1 && !is_killed) {
                wrong.push(format!("{story:?}: {:?}", faulty.outcome));
            }
            if !is_killed {
                break;
            }
            num_kills += 1;
            at = draws.below(counted.num_calls) + 1;
        }
        if let Some(what) = wrong_after(root, &output) {
            wrong.push(format!("{story:?}: {what}"));
        }
        std::fs::remove_dir_all(root.join(output)).unwrap();
    }
    println!("{num_runs} runs killed {num_kills} times, of {} calls each", counted.num_calls);
    assert!(wrong.is_empty(), "seed {seed}: {} of {num_runs}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn kill_9_at_any_time_loses_nothing() {
    let folder = folder_with_run();
    let root = folder.path();
    let seed = number("IPSIGHT_FAULT_SEED", 1);
    let mut draws = Draws(seed);
    let start = Instant::now();
    train(root, "timed", &[]).expect(0, &[]);
    let micros = start.elapsed().as_micros() as u64;
    let (num_runs, mut num_kills, mut wrong) = (num_runs() / 2, 0, Vec::new());
    for run in 0..num_runs {
        let output = format!("run-{run}");
        let mut story = Vec::new();
        for _ in 0..=draws.below(MAX_KILLS) {
            let wait = draws.below(micros);
            story.push(wait);
            if is_killed_after(root, &output, Duration::from_micros(wait)) {
                num_kills += 1;
            }
        }
        if let Some(what) = wrong_after(root, &output) {
            wrong.push(format!("after {story:?} µs: {what}"));
        }
        std::fs::remove_dir_all(root.join(output)).unwrap();
    }
    // How many come in time is the machine's business.
    println!("{num_runs} runs killed {num_kills} times, of {micros} µs each");
    assert!(wrong.is_empty(), "seed {seed}: {} of {num_runs}:\n{}", wrong.len(), wrong.join("\n"));
}

fn is_killed_after(root: &Path, output: &str, wait: Duration) -> bool {
    let mut child = command(root, &train_args(output, &[]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// An overwritten run keeps its model until the new one is whole, wherever it is killed.
#[test]
fn kill_9_while_a_model_is_replaced_leaves_the_old_one_or_the_new_one() {
    if !failpoints::available() {
        return;
    }
    let folder = folder_with_run();
    let root = folder.path();
    let more = ["--overwrite", "--set", "hyperparameters.epochs=1", "--set", "training.seed=5"];
    train(root, "new", &more).expect(0, &[]);
    let model = |run: &str| super::contents(&root.join(run).join("model"));
    let (old, new) = (model("whole"), model("new"));
    let args = train_args("run", &more);
    train(root, "run", &[]).expect(0, &[]);
    let counted = failpoints::run(root, root, (How::Kill, 0), &args);
    let num_calls = counted.num_calls;
    counted.outcome.expect(0, &[]);
    assert!(model("run") == new);
    // The last calls are those of the model; before them are checkpoints.
    let first = num_calls.saturating_sub(40);
    let mut num_of = [0, 0];
    for at in first..=num_calls {
        std::fs::remove_dir_all(root.join("run")).unwrap();
        train(root, "run", &[]).expect(0, &[]);
        let faulty = failpoints::run(root, root, (How::Kill, at), &args);
        assert!(faulty.outcome.code.is_none() || faulty.hit.is_none(), "{at}: {:?}", faulty.outcome);
        match model("run") {
            found if found == old => num_of[0] += 1,
            found if found == new => num_of[1] += 1,
            _ => panic!("killed at {at}, {:?}: neither the old model nor the new one", faulty.hit),
        }
        let score = ["score", "--model", "run/model", "--input", "validation.csv"];
        Outcome::expect(super::support::ipsight(root, &score, b""), 0, &[]);
    }
    assert!(num_of.iter().all(|num| *num > 0), "{num_of:?}");
}
