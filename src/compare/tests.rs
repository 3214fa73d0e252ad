use serde_json::Value;

use super::*;
use crate::data::Events;
use crate::event::Address;

/// Values of SciPy and NumPy; see tests/golden/make_compare.py.
#[test]
fn correlation_bins_and_psi_are_those_of_scipy() {
    let golden: Vec<Value> = serde_json::from_str(include_str!("../../tests/golden/compare.json")).unwrap();
    assert!(golden.len() >= 12);
    let mut differing = Vec::new();
    for case in &golden {
        let numbers = |key: &str| -> Vec<f64> {
            case[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
        };
        let mut pairs = ScorePairs::default();
        for (old, new) in numbers("old").into_iter().zip(numbers("new")) {
            pairs.push([old as f32, new as f32]);
        }
        let ranked = pairs.rank().unwrap();
        let edges: Vec<f64> = ranked.bins.iter().filter_map(|bin| bin.to).map(f64::from).collect();
        let counts = |of: fn(&ScoreBin) -> u64| ranked.bins.iter().map(of).collect::<Vec<u64>>();
        let (num_old, num_new) = (counts(|bin| bin.num_old), counts(|bin| bin.num_new));
        let as_floats = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<f64>>();
        for (what, found, expected) in [
            ("edges", edges, numbers("edges")),
            ("num_old", as_floats(&num_old), numbers("num_old")),
            ("num_new", as_floats(&num_new), numbers("num_new")),
            ("psi", vec![psi(&num_old, &num_new)], vec![case["psi"].as_f64().unwrap()]),
            (
                "rank_correlation",
                ranked.correlation.into_iter().collect(),
                case["rank_correlation"].as_f64().into_iter().collect(),
            ),
        ] {
            let is_close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * (1.0 + b.abs());
            if found.len() != expected.len() || !found.iter().zip(&expected).all(is_close) {
                differing.push(format!("{}: {what} {found:?} instead of {expected:?}", case["name"]));
            }
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn no_events_have_no_ranks() {
    let ranked = ScorePairs::default().rank().unwrap();
    assert_eq!((ranked.correlation, ranked.bins.len()), (None, 0));
}

fn mix(networks: &[(u32, usize)]) -> NetworkMix {
    let of_network = |(network, num): &(u32, usize)| {
        let first = network << 16;
        (0..*num).map(move |i| Address::from_ipv4(first | i as u32))
    };
    let addresses: Vec<Address> = networks.iter().flat_map(of_network).collect();
    NetworkMix::of(&Events::from_columns(vec![7; addresses.len()], addresses))
}

#[test]
fn rare_networks_are_one_bin() {
    let reference = mix(&[(0, 600), (9, 380), (0xFFFF, 20)]);
    assert_eq!(reference.num_events(), 1000);
    let same = reference.stability(&reference);
    assert_eq!((same.psi, same.num_bins, same.num_reference_events), (0.0, 3, 1000));
    assert_eq!(same.psi_by_chance, 2.0 * 0.002);
    // Of 100 events, 40 in 1100 would be 3.6: too few for a bin beside the others.
    let recent = mix(&[(0, 60), (9, 20), (0xFFFF, 20)]);
    let found = recent.stability(&reference);
    assert_eq!((found.num_bins, found.psi), (3, psi(&[600, 380, 20], &[60, 20, 20])));
    // And a network that the reference does not know goes the same way.
    let recent = mix(&[(0, 60), (9, 36), (0xFFFF, 2), (12, 2)]);
    let found = recent.stability(&reference);
    assert_eq!((found.num_bins, found.psi), (3, psi(&[600, 380, 20], &[60, 36, 4])));
    // However it is turned, the same networks are rare.
    assert_eq!(reference.stability(&recent).psi, found.psi);
    assert!(found.psi < 0.1 && found.psi > 0.0);
}

#[test]
fn entities_that_moved_most_come_first_and_equal_ones_by_name() {
    let mut means = EntityMeans::default();
    for (entity, name, scores) in [
        (1, "b", [1.0, 2.0]),
        (2, "a", [1.0, 0.0]),
        (3, "little", [1.0, 1.25]),
        (1, "b", [3.0, 4.0]),
        (4, "most", [0.0, -8.0]),
        (5, "still", [9.0, 9.0]),
    ] {
        means.name(entity, name.as_bytes());
        means.add(entity, scores);
    }
    assert_eq!(means.len(), 5);
    let moved = means.moved_most(9);
    let names: Vec<&[u8]> = moved.iter().map(|moved| &*moved.entity).collect();
    assert_eq!(names, [&b"most"[..], b"a", b"b", b"little"]);
    let b = &moved[2];
    assert_eq!((b.num_events, b.old_mean, b.new_mean, b.change), (2, 2.0, 3.0, 1.0));
}
