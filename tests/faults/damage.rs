//! Every byte of a model folder and of a checkpoint counts.

use std::fs;
use std::path::Path;

use ipsight::Config;
use ipsight::config::{DetectorKind, DeviceChoice};
use ipsight::data::Events;
use ipsight::device::{self, ComputeDevice};
use ipsight::event::Address;
use ipsight::model_folder;
use ipsight::train::{Checkpoint, CheckpointFolder, RunIdentity, TrainInputs, checkpoint, fit_detector};

use super::support::ipsight;
use super::{MODEL, folder_with_run};

/// Of a byte: its lowest bit, the case of a letter, its highest bit, and all of it.
const MASKS: [u8; 4] = [1, 0x20, 0x80, 0xFF];

fn device() -> ComputeDevice {
    device::choose(DeviceChoice::Ndarray).unwrap()
}

fn events() -> Events {
    let entities = (0..40u64).map(|i| (i % 5) * 0x9E37_79B9_7F4A_7C15).collect();
    Events::from_columns(
        entities,
        (0..40).map(|i: u32| Address::from_ipv4(i.wrapping_mul(2_654_435_761))).collect(),
    )
}

/// The smallest there is.
fn config() -> Config {
    let mut config = Config::default();
    let h = &mut config.hyperparameters;
    (h.num_entity_vectors, h.vector_dim, h.mini_batch_size, h.epochs) = (3, 4, 20, 2);
    config.training.checkpoint_interval = "1 steps".into();
    config.model.detector = DetectorKind::History;
    config
}

/// Trains, with checkpoints in `checkpoints` and the model in `model`.
fn train(root: &Path) {
    let (config, events, device) = (config(), events(), device());
    let digest = events.digest();
    let inputs = TrainInputs {
        config: &config,
        events: &events,
        validation: None,
        device: &device,
        stop: &|| None,
        checkpoints: Some(CheckpointFolder { path: &root.join("checkpoints"), data: &digest }),
        init_from: None,
        from: None,
        until_epoch: None,
    };
    let trained = ipsight::train(&inputs, &mut |_| Ok(())).unwrap();
    let detector = fit_detector(events.clone(), &config, None, None, root).unwrap().unwrap();
    let model = model_folder::TrainedModel {
        detector: Some(&detector.fitted),
        model: &trained.model,
        row_counts: &trained.row_counts,
        entity_filter: &trained.entity_filter,
    };
    let training = model_folder::TrainingSummary {
        num_events: 40,
        num_entity_rows_seen: 3,
        num_epochs: 2,
        num_steps: 4,
        completed: true,
        loss: Some(0.1),
        accuracy: None,
        discriminator_auc: None,
        discriminator_auc_ipv4: None,
        discriminator_auc_ipv6: None,
        warnings: Vec::new(),
        init_from: None,
    };
    model_folder::save(&root.join("model"), &model, &config, training).unwrap();
}

/// Calls `check` with each damage done to a file, and puts the file right again. Returns how many there were.
fn with_each_damage(path: &Path, check: &mut dyn FnMut(&str)) -> usize {
    with_damage_of_every(1, path, check)
}

/// Does so for every `step`-th byte.
fn with_damage_of_every(step: usize, path: &Path, check: &mut dyn FnMut(&str)) -> usize {
    let good = fs::read(path).unwrap();
    let mut num_damaged = 0;
    let mut damaged = |bytes: &[u8], what: String| {
        fs::write(path, bytes).unwrap();
        check(&format!("{}: {what}", path.display()));
        num_damaged += 1;
    };
    for at in (0..good.len()).step_by(step) {
        damaged(&good[..at], format!("cut off at {at}"));
        for mask in MASKS {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            damaged(&bytes, format!("byte {at} ^ {mask:#x}"));
        }
    }
    damaged(&[&good[..], b"\n"].concat(), "a byte more".into());
    fs::write(path, good).unwrap();
    num_damaged
}

#[test]
fn a_model_with_any_byte_changed_or_missing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let (model, device) = (folder.path().join("model"), device());
    ipsight::LoadedModel::load(&model, &device).unwrap();
    let mut wrong = Vec::new();
    let mut num_damaged = 0;
    // Of the history and the head, which are mostly numbers, some bytes.
    let detector = [model_folder::HISTORY, model_folder::HEAD].map(|name| (name, 7));
    for (name, step) in MODEL.map(|name| (name, 1)).into_iter().chain(detector) {
        num_damaged += with_damage_of_every(step, &model.join(name), &mut |what| {
            match ipsight::LoadedModel::load(&model, &device) {
                Ok(_) => wrong.push(format!("{what}: taken for whole")),
                Err(error) if error.exit_code() != 3 => wrong.push(format!("{what}: {error}")),
                // A version that is none of ours would send people for another program.
                Err(error) if error.to_string().contains("format version") => {
                    wrong.push(format!("{what}: {error}"));
                }
                Err(error) if !error.to_string().contains(name) => wrong.push(format!("{what}: {error}")),
                Err(_) => {}
            }
        });
    }
    ipsight::LoadedModel::load(&model, &device).unwrap();
    println!("{num_damaged} damaged models");
    assert!(wrong.is_empty(), "{} of {num_damaged}, first {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
}

#[test]
fn a_checkpoint_with_any_byte_changed_or_missing_is_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let checkpoints = folder.path().join("checkpoints");
    let all = checkpoint::list(&checkpoints).unwrap();
    let (config, data) = (config(), events().digest());
    let run = RunIdentity { config: &config, data: &data, init_from: None };
    let last = &all.last().unwrap().1;
    // Alone, so that no good one has to be read each time.
    let good = folder.path().join("good");
    fs::create_dir(&good).unwrap();
    for (_, path) in &all[..all.len() - 1] {
        fs::rename(path, good.join(path.file_name().unwrap())).unwrap();
    }
    let mut wrong = Vec::new();
    let mut num_damaged = 0;
    for name in ["manifest.json", "config.toml", "state.safetensors"] {
        num_damaged += with_each_damage(&last.join(name), &mut |what| {
            let mut named = Vec::new();
            match checkpoint::last_good(&checkpoints, &run, &mut |path, error| {
                named.push((path.to_path_buf(), error.exit_code(), error.to_string()));
            }) {
                Ok(None) => {}
                Ok(Some(_)) => wrong.push(format!("{what}: taken for whole")),
                Err(error) => wrong.push(format!("{what}: {error}")),
            }
            if !matches!(&named[..], [(path, 3, text)] if path == last && text.contains(name)) {
                wrong.push(format!("{what}: named {named:?}"));
            }
        });
    }
    println!("{num_damaged} damaged checkpoints");
    assert!(wrong.is_empty(), "{} of {num_damaged}, first {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);

    // The one before is taken instead.
    let before = &all[all.len() - 2].1;
    fs::rename(good.join(before.file_name().unwrap()), before).unwrap();
    let path = last.join("state.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
    let mut num_named = 0;
    let found = checkpoint::last_good(&checkpoints, &run, &mut |_, _| num_named += 1).unwrap().unwrap();
    assert_eq!((found.path(), num_named), (before.as_path(), 1));
    Checkpoint::open(before).unwrap();
}

/// The whole program, with a few of the same.
#[test]
fn every_verb_that_reads_a_model_refuses_a_damaged_one() {
    let folder = folder_with_run();
    let root = folder.path();
    for name in MODEL {
        let path = root.join("whole/model").join(name);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for damaged in [&flipped[..], &good[..good.len() - 1], b"", &[&good[..], b"\n"].concat()] {
            fs::write(&path, damaged).unwrap();
            let model = ["--model", "whole/model"];
            let with = |verb: &[&str], more: &[&str]| {
                ipsight(root, &[verb, more].concat(), b"").expect(3, &[name, "help:"]);
            };
            with(&["score", "--input", "train.csv"], &model);
            with(&["evaluate", "--data", "train.csv"], &model);
            with(&["explain", "user_1", "1.2.3.4"], &model);
            with(&["inspect"], &model);
            with(&["compare", "whole/model", "whole/model"], &["--data", "train.csv"]);
            with(&["train", "--config", "small.toml", "--output", "next"], &["--init-from", "whole/model"]);
        }
        fs::write(&path, good).unwrap();
    }
    assert!(!root.join("next").exists());
}
