//! Every kernel against its reference, on every backend that runs here.

mod support;

use burn::tensor::{Device, Int, Tensor, TensorData};
use ipsight::model::index_tensor;
use ipsight::tensors::{ip_tensor, read_floats};
use ipsight_kernels::addresses::Addresses;
use ipsight_kernels::bits::{bits_on_slices, ip_bits};
use ipsight_kernels::first_layer::{FirstLayer, first_layer_gradients_reference, first_layer_reference};
use ipsight_kernels::folded::{FoldedInputs, Pairs, folded, folded_on_slices, folded_reference};
use ipsight_kernels::folded_step::{ShardMut, folded_step_on_slices};
use ipsight_kernels::gather::{gather, gather_reference};
use ipsight_kernels::negatives::{Negatives, Positives, donors, pair_reference, pairs, pairs_on_slices};
use ipsight_kernels::num_table_copies;
use ipsight_kernels::pair_loss::{RowLoss, pair_reference as loss_reference};
use ipsight_kernels::philox::philox4x32_10;
use ipsight_kernels::row_adam::{AdamStep, RowsMut, TouchedRows, row_adam, row_adam_reference};
use ipsight_kernels::scores::{fold, fold_reference, lookup_tables, score_reference, scores};
use ipsight_kernels::shape::{Families, ModelShape};
use ipsight_kernels::uniform::{Uniform, uniform, uniform_reference};
use proptest::prelude::*;
use support::{Mismatches, devices};

const FAMILIES: [Families; 2] = [Families::Ipv4, Families::Both];

fn read_words(tensor: Tensor<2, Int>) -> Vec<u32> {
    tensor.try_into_data().unwrap().try_to_vec::<u32>().unwrap()
}

fn read_ips(tensor: Tensor<2, Int>, families: Families) -> Vec<u64> {
    Addresses::new(&read_words(tensor), families).iter().collect()
}

fn words_of(ips: &[u64], families: Families) -> Vec<u32> {
    ipsight_kernels::addresses::words(ips.iter().copied(), families)
}

/// The pairs of addresses, and their mask.
fn pairs_of(ips: &[u64], families: Families, negatives: Negatives, device: &Device) -> (Vec<u64>, Vec<f32>) {
    let words = words_of(ips, families);
    let mut donors = donors(Addresses::new(&words, families));
    if donors.is_empty() {
        donors.push(0);
    }
    let (pair_ips, mask) = pairs(ip_tensor(words, device), ip_tensor(donors, device), families, negatives);
    (read_ips(pair_ips, families), read_floats(mask).unwrap())
}

/// Numbers that are not random but look it; floats in -1..1.
fn words(n: usize, stream: u32) -> Vec<u32> {
    (0..n as u32).map(|i| philox4x32_10([i, 0, 0, stream], [1, 2])[0]).collect()
}

/// Addresses: of IPv4, or about half of each family and, of IPv6, some with a low or a high word alone.
fn addresses(n: usize, stream: u32, families: Families) -> Vec<u64> {
    let low = words(n, stream).into_iter().map(u64::from);
    let other = words(n, stream + 1000).into_iter().map(u64::from);
    let address = |(low, other): (u64, u64)| match (families, other % 8) {
        (Families::Ipv4, _) | (Families::Both, 0..4) => low,
        (Families::Both, 4) => (other | 1) << 32,
        _ => (other | 1) << 32 | low,
    };
    low.zip(other).map(address).collect()
}

fn floats(n: usize, stream: u32) -> Vec<f32> {
    words(n, stream).into_iter().map(|word| word as f32 / 2f32.powi(31) - 1.0).collect()
}

/// A device's memory full of NaN, so that a kernel that assumes zeros shows.
fn poison(device: &Device, len: usize) {
    for _ in 0..4 {
        let poison = Tensor::<1>::full([len], f32::NAN, device);
        read_floats(poison.slice(0..1)).unwrap();
    }
}

#[test]
fn philox_equals_an_independent_implementation() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("golden/philox.json")).unwrap();
    let cases = ["known_answers", "random"].into_iter().flat_map(|key| fixture[key].as_array().unwrap());
    let mut num_cases = 0;
    for case in cases {
        let word = |key: &str, i: usize| u32::try_from(case[key][i].as_u64().unwrap()).unwrap();
        let counter = [0, 1, 2, 3].map(|i| word("counter", i));
        let expected = [0, 1, 2, 3].map(|i| word("output", i));
        assert_eq!(philox4x32_10(counter, [word("key", 0), word("key", 1)]), expected);
        num_cases += 1;
    }
    assert_eq!(num_cases, 13);
}

#[test]
fn pairs_are_the_same_integers_on_every_backend() {
    for (name, device) in devices() {
        for (num_rows, random, shuffled) in [(1, 1, 0), (7, 0, 3), (257, 5, 1), (1000, 1, 1), (33, 9, 2)] {
            for (seed, families) in [0, 3, u64::MAX].into_iter().flat_map(|seed| FAMILIES.map(|f| (seed, f)))
            {
                let negatives = Negatives::training(random, shuffled, seed, 2, 5);
                // Few distinct addresses, so that shuffled negatives meet their own positive.
                let ips: Vec<u64> =
                    addresses(num_rows, 1, families).into_iter().map(|ip| ip & 0xF_0000_000F).collect();
                poison(&device, num_rows * negatives.num_pairs() * families.num_words());
                let (pair_ips, mask) = pairs_of(&ips, families, negatives, &device);
                let words = words_of(&ips, families);
                let ips = Addresses::new(&words, families);
                let positives = Positives { ips, donors: &donors(ips) };
                for row in 0..num_rows {
                    for column in 0..negatives.num_pairs() {
                        let i = row * negatives.num_pairs() + column;
                        let expected = pair_reference(&negatives, positives, row, column);
                        let at = format!("{name}, {families:?}: row {row}, column {column}");
                        assert_eq!((pair_ips[i], mask[i]), expected, "{at}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each shuffled column is a permutation of the mini-batch's addresses, random ones are of the positive's family;
    /// exactly the negatives that equal their own positive are masked.
    #[test]
    fn counts_and_masks_of_negatives(
        ips in prop::collection::vec(prop_oneof![0u64..50, (1u64 << 61..(1 << 61) + 20)], 1..200),
        random in 0usize..4,
        shuffled in 0usize..4,
        seed: u64,
        step: u32,
    ) {
        let negatives = Negatives::training(random, shuffled, seed, 1, step);
        let device = &devices()[0].1;
        let (pair_ips, mask) = pairs_of(&ips, Families::Both, negatives, device);
        prop_assert_eq!(pair_ips.len(), ips.len() * (1 + random + shuffled));
        for pairs in pair_ips.chunks(negatives.num_pairs()) {
            prop_assert!(pairs[1..1 + random].iter().all(|ip| (ip >> 32 == 0) == (pairs[0] >> 32 == 0)));
        }
        let num_pairs = negatives.num_pairs();
        let column = |c: usize| pair_ips.iter().skip(c).step_by(num_pairs).copied().collect::<Vec<_>>();
        prop_assert_eq!(column(0), ips.clone());
        let mut sorted = ips.clone();
        sorted.sort_unstable();
        for c in 1 + random..num_pairs {
            let mut shuffled = column(c);
            shuffled.sort_unstable();
            prop_assert_eq!(&shuffled, &sorted);
        }
        for (i, (ip, counts)) in pair_ips.iter().zip(mask).enumerate() {
            let is_own = i % num_pairs > 0 && *ip == ips[i / num_pairs];
            prop_assert_eq!(counts, if is_own { 0.0 } else { 1.0 });
        }
    }
}

#[test]
fn steps_epochs_and_columns_draw_different_negatives() {
    let device = &devices()[0].1;
    let ips = addresses(500, 9, Families::Both);
    let draw = |seed, epoch, step| {
        pairs_of(&ips, Families::Both, Negatives::training(2, 2, seed, epoch, step), device).0
    };
    let first = draw(1, 0, 0);
    assert_eq!(first, draw(1, 0, 0));
    for other in [draw(2, 0, 0), draw(1, 1, 0), draw(1, 0, 1)] {
        let equal = first.iter().zip(&other).enumerate().filter(|(i, (a, b))| i % 5 > 0 && a == b).count();
        assert!(equal < 20, "{equal} of 2000 negatives are the same");
    }
    let equal_columns = first.chunks(5).filter(|pairs| pairs[1] == pairs[2] || pairs[3] == pairs[4]).count();
    assert!(equal_columns < 10, "{equal_columns} rows drew the same negative twice");
}

/// Of 200,000 random addresses each octet value comes about 781 times; six standard deviations are 167.
#[test]
fn random_negatives_are_uniform_in_every_octet() {
    let device = &devices()[0].1;
    for families in FAMILIES {
        let (pair_ips, _) = pairs_of(&[0; 50_000], families, Negatives::training(4, 0, 1, 0, 0), device);
        let mut counts = [[0i32; 256]; 4];
        for pairs in pair_ips.chunks(5) {
            for ip in &pairs[1..] {
                for (octet, value) in u32::try_from(*ip).unwrap().to_be_bytes().into_iter().enumerate() {
                    counts[octet][value as usize] += 1;
                }
            }
        }
        for (octet, counts) in counts.iter().enumerate() {
            for (value, count) in counts.iter().enumerate() {
                assert!((count - 781).abs() < 167, "octet {octet} is {value} in {count} of 200,000");
            }
        }
    }
}

/// The random negatives of IPv4 addresses do not depend on whether the model knows IPv6.
#[test]
fn random_negatives_of_ipv4_are_the_same_beside_ipv6() {
    let device = &devices()[0].1;
    let both = addresses(500, 9, Families::Both);
    let ipv4: Vec<u64> = both.iter().map(|ip| ip & u64::from(u32::MAX)).collect();
    let negatives = Negatives::training(3, 1, 7, 1, 2);
    let [(alone, _), (beside, _)] = [(&ipv4, Families::Ipv4), (&both, Families::Both)]
        .map(|(ips, families)| pairs_of(ips, families, negatives, device));
    let rows = alone.chunks(5).zip(beside.chunks(5));
    let num_equal = rows.filter(|(alone, beside)| alone[1..4] == beside[1..4]).count();
    let num_ipv4 = both.iter().filter(|ip| *ip >> 32 == 0).count();
    assert!(num_ipv4 > 200 && num_equal == num_ipv4, "{num_equal} of {num_ipv4}");
}

/// An IPv6 negative has the first 24 bits at least of a positive's address; each length comes as often, and behind it
/// bits are as often 0 as 1.
#[test]
fn random_ipv6_negatives_share_prefixes_with_positives() {
    let device = &devices()[0].1;
    // Two donors of four: of the others, one is IPv4.
    let donor = 0x2A01_04F8_1234_5678u64;
    let ips: Vec<u64> = (0..20_000).map(|row| if row % 2 == 0 { donor } else { 7 }).collect();
    let (pair_ips, _) = pairs_of(&ips, Families::Both, Negatives::training(2, 0, 1, 0, 0), device);
    let mut counts = [0i32; 65];
    let mut last_bits = 0i32;
    for pairs in pair_ips.chunks(3).step_by(2) {
        for ip in &pairs[1..] {
            let shared = (ip ^ donor).leading_zeros() as usize;
            assert!(shared >= 24, "{ip:x}");
            counts[shared] += 1;
            last_bits += (ip & 0xF).count_ones() as i32;
        }
    }
    // A prefix of l bits is followed by another bit in half of the draws: P(shared = s) = sum over l of 2^-(s - l + 1).
    let expected = |shared: usize| -> f64 {
        let lengths = 24..=shared.min(60);
        let tail = |l: usize| {
            if shared == 64 { 0.5f64.powi(64 - l as i32) } else { 0.5f64.powi((shared - l) as i32 + 1) }
        };
        lengths.map(tail).sum::<f64>() / 37.0 * 20_000.0
    };
    for (shared, count) in counts.iter().enumerate().skip(24) {
        let expected = expected(shared);
        assert!(
            (f64::from(*count) - expected).abs() < 6.0 * expected.sqrt() + 1.0,
            "{shared}: {count}, {expected}"
        );
    }
    // The donor's last nibble has one bit of four; it is kept in 0 of the draws, wholly drawn in all.
    assert!((last_bits - 40_000).abs() < 6 * 141, "{last_bits}");
}

#[test]
fn bits_are_the_same_on_every_backend() {
    for families in FAMILIES {
        let mut ips = addresses(301, 3, families);
        ips.extend([0, 1, 1 << 31, u32::MAX.into()]);
        let n = families.num_bits();
        let words = words_of(&ips, families);
        let mut expected = vec![0.0; ips.len() * n];
        bits_on_slices(Addresses::new(&words, families), families, &mut expected);
        let first = &expected[(ips.len() - 2) * n..][..n];
        assert_eq!(first[..2], [1.0, -1.0], "the most significant bit comes first");
        assert!(first[32..].iter().all(|bit| *bit == 0.0));
        for (name, device) in devices() {
            poison(&device, expected.len());
            let found = read_floats(ip_bits(ip_tensor(words.clone(), &device), families)).unwrap();
            assert_eq!(found, expected, "{name}, {families:?}");
        }
    }
    let mut bits = [7.0; 96];
    let ip = 0x2000_0000_0000_0001u64;
    bits_on_slices(
        Addresses::new(&[ip as u32, (ip >> 32) as u32], Families::Both),
        Families::Both,
        &mut bits,
    );
    let set: Vec<usize> = (0..96).filter(|k| bits[*k] == 1.0).collect();
    assert_eq!(set, [34, 95]);
    assert!(bits[..32].iter().all(|bit| *bit == 0.0) && bits[32..].iter().all(|bit| bit.abs() == 1.0));
}

#[test]
fn initial_weights_are_the_same_bits_on_every_backend_and_sharding() {
    for (name, device) in devices() {
        for (rows, columns) in [(1, 1), (3, 5), (130, 128), (7, 4096)] {
            let weights = |first_row, rows| {
                let part = Uniform::init(42, 3, first_row, 0.05);
                read_floats(uniform([rows, columns], part, &device)).unwrap()
            };
            let whole = weights(0, rows);
            let reference = Uniform::init(42, 3, 0, 0.05);
            let expected: Vec<f32> = (0..rows * columns)
                .map(|i| uniform_reference(&reference, i / columns, i % columns))
                .collect();
            assert_eq!(whole, expected, "{name}: {rows} x {columns}");
            let split = rows / 2;
            if split > 0 {
                let parts = [weights(0, split), weights(split as u32, rows - split)].concat();
                assert_eq!(parts, whole, "{name}: {rows} x {columns} in two shards");
            }
        }
    }
}

#[test]
fn initial_weights_are_uniform_within_their_bound() {
    let device = &devices()[0].1;
    let weights = read_floats(uniform([1000, 100], Uniform::init(1, 0, 0, 0.05), device)).unwrap();
    assert!(weights.iter().all(|w| (-0.05..0.05).contains(w)));
    // Of 100,000 uniform numbers the mean is within 5 standard errors of 0, the deviation near 0.05 / sqrt 3.
    let mean = weights.iter().sum::<f32>() / 1e5;
    let variance = weights.iter().map(|w| w * w).sum::<f32>() / 1e5;
    assert!(mean.abs() < 5.0 * 0.05 / (3e5f32).sqrt(), "{mean}");
    assert!((variance.sqrt() / 0.05 * 3f32.sqrt() - 1.0).abs() < 0.01, "{variance}");
}

/// A table of 40 rows and gradients of a mini-batch: distinct rows, all of one row, and Zipf's skew.
#[test]
fn row_adam_equals_its_reference_on_every_backend() {
    let step = AdamStep::at(3, 0.01, 1e-3);
    let zipf: Vec<u32> = (0..300).map(|i| 40 / (1 + i % 40)).map(|row| row.min(39)).collect();
    let mut mismatches = Mismatches::default();
    for (name, device) in devices() {
        for d in [4, 100, 128, 4096] {
            for rows in [vec![39], (0..40).collect(), vec![5; 131], zipf.clone()] {
                let mut rows = rows;
                rows.sort_unstable();
                let (unique, segments) = ipsight::data::segments(&rows);
                let unique: Vec<i32> = unique.into_iter().map(|row| row as i32).collect();
                let gradients = floats(unique.len() * d, 7);
                let (mut w, mut m) = (floats(40 * d, 8), floats(40 * d, 9));
                let mut v: Vec<f32> = floats(40 * d, 10).into_iter().map(f32::abs).collect();

                let upload = |values: &[f32], rows: usize| {
                    Tensor::<2>::from_data(TensorData::new(values.to_vec(), [rows, d]), &device)
                };
                let updated = row_adam(
                    (upload(&w, 40), upload(&m, 40), upload(&v, 40)),
                    index_tensor(unique.clone(), &device),
                    index_tensor(segments.clone(), &device),
                    upload(&gradients, unique.len()),
                    step,
                );
                let touched =
                    TouchedRows { rows: &unique, segments: &segments, gradients: &gradients, vector_dim: d };
                row_adam_reference(RowsMut { w: &mut w, m: &mut m, v: &mut v }, touched, &step);
                let found = [updated.0, updated.1, updated.2].map(|tensor| read_floats(tensor).unwrap());
                for ((table, found), expected) in ["w", "m", "v"].iter().zip(found).zip([w, m, v]) {
                    let what = format!("{name}: d = {d}, {} rows: {table}", rows.len());
                    mismatches.check(&what, &found, &expected, 2e-5);
                }
            }
        }
    }
    mismatches.assert_none();
}

#[test]
fn a_shared_table_is_copied_and_the_copy_is_counted() {
    let (_, device) = devices().remove(0);
    let table = || Tensor::<2>::zeros([3, 4], &device);
    let weights = table();
    let before = num_table_copies();
    let updated = row_adam(
        (weights.clone(), table(), table()),
        index_tensor(vec![1], &device),
        index_tensor(vec![0, 1], &device),
        Tensor::ones([1, 4], &device),
        AdamStep::at(1, 0.1, 0.0),
    );
    assert_eq!(read_floats(weights).unwrap(), [0.0; 12]);
    assert!(read_floats(updated.0).unwrap()[4..8].iter().all(|w| *w < 0.0));
    assert!(num_table_copies() > before);
}

/// A mini-batch of random rows, addresses and masks, and an encoder, for the folded step.
struct FoldedCase {
    shape: ModelShape,
    num_pairs: usize,
    rows: Vec<f32>,
    segments: Vec<i32>,
    /// Words.
    pair_ips: Vec<u32>,
    mask: Vec<f32>,
    parameters: Vec<f32>,
}

impl FoldedCase {
    fn inputs(&self) -> FoldedInputs<'_> {
        FoldedInputs {
            segments: &self.segments,
            pair_ips: Addresses::new(&self.pair_ips, self.shape.families),
            mask: &self.mask,
            parameters: &self.parameters,
            shape: self.shape,
        }
    }

    /// Unique rows that occur `counts` times each.
    fn new(shape: ModelShape, counts: &[i32], num_pairs: usize) -> Self {
        let mut segments = vec![0];
        segments.extend(counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end)
        }));
        let num_activations = segments[counts.len()] as usize * num_pairs;
        let counts_if = |(i, word): (usize, u32)| if i % num_pairs == 0 || word % 5 > 0 { 1.0 } else { 0.0 };
        // About as large in every layer.
        let bound = 1.7 / (shape.vector_dim.max(8) as f32).sqrt();
        let scaled =
            |n, stream| floats(n, stream).into_iter().map(|value| value * bound).collect::<Vec<f32>>();
        Self {
            shape,
            num_pairs,
            rows: scaled(counts.len() * shape.vector_dim, 20),
            segments,
            pair_ips: words_of(&addresses(num_activations, 21, shape.families), shape.families),
            mask: words(num_activations, 22).into_iter().enumerate().map(counts_if).collect(),
            parameters: scaled(shape.num_parameters(), 23),
        }
    }

    /// Logits, sums, gradients of the rows, gradients of the parameters.
    fn on(&self, device: &Device) -> [Vec<f32>; 4] {
        let (num_rows, num_positives) = (self.segments.len() - 1, self.mask.len() / self.num_pairs);
        let upload = |values: &[f32], shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let num_words = self.num_pairs * self.shape.families.num_words();
        let pair_ips = ip_tensor(self.pair_ips.clone(), device).reshape([num_positives, num_words]);
        let rows = upload(&self.rows, [num_rows, self.shape.vector_dim]);
        let parameters = upload(&self.parameters, [1, self.parameters.len()]);
        let pairs = Pairs {
            segments: index_tensor(self.segments.clone(), device),
            ips: pair_ips,
            mask: upload(&self.mask, [num_positives, self.num_pairs]),
        };
        poison(device, self.mask.len() * self.shape.vector_dim);
        let found = folded(rows, pairs, parameters, self.shape);
        let [logits, rows, parameters] =
            [found.logits, found.rows, found.parameters].map(|tensor| read_floats(tensor).unwrap());
        [logits, read_floats(found.sums).unwrap(), rows, parameters]
    }
}

/// Sizes that are no multiple of anything, rows that fill several tiles and slices, and many pairs.
#[test]
fn the_folded_step_is_the_same_on_every_backend_and_every_time() {
    let mut mismatches = Mismatches::default();
    let one_each = [1; 70];
    let skewed: Vec<i32> = (0..90).map(|i| 1 + 150 / (1 + i * i)).collect();
    let cases: [(usize, usize, &[i32], usize); 13] = [
        (1, 1, &[1], 1),
        (1, 2, &[2, 1], 3),
        (3, 0, &[1, 9, 2], 1),
        (33, 1, &[300], 3),
        (65, 0, &skewed, 4),
        (100, 1, &skewed, 2),
        (128, 1, &one_each, 3),
        (130, 2, &skewed, 3),
        (20, 3, &one_each, 9),
        (16, 1, &[1, 3, 1], 1001),
        (8, 2, &[2], 1001),
        (257, 1, &[2, 1, 5], 5),
        (4096, 1, &[2, 1], 3),
    ];
    for (case, families) in cases.into_iter().flat_map(|case| FAMILIES.map(|families| (case, families))) {
        let (vector_dim, num_hidden, counts, num_pairs) = case;
        let shape = ModelShape::new(vector_dim, num_hidden, families);
        let case = FoldedCase::new(shape, counts, num_pairs);
        let inputs = case.inputs();
        let (logits, gradients, expected) = folded_on_slices(inputs, &case.rows);
        let sums = expected.sums;
        let sums = [sums.cross_entropy, sums.num_correct, sums.num_pairs].map(|sum| sum as f32).to_vec();
        let expected = [logits, sums, gradients, expected.parameters];
        for (name, device) in devices() {
            let found = case.on(&device);
            assert!(found == case.on(&device), "{name}: another time, other bits");
            let what = ["logits", "sums", "gradients of rows", "gradients of parameters"];
            for ((what, found), expected) in what.iter().zip(&found).zip(&expected) {
                let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let at = format!("{name}: {shape:?}, P = {num_pairs}: {what}");
                mismatches.check(&at, found, expected, 1e-5 * largest);
            }
        }
    }
    mismatches.assert_none();
}

#[test]
fn the_first_layer_equals_its_reference_forward_and_backward() {
    let mut mismatches = Mismatches::default();
    let sizes = [(16, 1), (112, 37), (128, 301), (4096, 9)];
    for ((vector_dim, num), families) in sizes.into_iter().flat_map(|size| FAMILIES.map(|f| (size, f))) {
        let at = format!("d = {vector_dim}, {families:?}");
        let shape = ModelShape::new(vector_dim, 1, families);
        let parameters = floats(shape.num_parameters(), 21);
        let mut ips = addresses(num, 22, families);
        ips[0] = if families == Families::Both { u64::MAX } else { u32::MAX.into() };
        let words = words_of(&ips, families);
        let words = Addresses::new(&words, families);
        let layer = FirstLayer::of_encoder(&shape, &parameters);
        let mut found = vec![f32::NAN; num * vector_dim];
        layer.encode(words, &mut found);
        let reference = |i: usize| first_layer_reference(layer, ips[i / vector_dim], i % vector_dim);
        let expected: Vec<f32> = (0..found.len()).map(|i| reference(i) as f32).collect();
        mismatches.check(&format!("{at}: activations"), &found, &expected, 1e-5);

        let gradients = floats(num * vector_dim, 23);
        let (dw, db) = layer.gradients(words, &gradients);
        let (expected_dw, expected_db) = first_layer_gradients_reference(layer, words, &gradients);
        let single = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<_>>();
        mismatches.check(&format!("{at}: weights"), &dw, &single(expected_dw), 1e-4);
        mismatches.check(&format!("{at}: biases"), &db, &single(expected_db), 1e-4);
    }
    mismatches.assert_none();
}

/// Logits from -60 to 60, masked pairs, and one positive with 1,000 negatives.
#[test]
fn the_pass_over_a_rows_pairs_equals_its_reference() {
    let mut mismatches = Mismatches::default();
    for (width, num_pairs, size) in
        [(16, 1, 1.0), (32, 3, 0.1), (128, 7, 3.0), (4096, 2, 0.02), (128, 1001, 1.0)]
    {
        let scaled = |n, stream| floats(n, stream).into_iter().map(|f| f * size).collect::<Vec<f32>>();
        let q = scaled(width, 31);
        let activations: Vec<f32> = floats(num_pairs * width, 32).into_iter().map(|h| h.max(0.0)).collect();
        let mask: Vec<f32> = (0..num_pairs).map(|p| f32::from(p % 5 != 4)).collect();
        let (c, scale) = (0.25, 0.5);
        let (mut hidden, mut s) = (activations.clone(), vec![1.0; width]);
        let (mut logits, mut gradients) = (vec![f32::NAN; num_pairs], vec![f32::NAN; num_pairs]);
        let row = RowLoss { q: &q, c, mask: &mask, scale };
        let sums = row.run(&mut hidden, &mut s, &mut logits, &mut gradients);

        let (mut cross_entropy, mut expected_s) = (0.0, vec![1.0f64; width]);
        for p in 0..num_pairs {
            let at = format!("width {width}, P = {num_pairs}, pair {p}");
            let h = &activations[p * width..(p + 1) * width];
            let (logit, loss, slope) = loss_reference(&q, c, h, p == 0);
            let gradient = slope * (mask[p] * scale) as f64;
            cross_entropy += loss * mask[p] as f64;
            mismatches.check(&at, &[logits[p], gradients[p]], &[logit as f32, gradient as f32], 2e-5);
            let through = |k: usize| if h[k] > 0.0 { gradient as f32 * q[k] } else { 0.0 };
            let expected: Vec<f32> = (0..width).map(through).collect();
            mismatches.check(&at, &hidden[p * width..(p + 1) * width], &expected, 2e-5);
            expected_s.iter_mut().zip(h).for_each(|(s, h)| *s += gradient * *h as f64);
        }
        let at = format!("width {width}, P = {num_pairs}");
        let expected: Vec<f32> = expected_s.into_iter().map(|s| s as f32).collect();
        mismatches.check(&format!("{at}: s"), &s, &expected, 1e-4);
        let counted = mask.iter().sum::<f32>() as f64;
        assert_eq!(sums.num_pairs, counted, "{at}");
        assert!((sums.cross_entropy / cross_entropy - 1.0).abs() < 1e-5, "{at}: {}", sums.cross_entropy);
    }
    mismatches.assert_none();
}

#[test]
fn gathered_rows_are_the_tables_rows_on_every_backend() {
    for (name, device) in devices() {
        for (num_rows, d) in [(1, 1), (700, 5), (300, 128)] {
            let table = floats(num_rows * d, 41);
            let rows: Vec<i32> =
                words(517, 42).into_iter().map(|word| (word % num_rows as u32) as i32).collect();
            poison(&device, rows.len() * d);
            let on_device = Tensor::from_data(TensorData::new(table.clone(), [num_rows, d]), &device);
            let found = gather(on_device, index_tensor(rows.clone(), &device));
            assert_eq!(read_floats(found).unwrap(), gather_reference(&table, &rows, d), "{name}");
        }
    }
}

/// Folded rows, and scores from them, against the folded form in float64.
#[test]
fn scores_equal_their_reference_on_every_backend() {
    let mut mismatches = Mismatches::default();
    for (name, device) in devices() {
        let sizes = [(4, 0), (100, 0), (4, 1), (100, 1), (128, 1), (4096, 1), (100, 2), (16, 3)];
        for (size, families) in sizes.into_iter().flat_map(|size| FAMILIES.map(|families| (size, families))) {
            let (vector_dim, num_hidden) = size;
            let shape = ModelShape::new(vector_dim, num_hidden, families);
            let small = |n, stream| floats(n, stream).into_iter().map(|f| 0.2 * f).collect::<Vec<f32>>();
            let parameters = small(shape.num_parameters(), 51);
            let table = small(37 * vector_dim, 52);
            let rows: Vec<i32> = words(1203, 53).into_iter().map(|word| (word % 37) as i32).collect();
            let ips = addresses(1203, 54, families);
            let upload = |values: &[f32], shape: [usize; 2]| {
                Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &device)
            };
            let flat = upload(&parameters, [1, parameters.len()]);
            poison(&device, 37 * (vector_dim + 1));
            let folded = fold(upload(&table, [37, vector_dim]), flat.clone(), shape);
            let columns = shape.folded_width();
            let at = format!("{name}: {shape:?}");
            let element = |i: usize| {
                let vector = &table[i / columns * vector_dim..][..vector_dim];
                fold_reference(&shape, &parameters, vector, i % columns) as f32
            };
            let expected: Vec<f32> = (0..37 * columns).map(element).collect();
            mismatches.check(
                &format!("{at}: folded"),
                &read_floats(folded.clone()).unwrap(),
                &expected,
                2e-5,
            );

            let tables = lookup_tables(flat.clone(), shape);
            let ip_words = ip_tensor(words_of(&ips, families), &device);
            let pairs = (index_tensor(rows.clone(), &device), ip_words);
            poison(&device, 1203);
            let found = read_floats(scores(folded, pairs, tables, flat, shape)).unwrap();
            let reference = |i: usize| {
                let row = &expected[rows[i] as usize * columns..][..columns];
                score_reference(&shape, &parameters, row, ips[i]) as f32
            };
            let num_checked = if vector_dim * num_hidden > 200 { 60 } else { 1203 };
            let expected: Vec<f32> = (0..num_checked).map(reference).collect();
            let largest = expected.iter().fold(1.0f32, |largest, score| largest.max(score.abs()));
            mismatches.check(&format!("{at}: scores"), &found[..num_checked], &expected, 2e-5 * largest);
        }
    }
    mismatches.assert_none();
}

/// The folded form against the plain one in float64: any shape, skew, and every hidden layer.
#[test]
fn the_folded_step_equals_the_plain_form_in_float64() {
    let mut mismatches = Mismatches::default();
    let one_each = vec![1; 70];
    let skewed: Vec<i32> = (0..90).map(|i| 1 + 150 / (1 + i * i)).collect();
    let cases: [(usize, usize, &[i32], usize); 8] = [
        (1, 1, &[1], 1),
        (4, 0, &[3, 1], 3),
        (33, 1, &[300], 3),
        (100, 2, &skewed, 2),
        (128, 1, &one_each, 3),
        (20, 3, &one_each, 9),
        (16, 1, &[1, 3, 1], 1001),
        (257, 1, &[2, 1, 5], 5),
    ];
    for (case, families) in cases.into_iter().flat_map(|case| FAMILIES.map(|families| (case, families))) {
        let (vector_dim, num_hidden, counts, num_pairs) = case;
        let shape = ModelShape::new(vector_dim, num_hidden, families);
        let case = FoldedCase::new(shape, counts, num_pairs);
        let inputs = case.inputs();
        let found = folded_on_slices(inputs, &case.rows);
        let expected = folded_reference(inputs, &case.rows);
        let mut check = |what: &str, found: &[f32], expected: &[f32]| {
            let largest = expected.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
            let at = format!("{shape:?}, P = {num_pairs}: {what}");
            mismatches.check(&at, found, expected, 1e-5 * largest);
        };
        check("logits", &found.0, &expected.0);
        check("gradients of rows", &found.1, &expected.1);
        check("gradients of parameters", &found.2.parameters, &expected.2.parameters);
        let [found, expected] = [found.2.sums, expected.2.sums];
        check("cross entropy", &[found.cross_entropy as f32], &[expected.cross_entropy as f32]);
        assert_eq!((found.num_correct, found.num_pairs), (expected.num_correct, expected.num_pairs));
    }
    mismatches.assert_none();
}

/// The number of threads must not show: pairs, weights and updates are the same bits.
#[test]
fn one_thread_and_many_give_the_same_bits() {
    let ips = words_of(&addresses(5000, 2, Families::Both), Families::Both);
    let ips = Addresses::new(&ips, Families::Both);
    let positives = Positives { ips, donors: &donors(ips) };
    let d = 16;
    let gradients = floats(1667 * d, 4);
    let rows: Vec<u32> = (0..5000).map(|i| i / 3).collect();
    let (unique, segments) = ipsight::data::segments(&rows);
    let unique: Vec<i32> = unique.into_iter().map(|row| row as i32).collect();
    let run = |num_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
        pool.install(|| {
            let negatives = Negatives::training(3, 2, 1, 0, 0);
            let (mut pair_ips, mut mask) = (vec![0; 5000 * 6 * 2], vec![0.0; 5000 * 6]);
            pairs_on_slices(&negatives, positives, &mut pair_ips, &mut mask);
            let (mut w, mut m, mut v) = (floats(1667 * d, 5), vec![0.0; 1667 * d], vec![0.0; 1667 * d]);
            let touched =
                TouchedRows { rows: &unique, segments: &segments, gradients: &gradients, vector_dim: d };
            let table = RowsMut { w: &mut w, m: &mut m, v: &mut v };
            ipsight_kernels::row_adam::row_adam_on_slices(table, touched, &AdamStep::at(1, 0.01, 0.0));
            (pair_ips, mask, w, m, v)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(7));
}

/// A step on a table in shards, which cut the chunks, is the gradients and then row Adam; and what the memory held
/// that is used again, even NaN, does not show.
#[test]
fn a_step_on_shards_is_its_parts_whatever_its_memory_held() {
    let counts: Vec<i32> = (0..700).map(|i| 1 + 300 / (1 + i * i)).collect();
    let adam = AdamStep::at(3, 0.01, 1e-3);
    let mut mismatches = Mismatches::default();
    let sizes = [(20, 1), (16, 2), (9, 0)];
    for ((width, num_hidden), families) in sizes.into_iter().flat_map(|size| FAMILIES.map(|f| (size, f))) {
        let shape = ModelShape::new(width, num_hidden, families);
        let case = FoldedCase::new(shape, &counts, 3);
        let inputs = case.inputs();
        let nan = vec![f32::NAN; case.rows.len()];
        assert!(folded_on_slices(inputs, &nan).2.parameters.iter().any(|g| g.is_nan()));

        // Unique row u is row 2 u of shards of 1, 640 and 759 rows; of the first only that one is touched.
        let mut tables = [floats(1400 * width, 61), floats(1400 * width, 62), vec![0.5; 1400 * width]];
        let touched: Vec<i32> = (0..700).map(|u| 2 * u).collect();
        let mut expected = tables.clone();
        let rows = gather_reference(&tables[0], &touched, width);
        let (_, gradients, of_parameters) = folded_on_slices(inputs, &rows);
        let rows = TouchedRows {
            rows: &touched,
            segments: &case.segments,
            gradients: &gradients,
            vector_dim: width,
        };
        let [w, m, v] = &mut expected;
        row_adam_reference(RowsMut { w, m, v }, rows, &adam);

        let borders = [0, 1, 641, 1400];
        let local: Vec<Vec<i32>> = borders
            .windows(2)
            .map(|range| {
                touched.iter().filter(|r| (range[0]..range[1]).contains(*r)).map(|r| r - range[0]).collect()
            })
            .collect();
        let [mut w, mut m, mut v] = tables.each_mut().map(|table| &mut **table);
        let mut shards = Vec::new();
        for (range, rows) in borders.windows(2).zip(&local) {
            let len = (range[1] - range[0]) as usize * width;
            let (w1, m1, v1);
            ((w1, w), (m1, m), (v1, v)) = (w.split_at_mut(len), m.split_at_mut(len), v.split_at_mut(len));
            shards.push(ShardMut { table: RowsMut { w: w1, m: m1, v: v1 }, rows });
        }
        let outputs = folded_step_on_slices(inputs, shards, &adam);
        let at = format!("{shape:?}");
        mismatches.check(&format!("{at}: gradients"), &outputs.parameters, &of_parameters.parameters, 1e-6);
        for ((what, found), expected) in ["w", "m", "v"].iter().zip(&tables).zip(&expected) {
            mismatches.check(&format!("{at}: {what}"), found, expected, 2e-6);
        }
    }
    mismatches.assert_none();
}

/// Neither in a whole step: table, moments, gradients of the encoder and loss.
#[test]
fn a_step_on_one_thread_and_on_many_gives_the_same_bits() {
    let counts: Vec<i32> = (0..900).map(|i| 1 + 400 / (1 + i * i)).collect();
    for (num_hidden, families) in [0, 1, 2].into_iter().flat_map(|l| FAMILIES.map(|families| (l, families))) {
        let shape = ModelShape::new(36, num_hidden, families);
        let case = FoldedCase::new(shape, &counts, 4);
        let len = 2000 * shape.vector_dim;
        let rows: Vec<i32> = (0..900).map(|u| 2 * u + 1).collect();
        let inputs = case.inputs();
        let run = |num_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads).build().unwrap();
            let (mut w, mut m, mut v) = (floats(len, 5), vec![0.0; len], vec![0.0; len]);
            let table = RowsMut { w: &mut w, m: &mut m, v: &mut v };
            let shard = ShardMut { table, rows: &rows };
            let adam = AdamStep::at(1, 0.01, 1e-3);
            let outputs = pool.install(|| folded_step_on_slices(inputs, vec![shard], &adam));
            (w, m, v, outputs.parameters, outputs.sums)
        };
        let one = run(1);
        assert!(one == run(2) && one == run(5), "{shape:?}");
    }
}

#[test]
fn a_permutation_is_the_same_on_the_device() {
    // Shuffled pairs of the addresses 0..n show the permutation itself.
    for (name, device) in devices() {
        for n in [1u32, 2, 5, 64, 65, 1000] {
            let ips: Vec<u64> = (0..n.into()).collect();
            let negatives = Negatives::training(0, 1, 5, 0, 0);
            let (pair_ips, _) = pairs_of(&ips, Families::Ipv4, negatives, &device);
            let mut image: Vec<u64> = pair_ips.chunks(2).map(|pair| pair[1]).collect();
            image.sort_unstable();
            assert_eq!(image, ips, "{name}: {n}");
        }
    }
}
