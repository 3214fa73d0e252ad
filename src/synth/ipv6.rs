//! Where users log in from over IPv6, beside their addresses of IPv4.
//!
//! An access provider has a network of 32 bits. Its subscribers have sites of 56 bits out of pools of 40, and a site has
//! subnets of 64 bits, of which the first is used most. A user's home and work each have a site, from whose first subnet
//! most logins come; the others come from a site of the same pool, as where a provider hands out another prefix after a
//! reconnection. Users who travel log in from any site.

use std::collections::HashMap;
use std::sync::LazyLock;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::profile::UserProfile;
use crate::event::Address;

/// How much of the logins is over IPv6; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ipv6Shares {
    /// The share of users that have IPv6 beside IPv4, 0..=1.
    pub users: f64,
    /// The share of their logins that is over IPv6, 0..=1.
    pub logins: f64,
}

impl Ipv6Shares {
    /// The expected share of all users' logins.
    fn of_all(self) -> f64 {
        self.users * self.logins
    }

    /// Whether there is no IPv6.
    pub(super) fn are_none(self) -> bool {
        self.of_all() <= 0.0
    }
}

/// The probability that a login from home or work comes from the user's own site there.
const P_OWN_SITE: f64 = 0.9;

/// The probability that a login comes from the first subnet of a site whatever the others have.
const P_FIRST_SUBNET: f64 = 0.75;

// Bits of the upper half of an address, below a provider's 32.
const SUBNET_BITS: u32 = 8;
const SITE_BITS: u32 = 16;
const POOL_BITS: u32 = 8;

/// The providers' networks, their first 32 bits, ascending: the same for everyone, spread over the blocks of 12 bits that
/// the five regional registries have handed out first.
static PROVIDERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    const BLOCKS: [u32; 5] = [0x2400_0000, 0x2600_0000, 0x2800_0000, 0x2A00_0000, 0x2C00_0000];
    const PER_BLOCK: usize = 4096;
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut of_block = |block| {
        let mut networks = std::collections::BTreeSet::new();
        while networks.len() < PER_BLOCK {
            networks.insert(block | rng.random::<u32>() >> 12);
        }
        networks
    };
    BLOCKS.into_iter().flat_map(&mut of_block).collect()
});

/// A user's IPv6.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ipv6Profile {
    /// The probability that a login is over IPv6.
    pub(super) share: f64,
    /// The first subnets of the sites at home and at work.
    own: [u64; 2],
}

impl Ipv6Profile {
    /// Draws whether the user has IPv6, and where; the rows are those of a table of `num_rows` IPv4 ranges, whose
    /// neighbours have neighbouring providers.
    pub(super) fn draw(
        shares: Ipv6Shares,
        profile: &UserProfile,
        num_rows: usize,
        rng: &mut impl Rng,
    ) -> Self {
        let share = if rng.random::<f64>() < shares.users { shares.logins } else { 0.0 };
        let own = [profile.home, profile.work].map(|row| {
            let provider = PROVIDERS[(row as u128 * PROVIDERS.len() as u128 / num_rows as u128) as usize];
            site_within(u64::from(provider) << 32, POOL_BITS + SITE_BITS, rng)
        });
        Ipv6Profile { share, own }
    }

    /// The address of the next login, where it is over IPv6.
    pub(super) fn login(&self, profile: &UserProfile, rng: &mut impl Rng) -> Option<Address> {
        if rng.random::<f64>() >= self.share {
            return None;
        }
        let is_travelling = rng.random::<f64>() < profile.p_travel;
        Some(if is_travelling { any_address(rng) } else { self.usual(profile, rng) })
    }

    /// An address that is not of a journey.
    pub(super) fn usual(&self, profile: &UserProfile, rng: &mut impl Rng) -> Address {
        let own = self.own[usize::from(rng.random::<f64>() >= profile.p_home)];
        let subnet = if rng.random::<f64>() < P_OWN_SITE { own } else { subnet_within_pool(own, rng) };
        Address::from_bits(subnet)
    }

    /// An address of the pool of home or of work.
    pub(super) fn neighbour(&self, rng: &mut impl Rng) -> Address {
        Address::from_bits(subnet_within_pool(self.own[usize::from(rng.random::<bool>())], rng))
    }

    /// The probability that [`Ipv6Profile::usual`] gives the address.
    pub(super) fn usual_density(&self, profile: &UserProfile, address: Address) -> f64 {
        let own = self.bases(profile).into_iter().map(|(own, weight)| {
            let in_pool =
                if pool_of(own) == pool_of(address.bits()) { density_in_pool(address) } else { 0.0 };
            let at_site = if own == address.bits() { 1.0 } else { 0.0 };
            weight * (P_OWN_SITE * at_site + (1.0 - P_OWN_SITE) * in_pool)
        });
        own.sum()
    }

    /// The probability that [`Ipv6Profile::neighbour`] gives the address.
    pub(super) fn neighbour_density(&self, address: Address) -> f64 {
        let num_pools = self.own.iter().filter(|own| pool_of(**own) == pool_of(address.bits())).count();
        0.5 * num_pools as f64 * density_in_pool(address)
    }

    fn bases(&self, profile: &UserProfile) -> [(u64, f64); 2] {
        [(self.own[0], profile.p_home), (self.own[1], 1.0 - profile.p_home)]
    }
}

/// An address of any site, each as likely.
pub(super) fn any_address(rng: &mut impl Rng) -> Address {
    let provider = PROVIDERS[rng.random_range(0..PROVIDERS.len())];
    let site = site_within(u64::from(provider) << 32, POOL_BITS + SITE_BITS, rng);
    Address::from_bits(site | draw_subnet(rng))
}

/// The probability that [`any_address`] gives the address.
pub(super) fn any_density(address: Address) -> f64 {
    let provider = (address.bits() >> 32) as u32;
    match PROVIDERS.binary_search(&provider) {
        Ok(_) => {
            let num_sites = (PROVIDERS.len() as u64) << (POOL_BITS + SITE_BITS);
            subnet_density(address) / num_sites as f64
        }
        Err(_) => 0.0,
    }
}

/// The first subnet of a site, of which `num_bits` bits are drawn.
fn site_within(network: u64, num_bits: u32, rng: &mut impl Rng) -> u64 {
    network | u64::from(rng.random_range(0..1_u32 << num_bits)) << SUBNET_BITS
}

fn draw_subnet(rng: &mut impl Rng) -> u64 {
    if rng.random::<f64>() < P_FIRST_SUBNET { 0 } else { rng.random_range(0..1 << SUBNET_BITS) }
}

fn subnet_density(address: Address) -> f64 {
    let of_any = (1.0 - P_FIRST_SUBNET) / f64::from(1 << SUBNET_BITS);
    let is_first = address.bits() & ((1 << SUBNET_BITS) - 1) == 0;
    if is_first { P_FIRST_SUBNET + of_any } else { of_any }
}

/// The pool of a subnet, its first address.
fn pool_of(subnet: u64) -> u64 {
    subnet >> (SITE_BITS + SUBNET_BITS) << (SITE_BITS + SUBNET_BITS)
}

fn subnet_within_pool(subnet: u64, rng: &mut impl Rng) -> u64 {
    site_within(pool_of(subnet), SITE_BITS, rng) | draw_subnet(rng)
}

/// The probability of an address of a pool, for one that is drawn from it.
fn density_in_pool(address: Address) -> f64 {
    subnet_density(address) / f64::from(1 << SITE_BITS)
}

/// The IPv6 of all users, and how likely an address is for a login of any of them.
pub(super) struct Ipv6Population {
    shares: Ipv6Shares,
    users: Vec<Ipv6Profile>,
    /// Of each user's own subnets and pools, the sums of what their logins there weigh.
    subnets: HashMap<u64, Weight>,
    pools: HashMap<u64, Weight>,
}

/// A sum over bases.
#[derive(Clone, Copy, Default)]
struct Weight {
    sum: f64,
    num_bases: usize,
}

impl Weight {
    fn add(&mut self, weight: f64) {
        self.sum += weight;
        self.num_bases += 1;
    }

    /// The sum without some of the bases. Where none is left that is nothing, which a subtraction might miss.
    fn without(self, own: Weight) -> f64 {
        if self.num_bases == own.num_bases { 0.0 } else { (self.sum - own.sum).max(0.0) }
    }
}

impl Ipv6Population {
    pub(super) fn new(shares: Ipv6Shares, profiles: &[UserProfile], users: Vec<Ipv6Profile>) -> Self {
        let (mut subnets, mut pools) = (HashMap::new(), HashMap::new());
        for (user, profile) in users.iter().zip(profiles).filter(|(user, _)| user.share > 0.0) {
            for (own, weight) in user.bases(profile) {
                let weight = user.share * weight;
                subnets.entry(own).or_insert_with(Weight::default).add(P_OWN_SITE * weight);
                pools.entry(pool_of(own)).or_insert_with(Weight::default).add((1.0 - P_OWN_SITE) * weight);
            }
        }
        Ipv6Population { shares, users, subnets, pools }
    }

    /// The expected share of all logins that is over IPv6.
    pub(super) fn share_of_all(&self) -> f64 {
        self.shares.of_all()
    }

    pub(super) fn user(&self, user: u32) -> &Ipv6Profile {
        &self.users[user as usize]
    }

    /// The probability of the address for a login of another user, drawn uniformly, who is not travelling.
    pub(super) fn density_of_others(&self, user: u32, profile: &UserProfile, address: Address) -> f64 {
        if self.users.len() < 2 {
            return 0.0;
        }
        let own = self.user(user);
        let (mut own_subnet, mut own_pool) = (Weight::default(), Weight::default());
        if own.share > 0.0 {
            for (base, weight) in own.bases(profile) {
                let weight = own.share * weight;
                if base == address.bits() {
                    own_subnet.add(P_OWN_SITE * weight);
                }
                if pool_of(base) == pool_of(address.bits()) {
                    own_pool.add((1.0 - P_OWN_SITE) * weight);
                }
            }
        }
        let at_sites = self.subnets.get(&address.bits()).map_or(0.0, |all| all.without(own_subnet));
        let in_pools = self.pools.get(&pool_of(address.bits())).map_or(0.0, |all| all.without(own_pool));
        (at_sites + in_pools * density_in_pool(address)) / (self.users.len() - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> UserProfile {
        UserProfile { home: 3, work: 900, p_travel: 0.1, p_home: 0.4 }
    }

    fn draw(rng: &mut ChaCha8Rng) -> Ipv6Profile {
        Ipv6Profile::draw(Ipv6Shares { users: 1.0, logins: 0.5 }, &profile(), 1000, rng)
    }

    #[test]
    fn the_providers_are_the_same_for_everyone_and_neighbours_have_neighbours() {
        assert_eq!(PROVIDERS.len(), 5 * 4096);
        assert!(PROVIDERS.is_sorted() && PROVIDERS.iter().all(|network| network >> 28 == 2));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let Ipv6Profile { own: [home, work], .. } = draw(&mut rng);
        let provider = |subnet: u64| PROVIDERS.binary_search(&((subnet >> 32) as u32)).unwrap();
        assert_eq!((provider(home), provider(work)), (3 * 20_480 / 1000, 900 * 20_480 / 1000));
        assert_eq!((home | work) & 0xFF, 0, "first subnets");
    }

    /// Each density against draws, by pools, sites and subnets, which have very different sizes.
    #[test]
    fn densities_are_those_of_the_draws() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (user, profile) = (draw(&mut rng), profile());
        const NUM: usize = 200_000;
        let mut own = [0; 2];
        let mut first = 0;
        let mut in_pools = 0;
        for _ in 0..NUM {
            let address = user.usual(&profile, &mut rng);
            assert!(user.usual_density(&profile, address) > 0.0);
            own.iter_mut().zip(user.own).for_each(|(num, own)| *num += usize::from(own == address.bits()));
            let neighbour = user.neighbour(&mut rng);
            assert!(user.neighbour_density(neighbour) > 0.0);
            in_pools += usize::from(pool_of(neighbour.bits()) == pool_of(user.own[0]));
            let any = any_address(&mut rng);
            assert!(any_density(any) > 0.0);
            first += usize::from(any.bits() & 0xFF == 0);
        }
        let near = |num: usize, p: f64| {
            let expected = p * NUM as f64;
            assert!((num as f64 - expected).abs() < 5.0 * (expected * (1.0 - p)).sqrt(), "{num} {expected}");
        };
        near(own[0], user.usual_density(&profile, Address::from_bits(user.own[0])));
        near(own[1], user.usual_density(&profile, Address::from_bits(user.own[1])));
        near(first, P_FIRST_SUBNET + (1.0 - P_FIRST_SUBNET) / 256.0);
        near(in_pools, 0.5);
    }

    /// The sums over all addresses that can come, of which there are few enough in a pool to be counted by their kinds.
    #[test]
    fn densities_sum_to_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (user, profile) = (draw(&mut rng), profile());
        let sum_over_pool = |pool: u64, density: &dyn Fn(Address) -> f64| -> f64 {
            (0..1_u64 << (SITE_BITS + SUBNET_BITS)).map(|rest| density(Address::from_bits(pool | rest))).sum()
        };
        let pools = user.own.map(pool_of);
        assert_ne!(pools[0], pools[1]);
        let sum = |density: &dyn Fn(Address) -> f64| -> f64 {
            pools.iter().map(|pool| sum_over_pool(*pool, density)).sum()
        };
        assert!((sum(&|address| user.usual_density(&profile, address)) - 1.0).abs() < 1e-9);
        assert!((sum(&|address| user.neighbour_density(address)) - 1.0).abs() < 1e-9);
        // One of all providers' pools.
        let in_pool = sum_over_pool(pools[0], &any_density) * (PROVIDERS.len() << POOL_BITS) as f64;
        assert!((in_pool - 1.0).abs() < 1e-9, "{in_pool}");
        assert_eq!(any_density(Address::from_bits(0x2001_0DB8 << 32)), 0.0);
        assert_eq!(any_density(Address::from_ipv4(0x2400_0001)), 0.0);
    }

    #[test]
    fn other_users_are_the_mean_of_all_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let profiles = [profile(); 5];
        let mut users: Vec<Ipv6Profile> = profiles.iter().map(|_| draw(&mut rng)).collect();
        // Two share a home, one has no IPv6.
        users[1].own[0] = users[0].own[0];
        users[2].share = 0.0;
        let shares = Ipv6Shares { users: 0.8, logins: 0.5 };
        let population = Ipv6Population::new(shares, &profiles, users.clone());
        let mut addresses: Vec<Address> =
            users.iter().flat_map(|user| user.own).map(Address::from_bits).collect();
        addresses.extend((0..50).map(|i| users[i % 5].neighbour(&mut rng)));
        for address in addresses {
            for user in 0..5 {
                let others = users.iter().enumerate().filter(|(other, _)| *other != user);
                let of_others =
                    others.map(|(_, other)| other.share * other.usual_density(&profile(), address));
                let expected = of_others.sum::<f64>() / 4.0;
                let found = population.density_of_others(user as u32, &profile(), address);
                assert!((found - expected).abs() <= 1e-12 * expected, "{user}: {found} {expected}");
            }
        }
        assert!((population.share_of_all() - 0.4).abs() < 1e-12);
    }
}
