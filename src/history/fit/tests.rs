use super::*;

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
        EventLog { entities: &self.entities, addresses: &self.addresses, times: Some(&self.times), order: None }
    }
}

/// Fewer steps than the defaults, for logs this small.
fn options(seed: u64) -> FitOptions {
    FitOptions { steps: 300, mini_batch_size: 256, ..FitOptions::of_seed(seed) }
}

/// Scores of the last events as the log knew them at its end, and of the same with the addresses of others.
fn scores(events: &Events, head: &Head, engine: Option<EngineScores>) -> [Vec<f32>; 2] {
    let len = events.entities.len();
    let scores = |shift: usize| {
        let query = |i: usize| Query {
            entity: events.entities[i],
            address: events.addresses[i - shift],
            position: len as u32,
            time: events.times[len - 1],
        };
        let queries: Vec<Query> = (len - 1000..len).map(query).collect();
        let pairs: Vec<(u64, Address)> = queries.iter().map(|query| (query.entity, query.address)).collect();
        let engine = engine.map_or(Vec::new(), |engine| engine(&pairs).unwrap());
        let mut scores = vec![0.0; 1000];
        head.scores(&prequential_usage(&events.log(), &queries), &engine, &mut scores);
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
    assert!(!head.has_engine());
    let auc = auc(&scores(&events, &head, None));
    assert!(auc > 0.9, "{auc}");
}

#[test]
fn events_without_times_are_enough() {
    let events = Events::draw(4000, 4);
    let log = EventLog { times: None, ..events.log() };
    let head = fit_head(&log, None, &options(5)).unwrap();
    let untimed = Events { times: vec![0; 4000], ..events };
    let auc = auc(&scores(&untimed, &head, None));
    assert!(auc > 0.85, "{auc}");
}

#[test]
fn an_engine_that_knows_more_is_listened_to() {
    let events = Events::draw(4000, 6);
    // One that knows which address is the account's.
    let engine = |pairs: &[(u64, Address)]| -> Result<Vec<f32>> {
        let pairs = pairs.iter();
        Ok(pairs
            .map(|pair| {
                let owns = events.entities.iter().zip(&events.addresses).any(|own| own == (&pair.0, &pair.1));
                if owns { 140.0 } else { 100.0 }
            })
            .collect())
    };
    let head = fit_head(&events.log(), Some(&engine), &options(5)).unwrap();
    assert!(head.has_engine());
    let found = auc(&scores(&events, &head, Some(&engine)));
    assert!(found > 0.99, "{found}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let events = Events::draw(1500, 7);
    let fit = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fit_head(&events.log(), None, &options(seed)).unwrap().to_bytes())
    };
    let one = fit(1, 9);
    assert!(one == fit(2, 9) && one == fit(5, 9));
    assert_ne!(one, fit(1, 10));
}

#[test]
fn what_cannot_be_fitted_on_is_refused() {
    let nothing = EventLog { entities: &[], addresses: &[], times: None, order: None };
    assert!(fit_head(&nothing, None, &options(1)).is_err());
    let events = Events::draw(200, 7);
    let broken = |pairs: &[(u64, Address)]| -> Result<Vec<f32>> { Ok(vec![f32::NAN; pairs.len()]) };
    assert!(fit_head(&events.log(), Some(&broken), &options(1)).is_err());
    // An engine that says the same of everything is no input.
    let constant = |pairs: &[(u64, Address)]| -> Result<Vec<f32>> { Ok(vec![3.0; pairs.len()]) };
    assert!(!fit_head(&events.log(), Some(&constant), &options(1)).unwrap().has_engine());
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
