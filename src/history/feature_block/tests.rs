use proptest::prelude::*;

use super::*;
use crate::history::features::{input_names, inputs_reference};
use crate::history::usage::{LevelUsage, OwnerUsage};

/// A count of any size: small ones as often as large ones.
fn count(max_bits: u32) -> impl Strategy<Value = u64> {
    (0..=max_bits, any::<u64>()).prop_map(|(bits, word)| if bits == 0 { 0 } else { word >> (64 - bits) })
}

prop_compose! {
    /// Counts as a history could have them: a prefix has no more than the wider one before it.
    fn usage()(
        own in proptest::collection::vec(count(20), NUM_LEVELS + 1),
        other in proptest::collection::vec((count(33), count(26)), NUM_LEVELS + 1),
        children in proptest::collection::vec((1u32..300, 1u64..60_000), NUM_LEVELS),
        days in proptest::collection::vec(prop_oneof![0.0f32..0.01, 0.0f32..4000.0], 2 + NUM_LEVELS),
        (has_times, since) in (any::<bool>(), count(20)),
        distinct in proptest::collection::vec(1u32..2000, NUM_LEVELS),
        owners in proptest::collection::vec((any::<bool>(), 1e-9f32..0.1, count(20), count(26), 1u32..500, 1u64..80_000), 2),
    ) -> Usage {
        let (mut own, mut other) = (own, other);
        own.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        other.sort_unstable_by_key(|count| std::cmp::Reverse(count.0));
        let num_events = own[0] as u32;
        let days = |is_known: bool, place: usize| if has_times && is_known { days[place] } else { -1.0 };
        let level = |l: usize| {
            let (own, (events, accounts)) = (own[l + 1] as u32, other[l + 1]);
            LevelUsage {
                own_events: own,
                own_children: if l + 1 < NUM_LEVELS { children[l].0.min(own) } else { 0 },
                days_since_use: days(own > 0, 2 + l),
                events_since_use: if own > 0 { since as f32 } else { -1.0 },
                all_events: events + u64::from(own),
                all_accounts: accounts.min(events) + u64::from(own > 0),
                all_children: if l + 1 < NUM_LEVELS { children[l].1.min(events) } else { 0 },
            }
        };
        let owner = |level: usize| {
            let (is_known, share, own, all, groups, all_groups) = owners[level];
            if !is_known {
                return OwnerUsage::default();
            }
            let own_events = (own as u32).min(num_events);
            OwnerUsage {
                share,
                own_events,
                own_groups: groups.min(num_events),
                all_events: all.min(other[0].0) + u64::from(own_events),
                all_accounts: (all / 2).min(other[0].1) + u64::from(own_events > 0),
                all_groups,
            }
        };
        Usage {
            num_events,
            days_since_last: days(num_events > 0, 0),
            days_since_first: days(num_events > 0, 1),
            distinct: std::array::from_fn(|l| distinct[l].min(num_events)),
            levels: std::array::from_fn(level),
            total_events: other[0].0 + u64::from(num_events),
            total_accounts: other[0].1 + u64::from(num_events > 0),
            total_top_prefixes: 200,
            owners: std::array::from_fn(owner),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inputs_are_those_of_the_reference(usage in proptest::collection::vec(usage(), 1..=BLOCK_PAIRS)) {
        let mut block = InputBlock::<BLOCK_PAIRS>::default();
        block.fill(&usage);
        let names = input_names();
        let mut mismatches = Vec::new();
        for (i, usage) in usage.iter().enumerate() {
            let (inputs, sum) = inputs_reference(usage);
            for (input, expected) in inputs.into_iter().enumerate() {
                let found = f64::from(block.inputs[input][i]);
                let is_near = (found - expected).abs() <= 2e-6 * expected.abs().max(1.0);
                if !is_near {
                    mismatches.push(format!("{}: {found} for {expected} of {usage:?}", names[input]));
                }
            }
            let found = f64::from(block.ratio_sums[i]);
            let is_near = (found - sum).abs() <= 1e-5 * sum.abs().max(1.0);
            if !is_near {
                mismatches.push(format!("sum: {found} for {sum} of {usage:?}"));
            }
        }
        prop_assert!(mismatches.is_empty(), "{}", mismatches.join("\n"));
    }
}

#[test]
fn a_logarithm_is_within_its_error() {
    let mut worst = 0.0f64;
    for bits in (0x0080_0000..0x7F80_0000u32).step_by(997) {
        let x = f32::from_bits(bits);
        let expected = f64::from(x).ln();
        worst = worst.max((f64::from(ln(x)) - expected).abs() / expected.abs().max(1.0));
    }
    assert!(worst < 1e-7, "{worst}");
    assert_eq!(ln(1.0), 0.0);
}

#[test]
fn own_inputs_of_an_unseen_account_are_zero() {
    let level = LevelUsage {
        days_since_use: -1.0,
        events_since_use: -1.0,
        all_events: 9,
        all_accounts: 3,
        ..Default::default()
    };
    let nobody = Usage {
        days_since_last: -1.0,
        days_since_first: -1.0,
        levels: [level; NUM_LEVELS],
        total_events: 20,
        total_accounts: 4,
        total_top_prefixes: 2,
        ..Usage::default()
    };
    let mut block = InputBlock::<BLOCK_PAIRS>::default();
    block.fill(&[nobody]);
    assert_eq!(block.ratio_sums[0], 0.0);
    for (name, input) in input_names().iter().zip(&block.inputs) {
        let of_others =
            ["event_share", "account_share", "other_"].iter().any(|group| name.starts_with(group));
        assert!(of_others || input[0] == 0.0, "{name} = {}", input[0]);
    }
}
