use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// The network in f64, one pair at a time.
fn plain_logit(parameters: &[f64], inputs: &[f32]) -> f64 {
    let part = |part: Part| &parameters[part.range()];
    let layer = |inputs: &[f64], weight: &[f64], bias: &[f64]| -> Vec<f64> {
        let unit = |j: usize| {
            let products = inputs.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + j]);
            products.sum::<f64>() + bias[j]
        };
        (0..bias.len()).map(unit).collect()
    };
    let relu = |units: Vec<f64>| -> Vec<f64> { units.into_iter().map(|unit| unit.max(0.0)).collect() };
    let inputs: Vec<f64> = inputs[..NUM_INPUTS].iter().copied().map(f64::from).collect();
    let first = relu(layer(&inputs, part(Part::FirstWeight), part(Part::FirstBias)));
    let second = relu(layer(&first, part(Part::SecondWeight), part(Part::SecondBias)));
    let output = layer(&second, part(Part::OutputWeight), part(Part::OutputBias));
    output[0] + layer(&inputs, part(Part::SkipWeight), part(Part::SkipBias))[0]
}

fn plain_loss(parameters: &[f64], data: &FitData, rows: &[u32]) -> f64 {
    let of_pair = |row: &u32| {
        let row = *row as usize;
        let logit = plain_logit(parameters, &data.inputs[row]);
        let (label, weight) = (f64::from(data.labels[row]), f64::from(data.weights[row]));
        weight * ((1.0 + logit.exp()).ln() - label * logit)
    };
    rows.iter().map(of_pair).sum::<f64>() / rows.len() as f64
}

struct Pairs {
    inputs: Vec<[f32; ROW]>,
    labels: Vec<f32>,
    weights: Vec<f32>,
}

fn pairs(num_pairs: usize, rng: &mut ChaCha8Rng) -> Pairs {
    let mut row = || {
        let mut row = [0.0; ROW];
        row[..NUM_INPUTS].fill_with(|| rng.random_range(-1.5..1.5));
        row
    };
    let inputs = (0..num_pairs).map(|_| row()).collect();
    let labels = (0..num_pairs).map(|_| rng.random_range(0..2) as f32).collect();
    let weights = (0..num_pairs).map(|_| rng.random_range(0.1..1.0)).collect();
    Pairs { inputs, labels, weights }
}

#[test]
fn gradients_are_central_differences_of_the_plain_loss() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let pairs = pairs(300, &mut rng);
    let data = FitData { inputs: &pairs.inputs, labels: &pairs.labels, weights: &pairs.weights };
    // More than one block, the last one not full, and a pair that comes twice.
    let rows: Vec<u32> = (3..203).chain([3]).collect();
    let parameters: Vec<f32> = (0..NUM_FITTED).map(|_| rng.random_range(-0.4..0.4)).collect();
    let mut gradient = vec![0.0; NUM_FITTED];
    let mut pass = GradientPass::default();
    // A pass before must leave nothing behind.
    pass.run(&parameters, &data, &[7, 8, 9], &mut gradient);
    let loss = pass.run(&parameters, &data, &rows, &mut gradient);
    let mut exact: Vec<f64> = parameters.iter().copied().map(f64::from).collect();
    assert!((loss - plain_loss(&exact, &data, &rows)).abs() < 1e-6);

    const STEP: f64 = 1e-5;
    let mut mismatches = Vec::new();
    for i in 0..NUM_FITTED {
        let mut at = |offset: f64| {
            exact[i] = f64::from(parameters[i]) + offset;
            plain_loss(&exact, &data, &rows)
        };
        let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        at(0.0);
        let found = f64::from(gradient[i]);
        let is_close = (found - expected).abs() < 2e-5 + 2e-4 * expected.abs();
        if !is_close {
            mismatches.push(format!("{i}: {found} for {expected}"));
        }
    }
    assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
}

#[test]
fn a_logit_of_any_size_has_a_finite_loss() {
    let inputs = [[0.0; ROW]; 2];
    let data = FitData { inputs: &inputs, labels: &[1.0, 0.0], weights: &[1.0, 1.0] };
    let mut parameters = vec![0.0; NUM_FITTED];
    for bias in [-1e30, -200.0, 0.0, 200.0, 1e30] {
        parameters[Part::SkipBias.range()][0] = bias;
        let mut gradient = vec![0.0; NUM_FITTED];
        let loss = GradientPass::default().run(&parameters, &data, &[0, 1], &mut gradient);
        assert!(loss.is_finite() && gradient.iter().all(|slope| slope.is_finite()), "{bias}");
    }
}

#[test]
fn an_exponential_is_within_its_error() {
    let mut worst = 0.0f64;
    for i in -87_000..=87_000 {
        let x = i as f32 / 1000.0;
        let expected = f64::from(x).exp();
        worst = worst.max((f64::from(exp(x)) / expected - 1.0).abs());
    }
    assert!(worst < 2e-7, "{worst}");
    assert_eq!(exp(0.0), 1.0);
    assert_eq!((exp(1e30), exp(-1e30)), (exp(87.0), exp(-87.0)));
}
