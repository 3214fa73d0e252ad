//! Faults of disks, machines and numbers: nothing is lost that was there, and nothing broken is taken for whole.

mod damage;
mod divergence;
mod full_disk;
mod kills;
mod limits;
mod signals;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use support::{command, figures, outcome};
use tempfile::TempDir;

/// 20 steps an epoch, a checkpoint every 3, figures every 4: a training of some hundredths of a second.
const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 60
vector_dim = 8
mini_batch_size = 100
learning_rate = 0.02
epochs = 3
batch_metrics_publish_interval = 4
[training]
device = "ndarray"
checkpoint_interval = "3 steps"
[data]
train = ["train.csv"]
validation = ["validation.csv"]
"#;

const MODEL: [&str; 4] = ["model.safetensors", "folded.safetensors", "config.toml", "manifest.json"];

/// A folder with `small.toml` and the events that it names.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = |range: std::ops::Range<u32>| -> String {
        let ip = |i: u32| std::net::Ipv4Addr::from(0x0A00_0000 + (i % 37) * 0x0001_0300 + i % 7);
        range.map(|i| format!("user_{},{}\n", i % 37, ip(i))).collect()
    };
    fs::write(folder.path().join("train.csv"), rows(0..1980)).unwrap();
    fs::write(folder.path().join("validation.csv"), rows(1980..2200)).unwrap();
    fs::write(folder.path().join("small.toml"), SMALL).unwrap();
    folder
}

/// `folder()` with `whole`, a run that nothing disturbed.
fn folder_with_run() -> TempDir {
    let folder = folder();
    train(folder.path(), "whole", &[]).expect(0, &[]);
    folder
}

fn train_args<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--config", "small.toml", "--output", output], more].concat()
}

fn train(root: &Path, output: &str, more: &[&str]) -> support::Outcome {
    outcome(command(root, &train_args(output, more)), b"")
}

/// Every file below a folder with its bytes, by its path; files of TensorBoard, which has clocks, by their folder.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let below = contents(&entry.path()).into_iter();
            found.extend(below.map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
            found.push((format!("{name}/"), Vec::new()));
        } else {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

/// Hidden files and folders below a folder: what is half written, or a lock.
fn left_over(folder: &Path) -> Vec<String> {
    let names = contents(folder).into_iter().map(|(path, _)| path);
    names.filter(|path| path.starts_with('.') || path.contains("/.")).collect()
}

/// How a run differs from one that nothing disturbed; none where it does not.
fn difference(run: &Path, whole: &Path) -> Option<String> {
    for name in MODEL {
        let file = |run: &Path| fs::read(run.join("model").join(name));
        match (file(run), file(whole)) {
            (Ok(found), Ok(expected)) if found == expected => {}
            (Err(error), _) => return Some(format!("{name}: {error}")),
            _ => return Some(format!("{name} differs")),
        }
    }
    if figures(run) != figures(whole) {
        return Some("metrics.jsonl differs".into());
    }
    let left_over = left_over(run);
    (!left_over.is_empty()).then(|| format!("left over: {left_over:?}"))
}

/// Numbers that look random, the same for the same seed.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % bound
    }
}

/// A number that an environment variable may set.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}
