//! Limits of events per entity and per address, and the report of who has the most.

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;

use ipsight::data::{ReadOptions, load_events, resolve_inputs};
use ipsight::event::Address;
use support::ipsight;
use tempfile::TempDir;

/// 40 accounts of 20 logins each; one of 900 from an address of his own; and 300 accounts at one address.
fn logins() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for i in 0..800 {
        writeln!(text, "user_{},10.{}.0.{}", i % 40, i % 40, i % 7).unwrap();
    }
    for i in 0..900 {
        writeln!(text, "\"a \u{1b}[31m bot\",192.0.2.{}", i % 3).unwrap();
    }
    for i in 0..300 {
        writeln!(text, "farm_{i},198.51.100.7").unwrap();
    }
    fs::write(folder.path().join("logins.csv"), text).unwrap();
    folder
}

const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = 700\nvector_dim = 8\nepochs = 1\nmini_batch_size = 100\n\
    [data]\ntrain = [\"logins.csv\"]\n[training]\ndevice = \"ndarray\"\nseed = 4\n";

const LIMITS: [&str; 4] = ["--max-events-per-entity", "50", "--max-events-per-ip", "30"];

#[test]
fn prepare_and_train_keep_the_same_events() {
    let folder = logins();
    let root = folder.path();
    let prepare = ["prepare", "logins.csv", "--output", "limited.arrow", "--seed", "4"];
    ipsight(root, &[&prepare[..], &LIMITS].concat(), b"").expect(
        0,
        &[
            "850 events of 1 entities left out, which had more than 50",
            "270 events of 1 addresses left out, which had more than 30",
            "880 events in limited.arrow",
        ],
    );
    let paths = resolve_inputs(&[root.join("limited.arrow").to_string_lossy().into_owned()]).unwrap();
    let (events, _) = load_events(&paths, &ReadOptions::default()).unwrap();
    let mut counts: HashMap<Address, usize> = HashMap::new();
    events.iter().for_each(|event| *counts.entry(event.address).or_default() += 1);
    assert_eq!(counts[&Ipv4Addr::new(198, 51, 100, 7).into()], 30);
    assert!(counts.values().all(|count| *count <= 30), "{counts:?}");

    fs::write(root.join("small.toml"), CONFIG).unwrap();
    let train = ["train", "--config", "small.toml", "--output"];
    ipsight(root, &[&train[..], &["by_train"], &LIMITS].concat(), b"")
        .expect(0, &["270 events of 1 addresses"]);
    let prepared = ["by_prepare", "--train", "limited.arrow"];
    ipsight(root, &[&train[..], &prepared].concat(), b"").expect(0, &[]);
    let keys = ["by_keys", "--set", "data.max_events_per_entity=50", "--set", "data.max_events_per_ip=30"];
    ipsight(root, &[&train[..], &keys].concat(), b"").expect(0, &[]);
    let weights = |run: &str| fs::read(root.join(run).join("model/model.safetensors")).unwrap();
    assert!(weights("by_train") == weights("by_prepare"));
    assert!(weights("by_train") == weights("by_keys"));
    ipsight(root, &[&train[..], &["other"]].concat(), b"").expect(0, &[]);
    assert!(weights("by_train") != weights("other"), "limits made no difference");

    ipsight(root, &[&prepare[..], &["--max-events-per-ip", "0"]].concat(), b"").expect(2, &["1 or more"]);
    let none = ["none", "--set", "data.max_events_per_ip=0"];
    ipsight(root, &[&train[..], &none].concat(), b"").expect(2, &["max_events_per_ip"]);
}

#[test]
fn the_heaviest_are_named() {
    let folder = logins();
    let root = folder.path();
    let prepare = ["prepare", "logins.csv", "--output", "all.arrow", "--report-heaviest", "2"];
    let report = ipsight(root, &[&prepare[..], &["--json"]].concat(), b"").expect(0, &[]).json();
    assert_eq!((&report["num_events"], &report["num_entities"]), (&2000.into(), &341.into()));
    assert_eq!(report["entities"][0]["entity"], "a \u{1b}[31m bot");
    assert_eq!(report["entities"][0]["num_events"], 900);
    assert_eq!(report["entities"][1]["num_events"], 20);
    assert_eq!(report["ips"][0]["ip"], "192.0.2.0");
    assert_eq!(report["ips"][0]["num_events"], 300);
    assert_eq!(report["networks_24"][0]["network"], "192.0.2.0/24");
    assert_eq!(report["networks_24"][0]["num_events"], 900);
    assert_eq!(report["networks_16"][1]["network"], "198.51.0.0/16");
    assert_eq!(report["ips"].as_array().unwrap().len(), 2);

    let text = ipsight(root, &prepare, b"").expect(0, &[]).stdout;
    assert!(text.contains("45.00 %"), "{text}");
    assert!(!text.contains('\u{1b}'), "a name steers the terminal: {text:?}");

    // Of a prepared file hashes are all there is; the limits are for what is written, the report for what there was.
    let again = ["prepare", "all.arrow", "--output", "again.arrow", "--report-heaviest", "1", "--json"];
    let again = ipsight(root, &[&again[..], &LIMITS].concat(), b"").expect(0, &["880 events in"]).json();
    assert_eq!(again["entities"][0]["hash"], report["entities"][0]["hash"]);
    assert!(again["entities"][0]["entity"].is_null());
    assert_eq!(again["ips"][0]["num_events"], 300);
    ipsight(root, &["prepare", "all.arrow", "--output", "x.arrow", "--json"], b"")
        .expect(2, &["--report-heaviest"]);
}
