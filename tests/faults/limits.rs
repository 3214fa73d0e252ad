//! Limits of the operating system: memory, sizes of files, threads, and files that change while they are mapped.
//!
//! A shell sets the limits, so that they hold for the program alone.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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
    let large = ["--set", "hyperparameters.num_entity_vectors=50000000"];
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

/// A sweep that may start no thread for a trial, or no process, says so; a trial that may not is a trial that failed.
#[test]
fn a_sweep_that_can_start_no_thread_is_exit_code_5() {
    let folder = folder();
    let base = "[hyperparameters]\nnum_entity_vectors = 50\nvector_dim = 8\nepochs = 1\nmini_batch_size = 100\n\
                [data.generated]\nusers = 20\ndays = 10\nseed = 1\n[training]\ndevice = \"ndarray\"\n";
    let sweep = "base = \"base.toml\"\nmethod = \"random\"\n[budget]\ntrials = 2\n\
                 [parameters.learning_rate]\nlog_uniform = [0.001, 0.1]\n";
    fs::write(folder.path().join("base.toml"), base).unwrap();
    fs::write(folder.path().join("sweep.toml"), sweep).unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let user = 66_000 + std::process::id() % 4_000;
    let run = |ulimit: &str, output: &str| {
        let args = ["sweep", "--config", "sweep.toml", "--jobs", "1", "--output", output];
        let mut command = limited(folder.path(), ulimit, &args);
        command.uid(user).env("RAYON_NUM_THREADS", "1").env("HOME", folder.path());
        command
            .output()
            .map(|output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    match run("-n 1024", "free") {
        Ok((Some(0), _)) => {}
        other => return skipped(&format!("a sweep of another user: {other:?}")),
    }
    let mut reasons = String::new();
    for num_threads in 1..=6 {
        let (code, stderr) = run(&format!("-u {num_threads}"), &format!("sweep-{num_threads}")).unwrap();
        assert!(matches!(code, Some(0 | 1 | 5)), "{num_threads} threads: {code:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{num_threads} threads: {stderr}");
        if code == Some(5) {
            reasons += &stderr;
        }
    }
    for what in ["cannot start the thread `trial`", "cannot start the process"] {
        assert!(reasons.contains(what), "`{what}` is not among: {reasons}");
    }
}

/// The greatest resident memory of a training in MiB, as the system has it, and its standard error.
fn peak_of(root: &Path, args: &[&str]) -> (f64, String) {
    let mut training = command(root, args);
    // The plan is for the machine's cores.
    training.env("RAYON_NUM_THREADS", "2").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = training.spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let mut peak: f64 = 0.0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        peak = kib.and_then(|kib| kib.parse().ok()).map_or(peak, |kib: f64| peak.max(kib / 1024.0));
        std::thread::sleep(Duration::from_millis(1));
    }
    (peak, reading.join().unwrap().unwrap())
}

/// The short form of `tests/long/memory_plan.py`: tables of 20,000 rows.
#[test]
fn a_training_takes_the_memory_that_it_plans() {
    let folder = folder();
    let events: String = (0..30_000)
        .map(|i| format!("user_{},{}.{}.{}.7\n", i % 5_000, 1 + i % 200, i / 200 % 250, i % 8))
        .collect();
    fs::write(folder.path().join("events.csv"), events).unwrap();
    for (detector, addresses, vector_dim) in
        [("engine", "ipv4", 128), ("engine", "both", 64), ("history", "ipv4", 32), ("history", "both", 32)]
    {
        let sets = [
            format!("model.detector={detector}"),
            format!("model.addresses={addresses}"),
            format!("hyperparameters.vector_dim={vector_dim}"),
            "hyperparameters.num_entity_vectors=20000".into(),
            "hyperparameters.mini_batch_size=5000".into(),
            "hyperparameters.epochs=1".into(),
        ];
        let mut args = vec!["train", "--overwrite", "--device", "ndarray", "--output", "run"];
        args.extend(["--train", "events.csv", "--validation", "events.csv"]);
        sets.iter().for_each(|set| args.extend(["--set", set]));
        let (peak, stderr) = peak_of(folder.path(), &args);
        let plan = stderr.lines().find_map(|line| line.strip_prefix("memory: "));
        let plan = plan.unwrap_or_else(|| panic!("{detector}: no plan: {stderr}"));
        let planned: f64 = plan.split(' ').next().unwrap().parse().unwrap();
        assert!(peak > 0.0 && (planned - peak).abs() <= f64::max(32.0, peak / 10.0), "{peak:.0} MiB: {plan}");
    }
}

/// Events that are limited lie on the disk: of each only its place in its group is in memory, and of 16 million at a time.
#[test]
fn events_that_are_limited_stay_on_the_disk() {
    let folder = folder();
    let peak =
        |num_entities: usize| {
            let mut text = String::with_capacity(24 * num_entities);
            for i in 0..num_entities {
                writeln!(text, "user_{i},{}.{}.{}.7", 1 + i % 200, i / 200 % 250, i / 50_000 % 250).unwrap();
            }
            fs::write(folder.path().join("many.csv"), text).unwrap();
            let args = ["prepare", "many.csv", "--output", "out.arrow", "--max-events-per-entity", "5"];
            let (peak, stderr) = peak_of(folder.path(), &args);
            assert!(stderr.contains("0 events of 0 entities left out"), "{stderr}");
            assert!(fs::read_dir(folder.path()).unwrap().all(|entry| {
                !entry.unwrap().file_name().to_string_lossy().starts_with(".ipsight-prepare")
            }));
            // The mapped events are the system's page cache.
            peak - 16.0 * num_entities as f64 / f64::from(1 << 20)
        };
    let (few, many) = (peak(20_000), peak(2_000_000));
    // 16 bytes for each event that is looked at, and the allocator's doubling.
    assert!(many - few < 100.0, "{few:.0} MiB, then {many:.0} MiB");
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
