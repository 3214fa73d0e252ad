//! The importance of parameters: functional analysis of variance (fANOVA) over a random forest.
//!
//! After F. Hutter, H. Hoos and K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML
//! 2014. A tree is constant within boxes of the unit cube, so that the mean over all other parameters at each place of
//! one, and the variance of that mean, are sums over its leaves, without any sampling.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::space::{Assignment, Space};
use crate::study::{Study, TrialState};

/// The fewest complete trials of which importance can be computed.
pub const MIN_TRIALS: usize = 8;

const NUM_TREES: usize = 64;

/// The bootstrap samples are the same each time.
const SEED: u64 = 2014;

/// Where a parameter that does not vary in a trial is taken to be. Such trials share one place, which a tree cuts off as
/// a thin slice of the parameter's range: the difference goes to the parameter of the condition.
const INACTIVE: f64 = 0.5;

/// The share of the metric's variance over the space that each parameter explains alone, 0 to 1, in the order of the
/// parameters; interactions have the rest. A parameter is uniform over its own scale: over the logarithm if the domain is
/// logarithmic.
///
/// Complete trials with a finite value count, feasible or not; a pruned one has the value of another number of epochs.
/// `None` if they are fewer than [`MIN_TRIALS`], or all have the same value. Deterministic: the same trials have the same
/// shares.
pub fn fanova(space: &Space, study: &Study) -> Option<Vec<f64>> {
    let points = Points::of(space, study)?;
    let (num_points, num_parameters) = (points.values.len(), space.parameters.len());
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut sums = vec![0.0; num_parameters];
    let mut num_trees = 0.0;
    for _ in 0..NUM_TREES {
        let sample = (0..num_points).map(|_| random.random_range(0..num_points)).collect();
        // A tree of one leaf, or of leaves of one value, has no variance to share out.
        if let Some(shares) = variance_shares(&points.grow(sample), num_parameters) {
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
            num_trees += 1.0;
        }
    }
    (num_trees > 0.0).then(|| sums.iter().map(|sum| sum / num_trees).collect())
}

/// What the trees are grown on.
struct Points {
    /// The place of each in the unit cube.
    places: Vec<Vec<f64>>,
    /// Its value, scaled to 0 to 1: shares do not depend on the unit, and squares cannot overflow.
    values: Vec<f64>,
}

/// A box of the unit cube, and what a tree says there.
struct Leaf {
    /// From and to, for each parameter.
    bounds: Vec<(f64, f64)>,
    value: f64,
}

impl Points {
    fn of(space: &Space, study: &Study) -> Option<Points> {
        let complete = study.trials.iter().filter(|trial| trial.state == TrialState::Complete);
        let valued =
            complete.filter_map(|trial| Some((trial, trial.value.filter(|value| value.is_finite())?)));
        let (trials, values): (Vec<_>, Vec<f64>) = valued.unzip();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let range = values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
        if values.len() < MIN_TRIALS || range <= 0.0 || !range.is_finite() {
            return None;
        }
        let place = |assignment: &Assignment| -> Vec<f64> {
            let both = space.parameters.iter().zip(assignment);
            both.map(|(parameter, choice)| choice.map_or(INACTIVE, |choice| parameter.domain.to_unit(choice)))
                .collect()
        };
        Some(Points {
            places: trials.iter().map(|trial| place(&trial.assignment)).collect(),
            values: values.iter().map(|value| (value - low) / range).collect(),
        })
    }

    /// The leaves of a regression tree (CART) over a sample of the points, grown to its end.
    fn grow(&self, sample: Vec<usize>) -> Vec<Leaf> {
        let whole = vec![(0.0, 1.0); self.places[0].len()];
        let mut leaves = Vec::new();
        let mut open = vec![(sample, whole)];
        while let Some((rows, bounds)) = open.pop() {
            let Some((parameter, threshold)) = self.best_split(&rows) else {
                let sum: f64 = rows.iter().map(|row| self.values[*row]).sum();
                leaves.push(Leaf { bounds, value: sum / rows.len() as f64 });
                continue;
            };
            let mut above_bounds = bounds.clone();
            let mut below_bounds = bounds;
            below_bounds[parameter].1 = threshold;
            above_bounds[parameter].0 = threshold;
            let (below, above) = rows.into_iter().partition(|row| self.places[*row][parameter] <= threshold);
            open.push((above, above_bounds));
            open.push((below, below_bounds));
        }
        leaves
    }

    /// The parameter and the place that leave the least squared error on both sides together. None where the values are
    /// one, or the places.
    fn best_split(&self, rows: &[usize]) -> Option<(usize, f64)> {
        if rows.iter().all(|row| self.values[*row] == self.values[rows[0]]) {
            return None;
        }
        let total: f64 = rows.iter().map(|row| self.values[*row]).sum();
        let mut best: Option<(f64, usize, f64)> = None;
        let mut sorted = rows.to_vec();
        for parameter in 0..self.places[0].len() {
            let place = |row: usize| self.places[row][parameter];
            sorted.sort_by(|a, b| place(*a).total_cmp(&place(*b)));
            let mut below = 0.0;
            for (i, pair) in sorted.windows(2).enumerate() {
                below += self.values[pair[0]];
                let (low, high) = (place(pair[0]), place(pair[1]));
                if low < high {
                    let (num_below, num_above) = ((i + 1) as f64, (sorted.len() - i - 1) as f64);
                    // The squared error is what this leaves of the sum of squares.
                    let gain = below * below / num_below + (total - below) * (total - below) / num_above;
                    if best.is_none_or(|(most, ..)| gain > most) {
                        let middle = low + (high - low) / 2.0;
                        // Between neighbours among the floats there is no middle.
                        best = Some((gain, parameter, if middle < high { middle } else { low }));
                    }
                }
            }
        }
        best.map(|(_, parameter, threshold)| (parameter, threshold))
    }
}

/// The variance of each parameter's marginal, as a share of the tree's variance.
fn variance_shares(leaves: &[Leaf], num_parameters: usize) -> Option<Vec<f64>> {
    let volume_without = |leaf: &Leaf, parameter: usize| -> f64 {
        let others = leaf.bounds.iter().enumerate().filter(|(other, _)| *other != parameter);
        others.map(|(_, (from, to))| to - from).product()
    };
    let volume = |leaf: &Leaf| volume_without(leaf, num_parameters);
    let mean: f64 = leaves.iter().map(|leaf| volume(leaf) * leaf.value).sum();
    let variance: f64 = leaves.iter().map(|leaf| volume(leaf) * (leaf.value - mean).powi(2)).sum();
    // Of values within 0 to 1: less than this is rounding.
    if variance < 1e-20 {
        return None;
    }
    let share = |parameter: usize| {
        // The marginal is a sum of steps, one up and one down for each leaf; its own mean is 0.
        let mut steps: Vec<(f64, f64)> = Vec::with_capacity(2 * leaves.len());
        for leaf in leaves {
            let height = volume_without(leaf, parameter) * (leaf.value - mean);
            let (from, to) = leaf.bounds[parameter];
            steps.extend([(from, height), (to, -height)]);
        }
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut height = 0.0;
        let mut of_marginal = 0.0;
        for pair in steps.windows(2) {
            height += pair[0].1;
            of_marginal += height * height * (pair[1].0 - pair[0].0);
        }
        (of_marginal / variance).clamp(0.0, 1.0)
    };
    Some((0..num_parameters).map(share).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;
    use toml::Value;

    use super::*;
    use crate::space::{Choice, Condition, Domain, Parameter};
    use crate::study::{Goal, Trial};

    const UNIT: Domain = Domain::Uniform { low: 0.0, high: 1.0 };

    fn space(domains: Vec<Domain>) -> Space {
        let parameter =
            |(i, domain)| Parameter { name: format!("p{i}"), key: format!("k{i}"), domain, when: None };
        Space { parameters: domains.into_iter().enumerate().map(parameter).collect() }
    }

    fn study(trials: impl IntoIterator<Item = (Vec<Option<Choice>>, f64)>) -> Study {
        let trial = |(number, (assignment, value))| Trial {
            state: TrialState::Complete,
            value: Some(value),
            ..Trial::new(number, assignment, 0.0)
        };
        Study { goal: Goal::Minimize, trials: trials.into_iter().enumerate().map(trial).collect() }
    }

    /// Shares found with trials of a function of the unit cube at random.
    fn shares(num_parameters: usize, num_trials: usize, function: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let trials = (0..num_trials).map(|_| {
            let place: Vec<f64> = (0..num_parameters).map(|_| random.random()).collect();
            (place.iter().map(|x| Some(Choice::Float(*x))).collect(), function(&place))
        });
        fanova(&space(vec![UNIT; num_parameters]), &study(trials)).unwrap()
    }

    fn assert_close(found: &[f64], wanted: &[f64], tolerance: f64) {
        assert_eq!(found.len(), wanted.len());
        let differs = found.iter().zip(wanted).any(|(found, wanted)| (found - wanted).abs() > tolerance);
        assert!(!differs, "{found:?} is not {wanted:?}");
    }

    /// A tree by hand: x below and above 1/4, and above it y below and above 1/2.
    #[test]
    fn shares_of_a_tree_are_exact() {
        let leaf = |x, y, value| Leaf { bounds: vec![x, y], value };
        let leaves = [
            leaf((0.0, 0.25), (0.0, 1.0), 0.0),
            leaf((0.25, 1.0), (0.0, 0.5), 4.0),
            leaf((0.25, 1.0), (0.5, 1.0), 8.0),
        ];
        // Mean 4.5. Of x: 0 and 6 with weights 1/4 and 3/4. Of y: 3 and 6 with weights of a half.
        let variance = 0.25 * 20.25 + 0.375 * 0.25 + 0.375 * 12.25;
        let wanted = [(0.25 * 20.25 + 0.75 * 2.25) / variance, 2.25 / variance];
        assert_close(&variance_shares(&leaves, 2).unwrap(), &wanted, 1e-14);
        assert_eq!(variance_shares(&leaves[..0], 2), None);
    }

    /// First-order Sobol' indices in closed form. A forest is a staircase through random points, hence the tolerances.
    #[test]
    fn shares_are_the_sobol_indices_of_known_functions() {
        // a² / (a² + b²).
        assert_close(&shares(3, 400, |x| 3.0 * x[0] + 2.0 * x[1]), &[9.0 / 13.0, 4.0 / 13.0, 0.0], 0.03);
        // Nothing alone, all of it together; the forest finds half of what is there.
        let product = shares(2, 400, |x| (x[0] - 0.5) * (x[1] - 0.5));
        assert!(product.iter().all(|share| *share < 0.1), "{product:?}");
        // x + y z: variances 1/12 of x, 1/48 of y and of z, 1/144 of both.
        let total = 1.0 / 12.0 + 2.0 / 48.0 + 1.0 / 144.0;
        let wanted = [1.0 / 12.0 / total, 1.0 / 48.0 / total, 1.0 / 48.0 / total];
        assert_close(&shares(3, 400, |x| x[0] + x[1] * x[2]), &wanted, 0.04);
        // Ishigami & Homma (1990), a = 7 and b = 0.1: 0.3139, 0.4424 and 0.
        let angle = |x: f64| std::f64::consts::PI * (2.0 * x - 1.0);
        let ishigami = |x: &[f64]| {
            let [a, b, c] = [angle(x[0]), angle(x[1]), angle(x[2])];
            a.sin() + 7.0 * b.sin().powi(2) + 0.1 * c.powi(4) * a.sin()
        };
        assert_close(&shares(3, 4000, ishigami), &[0.3139, 0.4424, 0.0], 0.08);
    }

    /// Values of Optuna, see tests/golden/make_importance.py. Both forests are random, and theirs also chooses at random
    /// among equal splits: the tolerance is four standard deviations of their own seeds, and a hundredth for what
    /// differs in kind, their whole numbers' half intervals at both ends.
    #[test]
    fn shares_are_those_of_optuna() {
        let golden: Json =
            serde_json::from_str(include_str!("../../../tests/golden/importance.json")).unwrap();
        let number = |json: &Json| json.as_f64().unwrap();
        let domain = |json: &Json| match json["kind"].as_str().unwrap() {
            "uniform" => Domain::Uniform { low: number(&json["low"]), high: number(&json["high"]) },
            "log_uniform" => Domain::LogUniform { low: number(&json["low"]), high: number(&json["high"]) },
            "int" => Domain::Int { low: json["low"].as_i64().unwrap(), high: json["high"].as_i64().unwrap() },
            _ => Domain::Values((0..json["num_values"].as_i64().unwrap()).map(Value::Integer).collect()),
        };
        let space = space(golden["parameters"].as_array().unwrap().iter().map(domain).collect());
        let choice = |(parameter, json): (&Parameter, &Json)| match parameter.domain {
            Domain::Values(_) => Choice::Index(json.as_u64().unwrap() as usize),
            Domain::Int { .. } | Domain::LogInt { .. } => Choice::Int(json.as_i64().unwrap()),
            _ => Choice::Float(number(json)),
        };
        let mut mismatches = Vec::new();
        for case in golden["cases"].as_array().unwrap() {
            let assignments = case["trials"].as_array().unwrap().iter().map(|trial| {
                space
                    .parameters
                    .iter()
                    .zip(trial.as_array().unwrap())
                    .map(|both| Some(choice(both)))
                    .collect()
            });
            let values = case["values"].as_array().unwrap().iter().map(number);
            let found = fanova(&space, &study(assignments.zip(values))).unwrap();
            for (i, share) in found.iter().enumerate() {
                let (wanted, spread) = (number(&case["shares"][i]), number(&case["spread"][i]));
                if (share - wanted).abs() > 0.01 + 4.0 * spread {
                    mismatches.push(format!("{}, parameter {i}: {share}, Optuna {wanted}", case["name"]));
                }
            }
        }
        assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
    }

    #[test]
    fn a_parameter_counts_over_its_own_scale() {
        let log = space(vec![Domain::LogUniform { low: 1e-4, high: 1.0 }, UNIT]);
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let trials: Vec<_> = (0..200)
            .map(|_| {
                let places = [random.random::<f64>(), random.random::<f64>()];
                let choices: Vec<_> =
                    log.parameters.iter().zip(places).map(|(p, u)| Some(p.domain.from_unit(u))).collect();
                (choices, places[0] + places[1])
            })
            .collect();
        assert_close(&fanova(&log, &study(trials)).unwrap(), &[0.5, 0.5], 0.05);
    }

    #[test]
    fn a_parameter_is_credited_only_where_it_varies() {
        // The first decides much; the second varies, and matters a little, under one of its values only.
        let mut space = space(vec![Domain::Values(vec![Value::Integer(0), Value::Integer(1)]), UNIT, UNIT]);
        space.parameters[1].when = Some(Condition { parameter: 0, indices: vec![1] });
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let trials: Vec<_> = (0..300)
            .map(|_| {
                let assignment = space.assign(|_, parameter| parameter.domain.from_unit(random.random()));
                let value = match assignment[1] {
                    Some(Choice::Float(x)) => 1.0 + x,
                    _ => 0.0,
                };
                (assignment, value)
            })
            .collect();
        // Variances 0.75² of the first, 1/48 of the second, 1/48 of both.
        let total = 0.5625 + 2.0 / 48.0;
        let found = fanova(&space, &study(trials)).unwrap();
        assert_close(&found, &[0.5625 / total, 1.0 / 48.0 / total, 0.0], 0.04);
    }

    #[test]
    fn nothing_is_said_without_trials_or_variance() {
        let space = space(vec![UNIT]);
        let trials = |value: fn(f64) -> f64, num: u32| {
            study((0..num).map(move |i| (vec![Some(Choice::Float(f64::from(i) / 9.0))], value(f64::from(i)))))
        };
        assert_eq!(fanova(&space, &trials(|x| x, 7)), None);
        assert!(fanova(&space, &trials(|x| x, 8)).is_some_and(|shares| shares[0] > 0.999));
        assert_eq!(fanova(&space, &trials(|_| 0.5, 8)), None);
        assert_eq!(fanova(&Space::default(), &trials(|x| x, 8)), None);
        // What is no number, infinite, pruned or failed does not count.
        let mut study = trials(|x| x, 11);
        study.trials[3].value = Some(f64::NAN);
        study.trials[4].value = Some(f64::INFINITY);
        study.trials[5].value = None;
        let few = fanova(&space, &study);
        assert!(few.is_some());
        study.trials[6].state = TrialState::Pruned;
        assert_eq!(fanova(&space, &study), None);
        // Shares are of the same trials each time.
        study.trials[6].state = TrialState::Complete;
        assert_eq!(fanova(&space, &study), few);
    }
}
