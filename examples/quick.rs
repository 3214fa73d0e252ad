#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
use ipsight::config::{DeviceChoice, Hyperparameters};
use ipsight::data::MiniBatch;
use ipsight::model::IpInsightsConfig;
use ipsight::score::read_floats;
use ipsight::train::TrainState;
use ipsight_kernels::negatives::Negatives;
use ipsight_kernels::philox::philox4x32_10;
use std::time::Instant;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (n, b, r, s, steps, l) = (a[0], a[1], a[2], a[3], a[4], a.get(5).copied().unwrap_or(1));
    let h = Hyperparameters {
        num_entity_vectors: n,
        vector_dim: 128,
        num_ip_encoder_layers: l,
        ..Hyperparameters::default()
    };
    let c = IpInsightsConfig {
        num_entity_vectors: n,
        vector_dim: 128,
        num_ip_encoder_layers: l,
        max_rows_per_shard: usize::MAX,
        seed: 0,
    };
    let device = ipsight::device::choose(DeviceChoice::Ndarray).unwrap().device;
    let mut st = TrainState::new(&c, &h, &device);
    let batches: Vec<_> = (0..16u32)
        .map(|k| {
            MiniBatch::sorted((0..b as u32).map(|i| {
                let w = philox4x32_10([i, k, 0, 0], [1, 1]);
                (w[0] % n as u32, w[1])
            }))
        })
        .collect();
    let mut t = vec![];
    for i in 0..steps {
        let t0 = Instant::now();
        let sums = st.step(&batches[i % 16], Negatives::training(r, s, 0, 0, i as u32)).sums;
        read_floats(sums).unwrap();
        t.push(t0.elapsed().as_secs_f64());
    }
    t.drain(..steps.min(5));
    t.sort_by(f64::total_cmp);
    println!(
        "N={n} B={b} R={r} S={s} L={l}: median {:.2} ms, min {:.2} ms, {:.0} positives/s (best {:.0})",
        t[t.len() / 2] * 1e3,
        t[0] * 1e3,
        b as f64 / t[t.len() / 2],
        b as f64 / t[0]
    );
}
