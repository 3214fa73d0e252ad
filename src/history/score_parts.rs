//! The parts of a head's score, by what they come from; they add up to it.
//!
//! Each part is the Shapley value of a group of inputs ("A Value for n-Person Games", 1953): the mean, over all orders in
//! which groups can become known, of what the score gains when the group does. A group that is not known has inputs of 0,
//! which is what an account has that was never seen. Five groups are 32 scores, so that the mean is exact.

use serde::Serialize;

use super::closed_form::{log_ratios, mixture};
use super::feature_block::InputBlock;
use super::features::{Input, NUM_BASE_INPUTS, NUM_INPUTS, NUM_OWNER_INPUTS};
use super::head::Head;
use super::network::{HIDDEN_1, HIDDEN_2, Part};
use super::usage::Usage;

/// A part of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScorePart {
    /// What it comes from: `base`, or one of the groups.
    pub name: &'static str,
    /// The same in words.
    pub what: &'static str,
    /// What it adds to the score.
    pub value: f64,
}

/// Groups of inputs, by name and in words.
const GROUPS: [(&str, &str); 5] = [
    ("networks", "the account's use of the address and its networks"),
    ("owner", "the account's use of its AS and country"),
    ("habits", "how often the account has new networks"),
    ("popularity", "other accounts there"),
    ("recency", "how long ago the account was there"),
];

const NETWORKS: usize = 0;
const OWNER: usize = 1;

/// Of the inputs of a level of owners, those that are of other accounts begin here.
const OWNER_SHARES: usize = 4;

/// The group of an input.
fn group(input: usize) -> usize {
    match input {
        NUM_BASE_INPUTS.. if (input - NUM_BASE_INPUTS) % NUM_OWNER_INPUTS >= OWNER_SHARES => 3,
        NUM_BASE_INPUTS.. => OWNER,
        Input::AGE_OF_USE.. => 4,
        Input::EVENT_SHARE.. => 3,
        Input::OWN_CHILDREN.. => NETWORKS,
        Input::EVENTS.. => 2,
        _ => NETWORKS,
    }
}

impl Head {
    /// The parts of the score of a pair, which add up to it: `base`, which every pair has, and a part for each group.
    pub fn score_parts(&self, usage: &Usage) -> Vec<ScorePart> {
        let mut block = InputBlock::<1>::default();
        block.fill(std::slice::from_ref(usage));
        let values: Vec<f64> =
            (0..1 << GROUPS.len()).map(|known| self.score_of_groups(&block, usage, known)).collect();
        let parts = GROUPS.iter().enumerate().map(|(group, (name, what))| ScorePart {
            name,
            what,
            value: shapley_value(group, &values),
        });
        let mut all = vec![ScorePart { name: "base", what: "what every login begins with", value: 0.0 }];
        all.extend(parts);
        // The score itself is of single precision.
        all[0].value = f64::from(self.score(usage)) - all.iter().map(|part| part.value).sum::<f64>();
        all
    }

    /// The score where only the groups of these bits are known.
    fn score_of_groups(&self, block: &InputBlock<1>, usage: &Usage, known: usize) -> f64 {
        let is_known = |group: usize| known >> group & 1 == 1;
        let input =
            |input: usize| if is_known(group(input)) { f64::from(block.inputs[input][0]) } else { 0.0 };
        let inputs: Vec<f64> = (0..NUM_INPUTS).map(input).collect();
        let ratios = log_ratios(usage);
        let of_prefixes = if is_known(NETWORKS) { ratios.of_prefixes() } else { 0.0 };
        let closed_form = match ratios.of_as().filter(|_| is_known(OWNER)) {
            Some(of_as) => mixture(of_prefixes, of_as),
            None => of_prefixes,
        };
        self.network(&inputs) + f64::from(self.closed_weight()) * closed_form
    }

    /// The network's part of the score.
    fn network(&self, inputs: &[f64]) -> f64 {
        let layer = |inputs: &[f64], weight: Part, bias: Part, num_units: usize| -> Vec<f64> {
            let weights = self.part(weight).chunks_exact(num_units);
            let mut sums: Vec<f64> = self.part(bias).iter().copied().map(f64::from).collect();
            for (input, weights) in inputs.iter().zip(weights) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += input * f64::from(*weight);
                }
            }
            sums
        };
        let relu = |units: Vec<f64>| -> Vec<f64> { units.into_iter().map(|unit| unit.max(0.0)).collect() };
        let hidden = relu(layer(inputs, Part::FirstWeight, Part::FirstBias, HIDDEN_1));
        let hidden = relu(layer(&hidden, Part::SecondWeight, Part::SecondBias, HIDDEN_2));
        let output = layer(&hidden, Part::OutputWeight, Part::OutputBias, 1)[0];
        output + layer(inputs, Part::SkipWeight, Part::SkipBias, 1)[0]
    }
}

/// The value of a group, from the score of each set of groups, a bit for each.
fn shapley_value(group: usize, values: &[f64]) -> f64 {
    let factorial = |n: usize| (1..=n).product::<usize>() as f64;
    let num_groups = GROUPS.len();
    let without = (0..values.len()).filter(|known| known >> group & 1 == 0);
    let gain = |known: usize| {
        let num = known.count_ones() as usize;
        let share = factorial(num) * factorial(num_groups - num - 1) / factorial(num_groups);
        share * (values[known | 1 << group] - values[known])
    };
    without.map(gain).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::features::input_names;
    use crate::history::head::tests::{head, usages};

    #[test]
    fn every_input_is_of_the_group_that_its_name_says() {
        for (input, name) in input_names().iter().enumerate() {
            let is_of_others = name.contains("share") || name.contains("other_");
            let expected = match name.as_str() {
                _ if is_of_others => "popularity",
                name if name.starts_with("as_") || name.starts_with("country_") => "owner",
                name if name.starts_with("age_") || name.starts_with("events_since") => "recency",
                name if name.starts_with("own_") => "networks",
                _ => "habits",
            };
            assert_eq!(GROUPS[group(input)].0, expected, "{name}");
        }
    }

    #[test]
    fn parts_add_up_to_the_score() {
        for (pair, usage) in usages(60, 4).iter().enumerate() {
            let head = head(pair as u64);
            let parts = head.score_parts(usage);
            let sum: f64 = parts.iter().map(|part| part.value).sum();
            assert!((sum - f64::from(head.score(usage))).abs() < 1e-9, "{parts:?}");
            // The base is the score of nothing, but for the score's own precision.
            let nothing = head.network(&[0.0; NUM_INPUTS]);
            assert!((parts[0].value - nothing).abs() < 2e-4, "{nothing} {parts:?}");
            let owner = &parts[1 + OWNER];
            assert!(usage.owners[0].share > 0.0 || owner.value == 0.0, "{owner:?}");
        }
    }
}
