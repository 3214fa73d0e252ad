#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
use ipsight::config::DeviceChoice;
use ipsight::model::IpInsightsConfig;
use ipsight::{Event, Scorer};
use ipsight_kernels::philox::philox4x32_10;
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let c = IpInsightsConfig {
        num_entity_vectors: n,
        vector_dim: 128,
        num_ip_encoder_layers: 1,
        max_rows_per_shard: usize::MAX,
        seed: 0,
    };
    let device = ipsight::device::choose(DeviceChoice::Ndarray).unwrap().device;
    let t = Instant::now();
    let s = Scorer::new(c.init(&device), vec![1; n]);
    println!("fold {:?}", t.elapsed());
    let ev: Vec<Event> = (0..1_000_000u32)
        .map(|i| {
            let w = philox4x32_10([i, 0, 0, 0], [1, 1]);
            Event { entity: (w[0] as u64) << 32 | w[2] as u64, ip: w[1] }
        })
        .collect();
    let mut b = vec![];
    for _ in 0..15 {
        let t = Instant::now();
        let r = s.dot_products(&ev).unwrap();
        b.push(t.elapsed().as_secs_f64());
        assert!(r[0] != 7.0);
    }
    b.sort_by(f64::total_cmp);
    println!("batched {:.1}M pairs/s median, best {:.1}M", 1.0 / b[7], 1.0 / b[0]);
    if std::env::var_os("SINGLE").is_some() {
        for _ in 0..3 {
            for e in &ev {
                assert!(s.dot_product(*e).unwrap() != 7.0);
            }
        }
        return;
    }
    let mut l = vec![];
    for e in ev.iter().take(20000) {
        let t = Instant::now();
        let r = s.dot_product(*e).unwrap();
        l.push(t.elapsed().as_nanos());
        assert!(r != 7.0);
    }
    l.sort();
    println!("single {} ns median, p99 {}", l[10000], l[19800]);
}
