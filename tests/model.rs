//! The model and its step against golden values from NumPy, central differences, and themselves.

mod support;

use ipsight::config::Hyperparameters;
use ipsight::data::MiniBatch;
use ipsight::model::{IpInsights, IpInsightsConfig};
use ipsight::score::{ip_tensor, read_floats};
use ipsight::train::TrainState;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use support::{Mismatches, devices};

/// One case of `golden/model.json`, written by `golden/make_golden.py`.
struct Golden(Value);

impl Golden {
    fn all() -> Vec<Golden> {
        let cases: Vec<Value> = serde_json::from_str(include_str!("golden/model.json")).unwrap();
        assert!(cases.len() >= 3, "L = 0, 1 and more");
        cases.into_iter().map(Golden).collect()
    }

    fn name(&self) -> String {
        format!("L = {}, d = {}", self.0["num_layers"], self.0["vector_dim"])
    }

    fn number(&self, key: &str) -> usize {
        self.0[key].as_u64().unwrap() as usize
    }

    fn hyperparameters(&self) -> Hyperparameters {
        Hyperparameters {
            num_entity_vectors: self.number("num_entity_vectors"),
            vector_dim: self.number("vector_dim"),
            num_ip_encoder_layers: self.number("num_layers"),
            learning_rate: self.0["learning_rate"].as_f64().unwrap(),
            weight_decay: self.0["weight_decay"].as_f64().unwrap(),
            ..Hyperparameters::default()
        }
    }

    fn model(&self, device: &Device, max_rows_per_shard: usize) -> IpInsights {
        let h = self.hyperparameters();
        let config = IpInsightsConfig {
            num_entity_vectors: h.num_entity_vectors,
            vector_dim: h.vector_dim,
            num_ip_encoder_layers: h.num_ip_encoder_layers,
            max_rows_per_shard,
            seed: 0,
        };
        let from_fixture = |name: &str, shape: &[usize]| {
            let tensor = &self.0["weights"][name];
            assert_eq!(integers::<usize>(&tensor["shape"]), shape, "{name}");
            Ok::<_, ()>(floats(&tensor["data"]))
        };
        config.from_tensors(device, from_fixture).unwrap()
    }

    fn batch(&self, step: usize, device: &Device) -> (MiniBatch, Tensor<2, Int>, Tensor<2>) {
        let batch = &self.0["batches"][step];
        let ips: Vec<u32> = rows(&batch["ips"]).iter().flat_map(integers::<u32>).collect();
        let mask: Vec<f32> = rows(&batch["mask"]).iter().flat_map(floats).collect();
        let entity_rows: Vec<u32> = integers(&batch["entity_rows"]);
        let shape = [entity_rows.len(), ips.len() / entity_rows.len()];
        let positives = ips.chunks(shape[1]).map(|pairs| pairs[0]).collect();
        (
            MiniBatch { entity_rows, ips: positives },
            ip_tensor(ips, device).reshape(shape),
            Tensor::from_data(TensorData::new(mask, shape), device),
        )
    }
}

fn rows(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn integers<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> Vec<T> {
    rows(value).iter().map(|v| T::try_from(v.as_u64().unwrap()).unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    rows(value).iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn tensor_of(model: &IpInsights, name: &str) -> Vec<f32> {
    let tensor = model.named_tensors().into_iter().find(|tensor| tensor.name == name).unwrap();
    tensor.parts.into_iter().flat_map(|part| read_floats(part).unwrap()).collect()
}

/// Logits, loss, every gradient, and the losses and weights of ten optimiser steps, whole and sharded.
#[test]
fn it_equals_the_golden_values() {
    let mut mismatches = Mismatches::default();
    for (device_name, device) in devices() {
        for golden in Golden::all() {
            for max_rows_per_shard in [usize::MAX, 3, 1] {
                let at = format!("{device_name}, {}, shards of {max_rows_per_shard}", golden.name());
                let model = golden.model(&device.clone().autodiff(), max_rows_per_shard);
                let mut state = TrainState::from_model(model, &golden.hyperparameters());
                check_first_step(&golden, &state, &device, &at, &mut mismatches);
                for step in 0..10 {
                    let (batch, pair_ips, mask) = golden.batch(step, &device);
                    let sums = read_floats(state.step_with_pairs(&batch, pair_ips, mask).sums).unwrap();
                    let expected = golden.0["losses"][step].as_f64().unwrap() as f32;
                    mismatches.check(&format!("{at}: loss of step {step}"), &[sums[0] / sums[2]], &[expected], 1e-6);
                }
                let model = state.into_model();
                for (name, expected) in golden.0["final_weights"].as_object().unwrap() {
                    let at = format!("{at}: {name} after ten steps");
                    mismatches.check(&at, &tensor_of(&model, name), &floats(expected), 5e-6);
                }
            }
        }
    }
    mismatches.assert_none();
}

fn check_first_step(
    golden: &Golden,
    state: &TrainState,
    device: &Device,
    at: &str,
    mismatches: &mut Mismatches,
) {
    let first = &golden.0["first_step"];
    let (batch, pair_ips, mask) = golden.batch(0, device);
    let found = state.gradients(&batch, pair_ips, mask);
    let expected: Vec<f32> = rows(&first["logits"]).iter().flat_map(floats).collect();
    mismatches.check(&format!("{at}: logits"), &read_floats(found.logits).unwrap(), &expected, 5e-6);
    let sums = read_floats(found.sums).unwrap();
    let accuracy = first["accuracy"].as_f64().unwrap() as f32;
    mismatches.check(&format!("{at}: accuracy"), &[sums[1] / sums[2]], &[accuracy], 1e-6);

    for (l, layer) in state.model.ip_encoder.layers.iter().enumerate() {
        let weight = found.encoder.get::<2>(layer.weight.id).unwrap();
        let bias = found.encoder.get::<1>(layer.bias.as_ref().unwrap().id).unwrap();
        for (name, gradient) in [("weight", weight.flatten::<1>(0, 1)), ("bias", bias)] {
            let name = format!("ip_encoder.layers.{l}.{name}");
            let expected = floats(&first["gradients"][&name]);
            mismatches.check(&format!("{at}: gradient of {name}"), &read_floats(gradient).unwrap(), &expected, 2e-6);
        }
    }
    // The gradient of the table is summed per unique row only inside row Adam: sum it here.
    let d = golden.number("vector_dim");
    let mut table = vec![0.0; golden.number("num_entity_vectors") * d];
    for (row, gradient) in batch.entity_rows.iter().zip(read_floats(found.rows).unwrap().chunks(d)) {
        let row = *row as usize * d;
        table[row..row + d].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
    }
    let expected = floats(&first["gradients"]["entity_embedding.weight"]);
    mismatches.check(&format!("{at}: gradient of the table"), &table, &expected, 2e-6);
}
