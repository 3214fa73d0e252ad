//! A disk that is full, or worn out, at any call of any verb that writes: exit code 4 with a path, whole files or none,
//! and the same command does it once there is room.
//!
//! `IPSIGHT_NUM_FAULTS` says how many calls of each verb fail; all of them where there are no more.

use std::fs;
use std::path::Path;
use std::process::Command;

use ipsight::model_folder;
use ipsight::train::Checkpoint;

use super::support::failpoints::{self, How};
use super::support::{Outcome, ipsight, skipped};
use super::{Draws, contents, folder_with_run, left_over, number};

/// A verb, and what of its files has no fixed bytes: times, or what grows line by line.
struct Case {
    args: &'static [&'static str],
    /// One of these is named by the error.
    names: &'static [&'static str],
    with_clocks: &'static [&'static str],
    /// What is there for a while and whole, and replaced later.
    interim: &'static [&'static str],
}

const GROWING: [&str; 4] = ["metrics.jsonl", "/tensorboard/", "journal.log", "/log"];

fn is_any(path: &str, of: &[&str]) -> bool {
    of.iter().any(|part| path.contains(part))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if entry.is_dir() {
            copy(&entry, &to.join(name))
        } else {
            _ = fs::copy(&entry, to.join(name)).unwrap()
        }
    }
}

impl Case {
    fn again(&self, root: &Path) -> Outcome {
        let mut args = self.args.to_vec();
        if args[0] == "sweep" && root.join("sweep/journal.log").exists() {
            args.push("--resume");
        }
        ipsight(root, &args, b"")
    }

    /// Files with fixed bytes.
    fn fixed(&self, root: &Path) -> Vec<(String, Vec<u8>)> {
        let mut files = contents(root);
        let loose = [&GROWING[..], self.with_clocks, &["/checkpoints/", "/trials/"]].concat();
        files.retain(|(path, _)| !is_any(path, &loose));
        files
    }

    /// What is wrong after a fault, and after the same command with room.
    fn wrong(&self, root: &Path, before: &Path, whole: &Path, faulty: &failpoints::Faulty) -> Vec<String> {
        let mut wrong = Vec::new();
        let (outcome, expected) = (&faulty.outcome, self.fixed(whole));
        let error = outcome.stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
        match outcome.code {
            Some(4) if is_any(error, self.names) => {}
            // What does not matter may fail, as long as all is there.
            Some(0) if self.fixed(root) == expected => {}
            code => wrong.push(format!("exit code {code:?}: {}", outcome.stderr)),
        }
        if outcome.stderr.contains("panicked") {
            wrong.push(outcome.stderr.clone());
        }
        // A trial that ends because its sweep does may leave what the next start removes.
        let mut left = left_over(root);
        left.retain(|path| !path.contains("/trials/"));
        if !left.is_empty() {
            wrong.push(format!("left over: {left:?}"));
        }
        let known = [self.fixed(before), expected.clone()].concat();
        for file in self.fixed(root) {
            if !known.contains(&file) && !file.0.ends_with('/') && !is_any(&file.0, self.interim) {
                wrong.push(format!("{} is neither the old one nor the new one", file.0));
            }
        }
        for (path, _) in contents(root) {
            let Some(folder) = path.strip_suffix("/manifest.json").filter(|path| !path.contains("/.")) else {
                continue;
            };
            let opened = match folder.contains("/checkpoints/") {
                true => Checkpoint::open(&root.join(folder)).map(drop),
                false => model_folder::read_and_verify(&root.join(folder)).map(drop),
            };
            wrong.extend(opened.err().map(|error| error.to_string()));
        }
        if outcome.code != Some(0) {
            let again = self.again(root);
            if again.code != Some(0) {
                wrong.push(format!("again: exit code {:?}: {}", again.code, again.stderr));
            } else if self.fixed(root) != expected {
                let found = self.fixed(root);
                let differing = found.iter().filter(|file| !expected.contains(file)).map(|file| &file.0);
                wrong.push(format!("again: other files: {:?}", differing.collect::<Vec<_>>()));
            } else if !left_over(root).is_empty() {
                wrong.push(format!("again: left over: {:?}", left_over(root)));
            }
        }
        wrong
    }
}

/// Fails each call of a verb in turn, or as many as are wanted.
#[track_caller]
fn check(case: &Case) {
    if !failpoints::available() {
        return;
    }
    let before = folder_with_run();
    let setup = before.path();
    // What verbs read, and a model with thresholds.
    fs::write(setup.join("bad.csv"), "user_1,1.2.3.4\nuser_2,none\n".repeat(50)).unwrap();
    fs::write(setup.join("access.log"), ACCESS_LOG.repeat(50)).unwrap();
    fs::write(setup.join("sweep.toml"), SWEEP).unwrap();
    let input = setup.join("ml/input");
    fs::create_dir_all(input.join("data/train")).unwrap();
    fs::create_dir_all(input.join("config")).unwrap();
    fs::create_dir_all(setup.join("ml/model")).unwrap();
    fs::copy(setup.join("train.csv"), input.join("data/train/part.csv")).unwrap();
    fs::write(input.join("config/hyperparameters.json"), HYPERPARAMETERS).unwrap();
    let whole = tempfile::tempdir().unwrap();
    copy(setup, whole.path());
    case.again(whole.path()).expect(0, &[]);

    let seed = number("IPSIGHT_FAULT_SEED", 1);
    let (mut draws, mut wrong, mut told) = (Draws(seed), Vec::new(), Vec::new());
    for how in [How::NoSpace, How::BadDisk] {
        let run = |at: u64| {
            let root = tempfile::tempdir().unwrap();
            copy(setup, root.path());
            let faulty = failpoints::run(root.path(), root.path(), (how, at), case.args);
            (root, faulty)
        };
        let (_, counted) = run(0);
        let num_calls = counted.num_calls;
        counted.outcome.expect(0, &[]);
        assert!(num_calls > 0, "{:?} writes nothing", case.args);
        let wanted = number("IPSIGHT_NUM_FAULTS", 12).min(num_calls);
        for i in 0..wanted {
            // One of each part of the run; all where there are no more.
            let (from, to) = (i * num_calls / wanted, (i + 1) * num_calls / wanted);
            let at = from + draws.below(to - from) + 1;
            let (root, faulty) = run(at);
            let found = case.wrong(root.path(), setup, whole.path(), &faulty);
            let hit = faulty.hit.unwrap_or_default();
            wrong.extend(found.iter().map(|what| format!("{how:?} at {at}, {hit}: {what}")));
        }
        told.push(format!("{how:?}: {wanted} of {num_calls} calls"));
    }
    println!("{:?}: {}", case.args, told.join(", "));
    assert!(wrong.is_empty(), "seed {seed}, {:?}: {}\n{}", case.args, wrong.len(), wrong.join("\n"));
}

const ACCESS_LOG: &str =
    "192.0.2.7 - alice [10/Oct/2023:13:55:36 -0700] \"GET /a HTTP/1.1\" 200 2326 \"-\" \"curl\"\n";

const SWEEP: &str = r#"
base = "small.toml"
method = "random"
seed = 5
[budget]
trials = 2
[parameters.learning_rate]
log_uniform = [0.001, 0.1]
"#;

const HYPERPARAMETERS: &str = r#"{
    "num_entity_vectors": "60", "vector_dim": "8", "mini_batch_size": "100", "epochs": "2",
    "learning_rate": "0.02", "device": "ndarray", "checkpoint_interval": "7 steps"
}"#;

#[test]
fn a_training_without_room_ends_and_goes_on_with_room() {
    check(&Case {
        args: &["train", "--config", "small.toml", "--output", "run"],
        names: &["run"],
        with_clocks: &[],
        interim: &[],
    });
}

#[test]
fn a_training_that_replaces_a_run_keeps_its_model_until_the_new_one_is_whole() {
    let args =
        &["train", "--config", "small.toml", "--set", "training.seed=7", "--output", "whole", "--overwrite"];
    check(&Case { args, names: &["whole"], with_clocks: &["whole/config.toml"], interim: &[] });
}

#[test]
fn prepare_writes_a_whole_file_or_none() {
    check(&Case {
        args: &["prepare", "train.csv", "--output", "out.arrow"],
        names: &["out.arrow"],
        with_clocks: &[],
        interim: &[],
    });
}

#[test]
fn a_quarantine_is_whole_or_not_there() {
    const ARGS: [&str; 8] = [
        "prepare",
        "bad.csv",
        "--output",
        "out.arrow",
        "--on-bad-row",
        "quarantine=bad.rows",
        "--max-bad-fraction",
        "1",
    ];
    check(&Case { args: &ARGS, names: &["out.arrow", "bad.rows"], with_clocks: &[], interim: &[] });
}

#[test]
fn score_writes_a_whole_file_or_none() {
    for output in ["out.csv", "out.jsonl", "out.parquet"] {
        let format = output.split_once('.').unwrap().1;
        let args = [
            "score",
            "--device",
            "ndarray",
            "--model",
            "whole/model",
            "--input",
            "train.csv",
            "--format",
            format,
            "--output",
            output,
        ];
        check(&Case { args: Box::leak(Box::new(args)), names: &["out."], with_clocks: &[], interim: &[] });
    }
}

#[test]
fn generate_writes_whole_files_or_none() {
    check(&Case {
        args: &["generate", "--users", "60", "--days", "5", "--seed", "1", "--output", "logins"],
        names: &["logins"],
        with_clocks: &[],
        interim: &[],
    });
}

#[test]
fn import_writes_a_whole_file_or_none() {
    check(&Case {
        args: &["import", "apache", "--input", "access.log", "--output", "out.csv"],
        names: &["out.csv"],
        with_clocks: &[],
        interim: &[],
    });
}

#[test]
fn evaluate_writes_whole_thresholds_and_reports_or_none() {
    const ARGS: [&str; 15] = [
        "evaluate",
        "--device",
        "ndarray",
        "--model",
        "whole/model",
        "--data",
        "validation.csv",
        "--attacks",
        "uniform_ipv4=0.3",
        "--target-fpr",
        "0.05",
        "--report",
        "report.html",
        "--plots",
        "plots",
    ];
    check(&Case {
        args: &ARGS,
        names: &["thresholds.json", "report.html", "plots"],
        with_clocks: &[],
        interim: &[],
    });
}

#[test]
fn a_sweep_without_room_ends_and_goes_on_with_room() {
    check(&Case {
        args: &["sweep", "--config", "sweep.toml", "--output", "sweep"],
        names: &["sweep"],
        with_clocks: &["trials.csv", "report.html"],
        interim: &["sweep/best"],
    });
}

#[test]
fn a_container_without_room_ends_and_goes_on_with_room() {
    check(&Case {
        args: &["sagemaker", "train", "--root", "ml"],
        names: &["ml/"],
        with_clocks: &["output/failure"],
        interim: &[],
    });
}

/// A folder with so many KiB of room; none after saying `skipped`.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(num_kib: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let size = format!("size={num_kib}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "ipsight"]).arg(disk.0.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(disk),
            _ => {
                std::mem::forget(disk); // it has nothing to unmount
                skipped("a disk that is full: mount -t tmpfs is not allowed");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

/// The real thing: less and less room on a disk, down to none.
#[test]
fn a_disk_that_is_really_full_is_an_error_with_a_path() {
    let before = folder_with_run();
    let setup = before.path();
    fs::write(setup.join("sweep.toml"), SWEEP).unwrap();
    fs::write(setup.join("access.log"), ACCESS_LOG.repeat(1000)).unwrap();
    let Some(disk) = SmallDisk::mount(1024) else { return };
    copy(setup, disk.path());
    let cases: [(&[&str], &str); 5] = [
        (&["train", "--config", "small.toml", "--output", "run"], "run"),
        (&["prepare", "train.csv", "--output", "out.arrow"], "out.arrow"),
        (&["score", "--model", "whole/model", "--input", "train.csv", "--output", "out.csv"], "out.csv"),
        (&["import", "apache", "--input", "access.log", "--output", "logins.csv"], "logins.csv"),
        (&["sweep", "--config", "sweep.toml", "--output", "sweep"], "sweep"),
    ];
    let filler = disk.path().join("filler");
    for (args, output) in cases {
        let mut num_full = 0;
        for num_free in [0usize, 8 << 10, 24 << 10, 64 << 10] {
            fill(&filler, num_free);
            let outcome = ipsight(disk.path(), args, b"");
            let is_full = outcome.code != Some(0);
            if is_full {
                num_full += 1;
                outcome.expect(4, &["error: ", output]);
            }
            assert_eq!(left_over(disk.path()), [""; 0], "{args:?} with {num_free} bytes");
            fs::remove_file(&filler).unwrap();
            let mut again = args.to_vec();
            if output == "sweep" && disk.path().join("sweep/journal.log").exists() {
                again.push("--resume");
            }
            if is_full {
                ipsight(disk.path(), &again, b"").expect(0, &[]);
            }
            let path = disk.path().join(output);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        assert!(num_full > 0, "{args:?} had room enough");
    }
}

/// Takes all room but so many bytes.
fn fill(path: &Path, num_free: usize) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let block = [0u8; 4096];
    while file.write_all(&block).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(num_free as u64)).unwrap();
}

/// Stdout is a file, too.
#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let Ok(full) = fs::File::options().write(true).open("/dev/full") else { return skipped("/dev/full") };
    let folder = folder_with_run();
    for args in [
        &["score", "--model", "whole/model", "--input", "train.csv"][..],
        &["inspect", "--model", "whole/model", "--json"],
        &["config", "show"],
        &["evaluate", "--model", "whole/model", "--data", "validation.csv", "--json"],
        &["explain", "--model", "whole/model", "user_1", "1.2.3.4"],
        &["compare", "whole/model", "whole/model", "--data", "validation.csv", "--json"],
        &["completions", "bash"],
        &["devices"],
    ] {
        let output = super::support::command(folder.path(), args)
            .stdout(full.try_clone().unwrap())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .and_then(|child| child.wait_with_output())
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(4) && stderr.contains("stdout"), "{args:?}: {output:?}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}
