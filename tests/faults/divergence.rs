//! A run whose numbers are no longer finite says since when, and leaves nothing that holds them.

use std::fs;
use std::path::Path;

use ipsight::Config;
use ipsight::config::DeviceChoice;
use ipsight::data::{EpochOrder, Events};
use ipsight::device;
use ipsight::event::Address;
use ipsight::train::{Checkpoint, CheckpointFolder, TrainEvent, TrainInputs, checkpoint};
use safetensors::{Dtype, SafeTensors};

use super::folder;
use super::support::ipsight;

const BATCH: usize = 100;
const STEPS_PER_EPOCH: usize = 10;

fn events() -> Events {
    let num = (BATCH * STEPS_PER_EPOCH) as u32;
    let entities = (0..u64::from(num)).map(|i| (i % 37) * 0x9E37_79B9_7F4A_7C15).collect();
    Events::from_columns(
        entities,
        (0..num).map(|i| Address::from_ipv4(i.wrapping_mul(2_654_435_761))).collect(),
    )
}

/// Deep, and far too fast: activations grow by a factor with each layer, and are beyond all floats after a step.
fn at_once(checkpoint_interval: &str, publish_interval: usize) -> Config {
    let mut config = Config::default();
    let h = &mut config.hyperparameters;
    (h.num_entity_vectors, h.vector_dim, h.mini_batch_size, h.epochs) = (50, 8, BATCH, 3);
    (h.num_ip_encoder_layers, h.learning_rate) = (30, 10.0);
    h.batch_metrics_publish_interval = publish_interval;
    config.training.checkpoint_interval = checkpoint_interval.into();
    config
}

/// Faster with each step, so that it takes some of them.
fn by_and_by(checkpoint_interval: &str, publish_interval: usize) -> Config {
    let mut config = at_once(checkpoint_interval, publish_interval);
    let h = &mut config.hyperparameters;
    (h.num_ip_encoder_layers, h.vector_dim) = (100, 16);
    config.training.warmup_steps = 40;
    config
}

/// The error of a run that diverges, and the losses that it told.
fn diverge(config: &Config, folder: Option<&Path>, stop_after: usize) -> (String, String, Vec<f64>) {
    let events = events();
    let data = events.digest();
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    let num_steps = std::sync::atomic::AtomicUsize::new(0);
    let mut losses = Vec::new();
    let inputs = TrainInputs {
        config,
        events: &events,
        validation: None,
        device: &device,
        stop: &|| (num_steps.load(std::sync::atomic::Ordering::Relaxed) >= stop_after).then_some(15),
        checkpoints: folder.map(|path| CheckpointFolder { path, data: &data }),
        init_from: None,
        from: None,
        until_epoch: None,
    };
    let trained = ipsight::train(&inputs, &mut |event| {
        match event {
            TrainEvent::Step { .. } => _ = num_steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            TrainEvent::Batch { loss, .. } => losses.push(*loss),
            _ => {}
        }
        Ok(())
    });
    let error = trained.err().expect("it must not come to an end");
    assert!(matches!(error, ipsight::Error::Diverged { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 2, "{error}");
    (error.to_string(), error.help().unwrap(), losses)
}

fn digest_of_mini_batch(epoch: u32, step: usize) -> String {
    let events = events();
    let order = EpochOrder::new(events.len(), Config::default().training.seed, epoch);
    let mut bytes = Vec::new();
    for position in step * BATCH..(step + 1) * BATCH {
        let event = events.get(order.event_at(position));
        bytes.extend(event.entity.to_le_bytes());
        bytes.extend(event.address.bits().to_le_bytes());
    }
    blake3::hash(&bytes).to_hex().to_string()
}

#[test]
fn the_first_step_whose_loss_is_not_finite_is_named_however_late_it_is_read() {
    // Read after each step: the steps before the one that is named were told.
    let (text, help, losses) = diverge(&at_once("off", 1), None, usize::MAX);
    let step = losses.len();
    assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    assert!(step > 0 && step < STEPS_PER_EPOCH, "{step}: {text}");
    assert!(help.contains("lower hyperparameters.learning_rate (now 10) and train again"), "{help}");
    for publish_interval in [1, STEPS_PER_EPOCH, 1_000_000] {
        let (text, ..) = diverge(&at_once("off", publish_interval), None, usize::MAX);
        let positions = format!("positions {} to {}", step * BATCH, (step + 1) * BATCH - 1);
        for words in [
            "the loss became".to_string(),
            format!("in step {step} of epoch 0"),
            positions,
            digest_of_mini_batch(0, step),
            "there is no checkpoint yet".into(),
        ] {
            assert!(text.contains(&words), "no `{words}` in {text}");
        }
    }
}

#[test]
fn no_checkpoint_and_no_model_holds_a_number_that_is_not_finite() {
    let root = tempfile::tempdir().unwrap();
    let (_, _, losses) = diverge(&by_and_by("off", 1), None, usize::MAX);
    for (name, interval) in [("1", "1 steps"), ("2", "2 steps"), ("3", "3 steps")] {
        let folder = root.path().join(name);
        let (text, help, _) = diverge(&by_and_by(interval, 1_000_000), Some(&folder), usize::MAX);
        let all = checkpoint::list(&folder).unwrap();
        let last = all.last().map(|(_, path)| path.display().to_string());
        match &last {
            Some(last) => {
                assert!(text.contains(&format!("the last good checkpoint is {last}")), "{text}");
                assert!(help.contains(&format!("init_from {last} ")), "{help}");
            }
            None => assert!(text.contains("there is no checkpoint yet"), "{text}"),
        }
        assert!(name != "1" || last.is_some(), "{text}");
        for (num_steps, path) in all {
            // The loss of the step after it is finite, too.
            assert!(num_steps < losses.len(), "{num_steps} of {}", losses.len());
            Checkpoint::open(&path).unwrap();
            let bytes = fs::read(path.join("state.safetensors")).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            for (name, tensor) in tensors.tensors() {
                if tensor.dtype() == Dtype::F32 && !name.ends_with("_moment") {
                    let mut floats =
                        tensor.data().as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word));
                    assert!(floats.all(f32::is_finite), "{name} of {}", path.display());
                }
            }
        }
        let names: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().map(|it| it.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{names:?}");
    }
    // A signal that comes just then does not make a model of it.
    let (text, ..) = diverge(&by_and_by("off", 1_000_000), None, losses.len() + 1);
    assert!(text.contains("became"), "{text}");
}

#[test]
fn the_program_says_from_where_to_begin_again() {
    let folder = folder();
    let root = folder.path();
    let args = ["train", "--config", "small.toml", "--output", "run"];
    let fast = [
        "--set",
        "hyperparameters.learning_rate=10",
        "--set",
        "hyperparameters.num_ip_encoder_layers=100",
        "--set",
        "training.checkpoint_interval=1 steps",
        "--set",
        "training.warmup_steps=40",
        "--set",
        "hyperparameters.vector_dim=16",
    ];
    let outcome = ipsight(root, &[&args[..], &fast].concat(), b"");
    let outcome = outcome.expect(2, &["BLAKE3", "the last good checkpoint is run/checkpoints/step-"]);
    assert!(!root.join("run/model").exists());
    let last = outcome.stderr.split("--init-from ").nth(1).unwrap().split(' ').next().unwrap().to_string();
    let again = ["train", "--config", "small.toml", "--output", "again", "--init-from", &last];
    let slow = ["--set", "hyperparameters.learning_rate=0.0001"];
    assert!(
        ipsight(root, &[&again[..], &fast[2..4], &fast[8..], &slow].concat(), b"")
            .stderr
            .contains("beginning from the weights of")
    );
}
