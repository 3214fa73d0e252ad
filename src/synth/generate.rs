//! The logins of generated users.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::Pareto;
use rayon::prelude::*;

use super::ipv6::{Ipv6Profile, Ipv6Shares};
use super::login::{Login, user_name};
use super::profile::{UserProfile, ip_in, sample};
use super::ranges::AddressRanges;
use super::streams::{IPV6_STREAM, SHUFFLE_STREAM, stream};
use crate::event::{Address, hash_entity};

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Number of users; any above `u32::MAX` are left out.
    pub num_users: usize,
    /// Number of days over which the logins are spread, 1..=49,710 (as seconds in a `u32`); anything else
    /// counts as the nearest of these.
    pub num_days: usize,
    /// Determines the logins, together with the address ranges.
    pub seed: u64,
    /// How much is over IPv6.
    pub ipv6: Ipv6Shares,
}

/// Logins split by time, each part in random order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedLogins {
    /// The first 70 % of the time.
    pub train: Vec<Login>,
    /// The next 20 %.
    pub validation: Vec<Login>,
    /// The last 10 %.
    pub test: Vec<Login>,
}

impl GeneratedLogins {
    /// The entity hashes, the addresses and the seconds of `logins`, in their order.
    pub fn columns(logins: &[Login]) -> (Vec<u64>, Vec<Address>, Vec<u32>) {
        let entity = |login: &Login| hash_entity(user_name(login.user).as_bytes());
        let ((entities, addresses), times) =
            logins.par_iter().map(|login| ((entity(login), login.address), login.seconds)).unzip();
        (entities, addresses, times)
    }
}

/// Generates the logins of `options.num_users` users.
///
/// Each user has a home row, uniform in the table, a work row, uniform among those at most 50,000 rows away,
/// p_travel ~ Beta(1, 30), p_home ~ Beta(3, 5), and min(10,000, int(50 (Lomax(1) + 1))) logins. A login comes
/// with p_travel from a uniform row, otherwise from home (with p_home) or from work, plus N(0, 10) rows,
/// rounded and kept within the table. Its address is uniform in the row's range, its time uniform.
///
/// Of the users that `options.ipv6` gives IPv6, a share of the logins comes from an address of their home's or their work's
/// IPv6 network instead, or from any where they travel.
///
/// A user's logins depend on the ranges, the seed, the number of days, the shares and the user's number only.
pub fn generate(ranges: &AddressRanges, options: &GenerateOptions) -> GeneratedLogins {
    let num_users = u32::try_from(options.num_users).unwrap_or(u32::MAX);
    let num_seconds = u32::try_from(options.num_days.max(1).saturating_mul(86_400));
    let num_seconds = num_seconds.unwrap_or(MAX_DAYS * 86_400);
    let users: Vec<Vec<Login>> =
        (0..num_users).into_par_iter().map(|user| user_logins(ranges, user, num_seconds, options)).collect();

    let mut logins = GeneratedLogins::default();
    for login in users.into_iter().flatten() {
        match u64::from(login.seconds) * 10 / u64::from(num_seconds) {
            0..7 => logins.train.push(login),
            7..9 => logins.validation.push(login),
            _ => logins.test.push(login),
        }
    }
    let mut rng = stream(options.seed, SHUFFLE_STREAM);
    logins.train.shuffle(&mut rng);
    logins.validation.shuffle(&mut rng);
    logins.test.shuffle(&mut rng);
    logins
}

/// The most whole days whose seconds fit in a `u32`.
const MAX_DAYS: u32 = u32::MAX / 86_400;

fn user_logins(ranges: &AddressRanges, user: u32, num_seconds: u32, options: &GenerateOptions) -> Vec<Login> {
    let mut rng = stream(options.seed, u64::from(user));
    let rng = &mut rng;
    let profile = UserProfile::draw(ranges, rng);
    // Of a stream of its own, so that the logins that stay over IPv4 are the same whatever the shares are.
    let mut ipv6 = (!options.ipv6.are_none()).then(|| {
        let mut rng = stream(options.seed, IPV6_STREAM + u64::from(user));
        (Ipv6Profile::draw(options.ipv6, &profile, ranges.len(), &mut rng), rng)
    });
    // numpy's pareto is Lomax, so the notebook's `pareto(1) + 1` is Pareto with scale 1. The cast saturates.
    let num_logins = ((50.0 * sample(Pareto::new(1.0, 1.0), rng)) as usize).min(10_000);
    let login = |_| {
        let row = profile.login_row(ranges.len() - 1, rng);
        let (ipv4, seconds) = (ip_in(ranges, row, rng), rng.random_range(0..num_seconds));
        let ipv6 = ipv6.as_mut().and_then(|(of_user, rng)| of_user.login(&profile, rng));
        Login { user, address: ipv6.unwrap_or(ipv4), seconds }
    };
    (0..num_logins).map(login).collect()
}
