//! The users of the generative model, and the exact densities of their logins and of attacks on them.

use rand::{Rng, RngExt};
use rayon::prelude::*;

use super::attack_kind::{AttackKind, NUM_KINDS};
use super::ipv6::{Ipv6Population, Ipv6Profile, Ipv6Shares, any_address, any_density};
use super::profile::{UserProfile, ip_in};
use super::ranges::AddressRanges;
use super::row_spread::RowSpread;
use super::streams::{IPV6_STREAM, stream};
use crate::event::Address;

/// Probabilities of one address, as that of a login of one user and as that of an attack on this user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Densities {
    /// Of a login.
    pub normal: f64,
    /// Of an attack of each kind, in the order of [`AttackKind::ALL`]; 0 for a kind that is not possible.
    pub attacks: [f64; NUM_KINDS],
}

impl Densities {
    /// ln p(ip | attack of this kind) - ln p(ip | login). High = anomalous: `inf` where no login can
    /// come from the address, whether or not an attack can, and `-inf` where only logins can.
    pub fn log_likelihood_ratio(&self, kind: AttackKind) -> f64 {
        log_ratio(self.attacks[kind as usize], self.normal)
    }
}

/// ln(attack / normal): `inf` where no login can come from there, whether or not an attack can; `-inf` where
/// only logins can.
pub(super) fn log_ratio(attack: f64, normal: f64) -> f64 {
    if normal > 0.0 { attack.ln() - normal.ln() } else { f64::INFINITY }
}

/// The users and the table of a generative model: what is known of the logins that [`super::generate`] makes.
///
/// Holds 56 bytes a user, some 150 more where there is IPv6, and up to 24 a row.
pub struct Population<'a> {
    ranges: &'a AddressRanges,
    spread: RowSpread,
    users: Vec<User>,
    /// The rows that are someone's home or work, ascending, each with the sum of its users' probabilities.
    bases: Vec<(usize, f64)>,
    /// For each row, the sum over all users of the probability of a login over IPv4 that is not made while travelling.
    usual: Vec<f64>,
    /// None where all logins are over IPv4.
    ipv6: Option<Ipv6Population>,
}

#[derive(Clone, Copy)]
struct User {
    profile: UserProfile,
    /// First and last neighbour of home and of work; the row itself lies among them but is none.
    neighbours: [(u32, u32); 2],
    /// The probability that a login is over IPv4.
    ipv4_share: f64,
}

impl<'a> Population<'a> {
    /// The users whose logins `generate` makes with the same table, number of users and seed, over IPv4 alone.
    pub fn new(ranges: &'a AddressRanges, num_users: usize, seed: u64) -> Self {
        Self::with_ipv6(ranges, num_users, seed, Ipv6Shares::default())
    }

    /// The users whose logins `generate` makes with the same table, number of users, seed and shares.
    pub fn with_ipv6(ranges: &'a AddressRanges, num_users: usize, seed: u64, shares: Ipv6Shares) -> Self {
        let num_users = u32::try_from(num_users).unwrap_or(u32::MAX);
        let draw = |user: u32| UserProfile::draw(ranges, &mut stream(seed, u64::from(user)));
        let profiles: Vec<UserProfile> = (0..num_users).into_par_iter().map(draw).collect();
        let ipv6 = (!shares.are_none()).then(|| {
            let users = (0..u64::from(num_users)).zip(&profiles).map(|(user, profile)| {
                Ipv6Profile::draw(shares, profile, ranges.len(), &mut stream(seed, IPV6_STREAM + user))
            });
            Ipv6Population::new(shares, &profiles, users.collect())
        });
        let users: Vec<User> = (0..num_users)
            .into_par_iter()
            .zip(&profiles)
            .map(|(user, profile)| User {
                profile: *profile,
                neighbours: [profile.home, profile.work].map(|row| neighbours(ranges, row)),
                ipv4_share: 1.0 - ipv6.as_ref().map_or(0.0, |ipv6| ipv6.user(user).share),
            })
            .collect();
        let mut weights = vec![0.0; ranges.len()];
        for (row, weight) in users.iter().flat_map(User::ipv4_bases) {
            weights[row] += weight;
        }
        let bases = weights.into_iter().enumerate().filter(|&(_, weight)| weight > 0.0).collect();
        let (spread, usual) = (RowSpread::new(), vec![0.0; ranges.len()]);
        let mut population = Population { ranges, spread, users, bases, usual, ipv6 };
        population.sum_usual_rows();
        population
    }

    fn sum_usual_rows(&mut self) {
        let (last_row, max_away) = (self.ranges.len() - 1, self.spread.max_away());
        for &(base, weight) in &self.bases {
            let first = base.saturating_sub(max_away);
            let reached = &mut self.usual[first..=last_row.min(base + max_away)];
            for (row, sum) in (first..).zip(reached) {
                *sum += weight * self.spread.probability(base, row, last_row);
            }
        }
    }

    /// The same, as a detector sees it that knows everyone's home and work but not who travels how much, and
    /// takes each user's p_travel (0..=1) to be `p_travel(user)`: the mean of all users, or an estimate.
    #[must_use]
    pub fn assuming_p_travel(mut self, p_travel: impl Fn(u32) -> f64) -> Self {
        for (user, number) in self.users.iter_mut().zip(0..) {
            user.profile.p_travel = p_travel(number);
        }
        self
    }

    /// Number of users.
    pub fn num_users(&self) -> usize {
        self.users.len()
    }

    /// What decides where a user's logins come from.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn profile(&self, user: u32) -> &UserProfile {
        &self.users[user as usize].profile
    }

    /// Whether there can be attacks of this kind: other users are there, or a row has a neighbour.
    pub fn allows(&self, kind: AttackKind) -> bool {
        match kind {
            AttackKind::UniformIpv4 | AttackKind::AddressRanges => true,
            AttackKind::OtherUsers => self.users.len() > 1,
            AttackKind::Neighbour => self.ranges.len() > 1,
        }
    }

    /// The probabilities of an address for a login of `user` and for the attacks on it, each a sum over the ways in which
    /// the address can come about: over all addresses of both families it is one.
    ///
    /// # Panics
    /// If there is no such user.
    pub fn densities(&self, user: u32, address: Address) -> Densities {
        match address.ipv4() {
            Some(ip) => self.ipv4_densities(&self.users[user as usize], ip),
            None => self.ipv6_densities(user, address),
        }
    }

    /// No two rows overlap, so the ways to an IPv4 address are those to its row.
    fn ipv4_densities(&self, user: &User, ip: u32) -> Densities {
        let mut densities = Densities { normal: 0.0, attacks: [0.0; NUM_KINDS] };
        densities.attacks[AttackKind::UniformIpv4 as usize] = 1.0 / (1_u64 << 32) as f64;
        let Some(row) = self.ranges.row_of(ip) else { return densities };
        let (start, end) = self.ranges.get(row);
        let in_row = 1.0 / (f64::from(end - start) + 1.0);
        let any_row = 1.0 / self.ranges.len() as f64;
        let p_travel = user.profile.p_travel;
        let usual = user.profile.bases().map(|(base, p)| p * self.spread(base, row));
        let normal = p_travel * any_row + (1.0 - p_travel) * (usual[0] + usual[1]);
        densities.normal = in_row * user.ipv4_share * normal;
        densities.attacks[AttackKind::AddressRanges as usize] =
            in_row * (1.0 - self.ipv6_share_of_ranges()) * any_row;
        densities.attacks[AttackKind::OtherUsers as usize] = in_row * self.row_of_others(user, row);
        densities.attacks[AttackKind::Neighbour as usize] =
            in_row * user.ipv4_share * user.row_of_neighbours(row);
        densities
    }

    fn ipv6_densities(&self, user: u32, address: Address) -> Densities {
        let mut densities = Densities { normal: 0.0, attacks: [0.0; NUM_KINDS] };
        let Some(ipv6) = &self.ipv6 else { return densities };
        let (profile, of_user) = (&self.users[user as usize].profile, ipv6.user(user));
        let any = any_density(address);
        let usual = of_user.usual_density(profile, address);
        densities.normal = of_user.share * (profile.p_travel * any + (1.0 - profile.p_travel) * usual);
        densities.attacks[AttackKind::AddressRanges as usize] = ipv6.share_of_all() * any;
        densities.attacks[AttackKind::OtherUsers as usize] = ipv6.density_of_others(user, profile, address);
        densities.attacks[AttackKind::Neighbour as usize] =
            of_user.share * of_user.neighbour_density(address);
        densities
    }

    /// The share of attacks from any range that is over IPv6: that of all logins.
    fn ipv6_share_of_ranges(&self) -> f64 {
        self.ipv6.as_ref().map_or(0.0, Ipv6Population::share_of_all)
    }

    fn spread(&self, base: usize, row: usize) -> f64 {
        self.spread.probability(base, row, self.ranges.len() - 1)
    }

    /// The probability of the row for a login of another user, drawn uniformly, from around home or work.
    fn row_of_others(&self, user: &User, row: usize) -> f64 {
        if self.users.len() < 2 {
            return 0.0;
        }
        let own: f64 = user.ipv4_bases().into_iter().map(|(base, p)| p * self.spread(base, row)).sum();
        let all = self.usual[row];
        let others = if own <= 0.5 * all { all - own } else { self.usual_of_others(user, row) };
        others / (self.users.len() - 1) as f64
    }

    /// What the subtraction of the user's own share would lose to rounding where it is most of the sum: here it
    /// is taken away from each base, so that nothing remains of a base on which the user is alone.
    fn usual_of_others(&self, user: &User, row: usize) -> f64 {
        let max_away = self.spread.max_away();
        let first = self.bases.partition_point(|&(base, _)| base + max_away < row);
        let near = self.bases[first..].iter().take_while(|&&(base, _)| base <= row + max_away);
        let of_others = |&(base, weight): &(usize, f64)| {
            let own = user.ipv4_bases().iter().filter(|own| own.0 == base).fold(0.0, |sum, own| sum + own.1);
            (weight - own).max(0.0) * self.spread(base, row)
        };
        near.map(of_others).sum()
    }

    /// The address of an attack on `user`, which must be a kind that [`Population::allows`].
    pub(super) fn draw_attack(&self, kind: AttackKind, user: u32, rng: &mut impl Rng) -> Address {
        let last_row = self.ranges.len() - 1;
        let row = match kind {
            AttackKind::UniformIpv4 => return Address::from_ipv4(rng.random()),
            AttackKind::AddressRanges => {
                if self.is_over_ipv6(self.ipv6_share_of_ranges(), rng) {
                    return any_address(rng);
                }
                rng.random_range(0..=last_row)
            }
            AttackKind::OtherUsers => {
                let other = rng.random_range(0..self.users.len() - 1);
                let other = other + usize::from(other >= user as usize);
                let profile = &self.users[other].profile;
                if let Some(ipv6) = self.ipv6_of(other as u32, rng) {
                    return ipv6.usual(profile, rng);
                }
                profile.usual_row(last_row, rng)
            }
            AttackKind::Neighbour => {
                if let Some(ipv6) = self.ipv6_of(user, rng) {
                    return ipv6.neighbour(rng);
                }
                self.users[user as usize].draw_neighbour(rng)
            }
        };
        ip_in(self.ranges, row, rng)
    }

    /// The user's IPv6, where a login of the user is over IPv6 by chance.
    fn ipv6_of(&self, user: u32, rng: &mut impl Rng) -> Option<&Ipv6Profile> {
        let ipv6 = self.ipv6.as_ref()?.user(user);
        self.is_over_ipv6(ipv6.share, rng).then_some(ipv6)
    }

    /// Draws nothing where there is no IPv6, so that attacks over IPv4 alone are what they were.
    fn is_over_ipv6(&self, share: f64, rng: &mut impl Rng) -> bool {
        self.ipv6.is_some() && rng.random::<f64>() < share
    }
}

impl User {
    /// Home and work with the probabilities of a login over IPv4 from there.
    fn ipv4_bases(&self) -> [(usize, f64); 2] {
        self.profile.bases().map(|(row, p)| (row, self.ipv4_share * p))
    }

    fn own_rows(&self) -> [usize; 2] {
        [self.profile.home, self.profile.work]
    }

    fn draw_neighbour(&self, rng: &mut impl Rng) -> usize {
        let which = usize::from(rng.random::<bool>());
        let (own, (first, last)) = (self.own_rows()[which], self.neighbours[which]);
        let row = rng.random_range(first..last) as usize;
        row + usize::from(row >= own)
    }

    /// The probability that [`User::draw_neighbour`] draws the row.
    fn row_of_neighbours(&self, row: usize) -> f64 {
        let of = |(own, (first, last)): (usize, (u32, u32))| {
            let is_neighbour = row != own && (first as usize..=last as usize).contains(&row);
            if is_neighbour { 0.5 / f64::from(last - first) } else { 0.0 }
        };
        self.own_rows().into_iter().zip(self.neighbours).map(of).sum()
    }
}

/// First and last of the rows that are next to `row` or that hold addresses of a /16 of which it holds some.
fn neighbours(ranges: &AddressRanges, row: usize) -> (u32, u32) {
    let (start, end) = ranges.get(row);
    let same_16 = ranges.rows_within(start & 0xFFFF_0000, end | 0xFFFF);
    let first = same_16.start.min(row.saturating_sub(1));
    let last = (same_16.end - 1).max((row + 1).min(ranges.len() - 1));
    // A table has at most 2^32 rows.
    (first as u32, last as u32)
}
