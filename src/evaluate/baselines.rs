//! Detectors that need no training but the counts of past events: tables of addresses and subnets, the ratio of
//! likelihoods of Freeman et al., "Who Are You? A Statistical Approach to Measuring User Authenticity" (NDSS 2016), and
//! the closed form of a usage history.

use super::family::Family;
use crate::history::{IPV4_LENGTHS, IPV6_LENGTHS, Usage, log_ratios};

/// The names of the detectors.
pub const BASELINES: [&str; 7] = [
    "ip_table",
    "subnet_24_table",
    "subnet_16_table",
    "subnet_8_table",
    "likelihood_ratio",
    "closed_form",
    AS_TABLE,
];

/// The detector that there is with a table of networks alone: the entity's events in the AS of the address.
pub(super) const AS_TABLE: &str = "as_table";

/// The levels of a usage at which the tables count, by family: /32, /24, /16 and /8; /64, /56, /48 and /32.
const TABLES: [[usize; 4]; 2] = [[6, 4, 2, 0], [6, 5, 4, 2]];

/// The levels through which the likelihoods back off: /16, /24 and /32; /32, /48 and /64. Before the first, addresses are
/// uniform.
const RATIO_LEVELS: [usize; 3] = [2, 4, 6];

/// How many events the estimate of the level above is worth.
const PRIOR_EVENTS: f64 = 1.0;

/// The anomaly scores of an event by each of [`BASELINES`], from what the past events say of it; high means anomalous.
///
/// A table's score is the negated number of the entity's events with the address, or in its subnet: all that was never
/// seen ties at 0. Numbers are exact up to 2^24.
pub(super) fn scores(usage: &Usage, family: Family) -> [f32; BASELINES.len()] {
    let [ip, narrow, middle, wide] =
        TABLES[family as usize].map(|level| -(usage.levels[level].own_events as f32));
    let closed_form = -log_ratios(usage).sum();
    let of_as = -(usage.owners[0].own_events as f32);
    [ip, narrow, middle, wide, likelihood_ratio(usage, family) as f32, closed_form as f32, of_as]
}

/// `ln p(ip) - ln p(ip | entity)`. Both are products over three prefix lengths of
/// `p(prefix | shorter prefix) = (count of the prefix + prior) / (count of the shorter one + 1)`.
///
/// The prior is the probability of the level above: among all events that of uniform addresses, for the entity that among
/// all events (a hierarchy of Dirichlet priors, MacKay & Peto 1995). An entity without events has a ratio of 1, and a score
/// of 0. Before the first prefix stand the events of both families.
fn likelihood_ratio(usage: &Usage, family: Family) -> f64 {
    let lengths = match family {
        Family::Ipv4 => IPV4_LENGTHS,
        Family::Ipv6 => IPV6_LENGTHS,
    };
    let (mut own_above, mut all_above) = (f64::from(usage.num_events), usage.total_events as f64);
    let mut length_above = 0;
    let mut log_ratio = 0.0;
    for level in RATIO_LEVELS {
        let uniform = f64::exp2(-f64::from(lengths[level] - length_above));
        let own = f64::from(usage.levels[level].own_events);
        let all = usage.levels[level].all_events as f64;
        let of_all = (all + PRIOR_EVENTS * uniform) / (all_above + PRIOR_EVENTS);
        let of_own = (own + PRIOR_EVENTS * of_all) / (own_above + PRIOR_EVENTS);
        log_ratio += of_all.ln() - of_own.ln();
        (own_above, all_above, length_above) = (own, all, lengths[level]);
    }
    log_ratio
}

#[cfg(test)]
mod tests {
    use super::super::past::PastEvents;
    use super::*;
    use crate::data::Events;
    use crate::event::Address;

    fn scores_after(events: &[(u64, u64)]) -> impl Fn(u64, u64) -> [f32; BASELINES.len()] + use<> {
        let (entities, addresses) =
            events.iter().map(|(entity, bits)| (*entity, Address::from_bits(*bits))).unzip();
        let past = PastEvents::new(&Events::from_columns(entities, addresses)).unwrap();
        move |entity, bits| {
            let address = Address::from_bits(bits);
            scores(&past.history().usage(entity, address, None), Family::of(address))
        }
    }

    #[test]
    fn tables_count_the_entitys_own_events_in_the_prefix() {
        let (a, b) = (0x0A01_0203, 0x0A01_0204);
        let scores = scores_after(&[(1, a), (1, b), (1, a), (2, a), (1, 0x0AFF_0000), (1, 0x0A01_FF00)]);
        let tables = |entity, bits| scores(entity, bits)[..4].to_vec();
        assert_eq!(tables(1, a), [-2.0, -3.0, -4.0, -5.0]);
        assert_eq!(tables(1, 0x0B01_0203), [0.0; 4]);
        assert_eq!(tables(2, b), [0.0, -1.0, -1.0, -1.0]);
        assert_eq!(tables(3, a), [0.0; 4]);
    }

    #[test]
    fn an_ipv6_event_is_looked_up_at_64_56_48_and_32() {
        let a = 0x2001_0db8_0001_0203;
        let others = [a, a ^ 0x01, a ^ 0x0100, a ^ 0x1_0000, a ^ 1 << 32];
        let events: Vec<_> = others.into_iter().map(|bits| (1, bits)).chain([(1, 0x0A01_0203)]).collect();
        let scores = scores_after(&events);
        assert_eq!(scores(1, a)[..4], [-1.0, -2.0, -3.0, -4.0]);
        assert_eq!(scores(1, 0x0A01_0203)[..4], [-1.0; 4]);
    }

    #[test]
    fn ratios_are_those_of_two_distributions() {
        // The same two halves of an IPv4 address, and of what tells a /32 and a /48 of 2001::/16 from others.
        let places: [fn(u64) -> u64; 2] = [|bits| bits, |bits| 0x2001 << 48 | bits << 16];
        for place in places {
            let own = [0x2A01_0203, 0x2A01_0203, 0x2A02_0000, 0x2A01_0299].map(place);
            let scores = scores_after(&[(1, own[0]), (1, own[1]), (1, own[2]), (2, own[3])]);
            let ratios = |entity, bits: u64| scores(entity, place(bits))[4..6].to_vec();
            // Unknown entities have no information.
            assert_eq!(ratios(9, 0x2A01_0203), [0.0, 0.0]);
            // Own addresses are normal, the nearer the more; another's is not.
            for which in 0..2 {
                let scores =
                    [0x2A01_0203, 0x2A01_0207, 0x2A01_FFFF, 0x3B00_0000].map(|bits| ratios(1, bits)[which]);
                assert!(scores.is_sorted() && scores[0] < 0.0, "{scores:?}");
                // To the closed form IPv6 as a whole is a network, which the account uses.
                assert!(scores[3] > if which == 0 { 0.0 } else { scores[0] }, "{scores:?}");
            }
        }
    }
}
