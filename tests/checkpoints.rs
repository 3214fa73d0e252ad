//! A training that is cut off, and goes on as if it had not been.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipsight::Config;
use ipsight::config::DeviceChoice;
use ipsight::data::Events;
use ipsight::device::{self, ComputeDevice, MemoryPlan};
use ipsight::event::Address;
use ipsight::train::{
    Checkpoint, CheckpointFolder, FolderLock, Resume, RunIdentity, TrainEvent, TrainInputs, Trained,
    checkpoint,
};
use support::{Outcome, ipsight};
use tempfile::TempDir;

/// 20 steps an epoch, a checkpoint every 7, figures every 3.
const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 600
vector_dim = 16
mini_batch_size = 1000
learning_rate = 0.02
epochs = 8
batch_metrics_publish_interval = 3
[training]
device = "ndarray"
learning_rate_schedule = "linear"
warmup_steps = 30
checkpoint_interval = "7 steps"
[data]
train = ["train.csv"]
validation = ["validation.csv"]
"#;

/// Logins, and `whole`, a run on them that nothing cut off.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    ipsight(root, &["generate", "--users", "300", "--days", "10", "--seed", "7", "--output", "logins"], b"")
        .expect(0, &[]);
    let lines = |name: &str, num: usize| {
        let text = fs::read_to_string(root.join("logins").join(name)).unwrap();
        assert!(text.lines().count() >= num);
        let lines: String = text.lines().take(num).map(|line| format!("{line}\n")).collect();
        fs::write(root.join(name), lines).unwrap();
    };
    lines("train.csv", 19_500);
    lines("validation.csv", 2000);
    fs::write(root.join("small.toml"), SMALL).unwrap();
    train_in(root, "whole", &[]).expect(0, &[]);
    folder
});

fn root() -> &'static Path {
    FIXTURE.path()
}

const TRAIN: [&str; 4] = ["train", "--config", "small.toml", "--output"];

fn train_in(root: &Path, output: &str, more: &[&str]) -> Outcome {
    ipsight(root, &[&TRAIN[..], &[output], more].concat(), b"")
}

fn train(output: &str, more: &[&str]) -> Outcome {
    train_in(root(), output, more)
}

fn start(output: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args([&TRAIN[..], &[output]].concat())
        .current_dir(root())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends a signal once the run has told so many figures; its exit code, none where it was killed.
fn signal_after(child: &mut Child, output: &str, num_lines: usize, signal: &str) -> Option<i32> {
    let metrics = root().join(output).join("metrics.jsonl");
    loop {
        if fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= num_lines) {
            Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
            return child.wait().unwrap().code();
        }
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A run that a signal stopped somewhere in its second epoch.
fn stopped(output: &str) -> PathBuf {
    let folder = root().join(output);
    for _ in 0..20 {
        match signal_after(&mut start(output), output, 9, "-TERM") {
            Some(143) => return folder,
            // On a busy machine it may come to its end before the signal comes.
            Some(0) => fs::remove_dir_all(&folder).unwrap(),
            code => panic!("{output}: {code:?}"),
        }
    }
    panic!("{output}: no signal came in time");
}

fn checkpoints(output: &str) -> Vec<(usize, PathBuf)> {
    checkpoint::list(&root().join(output).join("checkpoints")).unwrap()
}

fn figures(output: &str) -> Vec<serde_json::Value> {
    support::figures(&root().join(output))
}

/// Everything in a folder, by its path below it.
fn all_files(folder: &Path, below: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            names.extend(all_files(&entry.path(), &name));
        }
        names.push(name);
    }
    names
}

/// The run is as `whole`: model and figures, and nothing half written lies about.
#[track_caller]
fn assert_whole(output: &str) {
    for name in ["model.safetensors", "folded.safetensors", "config.toml", "manifest.json"] {
        let file = |run: &str| fs::read(root().join(run).join("model").join(name)).unwrap();
        assert!(file(output) == file("whole"), "{output}: {name} differs");
    }
    let (found, expected) = (figures(output), figures("whole"));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{output}");
    }
    assert_eq!(found.len(), expected.len(), "{output}");
    // Neither half written nor half removed files, nor the lock.
    let names = all_files(&root().join(output), "");
    let hidden: Vec<_> = names.into_iter().filter(|name| name.contains("/.")).collect();
    assert!(hidden.is_empty(), "{output}: {hidden:?}");
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_model() {
    LazyLock::force(&FIXTURE);
    // Lines of figures after which it is killed: in the first epoch, at its end, and wherever the runs get to.
    for (output, kills) in [("killed-1", &[1, 5, 12, 20][..]), ("killed-2", &[3, 7, 8, 15, 27])] {
        let mut num_killed = 0;
        for num_lines in kills {
            let code = signal_after(&mut start(output), output, *num_lines, "-KILL");
            num_killed += usize::from(code.is_none());
        }
        assert!(num_killed > 0, "{output}: every kill came too late");
        let last = train(output, &[]);
        if last.code == Some(2) {
            // The last kill came too late.
            last.expect(2, &["is complete"]);
        } else {
            last.expect(0, &[]);
        }
        assert_whole(output);
    }
}

#[test]
fn a_signal_leaves_a_model_and_a_checkpoint_to_go_on_from() {
    LazyLock::force(&FIXTURE);
    stopped("stopped");
    let manifest =
        ipsight(root(), &["inspect", "--model", "stopped/model", "--json"], b"").expect(0, &[]).json();
    assert_eq!(manifest["training"]["completed"], false);
    let (num_steps, path) = checkpoints("stopped").pop().unwrap();
    assert_eq!(manifest["training"]["num_steps"], num_steps, "the checkpoint holds all that was done");
    train("stopped", &["--resume", "never"]).expect(2, &["--overwrite", "set --resume to auto"]);
    // As a run leaves them that is killed while it writes.
    for half in ["checkpoints/.step-0000000099.1.tmp", "checkpoints/.step-0000000007.1.old", ".model.1.tmp"] {
        fs::create_dir(root().join("stopped").join(half)).unwrap();
        fs::write(root().join("stopped").join(half).join("state.safetensors"), "half").unwrap();
    }
    fs::write(root().join("stopped/.lock"), "").unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_string();
    train("stopped", &[]).expect(0, &["going on from", &name]);
    assert_whole("stopped");
    train("stopped", &[]).expect(2, &["is complete", "--overwrite"]);
    // A must goes on even then, and comes to the same end.
    train("stopped", &["--resume", "must"]).expect(0, &["going on from"]);
    assert_whole("stopped");
    assert_eq!(checkpoints("stopped").len(), 2);
}

#[test]
fn a_signal_while_events_are_read_ends_it_at_once() {
    LazyLock::force(&FIXTURE);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args([&TRAIN[..], &["reading", "--train", "-"]].concat())
        .current_dir(root())
        .stdin(Stdio::piped()) // which says nothing, and does not end
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _stdin = child.stdin.take(); // to be closed no earlier
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().starts_with("device:")));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!root().join("reading").exists());
}

#[test]
fn a_damaged_checkpoint_is_left_out_for_the_one_before() {
    LazyLock::force(&FIXTURE);
    type Damage = (&'static str, &'static str, fn(&Path));
    let damage: [Damage; 4] = [
        ("flipped", "BLAKE3", |checkpoint| {
            let path = checkpoint.join("state.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("truncated", "bytes instead of", |checkpoint| {
            let path = checkpoint.join("state.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 3]).unwrap();
        }),
        ("edited", "BLAKE3", |checkpoint| {
            let path = checkpoint.join("config.toml");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("0.02", "0.03")).unwrap();
        }),
        ("headless", "manifest.json", |checkpoint| {
            fs::remove_file(checkpoint.join("manifest.json")).unwrap();
        }),
    ];
    for (output, why, damage) in damage {
        stopped(output);
        let all = checkpoints(output);
        assert_eq!(all.len(), 2, "{output}");
        damage(&all[1].1);
        let name = |i: usize| all[i].1.file_name().unwrap().to_str().unwrap().to_string();
        train(output, &[])
            .expect(0, &["is damaged", why, &name(1), &format!("going on from {output}"), &name(0)]);
        assert_whole(output);
    }
}

#[test]
fn without_a_good_checkpoint_it_begins_anew_unless_it_must_not() {
    LazyLock::force(&FIXTURE);
    let folder = stopped("none-good");
    for (_, path) in checkpoints("none-good") {
        fs::write(path.join("manifest.json"), "{}").unwrap();
    }
    let must = train("none-good", &["--resume", "must"]);
    // `{}` has no version, which is no damage that could be passed over in silence.
    must.expect(2, &["no format version"]);
    for (_, path) in checkpoints("none-good") {
        fs::write(path.join("manifest.json"), "{").unwrap();
    }
    train("none-good", &["--resume", "must"]).expect(2, &["no good checkpoint", "--resume must"]);
    assert!(folder.join("model/manifest.json").exists());
    let outcome = train("none-good", &[]).expect(0, &["is damaged", "no good checkpoint", "begins anew"]);
    assert!(!outcome.stderr.contains("going on from"), "{}", outcome.stderr);
    assert_whole("none-good");
    train("nothing", &["--resume", "must"]).expect(2, &["no run to resume"]);
    train("nothing", &["--resume", "must", "--overwrite"]).expect(2, &["--overwrite"]);
    assert!(!root().join("nothing").exists());
    train("nothing", &["--resume", "perhaps"]).expect(2, &["auto, never, must"]);
}

#[test]
fn other_events_or_another_configuration_are_refused_by_name() {
    LazyLock::force(&FIXTURE);
    stopped("other");
    let set = |assignment: &str| train("other", &["--set", assignment]);
    set("hyperparameters.vector_dim=32")
        .expect(2, &["hyperparameters.vector_dim: 16 then, 32 now", "--overwrite"]);
    set("training.seed=1").expect(2, &["training.seed: 0 then, 1 now"]);
    set("hyperparameters.epochs=9").expect(2, &["hyperparameters.epochs: 8 then, 9 now"]);
    let text = fs::read_to_string(root().join("train.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(root().join("fewer.csv"), lines[1..].join("\n")).unwrap();
    train("other", &["--train", "fewer.csv"]).expect(2, &["training events: 19500 then, 19499 now"]);
    let turned: Vec<&str> = lines[1..].iter().chain(&lines[..1]).copied().collect();
    fs::write(root().join("turned.csv"), turned.join("\n")).unwrap();
    train("other", &["--train", "turned.csv"]).expect(2, &["in another order"]);
    // The same events under another name, and how often something is told or kept, make no other run.
    fs::write(root().join("same.csv"), &text).unwrap();
    let same = ["--train", "same.csv", "--set", "training.keep_checkpoints=3"];
    train("other", &[&same[..], &["--set", "training.checkpoint_interval=9 steps"]].concat())
        .expect(0, &["going on from"]);
    let weights = |run: &str| fs::read(root().join(run).join("model/model.safetensors")).unwrap();
    assert!(weights("other") == weights("whole"));
    assert_eq!(checkpoints("other").len(), 3);
    // Anew, with what was refused.
    train("other", &["--set", "hyperparameters.vector_dim=32", "--overwrite"]).expect(0, &[]);
    assert_eq!(checkpoints("other").iter().map(|(steps, _)| *steps).collect::<Vec<_>>(), [154, 160]);
}

#[test]
fn two_runs_in_one_folder_are_one_too_many() {
    LazyLock::force(&FIXTURE);
    let lock = FolderLock::take(&root().join("held")).unwrap();
    train("held", &[]).expect(2, &["another ipsight is training"]);
    drop(lock);
    train("held", &["--set", "hyperparameters.epochs=1"]).expect(0, &[]);
}

#[test]
fn off_means_no_checkpoint_and_as_many_as_asked_for_are_kept() {
    LazyLock::force(&FIXTURE);
    train("off", &["--set", "training.checkpoint_interval=off"]).expect(0, &[]);
    assert!(!root().join("off/checkpoints").exists());
    let steps = |output| checkpoints(output).iter().map(|(steps, _)| *steps).collect::<Vec<_>>();
    assert_eq!(steps("whole"), [154, 160]);
    train("kept", &["--set", "training.keep_checkpoints=1"]).expect(0, &[]);
    assert_eq!(steps("kept"), [160]);
    let weights = |run: &str| fs::read(root().join(run).join("model/model.safetensors")).unwrap();
    assert!(weights("off") == weights("whole") && weights("kept") == weights("whole"));
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run_and_leaves_nothing() {
    LazyLock::force(&FIXTURE);
    fs::create_dir(root().join("blocked")).unwrap();
    fs::write(root().join("blocked/checkpoints"), "no folder").unwrap();
    train("blocked", &[]).expect(4, &["checkpoints"]);
    assert_eq!(all_files(&root().join("blocked"), ""), ["/checkpoints"]);

    // One that fails while it is being written, in a folder that cannot be made.
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    let folder = root().join("blocked/checkpoints");
    let mut often = config();
    often.training.checkpoint_interval = "5 steps".into();
    let (failed, _) = try_train_some(&often, &device, &folder, usize::MAX, None);
    let error = failed.err().expect("a checkpoint could not be written");
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("blocked/checkpoints"), "{error}");
    // A run that a signal stops has a model all the same.
    let (stopped, _) = train_some(&config(), &device, &folder, 12, None);
    assert_eq!((stopped.num_steps, stopped.stopped_by), (12, Some(15)));
    assert_eq!(stopped.checkpoint_error.map(|error| error.exit_code()), Some(4));
    assert_eq!(all_files(&root().join("blocked"), ""), ["/checkpoints"]);
}

fn events() -> Events {
    let entities = (0..1000u64).map(|i| (i % 37) * 0x9E37_79B9_7F4A_7C15).collect();
    Events::from_columns(
        entities,
        (0..1000).map(|i: u32| Address::from_ipv4(i.wrapping_mul(2_654_435_761))).collect(),
    )
}

fn config() -> Config {
    let mut config = Config::default();
    let h = &mut config.hyperparameters;
    (h.num_entity_vectors, h.vector_dim, h.mini_batch_size, h.epochs) = (50, 8, 100, 3);
    h.batch_metrics_publish_interval = 4;
    config.training.checkpoint_interval = "1000 steps".into();
    config
}

/// Trains until the end or the given number of steps.
fn train_some(
    config: &Config,
    device: &ComputeDevice,
    folder: &Path,
    stop_after: usize,
    from: Option<&Checkpoint>,
) -> (Trained, Vec<String>) {
    let (trained, told) = try_train_some(config, device, folder, stop_after, from);
    (trained.unwrap(), told)
}

fn try_train_some(
    config: &Config,
    device: &ComputeDevice,
    folder: &Path,
    stop_after: usize,
    from: Option<&Checkpoint>,
) -> (ipsight::Result<Trained>, Vec<String>) {
    let events = events();
    let data = events.digest();
    let done = AtomicUsize::new(from.map_or(0, |from| from.manifest().num_steps));
    let mut told = Vec::new();
    let inputs = TrainInputs {
        config,
        events: &events,
        validation: None,
        device,
        stop: &|| (done.load(Ordering::Relaxed) >= stop_after).then_some(15),
        checkpoints: Some(CheckpointFolder { path: folder, data: &data }),
        init_from: None,
        from,
        until_epoch: None,
    };
    let trained = ipsight::train(&inputs, &mut |event| {
        match event {
            TrainEvent::Step { .. } => _ = done.fetch_add(1, Ordering::Relaxed),
            TrainEvent::Batch { .. } => told.push(event.to_json().unwrap().to_string()),
            _ => {}
        }
        Ok(())
    });
    (trained, told)
}

fn weights(trained: &Trained) -> Vec<f32> {
    let parts = trained.model.named_tensors().into_iter().flat_map(|tensor| tensor.parts);
    parts.flat_map(|part| part.to_data().iter::<f32>().collect::<Vec<_>>()).collect()
}

/// Stops after every number of steps, goes on, and compares with a run that was never stopped.
fn check_every_step(config: &Config, stopped_on: &ComputeDevice, resumed_on: &ComputeDevice, tolerance: f32) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, all_told) = train_some(config, stopped_on, &folder.path().join("whole"), usize::MAX, None);
    assert_eq!(whole.num_steps, 30);
    let mut mismatches = support::Mismatches::default();
    for num_steps in [1, 3, 4, 9, 10, 11, 20, 25, 29] {
        let path = folder.path().join(num_steps.to_string());
        let (stopped, mut told) = train_some(config, stopped_on, &path, num_steps, None);
        assert_eq!((stopped.stopped_by, stopped.num_steps), (Some(15), num_steps));
        let digest = events().digest();
        let run = RunIdentity { config, data: &digest, init_from: None };
        let from = checkpoint::find(&path, Resume::Must, &run, &mut |_, _| panic!()).unwrap().unwrap();
        let (resumed, rest) = train_some(config, resumed_on, &path, usize::MAX, Some(&from));
        assert_eq!((resumed.stopped_by, resumed.num_steps), (None, 30));
        mismatches.check(&format!("after {num_steps}"), &weights(&resumed), &weights(&whole), tolerance);
        told.extend(rest);
        if tolerance == 0.0 {
            assert_eq!(told, all_told, "after {num_steps}");
            assert_eq!(resumed.row_counts, whole.row_counts);
            assert!(resumed.entity_filter == whole.entity_filter);
            let figures = |trained: &Trained| {
                trained
                    .epochs
                    .iter()
                    .map(|epoch| (epoch.epoch, epoch.loss, epoch.accuracy))
                    .collect::<Vec<_>>()
            };
            assert_eq!(figures(&resumed), figures(&whole));
        } else {
            assert_eq!(told.len(), all_told.len());
        }
    }
    mismatches.assert_none();
}

#[test]
fn it_goes_on_after_any_step_as_if_nothing_had_been() {
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    check_every_step(&config(), &device, &device, 0.0);
}

#[test]
fn a_table_in_shards_goes_on_and_in_shards_of_another_size_too() {
    let mut config = config();
    config.hyperparameters.num_entity_vectors = 400;
    let sharded = |num_rows: u64| {
        let mut device = device::choose(DeviceChoice::Ndarray).unwrap();
        // A row is 8 floats, and one more where it is folded.
        device.limits.max_binding_bytes = Some(36 * num_rows);
        let plan = MemoryPlan::for_training(&config, &device.limits).unwrap();
        assert!((100..200).contains(&plan.max_rows_per_shard), "{plan:?}");
        device
    };
    check_every_step(&config, &sharded(125), &sharded(125), 0.0);
    // Sums over a mini-batch are cut where shards are.
    check_every_step(&config, &sharded(125), &sharded(160), 1e-6);
}

#[test]
fn it_goes_on_likewise_on_a_gpu_and_on_the_other_device() {
    if support::wgpu().is_none() {
        return;
    }
    let wgpu = device::choose(DeviceChoice::Wgpu).unwrap();
    let ndarray = device::choose(DeviceChoice::Ndarray).unwrap();
    check_every_step(&config(), &wgpu, &wgpu, 1e-5);
    check_every_step(&config(), &wgpu, &ndarray, 1e-3);
}

#[test]
fn more_epochs_are_the_same_run_where_the_rate_does_not_depend_on_them() {
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (config, mut longer) = (config(), config());
    longer.hyperparameters.epochs = 5;
    train_some(&config, &device, folder.path(), 25, None);
    let digest = events().digest();
    let run = RunIdentity { config: &longer, data: &digest, init_from: None };
    let from = checkpoint::last_good(folder.path(), &run, &mut |_, _| panic!());
    let (resumed, _) = train_some(&longer, &device, folder.path(), usize::MAX, from.unwrap().as_ref());
    let other = tempfile::tempdir().unwrap();
    let (whole, _) = train_some(&longer, &device, other.path(), usize::MAX, None);
    assert_eq!(resumed.num_steps, 50);
    assert!(weights(&resumed) == weights(&whole));
}
