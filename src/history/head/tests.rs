use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::history::features::inputs_reference;
use crate::history::usage::{LevelUsage, NUM_LEVELS, OwnerUsage};

/// A head with random parameters.
pub(in crate::history) fn head(seed: u64) -> Head {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Head::from_parameters((0..NUM_PARAMETERS).map(|_| rng.random_range(-0.4..0.4)).collect()).unwrap()
}

/// Counts of pairs as a history could have them.
pub(in crate::history) fn usages(num_pairs: usize, seed: u64) -> Vec<Usage> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut usage = || {
        let mut own = rng.random_range(0..40);
        let mut all = own as u64 + rng.random_range(0..1000);
        let num_events = own;
        let levels = std::array::from_fn(|_| {
            own = rng.random_range(0..=own);
            all = u64::from(own) + rng.random_range(0..=all - u64::from(own));
            let days_since_use = if own > 0 { rng.random_range(0.0..300.0) } else { -1.0 };
            let events_since_use = if own > 0 { rng.random_range(0..9) as f32 } else { -1.0 };
            LevelUsage {
                own_events: own,
                own_children: own.min(2),
                days_since_use,
                events_since_use,
                all_events: all,
                all_accounts: all / 2 + u64::from(own > 0),
                all_children: all / 3,
            }
        });
        let has_owner = rng.random_bool(0.7);
        let owner = OwnerUsage {
            share: 0.003,
            own_events: num_events / 2,
            own_groups: num_events.min(4),
            all_events: 300 + u64::from(num_events / 2),
            all_accounts: 90 + u64::from(num_events > 1),
            all_groups: 50,
        };
        let owners =
            if has_owner { [owner, OwnerUsage { share: 0.05, ..owner }] } else { Default::default() };
        Usage {
            num_events,
            days_since_last: if num_events > 0 { 3.5 } else { -1.0 },
            days_since_first: if num_events > 0 { 90.0 } else { -1.0 },
            distinct: [num_events.min(3); NUM_LEVELS],
            levels,
            total_events: 2000,
            total_accounts: 900,
            total_top_prefixes: 40,
            owners,
        }
    };
    (0..num_pairs).map(|_| usage()).collect()
}

/// A score in f64, by the formula.
fn plain(head: &Head, usage: &Usage) -> HeadParts {
    let part = |part: Part| head.part(part).iter().copied().map(f64::from).collect::<Vec<f64>>();
    let (inputs, ratio_sum) = inputs_reference(usage);
    let layer = |inputs: &[f64], weight: Part, bias: Part| -> Vec<f64> {
        let (weight, bias) = (part(weight), part(bias));
        let unit =
            |j: usize| inputs.iter().enumerate().map(|(i, x)| x * weight[i * bias.len() + j]).sum::<f64>();
        (0..bias.len()).map(|j| unit(j) + bias[j]).collect()
    };
    let relu = |units: Vec<f64>| -> Vec<f64> { units.into_iter().map(|unit| unit.max(0.0)).collect() };
    let first = relu(layer(&inputs, Part::FirstWeight, Part::FirstBias));
    let second = relu(layer(&first, Part::SecondWeight, Part::SecondBias));
    let network = layer(&second, Part::OutputWeight, Part::OutputBias)[0]
        + layer(&inputs, Part::SkipWeight, Part::SkipBias)[0];
    HeadParts { closed_form: (part(Part::ClosedWeight)[0] * ratio_sum) as f32, network: network as f32 }
}

#[test]
fn scores_are_those_of_the_formula_and_the_sums_of_their_parts() {
    let head = head(1);
    for num_pairs in [1, BLOCK_PAIRS - 1, BLOCK_PAIRS, 3 * PAIRS_PER_TASK + 5] {
        let usages = usages(num_pairs, num_pairs as u64);
        let mut scores = vec![f32::NAN; num_pairs];
        head.scores(&usages, &mut scores);
        let parts = head.parts(&usages);
        for (i, (score, parts)) in scores.iter().zip(&parts).enumerate() {
            assert_eq!(*score, parts.network + parts.closed_form);
            let expected = plain(&head, &usages[i]);
            assert!((parts.closed_form - expected.closed_form).abs() < 1e-4, "{parts:?} {expected:?}");
            assert!((parts.network - expected.network).abs() < 1e-4, "{parts:?} {expected:?}");
        }
    }
}

#[test]
fn a_pair_has_the_same_score_alone_and_among_others() {
    let (head, usages) = (head(2), usages(200, 9));
    let mut scores = vec![0.0; 200];
    head.scores(&usages, &mut scores);
    for (usage, score) in usages.iter().zip(&scores) {
        let mut alone = [0.0];
        head.score_on_one_core(std::slice::from_ref(usage), &mut alone);
        assert_eq!(alone[0], *score);
    }
}

#[test]
fn wrong_parameters_are_refused() {
    assert!(Head::from_parameters(vec![0.0; NUM_PARAMETERS]).is_some());
    assert!(Head::from_parameters(vec![0.0; NUM_PARAMETERS - 1]).is_none());
    assert!(Head::from_parameters(vec![f32::NAN; NUM_PARAMETERS]).is_none());
}
