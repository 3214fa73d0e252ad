//! A disk that fills up at any place, or fails: exit code 4, what was there before is there, and nothing half written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::failpoints::{self, How};
use super::support::{Outcome, ipsight, skipped};
use super::{MODEL, contents, difference, folder_with_run, left_over, number, train, train_args};

/// Runs a command with the disk full from its first change of a file below `below` on, then from the one that is `stride`
/// later, and so on, until it is at its end; and likewise with a disk that fails once. `check` is asked each time what is
/// wrong, and puts things right again.
fn with_each_fault(
    root: &Path,
    below: &str,
    args: &[&str],
    stride: usize,
    check: &mut dyn FnMut(&Outcome) -> Option<String>,
) -> usize {
    let below = root.join(below);
    let mut wrong = Vec::new();
    let mut num_faults = 0;
    for how in [How::NoSpace, How::BadDisk] {
        for at in (1..).step_by(stride) {
            let faulty = failpoints::run(root, &below, (how, at), args);
            let Some(hit) = faulty.hit else {
                if faulty.outcome.code != Some(0) {
                    wrong.push(format!("without a fault: {:?}", faulty.outcome));
                }
                check(&faulty.outcome);
                break;
            };
            num_faults += 1;
            let mut found = check(&faulty.outcome);
            if faulty.outcome.code != Some(4) {
                found = Some(format!("exit code {:?}: {}", faulty.outcome.code, faulty.outcome.stderr));
            }
            wrong.extend(found.map(|what| format!("{how:?} {at} {hit}: {what}")));
        }
    }
    let first = &wrong[..wrong.len().min(12)];
    assert!(wrong.is_empty(), "{args:?}: {} of {num_faults}:\n{}", wrong.len(), first.join("\n"));
    assert!(num_faults > 0);
    num_faults
}

/// As [`with_each_fault`], of a command that changes files below the folder `below` only: each is as it was or as it is
/// after a run without a fault, and there are no others.
fn leaves_nothing_broken(root: &Path, below: &str, args: &[&str]) {
    let folder = root.join(below);
    fs::create_dir_all(&folder).unwrap();
    let before = contents(&folder);
    ipsight(root, args, b"").expect(0, &[]);
    let whole = contents(&folder);
    assert!(whole != before, "{args:?} changes nothing");
    restore(&folder, &before);
    let num = with_each_fault(root, below, args, 1, &mut |_| {
        let found = contents(&folder);
        let broken = found.iter().filter(|file| !before.contains(file) && !whole.contains(file));
        let lost = before.iter().filter(|(name, _)| !found.iter().any(|(found, _)| found == name));
        let names = broken.chain(lost).map(|(name, _)| name.as_str()).collect::<Vec<_>>();
        let what = (!names.is_empty()).then(|| format!("broken or lost: {names:?}"));
        restore(&folder, &before);
        what
    });
    println!("{}: {num} faults", args[0]);
}

/// Makes a folder what [`contents`] said that it was.
fn restore(folder: &Path, before: &[(String, Vec<u8>)]) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
    for (name, bytes) in before {
        let path = folder.join(name);
        match name.strip_suffix('/') {
            Some(_) => fs::create_dir_all(path).unwrap(),
            None => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

#[test]
fn outputs_are_whole_or_not_there() {
    if !failpoints::available() {
        return;
    }
    let folder = folder_with_run();
    let root = folder.path();
    fs::create_dir(root.join("out")).unwrap();
    leaves_nothing_broken(root, "out", &["prepare", "train.csv", "--output", "out/x.arrow"]);
    let limits = ["--max-events-per-ip", "3", "--output", "out/y.arrow"];
    leaves_nothing_broken(root, "out", &[&["prepare", "train.csv"][..], &limits].concat());
    for format in ["csv", "jsonl", "parquet"] {
        let score = ["score", "--model", "whole/model", "--input", "train.csv", "--format", format];
        let output = format!("out/{format}");
        leaves_nothing_broken(root, "out", &[&score[..], &["--output", &output]].concat());
    }
    let line = "Nov 20 10:00:00 host sshd[1]: Accepted password for root from 192.0.2.1 port 22 ssh2\n";
    fs::write(root.join("auth.log"), line.repeat(2000)).unwrap();
    let import = ["import", "sshd", "--input", "auth.log", "--year", "2025", "--output", "out/logins.csv"];
    leaves_nothing_broken(root, "out", &import);
    fs::write(root.join("bad.csv"), "user_1,1.2.3.4\nuser_1,1.2.3\n".repeat(10)).unwrap();
    let quarantine =
        ["prepare", "bad.csv", "--on-bad-row", "quarantine=out/bad.csv", "--max-bad-fraction", "1"];
    leaves_nothing_broken(root, "out", &[&quarantine[..], &["--output", "out/z.arrow"]].concat());
}

#[test]
fn thresholds_reports_and_logins_leave_nothing_half_written() {
    if !failpoints::available() {
        return;
    }
    let folder = folder_with_run();
    let root = folder.path();
    let evaluate = ["evaluate", "--model", "whole/model", "--data", "validation.csv", "--attacks", "default"];
    leaves_nothing_broken(root, "whole", &[&evaluate[..], &["--target-fpr", "0.1"]].concat());
    let report = ["--report", "page/report.html", "--plots", "page/plots"];
    leaves_nothing_broken(root, "page", &[&evaluate[..], &report].concat());
    let generate = ["generate", "--users", "50", "--days", "4", "--seed", "1", "--output", "made"];
    leaves_nothing_broken(root, "made", &generate);
}

/// Where a training writes: what it has is kept, and it goes on when there is room. `IPSIGHT_FAULT_STRIDE=1` takes every
/// place, which takes minutes.
#[test]
fn a_training_goes_on_when_there_is_room_again() {
    if !failpoints::available() {
        return;
    }
    let folder = folder_with_run();
    let root = folder.path();
    fs::create_dir(root.join("runs")).unwrap();
    let stride = number("IPSIGHT_FAULT_STRIDE", 11) as usize;
    let num = with_each_fault(root, "runs", &train_args("runs/run", &[]), stride, &mut |outcome| {
        let run = root.join("runs/run");
        if outcome.code == Some(0) {
            let _ = fs::remove_dir_all(&run);
            return None;
        }
        let mut wrong = None;
        if run.exists() {
            let left = left_over(&run);
            if !left.is_empty() {
                wrong = Some(format!("left over: {left:?}"));
            }
        }
        let again = train(root, "runs/run", &[]);
        // Where its last checkpoint was what failed, the model is there all the same.
        let is_at_its_end = again.code == Some(2) && again.stderr.contains("came to its end");
        if again.code != Some(0) && !is_at_its_end {
            wrong = Some(format!("it does not go on: {:?} {}", again.code, again.stderr));
        } else if let Some(what) = difference(&run, &root.join("whole")) {
            wrong = Some(what);
        }
        let _ = fs::remove_dir_all(&run);
        wrong
    });
    println!("train: {num} faults");
}

/// A file system of 256 KiB, which is unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(root: &Path) -> Option<Self> {
        let path = root.join("small");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&path);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(path)),
            failed => {
                let why =
                    failed.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).into());
                skipped(&format!("a tmpfs cannot be mounted: {}", why.trim()));
                None
            }
        }
    }

    /// Leaves so many bytes.
    fn fill(&self, num_left: usize) {
        let num_free = 256 * 1024 - fs::metadata(self.0.join("ballast")).map_or(0, |m| m.len() as usize);
        fs::write(self.0.join("ballast"), vec![0; num_free.saturating_sub(num_left)]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// The same on a disk that is full indeed.
#[test]
fn a_full_disk_is_exit_code_4_and_nothing_is_lost() {
    let folder = folder_with_run();
    let root = folder.path();
    let Some(disk) = SmallDisk::mount(root) else { return };
    disk.fill(16 * 1024);
    let full = |args: &[&str]| {
        let text = ipsight(root, args, b"").expect(4, &["small", "free some space"]).stderr;
        assert!(!text.contains("panicked"), "{text}");
        let left: Vec<_> =
            left_over(&disk.0).into_iter().filter(|name| !name.contains("checkpoints/")).collect();
        assert!(left.is_empty(), "{args:?}: {left:?}");
    };
    full(&["prepare", "train.csv", "--output", "small/x.arrow"]);
    full(&["score", "--model", "whole/model", "--input", "train.csv", "--output", "small/scores.csv"]);
    full(&["generate", "--users", "50", "--days", "4", "--seed", "1", "--output", "small/made"]);
    full(&train_args("small/run", &[]));
    let config = "base = \"small.toml\"\nmethod = \"random\"\n[budget]\ntrials = 2\n\
        [parameters.learning_rate]\nuniform = [0.01, 0.02]\n";
    fs::write(root.join("sweep.toml"), config).unwrap();
    let sweep = ["sweep", "--config", "sweep.toml", "--output", "small/sweep"];
    ipsight(root, &sweep, b"").expect(4, &["small"]);
    // With room, all goes on.
    fs::remove_file(disk.0.join("ballast")).unwrap();
    let _ = fs::remove_dir_all(disk.0.join("made"));
    let more: &[&str] = if disk.0.join("sweep/journal.log").exists() { &["--resume"] } else { &[] };
    ipsight(root, &[&sweep[..], more].concat(), b"").expect(0, &["the best"]);
    fs::remove_dir_all(disk.0.join("sweep")).unwrap();
    train(root, "small/run", &[]).expect(0, &[]);
    assert_eq!(difference(&disk.0.join("run"), &root.join("whole")), None);
    for name in MODEL {
        assert!(disk.0.join("run/model").join(name).exists());
    }
}
