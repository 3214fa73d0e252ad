//! A loss or a weight that is no number any more ends a run, which says where and from what to go on.

use std::fs;

use ipsight::data::{EpochOrder, ReadOptions, load_events, resolve_inputs};
use ipsight::train::{Checkpoint, checkpoint};

use super::{folder, train};

/// What stands between two texts.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no `{start}` in {text}")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no `{end}` in {text}")).0
}

/// Fourteen layers of weights that grow by about 10 a step overflow in some steps.
#[test]
fn a_run_that_diverges_names_step_mini_batch_and_the_last_good_checkpoint() {
    let folder = folder();
    let root = folder.path();
    let deep = ["--set", "hyperparameters.num_ip_encoder_layers=14"];
    let wild = ["--set", "hyperparameters.learning_rate=10", "--set", "training.checkpoint_interval=1 steps"];
    let found = train(root, "wild", &[deep, [wild[0], wild[1]], [wild[2], wild[3]]].concat());
    let text = found.expect(2, &["hyperparameters.learning_rate", "lower it (now 10)"]).stderr;
    assert!(!root.join("wild/model").exists());

    // The mini-batch can be found again by its positions, and known by its digest.
    let positions = between(&text, "positions ", " of the epoch's order");
    let (first, last) = positions.split_once(" to ").unwrap();
    let positions = first.parse::<usize>().unwrap()..last.parse::<usize>().unwrap() + 1;
    let step: usize = text.split(" of epoch 0").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(positions, 100 * step..(100 * step + 100).min(1980));
    let input = root.join("train.csv").to_string_lossy().into_owned();
    let (events, _) = load_events(&resolve_inputs(&[input]).unwrap(), &ReadOptions::default()).unwrap();
    let order = EpochOrder::new(events.len(), 0, 0);
    let bytes: Vec<u8> = positions
        .map(|position| events.get(order.event_at(position)))
        .flat_map(|event| [&event.entity.to_le_bytes()[..], &event.ip.to_le_bytes()].concat())
        .collect();
    assert_eq!(between(&text, "BLAKE3 ", ";"), blake3::hash(&bytes).to_hex().as_str());

    // Every checkpoint that there is is good, and the last is the one that is named.
    let all = checkpoint::list(&root.join("wild/checkpoints")).unwrap();
    for (_, path) in &all {
        let state = fs::read(path.join("state.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&state).unwrap();
        for (name, tensor) in tensors.iter().filter(|(_, tensor)| tensor.dtype() == safetensors::Dtype::F32) {
            let floats = tensor.data().as_chunks::<4>().0;
            assert!(floats.iter().all(|bytes| f32::from_le_bytes(*bytes).is_finite()), "{name}");
        }
        Checkpoint::open(path).unwrap();
    }
    let last = between(&text, "the last good checkpoint is ", "\n");
    assert_eq!(root.join(last), all.last().unwrap().1);
}
