//! The head against tests/golden/make_head.py, number by number: a script that shares no code with this crate.

use std::io::Write;

use serde_json::Value;

use crate::event::Address;
use crate::history::closed_form::log_ratios;
use crate::history::event_log::{EventLog, Query};
use crate::history::feature_block::{BLOCK_PAIRS, InputBlock};
use crate::history::features::input_names;
use crate::history::fit::input_rows;
use crate::history::gradient::{FitData, GradientPass};
use crate::history::head::Head;
use crate::history::network::{NUM_FITTED, NUM_PARAMETERS, Part};
use crate::history::owner_prequential::add_prequential_owners;
use crate::history::prequential::prequential_usage;
use crate::history::usage::{LevelUsage, NUM_LEVELS, OwnerUsage, Usage};
use crate::networks::Networks;

struct Golden(Value);

impl Golden {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../../tests/golden/head.json")).unwrap())
    }

    fn floats(&self, key: &str) -> Vec<f64> {
        floats(&self.0[key])
    }

    fn networks(&self) -> Networks {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(self.0["networks"].as_str().unwrap().as_bytes()).unwrap();
        Networks::read(file.path()).unwrap()
    }

    fn usages(&self) -> Vec<Usage> {
        self.0["usages"].as_array().unwrap().iter().map(usage).collect()
    }

    fn parameters(&self) -> Vec<f32> {
        self.floats("parameters").into_iter().map(|value| value as f32).collect()
    }

    fn head(&self) -> Head {
        let mut parameters = self.parameters();
        parameters.resize(NUM_PARAMETERS, 0.0);
        parameters[Part::ClosedWeight.range()].fill(self.0["closed_weight"].as_f64().unwrap() as f32);
        Head::from_parameters(parameters).unwrap()
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn usage(value: &Value) -> Usage {
    let days = |value: &Value, key: &str| value[key].as_f64().unwrap() as f32;
    let count = |value: &Value, key: &str| value[key].as_u64().unwrap();
    let level = |level: usize| {
        let level = &value["levels"][level];
        LevelUsage {
            own_events: count(level, "own_events") as u32,
            own_children: count(level, "own_children") as u32,
            days_since_use: days(level, "days_since_use"),
            events_since_use: days(level, "events_since_use"),
            all_events: count(level, "all_events"),
            all_accounts: count(level, "all_accounts"),
            all_children: count(level, "all_children"),
        }
    };
    Usage {
        num_events: count(value, "num_events") as u32,
        days_since_last: days(value, "days_since_last"),
        days_since_first: days(value, "days_since_first"),
        distinct: std::array::from_fn(|level| value["distinct"][level].as_u64().unwrap() as u32),
        levels: std::array::from_fn::<_, NUM_LEVELS, _>(level),
        total_events: count(value, "total_events"),
        total_accounts: count(value, "total_accounts"),
        total_top_prefixes: count(value, "total_top_prefixes"),
        owners: std::array::from_fn(|level| {
            let owner = &value["owners"][level];
            OwnerUsage {
                share: owner["share"].as_f64().unwrap() as f32,
                own_events: count(owner, "own_events") as u32,
                own_groups: count(owner, "own_groups") as u32,
                all_events: count(owner, "all_events"),
                all_accounts: count(owner, "all_accounts"),
                all_groups: count(owner, "all_groups"),
            }
        }),
    }
}

fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= tolerance * expected.abs().max(1.0), "{what} {i}: {found} for {expected}");
    }
}

#[test]
fn counts_before_a_query_are_those_of_the_script() {
    let golden = Golden::read();
    let events = &golden.0["events"];
    let column = |key: &str| -> Vec<u64> {
        events[key].as_array().unwrap().iter().map(|value| value.as_u64().unwrap()).collect()
    };
    let (entities, addresses) = (column("accounts"), column("addresses"));
    let addresses: Vec<Address> = addresses.into_iter().map(Address::from_bits).collect();
    let times: Vec<i64> = column("seconds").into_iter().map(|time| time as i64).collect();
    let log = EventLog { entities: &entities, addresses: &addresses, times: Some(&times), order: None };
    let query = |query: &Value| Query {
        entity: query[0].as_u64().unwrap(),
        address: Address::from_bits(query[1].as_u64().unwrap()),
        position: query[2].as_u64().unwrap() as u32,
        time: query[3].as_i64().unwrap(),
    };
    let queries: Vec<Query> = golden.0["queries"].as_array().unwrap().iter().map(query).collect();
    let mut usages = prequential_usage(&log, &queries);
    add_prequential_owners(&golden.networks(), &log, &queries, &mut usages);
    assert_eq!(usages, golden.usages());
}

#[test]
fn inputs_and_the_closed_form_are_those_of_the_script() {
    let golden = Golden::read();
    let usages = golden.usages();
    assert!(usages.len() <= BLOCK_PAIRS);
    let mut block = Box::<InputBlock>::default();
    block.fill(&usages);
    let (names, sums) = (input_names(), golden.floats("ratio_sums"));
    for (i, expected) in golden.0["inputs"].as_array().unwrap().iter().map(floats).enumerate() {
        for ((name, column), expected) in names.iter().zip(&block.inputs).zip(expected) {
            assert_near(&format!("{name} of query {i}"), &[column[i]], &[expected], 1e-6);
        }
        assert!((log_ratios(&usages[i]).sum() - sums[i]).abs() < 1e-6, "query {i}");
    }
    assert_near("sum of the log ratios", &block.ratio_sums[..sums.len()], &sums, 2e-6);
}

#[test]
fn scores_and_their_parts_are_those_of_the_script() {
    let golden = Golden::read();
    let (head, usages) = (golden.head(), golden.usages());
    let mut scores = vec![0.0; usages.len()];
    head.scores(&usages, &mut scores);
    assert_near("score", &scores, &golden.floats("scores"), 5e-6);
    let networks: Vec<f32> = head.parts(&usages).iter().map(|parts| parts.network).collect();
    assert_near("network", &networks, &golden.floats("network_parts"), 5e-6);
}

#[test]
fn the_loss_and_its_gradient_are_those_of_autograd() {
    let golden = Golden::read();
    let inputs = input_rows(&golden.usages());
    let single =
        |key: &str| -> Vec<f32> { golden.floats(key).into_iter().map(|value| value as f32).collect() };
    let (labels, weights) = (single("labels"), single("weights"));
    let data = FitData { inputs: &inputs, labels: &labels, weights: &weights };
    let rows: Vec<u32> = (0..labels.len() as u32).collect();
    let mut gradient = vec![0.0; NUM_FITTED];
    let loss = GradientPass::default().run(&golden.parameters(), &data, &rows, &mut gradient);
    assert!((loss - golden.0["loss"].as_f64().unwrap()).abs() < 1e-6, "{loss}");
    assert_near("gradient", &gradient, &golden.floats("gradient"), 2e-6);
}
