//! Every kernel's CPU twin beside its plain reference and the machine's floor; see `benches/README.md`.

mod support;

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use ipsight::event::AddressFamilies;
use ipsight::model::families;
use ipsight_kernels::addresses::Addresses;
use ipsight_kernels::bits::bits_on_slices;
use ipsight_kernels::first_layer::{FirstLayer, first_layer_gradients_reference, first_layer_reference};
use ipsight_kernels::folded::{FoldedInputs, folded_on_slices, folded_reference};
use ipsight_kernels::folded_step::{ShardMut, folded_step_on_slices};
use ipsight_kernels::gather::{gather_on_slices, gather_reference};
use ipsight_kernels::negatives::{Negatives, Positives, donors, pair_reference, pairs_on_slices};
use ipsight_kernels::pair_loss::{RowLoss, pair_reference as loss_reference};
use ipsight_kernels::row_adam::{AdamStep, RowsMut, TouchedRows, row_adam_on_slices, row_adam_reference};
use ipsight_kernels::scores::{
    PairsToScore, ScoreInputs, fold_on_slices, fold_reference, score_reference, scores_on_slices,
    tables_on_slices,
};
use ipsight_kernels::shape::{Families, ModelShape};
use ipsight_kernels::uniform::{Uniform, uniform_on_slices, uniform_reference};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::json;

use support::*;

/// Speed of each kernel on the CPU
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    shared: SharedOptions,
    /// Addresses of IPv4, or of one family and the other in turn: ipv4 or both
    #[arg(long, value_name = "FAMILIES", default_value = "ipv4")]
    addresses: AddressFamilies,
}

/// The work of `training`'s middle case.
const D: usize = 128;
const NUM_ROWS: usize = 200_000;
const NUM_POSITIVES: usize = 10_000;
const NUM_PAIRS: usize = 3;

fn main() -> Outcome<()> {
    let options = Options::parse();
    let shared = &options.shared;
    rayon::ThreadPoolBuilder::new().num_threads(shared.threads).build_global()?;
    let bench = Bench { rounds: shared.num_rounds(), round_seconds: shared.round_seconds() / 5.0 };
    let floors = Floors::measure(shared.threads);
    eprintln!(
        "floors of {} threads: {:.1} GB/s streamed, {:.0} GFLOP/s of fused multiply-adds",
        shared.threads,
        floors.bandwidth / 1e9,
        floors.flops / 1e9
    );
    let rows = kernels(&bench, shared, &floors, families(options.addresses));
    print(&rows);
    let path = shared.json.clone().unwrap_or_else(|| default_path("kernels"));
    std::fs::create_dir_all(path.parent().unwrap_or(".".as_ref()))?;
    let floors = json!({ "bytes_per_second": floors.bandwidth, "flop_per_second": floors.flops });
    let document = json!({
        "benchmark": "kernels",
        "addresses": options.addresses,
        "threads": shared.threads,
        "floors": floors,
        "kernels": rows,
    });
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    eprintln!("results: {}", path.display());
    Ok(())
}

/// What the machine can do at most.
struct Floors {
    /// Bytes a second, read and written in streams that no cache holds.
    bandwidth: f64,
    /// FLOP a second, a fused multiply-add being two.
    flops: f64,
    threads: f64,
}

impl Floors {
    fn measure(threads: usize) -> Self {
        let mut memory = vec![1.0f32; 1 << 26];
        let stream = best_of(5, || {
            memory.par_chunks_mut(1 << 16).for_each(|part| part.iter_mut().for_each(|x| *x += 1.0))
        });
        let loops = black_box(1 << 22);
        let fma = best_of(5, || {
            (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
                black_box(pulp::Arch::new().dispatch(MultiplyAdds { loops }));
            });
        });
        let lanes = pulp::Arch::new().dispatch(Lanes);
        let flop = 2.0 * (lanes * loops * MultiplyAdds::CHAINS * threads) as f64;
        Self {
            bandwidth: 2.0 * 4.0 * memory.len() as f64 / stream,
            flops: flop / fma,
            threads: threads as f64,
        }
    }
}

struct Lanes;

impl pulp::WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: pulp::Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Independent chains of multiply-adds, enough to fill every pipe.
struct MultiplyAdds {
    loops: usize,
}

impl MultiplyAdds {
    const CHAINS: usize = 12;
}

impl pulp::WithSimd for MultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> f32 {
        // Numbers that the compiler does not know, and chains that differ: or it would compute one, or none.
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut sums = [simd.splat_f32s(0.0); Self::CHAINS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = simd.splat_f32s(black_box(i as f32));
        }
        for _ in 0..self.loops {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, a, b);
            }
        }
        sums.iter().fold(0.0, |total, sum| total + simd.reduce_sum_f32s(*sum))
    }
}

fn best_of(times: usize, mut work: impl FnMut()) -> f64 {
    work();
    let time = |_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..times).map(time).fold(f64::INFINITY, f64::min)
}

struct Bench {
    rounds: usize,
    round_seconds: f64,
}

/// A kernel's work, per unit.
struct Work {
    name: &'static str,
    unit: &'static str,
    units: usize,
    /// Bytes from and to memory that no cache holds.
    bytes: f64,
    flop: f64,
    /// Whether the twin uses all threads.
    is_parallel: bool,
}

#[derive(serde::Serialize)]
struct Row {
    name: &'static str,
    unit: &'static str,
    bytes_per_unit: f64,
    flop_per_unit: f64,
    units_per_second: Spread,
    times_reference: Spread,
    share_of_floor: f64,
    bound_by: &'static str,
}

impl Bench {
    /// The twin and, in turn with it, the reference on fewer units.
    fn row(
        &self,
        floors: &Floors,
        work: Work,
        mut twin: impl FnMut(),
        (reference_units, mut reference): (usize, impl FnMut()),
    ) -> Row {
        eprintln!("{}", work.name);
        let calls = (self.round_seconds / best_of(2, &mut twin)).ceil().max(1.0) as usize;
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let start = Instant::now();
            (0..calls).for_each(|_| twin());
            let rate = (calls * work.units) as f64 / start.elapsed().as_secs_f64();
            let start = Instant::now();
            reference();
            rates.push(rate);
            ratios.push(rate * start.elapsed().as_secs_f64() / reference_units as f64);
        }
        let share = if work.is_parallel { 1.0 } else { 1.0 / floors.threads };
        let by_bytes = work.bytes / (floors.bandwidth * share);
        let by_flop = work.flop / (floors.flops * share);
        let units_per_second = Spread::of(rates);
        Row {
            name: work.name,
            unit: work.unit,
            bytes_per_unit: work.bytes,
            flop_per_unit: work.flop,
            share_of_floor: units_per_second.median * by_bytes.max(by_flop),
            units_per_second,
            times_reference: Spread::of(ratios),
            bound_by: if by_bytes > by_flop { "memory" } else { "arithmetic" },
        }
    }
}

fn print(rows: &[Row]) {
    println!("| kernel | unit | bytes | FLOP | units/s | times its reference | of the floor |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {:.2}M | {:.1} | {:.0} % of {} |",
            row.name,
            row.unit,
            row.bytes_per_unit,
            row.flop_per_unit,
            row.units_per_second.median / 1e6,
            row.times_reference.median,
            100.0 * row.share_of_floor,
            row.bound_by,
        );
    }
}

/// The data that the kernels share.
struct Data {
    shape: ModelShape,
    parameters: Vec<f32>,
    /// Words.
    ips: Vec<u32>,
    /// In turn, or their rows would stay in the cache.
    batches: Vec<Batch>,
    table: [Vec<f32>; 3],
}

/// A mini-batch: its unique rows, where their positives begin, and its pairs.
struct Batch {
    rows: Vec<i32>,
    segments: Vec<i32>,
    pair_ips: Vec<u32>,
    mask: Vec<f32>,
}

const NUM_BATCHES: usize = 16;

/// Words of random addresses, one of each family in turn where there are both.
fn random_ips(random: &mut ChaCha8Rng, num: usize, families: Families) -> Vec<u32> {
    let mut address = |i: usize| match families == Families::Both && i % 2 == 1 {
        true => random.random::<u64>() | 1 << 61,
        false => random.random::<u32>().into(),
    };
    ipsight_kernels::addresses::words((0..num).map(&mut address), families)
}

impl Batch {
    fn new(random: &mut ChaCha8Rng, families: Families) -> Self {
        let ips = random_ips(random, NUM_POSITIVES, families);
        let mut touched: Vec<i32> =
            (0..NUM_POSITIVES).map(|_| random.random_range(0..NUM_ROWS as i32)).collect();
        touched.sort_unstable();
        let (mut rows, mut segments) = (Vec::new(), Vec::new());
        for (position, row) in touched.into_iter().enumerate() {
            if rows.last() != Some(&row) {
                rows.push(row);
                segments.push(position as i32);
            }
        }
        segments.push(NUM_POSITIVES as i32);
        let units = NUM_POSITIVES * NUM_PAIRS;
        let (mut pair_ips, mut mask) = (vec![0; units * families.num_words()], vec![0.0; units]);
        let ips = Addresses::new(&ips, families);
        let positives = Positives { ips, donors: &donors(ips) };
        pairs_on_slices(&Negatives::training(1, 1, 0, 0, 0), positives, &mut pair_ips, &mut mask);
        Self { rows, segments, pair_ips, mask }
    }

    /// The positives of its first `num_rows` unique rows.
    fn inputs<'a>(&'a self, data: &'a Data, num_rows: usize) -> FoldedInputs<'a> {
        let pairs = self.segments[num_rows] as usize * NUM_PAIRS;
        FoldedInputs {
            segments: &self.segments[..=num_rows],
            pair_ips: Addresses::new(&self.pair_ips, data.shape.families).slice(0..pairs),
            mask: &self.mask[..pairs],
            parameters: &data.parameters,
            shape: data.shape,
        }
    }

    fn touched<'a>(&'a self, gradients: &'a [f32]) -> TouchedRows<'a> {
        let gradients = &gradients[..self.rows.len() * D];
        TouchedRows { rows: &self.rows, segments: &self.segments, gradients, vector_dim: D }
    }
}

impl Data {
    fn new(families: Families) -> Self {
        let shape = ModelShape::new(D, 1, families);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut floats =
            |n: usize| (0..n).map(|_| 0.1 * (random.random::<f32>() - 0.5)).collect::<Vec<f32>>();
        let parameters = floats(shape.num_parameters());
        let table = [floats(NUM_ROWS * D), vec![0.0; NUM_ROWS * D], vec![0.0; NUM_ROWS * D]];
        let ips = random_ips(&mut random, NUM_POSITIVES, families);
        let batches = (0..NUM_BATCHES).map(|_| Batch::new(&mut random, families)).collect();
        Self { shape, parameters, ips, batches, table }
    }

    fn ips(&self) -> Addresses<'_> {
        Addresses::new(&self.ips, self.shape.families)
    }

    /// Mini-batches in turn, for ever.
    fn turns<'a>(&'a self) -> impl FnMut() -> &'a Batch {
        let mut batches = self.batches.iter().cycle();
        move || batches.next().expect("there is one")
    }
}

fn kernels(bench: &Bench, shared: &SharedOptions, floors: &Floors, families: Families) -> Vec<Row> {
    let data = Data::new(families);
    let mut rows = Vec::new();
    let mut add = |name: &str, measure: &mut dyn FnMut(&Data) -> Row| {
        if shared.wants(name) {
            rows.push(measure(&data));
        }
    };
    add("bits", &mut |data| bits(bench, floors, data));
    add("uniform", &mut |_| uniform(bench, floors));
    add("negatives", &mut |data| negatives(bench, floors, data));
    add("gather", &mut |data| gather(bench, floors, data));
    add("first_layer", &mut |data| first_layer(bench, floors, data));
    add("first_layer_backward", &mut |data| first_layer_backward(bench, floors, data));
    add("pair_loss", &mut |data| pair_loss(bench, floors, data));
    add("row_adam", &mut |data| row_adam(bench, floors, data));
    add("folded", &mut |data| folded(bench, floors, data));
    add("folded_step", &mut |data| folded_step(bench, floors, data));
    add("fold", &mut |data| fold(bench, floors, data));
    add("scores", &mut |data| scores(bench, floors, data));
    rows
}

fn work(name: &'static str, unit: &'static str, units: usize, bytes: f64, flop: f64) -> Work {
    Work { name, unit, units, bytes, flop, is_parallel: true }
}

fn on_one_thread(name: &'static str, unit: &'static str, units: usize, bytes: f64, flop: f64) -> Work {
    Work { is_parallel: false, ..work(name, unit, units, bytes, flop) }
}

fn bits(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let families = data.shape.families;
    let mut out = vec![0.0; families.num_bits() * NUM_POSITIVES];
    let mut same = out.clone();
    let twin = || bits_on_slices(data.ips(), families, black_box(&mut out));
    // The twin is its own reference.
    let reference = || bits_on_slices(data.ips(), families, black_box(&mut same));
    let work = on_one_thread(
        "bits",
        "address",
        NUM_POSITIVES,
        (4 * (families.num_bits() + families.num_words())) as f64,
        0.0,
    );
    bench.row(floors, work, twin, (NUM_POSITIVES, reference))
}

fn uniform(bench: &Bench, floors: &Floors) -> Row {
    let draws = Uniform::init(1, 0, 0, 0.05);
    let (mut out, mut plain) = (vec![0.0; 20_000 * D], vec![0.0; 200 * D]);
    let reference =
        || plain.iter_mut().enumerate().for_each(|(i, x)| *x = uniform_reference(&draws, i / D, i % D));
    let twin = || uniform_on_slices(&draws, black_box(&mut out), D);
    bench.row(floors, work("uniform", "weight", 20_000 * D, 4.0, 0.0), twin, (200 * D, reference))
}

fn negatives(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let negatives = Negatives::training(1, 1, 0, 0, 0);
    let units = NUM_POSITIVES * NUM_PAIRS;
    let num_words = data.shape.families.num_words();
    let (mut pair_ips, mut mask) = (vec![0; units * num_words], vec![0.0; units]);
    let donors = donors(data.ips());
    let positives = Positives { ips: data.ips(), donors: &donors };
    let twin = || pairs_on_slices(&negatives, positives, black_box(&mut pair_ips), &mut mask);
    let reference = || {
        for i in 0..units {
            black_box(pair_reference(&negatives, positives, i / NUM_PAIRS, i % NUM_PAIRS));
        }
    };
    bench.row(
        floors,
        work("negatives", "pair", units, (4 + 4 * num_words) as f64, 0.0),
        twin,
        (units, reference),
    )
}

fn gather(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let mut out = vec![0.0; NUM_POSITIVES * D];
    let mut next = data.turns();
    let twin = || {
        let rows = &next().rows;
        gather_on_slices(&data.table[0], rows, D, black_box(&mut out[..rows.len() * D]));
    };
    let mut other = data.turns();
    let reference = || drop(black_box(gather_reference(&data.table[0], &other().rows, D)));
    let units = data.batches[0].rows.len();
    bench.row(floors, work("gather", "row", units, 8.0 * D as f64, 0.0), twin, (units, reference))
}

fn first_layer(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let layer = FirstLayer::of_encoder(&data.shape, &data.parameters);
    let mut out = vec![0.0; NUM_POSITIVES * D];
    let reference = || {
        for i in 0..100 * D {
            black_box(first_layer_reference(layer, data.ips().get(i / D), i % D));
        }
    };
    let work =
        on_one_thread("first_layer", "address", NUM_POSITIVES, 4.0 * D as f64, flop_of_first_layer(data));
    bench.row(floors, work, || layer.encode(data.ips(), black_box(&mut out)), (100, reference))
}

fn first_layer_backward(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let layer = FirstLayer::of_encoder(&data.shape, &data.parameters);
    let gradients: Vec<f32> = (0..NUM_POSITIVES * D).map(|i| (i % 13) as f32).collect();
    let twin = || drop(black_box(layer.gradients(data.ips(), &gradients)));
    let few = data.ips().slice(0..100);
    let reference = || drop(black_box(first_layer_gradients_reference(layer, few, &gradients[..100 * D])));
    let flop = flop_of_first_layer(data);
    let work = on_one_thread("first_layer_backward", "address", NUM_POSITIVES, 4.0 * D as f64, flop);
    bench.row(floors, work, twin, (100, reference))
}

/// Additions of an address, those that a fused multiply-add would leave out counted too.
fn flop_of_first_layer(data: &Data) -> f64 {
    2.0 * (num_digits(data.shape.families) * D) as f64
}

/// Nibbles of an address, on average.
fn num_digits(families: Families) -> usize {
    match families {
        Families::Ipv4 => 8,
        Families::Both => 12,
    }
}

fn pair_loss(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let q = data.table[0][..D].to_vec();
    let mut hidden: Vec<f32> = data.table[0][D..D + NUM_PAIRS * D].iter().map(|x| x.abs()).collect();
    let plain = hidden.clone();
    let (mut s, mut logits, mut gradients) = (vec![0.0; D], [0.0; NUM_PAIRS], [0.0; NUM_PAIRS]);
    let row = RowLoss { q: &q, c: 0.1, mask: &[1.0; NUM_PAIRS], scale: 1e-4 };
    let twin = || {
        for _ in 0..1000 {
            black_box(row.run(&mut hidden, &mut s, &mut logits, &mut gradients));
        }
    };
    let reference = || {
        for _ in 0..1000 {
            plain.chunks_exact(D).enumerate().for_each(|(p, h)| {
                black_box(loss_reference(&q, 0.1, h, p == 0));
            });
        }
    };
    let work = on_one_thread("pair_loss", "positive", 1000, 0.0, (5 * NUM_PAIRS * D) as f64);
    bench.row(floors, work, twin, (1000, reference))
}

fn row_adam(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let gradients = vec![1e-3f32; NUM_POSITIVES * D];
    let adam = AdamStep::at(10, 1e-3, 0.0);
    let ([mut w, mut m, mut v], [mut w2, mut m2, mut v2]) = (data.table.clone(), data.table.clone());
    let (mut next, mut other) = (data.turns(), data.turns());
    let twin = || {
        let table = RowsMut { w: &mut w, m: &mut m, v: &mut v };
        row_adam_on_slices(table, next().touched(&gradients), &adam);
    };
    let reference = || {
        let table = RowsMut { w: &mut w2, m: &mut m2, v: &mut v2 };
        row_adam_reference(table, other().touched(&gradients), &adam);
    };
    let units = data.batches[0].rows.len();
    let work = work("row_adam", "row", units, 28.0 * D as f64, 13.0 * D as f64);
    bench.row(floors, work, twin, (units, reference))
}

/// Three products with the output layer, and for each pair the first layer and the pass over the pairs.
fn flop_of_a_positive(data: &Data) -> f64 {
    (6 * D * D + NUM_PAIRS * (2 * num_digits(data.shape.families) + 5) * D) as f64
}

/// Rows that the slow references get.
const FEW_ROWS: usize = 50;

fn folded(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let batch = &data.batches[0];
    let mut vectors = vec![0.0; batch.rows.len() * D];
    gather_on_slices(&data.table[0], &batch.rows, D, &mut vectors);
    let twin = || drop(black_box(folded_on_slices(batch.inputs(data, batch.rows.len()), &vectors)));
    let few = batch.inputs(data, FEW_ROWS);
    let reference = || drop(black_box(folded_reference(few, &vectors[..FEW_ROWS * D])));
    let work = work("folded", "positive", NUM_POSITIVES, 8.0 * D as f64, flop_of_a_positive(data));
    bench.row(floors, work, twin, (batch.segments[FEW_ROWS] as usize, reference))
}

/// Its reference is made of those of `gather`, `folded` and `row_adam`.
fn folded_step(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let ([mut w, mut m, mut v], mut tables) = (data.table.clone(), data.table.clone());
    let adam = AdamStep::at(10, 1e-3, 0.0);
    let mut next = data.turns();
    let twin = || {
        let batch = next();
        let table = RowsMut { w: &mut w, m: &mut m, v: &mut v };
        let shards = vec![ShardMut { table, rows: &batch.rows }];
        black_box(folded_step_on_slices(batch.inputs(data, batch.rows.len()), shards, &adam));
    };
    let batch = &data.batches[0];
    let (few, rows) = (batch.inputs(data, FEW_ROWS), &batch.rows[..FEW_ROWS]);
    let reference = || {
        let (_, gradients, _) = folded_reference(few, &gather_reference(&tables[0], rows, D));
        let touched = TouchedRows { rows, segments: few.segments, gradients: &gradients, vector_dim: D };
        let [w, m, v] = &mut tables;
        row_adam_reference(RowsMut { w, m, v }, touched, &adam);
    };
    let work = work("folded_step", "positive", NUM_POSITIVES, 24.0 * D as f64, flop_of_a_positive(data));
    bench.row(floors, work, twin, (batch.segments[FEW_ROWS] as usize, reference))
}

fn fold(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    let twin = || drop(black_box(fold_on_slices(&data.shape, &data.parameters, &data.table[0])));
    let reference = || {
        for i in 0..50 * (D + 1) {
            let vector = &data.table[0][i / (D + 1) * D..][..D];
            black_box(fold_reference(&data.shape, &data.parameters, vector, i % (D + 1)));
        }
    };
    let flop = (2 * D * (D + 1)) as f64;
    bench.row(floors, work("fold", "entity", NUM_ROWS, 8.0 * D as f64, flop), twin, (50, reference))
}

fn scores(bench: &Bench, floors: &Floors, data: &Data) -> Row {
    const UNITS: usize = 1 << 18;
    let folded = fold_on_slices(&data.shape, &data.parameters, &data.table[0]);
    let tables = tables_on_slices(&data.shape, &data.parameters);
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let rows: Vec<i32> = (0..UNITS).map(|_| random.random_range(0..NUM_ROWS as i32)).collect();
    let ips = random_ips(&mut random, UNITS, data.shape.families);
    let ips = Addresses::new(&ips, data.shape.families);
    let inputs =
        ScoreInputs { folded: &folded, tables: &tables, parameters: &data.parameters, shape: data.shape };
    let pairs = PairsToScore { rows: &rows, ips };
    let columns = data.shape.folded_width();
    let mut out = vec![0.0; UNITS];
    let twin = || scores_on_slices(inputs, pairs, black_box(&mut out));
    let reference = || {
        for i in 0..200 {
            let row = &folded[rows[i] as usize * columns..][..columns];
            black_box(score_reference(&data.shape, &data.parameters, row, ips.get(i)));
        }
    };
    let work = work("scores", "pair", UNITS, (4 * (D + 1)) as f64, 6.0 * D as f64);
    bench.row(floors, work, twin, (200, reference))
}
