//! Parzen estimators: densities of good and of bad values, from the values that were tried.
//!
//! The formulas are those of section 4.2 in Bergstra, Bardenet, Bengio, Kégl 2011, "Algorithms for Hyper-Parameter
//! Optimization". A number is looked at by its place in the unit interval of its [`Domain`], in which the prior is
//! uniform, also of logarithmic domains and of whole numbers.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::space::{Choice, Domain};

/// The density of a parameter's values. Whole numbers have it at the middle of their share.
pub(super) enum Parzen<'a> {
    /// The probabilities of [`Domain::Values`].
    Weights(Vec<f64>),
    /// A mixture on the unit interval.
    Kernels { domain: &'a Domain, kernels: Vec<Kernel> },
}

/// A Gaussian cut off at the ends of the unit interval.
pub(super) struct Kernel {
    centre: f64,
    width: f64,
    /// Its share of the whole Gaussian within the unit interval.
    mass: f64,
}

impl<'a> Parzen<'a> {
    /// The estimator from these choices. The prior has the weight of one of them.
    pub(super) fn new(domain: &'a Domain, choices: &[Choice]) -> Self {
        match domain {
            Domain::Values(values) => Parzen::Weights(weights(values.len(), choices)),
            _ => Parzen::Kernels { domain, kernels: kernels(domain, choices) },
        }
    }

    /// Draws a value.
    pub(super) fn sample(&self, random: &mut impl Rng) -> Choice {
        match self {
            Parzen::Weights(weights) => {
                let mut rest: f64 = random.random();
                let drawn = weights.iter().position(|weight| {
                    rest -= weight;
                    rest < 0.0
                });
                Choice::Index(drawn.unwrap_or(weights.len() - 1))
            }
            Parzen::Kernels { domain, kernels } => {
                // One place more than there are kernels: the prior's.
                let place = match kernels.get(random.random_range(0..=kernels.len())) {
                    Some(kernel) => kernel.sample(random),
                    None => random.random(),
                };
                domain.from_unit(place)
            }
        }
    }

    /// The logarithm of the density at a value.
    pub(super) fn log_density(&self, choice: Choice) -> f64 {
        match (self, choice) {
            (Parzen::Weights(weights), Choice::Index(index)) => weights[index].ln(),
            (Parzen::Weights(_), _) => f64::NEG_INFINITY,
            (Parzen::Kernels { domain, kernels }, _) => {
                let place = domain.to_unit(choice);
                let prior = 1.0;
                let total: f64 = prior + kernels.iter().map(|kernel| kernel.density(place)).sum::<f64>();
                (total / (kernels.len() as f64 + 1.0)).ln()
            }
        }
    }
}

/// A mixture as of numbers: of each of the n choices a kernel that gives the other values `1 / (n + 1)` of what it adds
/// to its own, and the prior, which is even. It is Optuna's form of the paper's counts with a prior, `N p_i + C_i`:
/// with few choices more is left for other values, so that a search is held less by the first values that went well.
fn weights(num_values: usize, choices: &[Choice]) -> Vec<f64> {
    let num_kernels = choices.len() as f64 + 1.0;
    let num_values = num_values as f64;
    let kernel_sum = 1.0 + num_values / num_kernels;
    let least = 1.0 / num_values + choices.len() as f64 / num_kernels / kernel_sum;
    let mut weights = vec![least / num_kernels; num_values as usize];
    for choice in choices {
        if let Choice::Index(index) = choice {
            weights[*index] += 1.0 / kernel_sum / num_kernels;
        }
    }
    weights
}

/// A Gaussian at each value. Its width is the distance to the farther of its two neighbours, the ends of the interval
/// being neighbours too. It is kept within `1 / min(100, n + 2)` for n values, as Hyperopt and Optuna keep it, and 1;
/// and at a half of a whole number's share or more, so that the density in the middle stands for all of the share.
fn kernels(domain: &Domain, choices: &[Choice]) -> Vec<Kernel> {
    let mut places: Vec<(f64, f64)> =
        choices.iter().map(|choice| (domain.to_unit(*choice), share(domain, *choice))).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let least = 1.0 / (places.len() as f64 + 2.0).min(100.0);
    let kernel = |(i, &(centre, share)): (usize, &(f64, f64))| {
        let before = if i == 0 { 0.0 } else { places[i - 1].0 };
        let after = places.get(i + 1).map_or(1.0, |place| place.0);
        let width = (centre - before).max(after - centre).clamp(least.max(0.5 * share), 1.0);
        Kernel::new(centre, width)
    };
    places.iter().enumerate().map(kernel).collect()
}

/// How much of the unit interval a value has: 0 of real numbers.
fn share(domain: &Domain, choice: Choice) -> f64 {
    match (domain, choice) {
        (Domain::Int { low, high }, _) => 1.0 / (*high as f64 - *low as f64 + 1.0),
        (Domain::LogInt { low, high }, Choice::Int(value)) => {
            let log_ratio = |first: i64, last: i64| (last as f64 + 0.5).ln() - (first as f64 - 0.5).ln();
            log_ratio(value, value) / log_ratio(*low, *high)
        }
        _ => 0.0,
    }
}

impl Kernel {
    fn new(centre: f64, width: f64) -> Self {
        let mass = normal_cdf((1.0 - centre) / width) - normal_cdf(-centre / width);
        Self { centre, width, mass }
    }

    /// Draws until one falls into the interval: at least a third do, as the centre lies within and the width is at
    /// most 1.
    fn sample(&self, random: &mut impl Rng) -> f64 {
        loop {
            let normal: f64 = random.sample(StandardNormal);
            let place = self.centre + self.width * normal;
            if (0.0..=1.0).contains(&place) {
                return place;
            }
        }
    }

    fn density(&self, place: f64) -> f64 {
        let z = (place - self.centre) / self.width;
        (-0.5 * z * z).exp() / (std::f64::consts::TAU.sqrt() * self.width * self.mass)
    }
}

/// The cumulative distribution function of the normal distribution, within 1e-7 (Abramowitz, Stegun 1964, 7.1.26).
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592]
        .into_iter()
        .fold(0.0, |sum, coefficient| sum * t + coefficient);
    let above = 0.5 * polynomial * t * (-x * x).exp();
    if z < 0.0 { above } else { 1.0 - above }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use toml::Value;

    use super::*;

    #[test]
    fn normal_cdf_is_that_of_tables() {
        let table =
            [(-3.0, 0.001349898), (-1.0, 0.158655254), (0.0, 0.5), (0.5, 0.691462461), (1.96, 0.975002105)];
        for (z, expected) in table {
            assert!((normal_cdf(z) - expected).abs() < 1e-7, "{z}: {}", normal_cdf(z));
        }
    }

    /// Worked out by hand: three kernels, of 5/6 at their own value and 1/6 at the other, and the prior of 1/2.
    #[test]
    fn weights_are_counts_with_a_prior() {
        let domain = Domain::Values([1, 2].map(Value::Integer).to_vec());
        let parzen = Parzen::new(&domain, &[Choice::Index(1), Choice::Index(0), Choice::Index(1)]);
        let weights = [0, 1].map(|index| parzen.log_density(Choice::Index(index)).exp());
        let expected = [10.0 / 24.0, 14.0 / 24.0];
        for (weight, expected) in weights.into_iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-12, "{weights:?}");
        }
    }

    /// Worked out by hand: the neighbours of 0.2 are 0 and 0.3, those of 0.3 are 0.2 and 1; one of two values is at
    /// least 1/4 wide.
    #[test]
    fn a_kernel_is_as_wide_as_the_farther_neighbour_is_away() {
        let widths = |domain: &Domain, choices: &[Choice]| -> Vec<f64> {
            kernels(domain, choices).iter().map(|kernel| (kernel.width * 1e9).round() / 1e9).collect()
        };
        let domain = Domain::Uniform { low: 0.0, high: 10.0 };
        assert_eq!(widths(&domain, &[Choice::Float(3.0), Choice::Float(2.0)]), [0.25, 0.7]);
        let same = [Choice::Float(0.0); 200];
        assert_eq!(widths(&domain, &same)[..199], [0.01; 199]);
        assert_eq!(
            widths(&Domain::Int { low: 1, high: 2 }, &[Choice::Int(1); 9]),
            [[0.25; 8].as_slice(), &[0.75]].concat()
        );
        let share = share(&Domain::LogInt { low: 1, high: 4 }, Choice::Int(1));
        assert!((share - 0.5).abs() < 1e-12, "ln 3 of ln 9: {share}");
    }

    #[test]
    fn densities_are_of_what_is_drawn() {
        let domains = [
            (
                Domain::Uniform { low: -1.0, high: 1.0 },
                vec![Choice::Float(-0.9), Choice::Float(0.2), Choice::Float(0.3)],
            ),
            (Domain::LogUniform { low: 1e-3, high: 1.0 }, vec![Choice::Float(1e-3), Choice::Float(0.5)]),
        ];
        for (domain, choices) in domains {
            let parzen = Parzen::new(&domain, &choices);
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut drawn = [0.0; 20];
            for _ in 0..100_000 {
                drawn[((domain.to_unit(parzen.sample(&mut random)) * 20.0) as usize).min(19)] += 1e-5;
            }
            for (cell, drawn) in drawn.iter().enumerate() {
                let density = |i| {
                    parzen.log_density(domain.from_unit((cell as f64 + (i as f64 + 0.5) / 50.0) / 20.0)).exp()
                };
                let expected = (0..50).map(density).sum::<f64>() / 50.0 / 20.0;
                // Four standard deviations of a count.
                assert!(
                    (drawn - expected).abs() < 4.0 * (expected * 1e-5).sqrt(),
                    "{domain:?} {cell}: {drawn} {expected}"
                );
            }
        }
    }
}
