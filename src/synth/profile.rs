//! What decides where a user's logins come from, but for IPv6.

use rand::{Rng, RngExt};
use rand_distr::{Beta, Distribution, Normal};

use super::ranges::AddressRanges;
use super::row_spread::ROWS_AWAY;
use crate::event::Address;

/// Table rows between home and work at most.
const MAX_COMMUTE: usize = 50_000;

/// The parameters of the Beta distribution that users' p_travel is drawn from: its mean is 1/31. A detector that
/// saw n logins of a user, m of them from far away, expects (1 + m) / (31 + n).
pub const P_TRAVEL_BETA: (f64, f64) = (1.0, 30.0);

/// What decides where a user's logins come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UserProfile {
    /// Row of the home network.
    pub home: usize,
    /// Row of the work network.
    pub work: usize,
    /// Probability that a login is made while travelling, from any row of the table: 0..1.
    pub p_travel: f64,
    /// Probability that a login which is not is made from home rather than from work: 0..1.
    pub p_home: f64,
}

impl UserProfile {
    pub(super) fn draw(ranges: &AddressRanges, rng: &mut impl Rng) -> Self {
        let last_row = ranges.len() - 1;
        let home = rng.random_range(0..=last_row);
        let work = rng.random_range(home.saturating_sub(MAX_COMMUTE)..=last_row.min(home + MAX_COMMUTE));
        let p_travel = sample(Beta::new(P_TRAVEL_BETA.0, P_TRAVEL_BETA.1), rng);
        let p_home = sample(Beta::new(3.0, 5.0), rng);
        UserProfile { home, work, p_travel, p_home }
    }

    /// The row of a login.
    pub(super) fn login_row(&self, last_row: usize, rng: &mut impl Rng) -> usize {
        if rng.random::<f64>() < self.p_travel {
            rng.random_range(0..=last_row)
        } else {
            self.usual_row(last_row, rng)
        }
    }

    /// The row of a login that is not made while travelling.
    pub(super) fn usual_row(&self, last_row: usize, rng: &mut impl Rng) -> usize {
        let base = if rng.random::<f64>() < self.p_home { self.home } else { self.work };
        let away = sample(Normal::new(0.0, ROWS_AWAY), rng).round();
        (base as f64 + away).clamp(0.0, last_row as f64) as usize
    }

    /// Home and work with their probabilities; they may be the same row.
    pub(super) fn bases(&self) -> [(usize, f64); 2] {
        [(self.home, self.p_home), (self.work, 1.0 - self.p_home)]
    }
}

pub(super) fn ip_in(ranges: &AddressRanges, row: usize, rng: &mut impl Rng) -> Address {
    let (start, end) = ranges.get(row);
    Address::from_ipv4(rng.random_range(start..=end))
}

pub(super) fn sample<D, E>(distribution: Result<D, E>, rng: &mut impl Rng) -> f64
where
    D: Distribution<f64>,
    E: std::fmt::Debug,
{
    distribution.expect("the parameters are constants within their domain").sample(rng)
}
