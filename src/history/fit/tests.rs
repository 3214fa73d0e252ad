use super::*;
use crate::event::Address;

/// Accounts with a home /24 each, and now and then another address; every fifth account has a home in IPv6.
struct Events {
    entities: Vec<u64>,
    addresses: Vec<Address>,
    times: Vec<i64>,
}

impl Events {
    fn draw(num_events: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut events = Self { entities: Vec::new(), addresses: Vec::new(), times: Vec::new() };
        for i in 0..num_events {
            let account = rng.random_range(0..60u64);
            let is_home = rng.random_bool(0.9);
            let bits = match (account % 5, is_home) {
                (0, true) => 0x2001_0db8_0000_0000 + (account << 20) + rng.random_range(0..4),
                (0, false) => 0x2000 << 48 | rng.random::<u64>() >> 3,
                (_, true) => 0x0A00_0000 + account * 0x1_0700 + rng.random_range(0..20),
                (_, false) => u64::from(rng.random::<u32>()),
            };
            events.entities.push(account.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            events.addresses.push(Address::from_bits(bits));
            events.times.push(1_700_000_000 + 600 * i as i64);
        }
        events
    }

    fn log(&self) -> EventLog<'_> {
        EventLog {
            entities: &self.entities,
            addresses: &self.addresses,
            times: Some(&self.times),
            order: None,
        }
    }
}

/// Fewer steps than the defaults, for logs this small.
fn options(seed: u64) -> FitOptions {
    FitOptions { steps: 300, mini_batch_size: 256, ..FitOptions::of_seed(seed) }
}

/// Scores of the last events as the log knew them at its end, and of the same with the addresses of others.
fn scores(events: &Events, head: &Head) -> [Vec<f32>; 2] {
    let len = events.entities.len();
    let scores = |shift: usize| {
        let query = |i: usize| Query {
            entity: events.entities[i],
            address: events.addresses[i - shift],
            position: len as u32,
            time: events.times[len - 1],
        };
        let queries: Vec<Query> = (len - 1000..len).map(query).collect();
        let mut scores = vec![0.0; 1000];
        head.scores(&prequential_usage(&events.log(), &queries), &mut scores);
        scores
    };
    [scores(0), scores(977)]
}

fn auc([own, others]: &[Vec<f32>; 2]) -> f64 {
    let below = |own: &f32| others.iter().filter(|other| own > *other).count() as f64;
    own.iter().map(below).sum::<f64>() / (own.len() * others.len()) as f64
}

#[test]
fn a_fitted_head_tells_own_addresses_from_those_of_others() {
    let events = Events::draw(6000, 3);
    let head = fit_head(&events.log(), None, &options(5)).unwrap();
    let auc = auc(&scores(&events, &head));
    assert!(auc > 0.9, "{auc}");
}

#[test]
fn events_without_times_are_enough() {
    let events = Events::draw(4000, 4);
    let log = EventLog { times: None, ..events.log() };
    let head = fit_head(&log, None, &options(5)).unwrap();
    let untimed = Events { times: vec![0; 4000], ..events };
    let auc = auc(&scores(&untimed, &head));
    assert!(auc > 0.85, "{auc}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let events = Events::draw(1500, 7);
    let fit = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit_head(&events.log(), None, &options(seed)).unwrap().to_bytes())
    };
    let one = fit(1, 9);
    assert!(one == fit(2, 9) && one == fit(4, 9));
    assert_ne!(one, fit(1, 10));
}

#[test]
fn an_input_that_is_not_used_changes_no_score() {
    let events = Events::draw(1500, 7);
    let mut options = FitOptions { steps: 20, ..options(1) };
    let names = crate::history::input_names();
    let unused: Vec<usize> = (0..NUM_INPUTS).filter(|input| names[*input].starts_with("age_")).collect();
    unused.iter().for_each(|input| options.used_inputs[*input] = false);
    let head = fit_head(&events.log(), None, &options).unwrap();
    let query =
        |time| Query { entity: events.entities[0], address: events.addresses[0], position: 1500, time };
    let later = [0, 400 * 86_400].map(|seconds| query(events.times[1499] + seconds));
    let mut scores = [0.0; 2];
    head.scores(&prequential_usage(&events.log(), &later), &mut scores);
    assert_eq!(scores[0], scores[1]);
    let all =
        fit_head(&events.log(), None, &FitOptions { used_inputs: [true; NUM_INPUTS], ..options }).unwrap();
    all.scores(&prequential_usage(&events.log(), &later), &mut scores);
    assert_ne!(scores[0], scores[1]);
}

#[test]
fn an_event_of_a_small_log_is_drawn_several_times() {
    let events = Events::draw(100, 8);
    let num_events = |max_draws, max_events| {
        let sampling = SamplingOptions { max_draws, max_events, ..SamplingOptions::default() };
        sample_pairs(&events.log(), &sampling).iter().filter(|pair| pair.is_event).count()
    };
    assert_eq!(
        [num_events(1, 1000), num_events(8, 1000), num_events(8, 350), num_events(8, 50)],
        [100, 800, 300, 50]
    );
}

#[test]
fn a_log_without_events_is_refused() {
    let nothing = EventLog { entities: &[], addresses: &[], times: None, order: None };
    let error = fit_head(&nothing, None, &options(1)).unwrap_err().to_string();
    assert!(error.contains("the events"), "{error}");
}

#[test]
fn one_event_and_one_account_can_be_fitted_on() {
    for num_events in [1, 2, 30] {
        let entities = vec![7; num_events];
        let addresses = vec![Address::from_bits(0x0A00_0001); num_events];
        let log = EventLog { entities: &entities, addresses: &addresses, times: None, order: None };
        let head = fit_head(&log, None, &FitOptions { steps: 20, ..options(1) }).unwrap();
        assert!(head.parameters().iter().all(|parameter| parameter.is_finite()));
    }
}

#[test]
fn a_table_of_networks_tells_accounts_whose_addresses_change_within_an_as() {
    // Everyone has an AS of their own, of addresses here and there.
    let mut events = Events::draw(4000, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let address = |owner: u64, rng: &mut ChaCha8Rng| {
        let place = rng.random_range(0..40u64);
        Address::from_bits((place << 24 | owner << 16) + rng.random_range(0..65_536u64))
    };
    for i in 0..4000 {
        let account = rng.random_range(0..60u64);
        events.entities[i] = account.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        events.addresses[i] = address(account, &mut rng);
    }
    let lines: String = (0..40u64)
        .flat_map(|place| (0..60u64).map(move |owner| (place, owner)))
        .map(|(place, owner)| {
            format!("{place}.{owner}.0.0\t{place}.{owner}.255.255\t{}\tNone\tX\n", owner + 1)
        })
        .collect();
    let networks = crate::history::tests::owners::of_text(&lines);
    let head = fit_head(&events.log(), Some(&networks), &options(5)).unwrap();
    assert!(head.uses_networks());
    let bytes = head.to_bytes();
    assert_eq!(Head::from_bytes(&bytes, "x").unwrap(), head);
    let scores = |shift: usize| {
        let query = |i: usize| Query {
            entity: events.entities[i],
            address: events.addresses[i - shift],
            position: 3000,
            time: events.times[3999],
        };
        let queries: Vec<Query> = (3000..4000).map(query).collect();
        let mut usages = prequential_usage(&events.log(), &queries);
        add_prequential_owners(&networks, &events.log(), &queries, &mut usages);
        let mut scores = vec![0.0; 1000];
        head.scores(&usages, &mut scores);
        scores
    };
    let auc = auc(&[scores(0), scores(977)]);
    assert!(auc > 0.97, "{auc}");
}
