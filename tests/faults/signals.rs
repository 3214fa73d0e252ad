//! A signal while a checkpoint is being written and while a validation runs, and a second one.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipsight::Config;
use ipsight::config::DeviceChoice;
use ipsight::data::Events;
use ipsight::device;
use ipsight::event::Address;
use ipsight::train::{CheckpointFolder, Resume, RunIdentity, TrainEvent, TrainInputs, Trained, checkpoint};

use super::support::command;
use super::{difference, folder_with_run, train, train_args};

fn start(root: &Path, output: &str, more: &[&str]) -> Child {
    command(root, &train_args(output, more))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: &str) {
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
}

/// Waits until something is there, or the process has ended.
fn wait_for(child: &mut Child, mut is_there: impl FnMut() -> bool) -> bool {
    loop {
        if is_there() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Waits until the process is writing a checkpoint of the run, or has ended.
fn wait_for_checkpoint(child: &mut Child, run: &Path) -> bool {
    let end = format!(".{}.tmp", child.id());
    wait_for(child, || {
        let mut entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().ends_with(&end))
    })
}

#[test]
fn a_signal_while_a_checkpoint_is_being_written_leaves_a_whole_one_and_goes_on() {
    let folder = folder_with_run();
    let root = folder.path();
    for (name, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut stopped = false;
        for attempt in 0..20 {
            let output = format!("run{name}-{attempt}");
            // A table that takes a while to write, and a checkpoint at each step.
            let more = [
                "--set",
                "hyperparameters.num_entity_vectors=100000",
                "--set",
                "training.checkpoint_interval=1 steps",
            ];
            let mut child = start(root, &output, &more);
            let run = root.join(&output);
            if !wait_for_checkpoint(&mut child, &run) {
                continue; // it was too fast
            }
            signal(&child, name);
            match child.wait().unwrap().code() {
                Some(found) if found == code => {}
                Some(0) => continue,
                other => panic!("{name}: {other:?}"),
            }
            assert_eq!(super::left_over(&run), [""; 0], "{name}");
            assert!(run.join("model/manifest.json").exists());
            train(root, &output, &more).expect(0, &["going on from"]);
            train(root, "large", &[&more[..], &["--overwrite"]].concat()).expect(0, &[]);
            assert_eq!(difference(&run, &root.join("large")), None);
            stopped = true;
            break;
        }
        assert!(stopped, "{name}: no signal came in time");
    }
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let folder = folder_with_run();
    let root = folder.path();
    // One step that takes long, so that the first signal waits for its end.
    let more = [
        "--set",
        "hyperparameters.mini_batch_size=1980",
        "--set",
        "hyperparameters.epochs=10000000",
        "--set",
        "hyperparameters.num_entity_vectors=100000",
        "--set",
        "training.checkpoint_interval=1 steps",
    ];
    let mut child = start(root, "run", &more);
    let run = root.join("run");
    assert!(wait_for_checkpoint(&mut child, &run));
    signal(&child, "-TERM");
    signal(&child, "-INT");
    // Whichever is handled first, it ends by one of them.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    // And the folder can be gone on with: the same command, until it is stopped.
    let mut child = start(root, "run", &more);
    assert!(wait_for_checkpoint(&mut child, &run));
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(super::left_over(&run), [""; 0]);
}

fn events(num: u32) -> Events {
    let entities = (0..u64::from(num)).map(|i| (i % 37) * 0x9E37_79B9_7F4A_7C15).collect();
    Events::from_columns(
        entities,
        (0..num).map(|i| Address::from_ipv4(i.wrapping_mul(2_654_435_761))).collect(),
    )
}

/// Trains 3 epochs of 10 steps. `stop_at` counts how often it is asked whether to stop: once before each step, and once
/// for each event of the validation.
fn train_until(folder: &Path, stop_at: usize, resume: Resume) -> (Trained, Vec<String>) {
    let mut config = Config::default();
    let h = &mut config.hyperparameters;
    (h.num_entity_vectors, h.vector_dim, h.mini_batch_size, h.epochs) = (50, 8, 100, 3);
    h.batch_metrics_publish_interval = 4;
    config.training.checkpoint_interval = "1000 steps".into();
    let (events, validation) = (events(1000), events(200));
    let data = events.digest();
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    let run = RunIdentity { config: &config, data: &data, init_from: None };
    let from = checkpoint::find(folder, resume, &run, &mut |_, error| panic!("{error}")).unwrap();
    let num_asked = AtomicUsize::new(0);
    let mut told = Vec::new();
    let inputs = TrainInputs {
        config: &config,
        events: &events,
        validation: Some(&validation),
        device: &device,
        stop: &|| (num_asked.fetch_add(1, Ordering::Relaxed) >= stop_at).then_some(15),
        checkpoints: Some(CheckpointFolder { path: folder, data: &data }),
        init_from: None,
        from: from.as_ref(),
        until_epoch: None,
    };
    let trained = ipsight::train(&inputs, &mut |event| {
        if let TrainEvent::Batch { .. } = event {
            told.push(event.to_json().unwrap().to_string());
        }
        Ok(())
    });
    (trained.unwrap(), told)
}

#[test]
fn a_signal_during_a_validation_stops_it_and_the_run_goes_on_with_it() {
    let root = tempfile::tempdir().unwrap();
    let (whole, all_told) = train_until(&root.path().join("whole"), usize::MAX, Resume::Never);
    let weights = |trained: &Trained| -> Vec<f32> {
        let parts = trained.model.named_tensors().into_iter().flat_map(|tensor| tensor.parts);
        parts.flat_map(|part| part.to_data().iter::<f32>().collect::<Vec<_>>()).collect()
    };
    let figures = |trained: &Trained| {
        let of = |epoch: &ipsight::train::EpochMetrics| {
            (epoch.epoch, epoch.loss, epoch.accuracy, epoch.discriminator_auc)
        };
        trained.epochs.iter().map(of).collect::<Vec<_>>()
    };
    // In the first validation, at its first event and at its last, and in the last one.
    for (stop_at, num_steps, num_epochs) in [(10, 10, 0), (10 + 199, 10, 0), (3 * 210 - 1, 30, 2)] {
        let folder = root.path().join(stop_at.to_string());
        let (stopped, mut told) = train_until(&folder, stop_at, Resume::Never);
        assert_eq!((stopped.stopped_by, stopped.num_steps), (Some(15), num_steps), "{stop_at}");
        assert_eq!(stopped.epochs.len(), num_epochs, "{stop_at}");
        assert!(stopped.checkpoint_error.is_none());
        let (resumed, rest) = train_until(&folder, usize::MAX, Resume::Must);
        told.extend(rest);
        assert_eq!(told, all_told, "{stop_at}");
        assert_eq!(figures(&resumed), figures(&whole), "{stop_at}");
        assert!(weights(&resumed) == weights(&whole), "{stop_at}");
        assert!(resumed.entity_filter == whole.entity_filter && resumed.row_counts == whole.row_counts);
    }
}
