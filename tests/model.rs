//! The model and its step against golden values from NumPy, central differences, and themselves.

mod support;

use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use ipsight::Event;
use ipsight::config::Hyperparameters;
use ipsight::data::{MiniBatch, segments};
use ipsight::event::{Address, AddressFamilies};
use ipsight::inference::Scorer;
use ipsight::model::{IpInsights, IpInsightsConfig, VECTORS, address_tensor, families};
use ipsight::tensors::read_floats;
use ipsight::train::TrainState;
use ipsight_kernels::negatives::Negatives;
use ipsight_kernels::num_table_copies;
use ipsight_kernels::philox::philox4x32_10;
use serde_json::Value;
use support::{Mismatches, devices};

/// One case of `golden/model.json`, written by `golden/make_golden.py`.
struct Golden(Value);

impl Golden {
    fn all() -> Vec<Golden> {
        let cases: Vec<Value> = serde_json::from_str(include_str!("golden/model.json")).unwrap();
        assert!(cases.len() >= 7, "L = 0, 1 and more, of IPv4 and of both families");
        cases.into_iter().map(Golden).collect()
    }

    fn name(&self) -> String {
        format!("L = {}, d = {}, {}", self.0["num_layers"], self.0["vector_dim"], self.0["addresses"])
    }

    fn addresses(&self) -> AddressFamilies {
        self.0["addresses"].as_str().unwrap().parse().unwrap()
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

    fn config(&self) -> IpInsightsConfig {
        let h = self.hyperparameters();
        IpInsightsConfig::new(h.num_entity_vectors, h.vector_dim, h.num_ip_encoder_layers, usize::MAX)
            .with_addresses(self.addresses())
    }

    fn model(&self, device: &Device, max_rows_per_shard: usize) -> IpInsights {
        let config = IpInsightsConfig { max_rows_per_shard, ..self.config() };
        let from_fixture = |name: &str, shape: &[usize]| {
            let tensor = &self.0["weights"][name];
            assert_eq!(integers::<usize>(&tensor["shape"]), shape, "{name}");
            Ok::<_, ()>(floats(&tensor["data"]))
        };
        config.from_tensors(device, from_fixture).unwrap()
    }

    fn batch(&self, step: usize, device: &Device) -> (MiniBatch, Tensor<2, Int>, Tensor<2>) {
        let batch = &self.0["batches"][step];
        let ips = rows(&batch["ips"]).iter().flat_map(integers::<u64>).map(Address::from_bits);
        let ips: Vec<Address> = ips.collect();
        let mask: Vec<f32> = rows(&batch["mask"]).iter().flat_map(floats).collect();
        let entity_rows: Vec<u32> = integers(&batch["entity_rows"]);
        let shape = [entity_rows.len(), ips.len() / entity_rows.len()];
        let addresses = ips.chunks(shape[1]).map(|pairs| pairs[0]).collect();
        let families = families(self.addresses());
        let words = address_tensor(ips.into_iter(), families, device);
        (
            MiniBatch { entity_rows, addresses },
            words.reshape([shape[0], shape[1] * families.num_words()]),
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
                let model = golden.model(&device, max_rows_per_shard);
                let mut state = TrainState::from_model(model, &golden.hyperparameters());
                check_first_step(&golden, &state, &device, &at, &mut mismatches);
                for step in 0..10 {
                    let (batch, pair_ips, mask) = golden.batch(step, &device);
                    let sums = read_floats(state.step_with_pairs(&batch, pair_ips, mask).sums).unwrap();
                    let expected = golden.0["losses"][step].as_f64().unwrap() as f32;
                    mismatches.check(
                        &format!("{at}: loss of step {step}"),
                        &[sums[0] / sums[2]],
                        &[expected],
                        1e-6,
                    );
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

    for (name, expected) in first["gradients"].as_object().unwrap() {
        let gradient = gradient_of(golden, state, device, name);
        mismatches.check(&format!("{at}: gradient of {name}"), &gradient, &floats(expected), 2e-6);
    }
}

/// Central differences of the loss for every element of every parameter group, with the loss summed in
/// float64 from the logits so that rounding does not hide the difference.
#[test]
fn gradients_equal_central_differences() {
    const EPSILON: f32 = 5e-4;
    let mut mismatches = Mismatches::default();
    let (_, device) = devices().remove(0);
    for golden in Golden::all() {
        let names = golden.0["weights"].as_object().unwrap().keys();
        let state = TrainState::from_model(golden.model(&device, usize::MAX), &golden.hyperparameters());
        let loss_with = |name: &str, element: usize, change: f32| {
            let mut golden = Golden(golden.0.clone());
            let value = &mut golden.0["weights"][name]["data"][element];
            *value = (value.as_f64().unwrap() + change as f64).into();
            let model = golden.model(&device, usize::MAX);
            let (batch, pair_ips, mask) = golden.batch(0, &device);
            let index = model.entity_embedding.index(&batch.entity_rows);
            let logits = model.forward(model.entity_embedding.forward(&index), pair_ips);
            mean_cross_entropy(&read_floats(logits).unwrap(), &read_floats(mask).unwrap(), batch.len())
        };
        for name in names {
            let gradient = gradient_of(&golden, &state, &device, name);
            let differences: Vec<f32> = (0..gradient.len())
                .map(|i| {
                    let rise = loss_with(name, i, EPSILON) - loss_with(name, i, -EPSILON);
                    (rise / (2.0 * EPSILON as f64)) as f32
                })
                .collect();
            let what = format!("{}: central differences of {name}", golden.name());
            mismatches.check(&what, &gradient, &differences, 2e-4);
            let largest = gradient.iter().fold(0.0f32, |largest, g| largest.max(g.abs()));
            assert!(largest > 2e-3, "{what}: gradients of {largest} prove little");
        }
    }
    mismatches.assert_none();
}

fn mean_cross_entropy(logits: &[f32], mask: &[f32], num_rows: usize) -> f64 {
    let num_pairs = logits.len() / num_rows;
    let (mut sum, mut count) = (0.0, 0.0);
    for (i, (logit, counts)) in logits.iter().zip(mask).enumerate() {
        let sign = if i % num_pairs == 0 { 1.0 } else { -1.0 };
        sum += *counts as f64 * (-sign * *logit as f64).exp().ln_1p();
        count += *counts as f64;
    }
    sum / count
}

/// The gradient of one parameter group at the first mini-batch, flat; the table's is summed per row.
fn gradient_of(golden: &Golden, state: &TrainState, device: &Device, name: &str) -> Vec<f32> {
    let (batch, pair_ips, mask) = golden.batch(0, device);
    let found = state.gradients(&batch, pair_ips, mask);
    let shape = golden.config().shape();
    if name == VECTORS {
        let gradients = read_floats(found.rows).unwrap();
        return in_table(&batch, &gradients, golden.number("num_entity_vectors"));
    }
    let (l, kind) = name.strip_prefix("ip_encoder.layers.").unwrap().split_once('.').unwrap();
    let l = l.parse().unwrap();
    let range = if kind == "weight" { shape.weight(l) } else { shape.bias(l) };
    read_floats(found.parameters).unwrap()[range].to_vec()
}

/// The gradients of unique rows in a table of zeros.
fn in_table(batch: &MiniBatch, gradients: &[f32], num_rows: usize) -> Vec<f32> {
    let (unique, _) = segments(&batch.entity_rows);
    let d = gradients.len() / unique.len();
    let mut table = vec![0.0; num_rows * d];
    for (row, gradient) in unique.iter().zip(gradients.chunks(d)) {
        table[*row as usize * d..][..d].copy_from_slice(gradient);
    }
    table
}

/// Numbers of layers, each with both choices of families.
fn layers_and_addresses(num_layers: &[usize]) -> impl Iterator<Item = (usize, AddressFamilies)> {
    num_layers.iter().flat_map(|num_layers| AddressFamilies::ALL.map(|addresses| (*num_layers, addresses)))
}

fn small_model(num_layers: usize, addresses: AddressFamilies) -> (IpInsightsConfig, Hyperparameters) {
    let hyperparameters = Hyperparameters {
        num_entity_vectors: 50,
        vector_dim: 16,
        num_ip_encoder_layers: num_layers,
        learning_rate: 0.01,
        ..Hyperparameters::default()
    };
    let config = IpInsightsConfig::new(50, 16, num_layers, usize::MAX).with_seed(11);
    (config.with_addresses(addresses), hyperparameters)
}

/// A model whose weights are not those that it starts with.
fn trained(config: &IpInsightsConfig, device: &Device) -> IpInsights {
    let (_, hyperparameters) = small_model(config.num_ip_encoder_layers, config.addresses);
    let mut state = TrainState::new(config, &hyperparameters, device);
    let batch = |step| batch_at(step, config.addresses);
    (0..3).for_each(|step| drop(state.step(&batch(step), Negatives::training(1, 1, 5, 0, step))));
    state.into_model()
}

/// 64 events of 50 entities, each at home in one /16 and, where the model takes IPv6, in half of its events in one /48.
fn batch_at(step: u32, addresses: AddressFamilies) -> MiniBatch {
    let key = [3, 4];
    MiniBatch::sorted((0..64).map(|i| {
        let words = philox4x32_10([i, step, 0, 0], key);
        let entity = words[0] % 50;
        let home = entity.wrapping_mul(2_654_435_761);
        let ip = match (addresses, words[2] % 2) {
            (AddressFamilies::Both, 0) => {
                Address::from_bits(0x2A01 << 48 | u64::from(home) << 16 | u64::from(words[1] & 0xFFFF))
            }
            _ => Address::from_ipv4((home & 0xFFFF_0000) | (words[1] & 0xFFFF)),
        };
        (entity, ip)
    }))
}

/// The Burn modules with autodiff are the definition of the model: the folded step gives their logits, loss and
/// gradients, for mini-batches of any shape.
#[test]
fn the_folded_step_equals_the_plain_modules() {
    let mut mismatches = Mismatches::default();
    for (name, device) in devices() {
        // The plain modules' products are slow on a software adapter. `kernels.rs` has the widest model there.
        let widest = if name == "wgpu" { 1025 } else { 4096 };
        for (vector_dim, num_layers) in
            [(4, 0), (100, 0), (4, 1), (100, 1), (128, 1), (128, 2), (20, 3), (widest, 1)]
        {
            for addresses in AddressFamilies::ALL {
                let num = if vector_dim > 1000 { 9 } else { 700 };
                for (what, batch) in skewed_batches(num, addresses) {
                    let (config, hyperparameters) = small_model(num_layers, addresses);
                    let config = IpInsightsConfig { num_entity_vectors: 1000, vector_dim, ..config };
                    let at = format!("{name}: d = {vector_dim}, L = {num_layers}, {addresses}, {what}");
                    check_folded(&device, (&config, &hyperparameters), &batch, &at, &mut mismatches);
                }
            }
        }
    }
    mismatches.assert_none();
}

/// Rows that are all different, all the same, and as Zipf has them; numbers that are no multiple of anything.
fn skewed_batches(num: u32, addresses: AddressFamilies) -> [(&'static str, MiniBatch); 3] {
    let ip = |i: u32| {
        let [low, high, ..] = philox4x32_10([i, 0, 0, 0], [8, 9]);
        let is_ipv6 = addresses == AddressFamilies::Both && i.is_multiple_of(3);
        Address::from_bits(if is_ipv6 { u64::from(high | 1) << 32 } else { 0 } | u64::from(low))
    };
    let batch =
        |row: &dyn Fn(u32) -> u32| MiniBatch::sorted((0..num + 3).map(|i| (row(i), ip(i % (num / 2)))));
    [
        ("all rows differ", batch(&|i| i)),
        ("one row", batch(&|_| 5)),
        ("Zipf", batch(&|i| (num / (1 + i)).min(num))),
    ]
}

fn check_folded(
    device: &Device,
    (config, hyperparameters): (&IpInsightsConfig, &Hyperparameters),
    batch: &MiniBatch,
    at: &str,
    mismatches: &mut Mismatches,
) {
    let model = config.init(&device.clone().autodiff());
    let state = TrainState::new(config, hyperparameters, device);
    let (pair_ips, mask) = state.pairs(batch, Negatives::training(2, 1, 3, 0, 0));
    let found = state.gradients(batch, pair_ips.clone(), mask.clone());

    let index = model.entity_embedding.index(&batch.entity_rows);
    let rows = Tensor::<2>::from_inner(model.entity_embedding.forward(&index)).require_grad();
    let logits = model.forward(rows.clone(), pair_ips);
    let num_pairs = mask.dims()[1];
    let signs: Vec<f32> = (0..num_pairs).map(|p| if p == 0 { 1.0 } else { -1.0 }).collect();
    let signs = Tensor::<2>::from_data(TensorData::new(signs, [1, num_pairs]), device).expand(mask.dims());
    let margin = logits.clone() * Tensor::from_inner(signs);
    let cross_entropy = relu(margin.clone().neg()) + margin.abs().neg().exp().log1p();
    let count = mask.clone().sum();
    let loss = (cross_entropy * Tensor::from_inner(mask)).sum() / Tensor::from_inner(count);
    let mut gradients = loss.backward();

    let read = |tensor: Tensor<2>| read_floats(tensor).unwrap();
    mismatches.check(&format!("{at}: logits"), &read(found.logits), &read(logits.inner()), 2e-5);
    let sums = read_floats(found.sums).unwrap();
    let loss = read_floats(loss.inner()).unwrap();
    mismatches.check(&format!("{at}: loss"), &[sums[0] / sums[2]], &loss, 1e-6);

    let shape = config.shape();
    let d = shape.vector_dim;
    let of_rows = read(rows.grad_remove(&mut gradients).unwrap());
    let mut table = vec![0.0; 1000 * d];
    for (row, gradient) in batch.entity_rows.iter().zip(of_rows.chunks(d)) {
        table[*row as usize * d..][..d].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
    }
    mismatches.check(&format!("{at}: rows"), &in_table(batch, &read(found.rows), 1000), &table, 2e-6);

    let found = read(found.parameters);
    for (l, layer) in model.ip_encoder.layers.iter().enumerate() {
        let weight = read(layer.weight.val().grad_remove(&mut gradients).unwrap());
        let bias =
            read_floats(layer.bias.as_ref().unwrap().val().grad_remove(&mut gradients).unwrap()).unwrap();
        mismatches.check(&format!("{at}: weight {l}"), &found[shape.weight(l)], &weight, 2e-6);
        mismatches.check(&format!("{at}: bias {l}"), &found[shape.bias(l)], &bias, 2e-6);
    }
}

#[test]
fn ndarray_and_wgpu_agree_after_200_steps_of_one_seed() {
    let Some(wgpu) = support::wgpu() else { return };
    for (num_layers, addresses) in layers_and_addresses(&[0, 1, 2]) {
        // The model learns these few events by heart, and then differences in the last bits grow: the sooner, the more
        // bits and layers there are.
        let num_steps = match (addresses, num_layers) {
            (AddressFamilies::Ipv4, _) => 200,
            (AddressFamilies::Both, 2) => 20,
            (AddressFamilies::Both, _) => 100,
        };
        let (config, hyperparameters) = small_model(num_layers, addresses);
        let losses = [devices().remove(0).1, wgpu.clone()].map(|device| {
            let mut state = TrainState::new(&config, &hyperparameters, &device);
            let mut losses = Vec::new();
            for step in 0..num_steps {
                let sums = state.step(&batch_at(step, addresses), Negatives::training(2, 2, 5, 0, step)).sums;
                losses.push(sums);
            }
            losses.into_iter().map(|sums| read_floats(sums).unwrap()).map(|s| s[0] / s[2]).collect::<Vec<_>>()
        });
        let [first, last] = [0, num_steps - 1].map(|step| losses.each_ref().map(|l| l[step as usize]));
        assert!(num_steps < 100 || last[0] < 0.8 * first[0], "it learns: {first:?} to {last:?}");
        for (step, (cpu, gpu)) in losses[0].iter().zip(&losses[1]).enumerate() {
            assert!(
                (cpu - gpu).abs() < 1e-4 * cpu,
                "L = {num_layers}, {addresses}, step {step}: {cpu} and {gpu}"
            );
        }
    }
}

#[test]
fn the_first_cross_entropy_is_ln_2() {
    let sizes = [(0, 16), (1, 16), (2, 16), (100, 16), (0, 4), (0, 4096), (1, 4096)];
    for ((num_layers, vector_dim), addresses) in
        sizes.into_iter().flat_map(|size| AddressFamilies::ALL.map(|addresses| (size, addresses)))
    {
        let (mut config, hyperparameters) = small_model(num_layers, addresses);
        config.vector_dim = vector_dim;
        let (_, device) = devices().remove(0);
        let mut state = TrainState::new(&config, &hyperparameters, &device);
        let sums = read_floats(state.step(&batch_at(0, addresses), Negatives::training(2, 2, 5, 0, 0)).sums)
            .unwrap();
        let loss = (sums[0] / sums[2]) as f64;
        assert!(
            (loss / std::f64::consts::LN_2 - 1.0).abs() < 0.01,
            "L = {num_layers}, d = {vector_dim}: {loss}"
        );
    }
}

/// No step sweeps or copies the table: rows that no mini-batch touched keep their bits, and tables are
/// written in place.
#[test]
fn steps_touch_only_their_rows_and_copy_no_table() {
    for (name, device) in devices() {
        let both = AddressFamilies::Both;
        let (mut config, hyperparameters) = small_model(1, both);
        config.num_entity_vectors = 20_000;
        let before = num_table_copies();
        let mut state = TrainState::new(&config, &hyperparameters, &device);
        let initial = tensor_of(&state.snapshot(), "entity_embedding.weight");
        for step in 0..5 {
            state.step(&batch_at(step, both), Negatives::training(1, 1, 5, 0, step));
        }
        assert_eq!(num_table_copies(), before, "{name}");
        let touched: Vec<u32> = (0..5).flat_map(|step| batch_at(step, both).entity_rows).collect();
        let trained = tensor_of(&state.into_model(), "entity_embedding.weight");
        for row in 0..20_000u32 {
            let elements = row as usize * 16..(row as usize + 1) * 16;
            let changed = initial[elements.clone()] != trained[elements];
            assert_eq!(changed, touched.contains(&row), "{name}: row {row}");
        }
    }
}

/// Whether this is a process with one test, which counts what the whole process does. In any other it starts
/// one for `test` and waits for it to pass.
#[cfg(feature = "wgpu")]
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "IPSIGHT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let status = alone.args([test, "--exact", "--nocapture"]).env(ALONE, "1").status().unwrap();
    assert!(status.success(), "{test} failed in a process of its own");
    false
}

#[cfg(feature = "wgpu")]
#[test]
fn a_step_makes_few_launches_and_keeps_no_memory() {
    if !is_alone("a_step_makes_few_launches_and_keeps_no_memory") {
        return;
    }
    let Some(device) = support::wgpu() else { return };
    let launches = [(0, 11), (1, 14), (2, 21), (3, 26)];
    for ((num_layers, num_launches_wanted), addresses) in
        launches.into_iter().flat_map(|launches| AddressFamilies::ALL.map(|addresses| (launches, addresses)))
    {
        let (config, hyperparameters) = small_model(num_layers, addresses);
        let mut state = TrainState::new(&config, &hyperparameters, &device);
        let mut num_allocations = Vec::new();
        for _ in 0..20 {
            let before = ipsight_kernels::num_launches();
            let sums = state.step(&batch_at(0, addresses), Negatives::training(2, 1, 5, 0, 0)).sums;
            let num_launches = ipsight_kernels::num_launches() - before;
            assert_eq!(num_launches, num_launches_wanted, "L = {num_layers}");
            read_floats(sums).unwrap();
            num_allocations.push(device.memory_pool_usage().unwrap().number_allocs);
        }
        // CubeCL keeps the scalars of up to 2048 launches that it has not seen; here those of Adam, twice a
        // step. A tensor that is kept would come on top.
        let growth = num_allocations[19] - num_allocations[5];
        assert!(growth <= 14 * 2, "L = {num_layers}: allocations {num_allocations:?}");
    }
}

#[test]
fn no_events_have_no_scores() {
    for (_, device) in devices() {
        for max_rows_per_shard in [17, 50] {
            let (mut config, _) = small_model(1, AddressFamilies::Ipv4);
            config.max_rows_per_shard = max_rows_per_shard;
            let model = || config.init(&device);
            for scorer in [Scorer::new(&model(), vec![1; 50]), Scorer::of_training(model(), vec![1; 50])] {
                assert!(scorer.dot_products(&[]).unwrap().is_empty());
            }
        }
    }
}

/// A model in training is scored from its plain rows, a finished one from folded rows.
#[test]
fn scores_while_training_equal_those_of_the_finished_model() {
    let mut mismatches = Mismatches::default();
    for (name, device) in devices() {
        for (num_layers, addresses) in layers_and_addresses(&[0, 1, 2]) {
            let (config, _) = small_model(num_layers, addresses);
            let model = || trained(&config, &device);
            let batch = batch_at(0, addresses);
            let events: Vec<Event> = (0..64)
                .map(|i| Event { entity: batch.entity_rows[i].into(), address: batch.addresses[i] })
                .collect();
            let [found, expected] =
                [Scorer::of_training(model(), vec![1; 50]), Scorer::new(&model(), vec![1; 50])]
                    .map(|scorer| scorer.dot_products(&events).unwrap());
            mismatches.check(&format!("{name}, L = {num_layers}, {addresses}"), &found, &expected, 1e-7);
        }
    }
    mismatches.assert_none();
}

#[test]
fn scores_in_batches_equal_single_scores() {
    for (name, device) in devices() {
        for (num_layers, addresses) in layers_and_addresses(&[0, 1, 3]) {
            let (mut config, _) = small_model(num_layers, addresses);
            config.max_rows_per_shard = 17;
            let scorer = Scorer::new(&trained(&config, &device), vec![1; 50]);
            let batch = batch_at(0, addresses);
            let events: Vec<Event> = (0..64)
                .map(|i| Event { entity: batch.entity_rows[63 - i].into(), address: batch.addresses[i] })
                .collect();
            let together = scorer.dot_products(&events).unwrap();
            let alone: Vec<f32> = events.iter().map(|event| scorer.score(*event).unwrap()).collect();
            let mut mismatches = Mismatches::default();
            mismatches.check(&format!("{name}, L = {num_layers}, {addresses}"), &together, &alone, 1e-7);
            mismatches.assert_none();
        }
    }
}

/// Where the readers did not refuse it, the model does.
#[test]
fn a_model_of_ipv4_refuses_ipv6_with_a_hint() {
    let (_, device) = devices().remove(0);
    let (config, _) = small_model(1, AddressFamilies::Ipv4);
    let scorer = Scorer::new(&config.init(&device), vec![1; 50]);
    let ipv6 = Event { entity: 1, address: Address::from_bits(0x2001_0db8 << 32) };
    let ipv4 = Event { entity: 1, address: Address::from_ipv4(7) };
    for events in [vec![ipv6], vec![ipv4, ipv6], [vec![ipv4; 5000], vec![ipv6]].concat()] {
        let error = scorer.dot_products(&events).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        let hint = error.help().unwrap();
        assert!(error.to_string().contains("2001:db8::") && hint.contains("\"both\""), "{error}: {hint}");
    }
    assert!(scorer.dot_products(&[ipv4]).is_ok());
}

/// A model of both families begins with IPv4's first layer as a model of IPv4 alone has it.
#[test]
fn initial_weights_of_ipv4_do_not_depend_on_ipv6() {
    let (_, device) = devices().remove(0);
    for num_layers in [0, 1, 2] {
        let [ipv4, both] = AddressFamilies::ALL.map(|addresses| {
            let model = small_model(num_layers, addresses).0.init(&device);
            model
                .named_tensors()
                .into_iter()
                .map(|tensor| tensor_of(&model, &tensor.name))
                .collect::<Vec<_>>()
        });
        assert_eq!(ipv4.len(), both.len());
        for (i, (ipv4, both)) in ipv4.iter().zip(&both).enumerate() {
            let num = if i == 1 { 32 * 16 } else { both.len() };
            assert_eq!(ipv4[..], both[..num], "L = {num_layers}, tensor {i}");
        }
        assert_eq!(both[1].len(), 96 * 16);
        assert!(both[1][32 * 16..].iter().all(|weight| weight.abs() <= 4.0 / 8.0));
    }
}
