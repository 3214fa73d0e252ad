//! Samplers choose the values of the next trial: a grid, random search, a Sobol sequence, or TPE.
//!
//! A sampler holds no generator state. Its choice depends on the seed, the trial's number and, for TPE, on the trials
//! before it. A resumed search therefore chooses as an uninterrupted one with the same trials does.

mod grid;
mod parzen;
mod tpe;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::space::{Assignment, Choice, Space};
use crate::study::{Study, Trial};

/// How the next trial's values are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every combination once, the last parameter's values changing fastest.
    Grid,
    /// Independent uniform draws.
    Random,
    /// An Owen-scrambled Sobol sequence: like random search, but more even.
    Sobol,
    /// The tree-structured Parzen estimator: random at first, then near the best trials.
    Tpe,
}

impl Method {
    /// All methods.
    pub const ALL: [Method; 4] = [Method::Grid, Method::Random, Method::Sobol, Method::Tpe];

    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Method::Grid => "grid",
            Method::Random => "random",
            Method::Sobol => "sobol",
            Method::Tpe => "tpe",
        }
    }

    /// The method of this name.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// Chooses the values of trials.
#[derive(Clone, Debug)]
pub struct Sampler {
    method: Method,
    space: Space,
    seed: u64,
}

impl Sampler {
    /// A sampler of `space`. Samplers with different seeds choose independently; a grid ignores the seed.
    pub fn new(method: Method, space: Space, seed: u64) -> Self {
        Self { method, space, seed }
    }

    /// The number of combinations of a grid, at most `u64::MAX`. `None` for the other methods, and for a grid with a
    /// parameter over real numbers.
    pub fn num_trials(&self) -> Option<u64> {
        match self.method {
            Method::Grid => grid::num_combinations(&self.space),
            Method::Random | Method::Sobol | Method::Tpe => None,
        }
    }

    /// The values of trial `number` (from 0); `None` if the grid has fewer combinations. A grid passes over trials that
    /// were enqueued. Only TPE looks at the study, and
    /// there only at trials with lower numbers.
    ///
    /// # Panics
    ///
    /// If a trial's assignment is of another space.
    pub fn sample(&self, number: usize, study: &Study) -> Option<Assignment> {
        match self.method {
            Method::Grid => {
                let is_enqueued = |trial: &&Trial| trial.number < number && trial.enqueued.is_some();
                let num_enqueued = study.trials.iter().filter(is_enqueued).count();
                grid::combination(&self.space, (number - num_enqueued) as u64)
            }
            Method::Random => Some(self.random(number)),
            Method::Sobol => Some(self.sobol(number)),
            Method::Tpe => {
                let mut random = self.generator(number as u64);
                tpe::sample(&self.space, number, study, &mut random).or_else(|| Some(self.random(number)))
            }
        }
    }

    /// The values of trial `number`, of which some are given, by the positions of their parameters. A grid draws the others
    /// at random.
    ///
    /// # Panics
    ///
    /// As [`Sampler::sample`].
    pub fn sample_with(&self, number: usize, study: &Study, given: &[Option<Choice>]) -> Assignment {
        let sampled = match self.method {
            Method::Grid => None,
            Method::Random | Method::Sobol | Method::Tpe => self.sample(number, study),
        };
        let sampled = sampled.unwrap_or_else(|| self.random(number));
        let mut random = self.generator(number as u64);
        self.space.assign(|position, parameter| {
            let unit = random.random();
            // What varies through a given value was not sampled.
            given[position].or(sampled[position]).unwrap_or_else(|| parameter.domain.from_unit(unit))
        })
    }

    fn random(&self, number: usize) -> Assignment {
        let mut random = self.generator(number as u64);
        // A draw for each parameter, whether or not it varies: each has its own place in the stream.
        let units: Vec<f64> = self.space.parameters.iter().map(|_| random.random()).collect();
        self.space.assign(|position, parameter| parameter.domain.from_unit(units[position]))
    }

    /// The point `number` of a scrambled Sobol sequence, one dimension for each parameter, whether or not it varies.
    ///
    /// The crate has 256 dimensions and 2^16 points. Beyond, another sequence of the same seed begins: parameters at
    /// 256 and above lie evenly among themselves, and at random relative to those below, as do points from 2^16 on
    /// (padding, as in Burley 2020, "Practical Hash-based Owen Scrambling").
    fn sobol(&self, number: usize) -> Assignment {
        let (sequence, index) = (number as u64 / NUM_SOBOL_POINTS, number as u64 % NUM_SOBOL_POINTS);
        self.space.assign(|position, parameter| {
            let (padding, dimension) =
                (position as u64 / NUM_SOBOL_DIMENSIONS, position as u64 % NUM_SOBOL_DIMENSIONS);
            let seed = self.generator(padding << 48 | sequence).next_u32();
            parameter.domain.from_unit(sobol_burley::sample(index as u32, dimension as u32, seed).into())
        })
    }

    /// An independent generator for each number.
    fn generator(&self, number: u64) -> ChaCha8Rng {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(number);
        random
    }
}

const NUM_SOBOL_POINTS: u64 = 1 << 16;
const NUM_SOBOL_DIMENSIONS: u64 = sobol_burley::NUM_DIMENSIONS as u64;

#[cfg(test)]
mod tests;
