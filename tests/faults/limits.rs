//! Limits of the operating system: memory, sizes of files, threads, and files that change while they are mapped.
//!
//! A shell sets the limits, so that they hold for the program alone.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use ipsight::train::checkpoint;

use super::support::{Outcome, command, outcome, skipped};
use super::{difference, folder, folder_with_run, train, train_args};

/// The binary under `ulimit` with these arguments.
fn limited(root: &Path, ulimit: &str, args: &[&str]) -> Command {
    let mut shell = Command::new("bash");
    let script = format!("ulimit {ulimit} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_ipsight")]).args(args).current_dir(root);
    shell
}

fn train_under(root: &Path, ulimit: &str, output: &str, more: &[&str]) -> Outcome {
    outcome(limited(root, ulimit, &train_args(output, more)), b"")
}

#[test]
fn a_plan_past_a_limit_of_the_process_is_refused_with_the_limits_name() {
    let folder = folder();
    let large = ["--set", "hyperparameters.num_entity_vectors=20000000"];
    for (ulimit, name) in [("-d 3000000", "RLIMIT_DATA (ulimit -d)"), ("-v 4000000", "RLIMIT_AS (ulimit -v)")]
    {
        let refused = train_under(folder.path(), ulimit, "run", &large);
        refused.expect(5, &["are needed, but", name, "lower num_entity_vectors"]);
        assert!(!folder.path().join("run").exists());
    }
}

/// At any limit that lets the program start a training ends with a model or exit code 5.
#[test]
fn memory_that_is_refused_is_exit_code_5() {
    let folder = folder();
    let limits = [8, 12, 16, 24, 32, 48, 64, 128, 1024].map(|mib| format!("-d {}", mib << 10));
    let (mut num_done, mut num_refused) = (0, 0);
    for (i, limit) in limits.iter().enumerate() {
        let found = train_under(folder.path(), limit, &format!("run-{i}"), &[]);
        match found.code {
            Some(0) => num_done += 1,
            Some(5) => num_refused += 1,
            code => panic!("{limit}: exit code {code:?}: {}", found.stderr),
        }
        assert!(!found.stderr.contains("panicked"), "{limit}: {}", found.stderr);
    }
    assert!(num_done > 0 && num_refused > 0, "{num_done} done, {num_refused} refused");
}

/// The last checkpoint has all steps, so that a model that could not be saved is saved by the same command.
#[test]
fn a_model_that_is_lost_is_saved_again_from_the_last_checkpoint() {
    let folder = folder_with_run();
    let run = folder.path().join("whole");
    let (num_steps, _) = checkpoint::list(&run.join("checkpoints")).unwrap().pop().unwrap();
    assert_eq!(num_steps, 60, "the training is in its last checkpoint");
    let other = folder_with_run();
    fs::remove_dir_all(run.join("model")).unwrap();
    train(folder.path(), "whole", &["--resume", "must"])
        .expect(0, &["going on from whole/checkpoints/step-0000000060"]);
    assert_eq!(difference(&run, &other.path().join("whole")), None);
}

#[test]
fn a_limit_of_a_files_size_is_exit_code_4() {
    let folder = folder_with_run();
    let prepare = ["prepare", "train.csv", "--output", "out.arrow"];
    outcome(limited(folder.path(), "-f 8", &prepare), b"").expect(4, &["out.arrow", "ulimit -f"]);
    train_under(folder.path(), "-f 8", "run", &[]).expect(4, &["run/", "ulimit -f"]);
    train(folder.path(), "run", &[]).expect(0, &[]);
}

#[test]
fn threads_that_cannot_be_started_are_exit_code_5() {
    let folder = folder_with_run();
    // A user of its own, who has no other threads; only root can become one.
    let user = 61_000 + std::process::id() % 4_000;
    let run = |ulimit: &str| {
        let args = ["score", "--device", "ndarray", "--model", "whole/model", "--input", "validation.csv"];
        let mut command = limited(folder.path(), ulimit, &args);
        command.uid(user).env("RAYON_NUM_THREADS", "4");
        command
            .output()
            .map(|output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    match run("-n 1024") {
        Ok((Some(0), _)) => {}
        other => return skipped(&format!("threads of another user: {other:?}")),
    }
    for num_threads in [1, 2, 3, 4] {
        let (code, stderr) = run(&format!("-u {num_threads}")).unwrap();
        assert_eq!(code, Some(5), "{num_threads} threads: {stderr}");
        assert!(
            stderr.contains("ulimit -u") && !stderr.contains("panicked"),
            "{num_threads} threads: {stderr}"
        );
    }
}

/// A prepared file that is cut, or written to, while a training has it mapped.
#[test]
fn a_prepared_file_that_changes_under_a_training_is_exit_code_4_with_its_name() {
    for is_cut in [true, false] {
        let folder = folder();
        let root = folder.path();
        let rows = fs::read_to_string(root.join("train.csv")).unwrap().repeat(20);
        fs::write(root.join("many.csv"), rows).unwrap();
        outcome(command(root, &["prepare", "many.csv", "--output", "events.arrow"]), b"").expect(0, &[]);
        let more = ["--train", "events.arrow", "--set", "hyperparameters.epochs=100000"];
        let more = [&more[..], &["--set", "training.checkpoint_interval=1 epochs"]].concat();
        let mut training = command(root, &train_args("run", &more));
        let child = training.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn();
        let child = child.unwrap();
        // It has begun once an epoch has been recorded.
        let metrics = root.join("run/metrics.jsonl");
        while !fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"epoch\"")) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let file = fs::File::options().write(true).open(root.join("events.arrow")).unwrap();
        if is_cut {
            file.set_len(100).unwrap();
        } else {
            let bytes = fs::read(root.join("events.arrow")).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..1], 0).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "cut: {is_cut}: {stderr}");
        assert!(stderr.contains("events.arrow: cannot read"), "{stderr}");
    }
}

/// A rate that changes nothing: no model that could be used, and a warning that says so.
#[test]
fn a_training_that_learns_nothing_says_so() {
    let folder = folder();
    let rate = ["--set", "hyperparameters.learning_rate=0.000001"];
    train(folder.path(), "run", &rate).expect(0, &["warning: the model learned nothing", "learning_rate"]);
    let manifest = fs::read_to_string(folder.path().join("run/model/manifest.json")).unwrap();
    assert!(manifest.contains("the model learned nothing"), "{manifest}");
    let high = ["--set", "hyperparameters.learning_rate=5"];
    train(folder.path(), "high", &high).expect(0, &["warning: "]);
}
