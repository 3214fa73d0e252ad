//! A table of networks: trained with, kept in the model folder, told of, replaced.

mod support;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use support::{Outcome, ipsight};
use tempfile::TempDir;

/// Accounts whose addresses change within the AS of each: 60 accounts, 200 blocks of each AS.
fn logins(first: u32, num: u32) -> String {
    let row = |i: u32| {
        let account = i * 7 % 60;
        let place = i.wrapping_mul(2_654_435_761) >> 8;
        let (block, host) = (place % 200, place / 200 % 250);
        format!(
            "user_{account},{}.{account}.{}.{host},{}\n",
            20 + block,
            place % 200,
            1_700_000_000 + 600 * i
        )
    };
    (first..first + num).map(row).collect()
}

fn table(name_of: impl Fn(u32) -> String) -> String {
    let row = |(block, account): (u32, u32)| {
        let network = format!("{}.{account}", 20 + block);
        format!("{network}.0.0\t{network}.255.255\t{}\n", name_of(account))
    };
    (0..200).flat_map(|block| (0..60).map(move |account| (block, account))).map(row).collect()
}

const CONFIG: &str = r#"
[hyperparameters]
epochs = 1
vector_dim = 8
mini_batch_size = 500
[model]
detector = "history"
[training]
device = "ndarray"
seed = 3
[data]
train = ["train.csv"]
time_column = "3"
"#;

fn run(args: &[&str]) -> Outcome {
    ipsight(root(), args, b"")
}

/// `with/model`, of a run with a table, and `without/model`.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("train.csv", logins(0, 6_000));
    write("test.csv", logins(6_000, 1_500));
    write("config.toml", CONFIG.into());
    write("table.tsv", table(|account| format!("{}\tNL\tExample {account}", 64_500 + account)));
    write("other.tsv", table(|account| format!("{}\tNL\tExample", 64_500 + account.max(3))));
    write("as.tsv", table(|account| format!("{}\tNone\tExample", 64_500 + account)));
    let train = ["train", "--config", "config.toml"];
    for more in [&["--networks", "table.tsv", "--output", "with"][..], &["--output", "without"]] {
        ipsight(folder.path(), &[&train[..], more].concat(), b"").expect(0, &[]);
    }
    folder
});

fn root() -> &'static Path {
    FIXTURE.path()
}

fn copy(from: &str, to: &str) {
    fs::create_dir(root().join(to)).unwrap();
    for entry in fs::read_dir(root().join(from)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, root().join(to).join(path.file_name().unwrap())).unwrap();
    }
}

fn auc(model: &str, more: &[&str]) -> Value {
    let args =
        ["evaluate", "--device", "ndarray", "--model", model, "--data", "test.csv", "--time-column", "3"];
    let attacks = ["--attacks", "other_users=1", "--json"];
    run(&[&args[..], &attacks, more].concat()).expect(0, &[]).json()
}

#[test]
fn a_model_with_a_table_knows_accounts_by_their_as() {
    let of = |told: &Value, detector: &str| told["detectors"][detector]["auc"].as_f64();
    let with = auc("with/model", &["--history", "train.csv"]);
    let without = auc("without/model", &["--history", "train.csv"]);
    let (found, before) = (of(&with, "ipsight").unwrap(), of(&without, "ipsight").unwrap());
    assert!(found > 0.95 && found > before + 0.02, "{found} with, {before} without");
    // The table of ASes is among the baselines where there is one, and knows it all.
    assert!(of(&with, "as_table").unwrap() > 0.97 && of(&without, "as_table").is_none());
    let told = auc("without/model", &["--history", "train.csv", "--networks", "table.tsv"]);
    assert!(of(&told, "as_table").unwrap() > 0.97, "{told}");
    // Counts of owners move with the events, too.
    assert!(of(&auc("with/model", &["--online"]), "ipsight").unwrap() > 0.97);
}

#[test]
fn inspect_says_what_the_table_is() {
    let told = run(&["inspect", "--model", "with/model", "--json"]).expect(0, &[]).json();
    let networks = &told["networks"];
    assert_eq!(networks["file"], "table.tsv");
    assert_eq!(networks["kind"], "TSV");
    assert_eq!((&networks["num_as"], &networks["num_countries"]), (&60.into(), &1.into()));
    assert_eq!((&networks["as_pairs"], &networks["country_pairs"]), (&60.into(), &60.into()));
    assert!(networks["time"].as_i64().is_some() && networks["blake3"].as_str().unwrap().len() == 64);
    let text = run(&["inspect", "--model", "with/model"]).expect(0, &[]).stdout;
    assert!(text.contains("networks: table.tsv"), "{text}");
    let told = run(&["inspect", "--model", "without/model", "--json"]).expect(0, &[]).json();
    assert!(told.get("networks").is_none() && told["files"].get("networks.bin").is_none(), "{told}");
}

#[test]
fn explain_says_whose_it_is_and_its_parts_add_up() {
    for (model, ip) in
        [("with/model", "20.7.1.1"), ("without/model", "20.7.1.1"), ("with/model", "203.0.113.9")]
    {
        let told = run(&["explain", "--model", model, "user_7", ip, "--json"]).expect(0, &[]).json();
        let sum: f64 =
            told["parts"].as_array().unwrap().iter().map(|part| part["value"].as_f64().unwrap()).sum();
        assert!((sum - told["dot_product"].as_f64().unwrap()).abs() < 1e-5, "{told}");
        assert_eq!(told["history"]["events"], 100, "{told}");
        let text = run(&["explain", "--model", model, "user_7", ip]).expect(0, &[]).stdout;
        assert!(text.starts_with(&format!("user_7 from {ip}: ")), "{text}");
        assert!(text.lines().next().unwrap().contains("of 100 logins came from"), "{text}");
        assert_eq!(text.contains("AS64507 Example 7, NL"), model == "with/model", "{text}");
    }
    let text = run(&["explain", "--model", "with/model", "nobody", "20.7.1.1"]).expect(0, &[]).stdout;
    assert!(
        text.contains("no login of this account is known") && text.contains("(AS64507 Example 7, NL)"),
        "{text}"
    );
}

#[test]
fn a_table_is_replaced_and_the_accounts_that_it_concerns_are_counted() {
    copy("with/model", "replaced");
    let score = ["score", "--device", "ndarray", "--model", "replaced", "--input", "test.csv"];
    let before = run(&score).expect(0, &[]).stdout;
    let update = ["networks", "update", "--model", "replaced"];
    let told = run(&[&update[..], &["table.tsv", "--json"]].concat()).expect(0, &[]).json();
    assert_eq!((&told["num_entities"], &told["num_changed_as"]), (&60.into(), &0.into()));
    assert!(run(&score).expect(0, &[]).stdout == before, "the same table changes no score");
    // AS numbers of three accounts are others, and no country is.
    let told = run(&[&update[..], &["other.tsv", "--json"]].concat()).expect(0, &[]).json();
    assert_eq!((&told["num_changed_as"], &told["num_changed_country"]), (&3.into(), &0.into()));
    assert!(run(&score).expect(0, &[]).stdout != before);
    let text = run(&["inspect", "--model", "replaced"]).expect(0, &[]).stdout;
    assert!(text.contains("checksums good") && text.contains("networks: other.tsv"), "{text}");
    let text = run(&[&update[..], &["table.tsv"]].concat()).expect(0, &[]).stdout;
    assert!(text.contains("3 of 60 entities have a network whose AS number is another now"), "{text}");
    assert!(run(&score).expect(0, &[]).stdout == before, "the first table gives the first scores");

    run(&[&update[..], &["as.tsv"]].concat()).expect(3, &["replaced", "country", "the new table has none"]);
    run(&[&update[..], &["train.csv"]].concat()).expect(3, &["train.csv:1", "fewer than three fields"]);
    run(&["networks", "update", "--model", "without/model", "table.tsv"]).expect(3, &["--networks"]);
    assert!(run(&score).expect(0, &[]).stdout == before, "what is refused changes nothing");
}

#[test]
fn what_cannot_work_is_refused() {
    let train = ["train", "--config", "config.toml", "--output", "refused", "--networks"];
    fs::write(root().join("empty"), "").unwrap();
    run(&[&train[..], &["empty"]].concat()).expect(3, &["empty"]);
    run(&[&train[..], &["nowhere.mmdb"]].concat()).expect(4, &["nowhere.mmdb"]);
    let engine = ["table.tsv", "--set", "model.detector=\"engine\""];
    run(&[&train[..], &engine].concat()).expect(2, &["--networks", "engine alone"]);
    assert!(!root().join("refused").exists());
    // A file of the folder that is missing, or of another model, is told.
    copy("with/model", "missing");
    fs::remove_file(root().join("missing/networks.bin")).unwrap();
    run(&["inspect", "--model", "missing"]).expect(4, &["networks.bin"]);
    copy("with/model", "damaged");
    let path = root().join("damaged/networks.bin");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    run(&["score", "--model", "damaged", "--input", "test.csv"]).expect(3, &["networks.bin", "BLAKE3"]);
}

/// A model that begins from another keeps its table, and the head that was fitted with it.
#[test]
fn a_run_that_begins_from_a_model_keeps_its_table() {
    let next = ["train", "--config", "config.toml", "--train", "test.csv", "--init-from", "with/model"];
    run(&[&next[..], &["--output", "next"]].concat()).expect(0, &[]);
    let told = run(&["inspect", "--model", "next/model", "--json"]).expect(0, &[]).json();
    assert_eq!(told["networks"]["file"], "table.tsv");
    assert_eq!(told["history"]["events"], 7_500);
    let head = |run: &str| fs::read(root().join(run).join("model/head.safetensors")).unwrap();
    assert!(head("next") == head("with"));
    run(&[&next[..], &["--networks", "other.tsv", "--output", "other"]].concat()).expect(0, &[]);
    let told = run(&["inspect", "--model", "other/model", "--json"]).expect(0, &[]).json();
    assert_eq!(told["networks"]["file"], "other.tsv");
}
