//! A training that begins from another one's model, and the night in which that happens.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use ipsight::Config;
use ipsight::config::DeviceChoice;
use ipsight::data::Events;
use ipsight::device;
use ipsight::event::Address;
use ipsight::model_folder::{HEAD, HISTORY};
use ipsight::train::{InitialModel, TrainInputs, Trained, checkpoint};
use safetensors::SafeTensors;
use serde_json::Value;
use support::server::{Client, Server};
use support::{Outcome, ipsight, skipped};
use tempfile::TempDir;

/// 20 steps an epoch on the first logins and 10 on the next, a checkpoint every 7, figures every 3.
const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 6000
vector_dim = 16
mini_batch_size = 1000
learning_rate = 0.02
epochs = 6
batch_metrics_publish_interval = 3
[training]
device = "ndarray"
learning_rate_schedule = "linear"
warmup_steps = 25
checkpoint_interval = "7 steps"
[data]
train = ["next.csv"]
"#;

/// Logins of some days, `first.csv`, and of the days after, `next.csv`; `old`, a run on the first, and `other`, its like;
/// `whole`, a run on the next that began from `old` and that nothing cut off, and `onward`, which began from its
/// checkpoint.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    ipsight(root, &["generate", "--users", "300", "--days", "10", "--seed", "7", "--output", "logins"], b"")
        .expect(0, &[]);
    for (from, to, num) in [("train.csv", "first.csv", 19_999), ("validation.csv", "next.csv", 9500)] {
        let text = fs::read_to_string(root.join("logins").join(from)).unwrap();
        let mut lines: Vec<&str> = text.lines().take(num).collect();
        assert_eq!(lines.len(), num);
        if to == "first.csv" {
            lines.push("only_then,10.1.2.3");
        }
        fs::write(root.join(to), lines.join("\n")).unwrap();
    }
    fs::write(root.join("small.toml"), SMALL).unwrap();
    for (output, seed) in [("old", "training.seed=0"), ("other", "training.seed=1")] {
        let first = ["--train", "first.csv", "--set", "training.warmup_steps=0", "--set", seed];
        train_in(root, output, &first).expect(0, &[]);
    }
    train_in(root, "whole", &["--init-from", "old"]).expect(0, &["beginning from the weights of old/model"]);
    let from = last_checkpoint(root, "old");
    train_in(root, "onward", &["--init-from", &from]).expect(0, &["and the moments of 120 steps"]);
    folder
});

fn root() -> &'static Path {
    FIXTURE.path()
}

const TRAIN: [&str; 4] = ["train", "--config", "small.toml", "--output"];

fn train_in(root: &Path, output: &str, more: &[&str]) -> Outcome {
    ipsight(root, &[&TRAIN[..], &[output], more].concat(), b"")
}

fn train(output: &str, more: &[&str]) -> Outcome {
    train_in(root(), output, more)
}

fn last_checkpoint(root: &Path, run: &str) -> String {
    let (_, path) = checkpoint::list(&root.join(run).join("checkpoints")).unwrap().pop().unwrap();
    format!("{run}/checkpoints/{}", path.file_name().unwrap().to_str().unwrap())
}

fn manifest(run: &str) -> Value {
    let text = fs::read(root().join(run).join("model/manifest.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Loss of each published mini-batch or epoch.
fn losses(run: &str, event: &str) -> Vec<f64> {
    let text = fs::read_to_string(root().join(run).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).map(|line| line["loss"].as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_same_model(run: &str, expected: &str) {
    for name in ["model.safetensors", "folded.safetensors", "config.toml", "manifest.json"] {
        let file = |run: &str| fs::read(root().join(run).join("model").join(name)).unwrap();
        assert!(file(run) == file(expected), "{run}: {name} differs");
    }
    assert_eq!(losses(run, "batch"), losses(expected, "batch"), "{run}");
}

#[test]
fn it_begins_as_good_as_the_model_is() {
    LazyLock::force(&FIXTURE);
    let first = ["--train", "first.csv", "--init-from", "old/model", "--set", "training.warmup_steps=50"];
    train("again", &first).expect(0, &[]);
    let (from_nothing, last) = (losses("old", "batch")[0], *losses("old", "epoch").last().unwrap());
    for run in ["again", "whole", "onward"] {
        let begun = losses(run, "batch")[0];
        assert!(begun < 0.4 * from_nothing && begun < 1.3 * last, "{run}: {begun}, {from_nothing}, {last}");
    }
}

#[test]
fn the_same_beginning_gives_the_same_bytes_and_is_on_record() {
    LazyLock::force(&FIXTURE);
    // A run's model is the same weights, wherever they lie.
    train("whole-again", &["--init-from", "old/model"]).expect(0, &[]);
    assert_same_model("whole-again", "whole");
    train("onward-again", &["--init-from", &last_checkpoint(root(), "old")]).expect(0, &[]);
    assert_same_model("onward-again", "onward");

    assert!(manifest("old")["training"].get("init_from").is_none());
    let init_from = &manifest("whole")["training"]["init_from"];
    assert_eq!(init_from["blake3"], manifest("old")["files"]["model.safetensors"]["blake3"]);
    assert_eq!(init_from["num_optimizer_steps"], 0);
    assert_eq!(manifest("onward")["training"]["init_from"]["num_optimizer_steps"], 120);
    let inspected = ipsight(root(), &["inspect", "--model", "onward/model"], b"").expect(0, &[]).stdout;
    assert!(
        inspected.contains("began from weights") && inspected.contains("moments of 120 steps"),
        "{inspected}"
    );
    // Steps add up over the runs.
    let further = ["--init-from", &last_checkpoint(root(), "onward"), "--set", "hyperparameters.epochs=1"];
    train("further", &further).expect(0, &["and the moments of 180 steps"]);
    assert_eq!(manifest("further")["training"]["init_from"]["num_optimizer_steps"], 120 + 60);
    // Weights alone, with moments, and none at all are three beginnings.
    train("anew", &[]).expect(0, &[]);
    let weights = |run: &str| manifest(run)["files"]["model.safetensors"]["blake3"].to_string();
    let (whole, onward, anew) = (weights("whole"), weights("onward"), weights("anew"));
    assert!(whole != onward && whole != anew && onward != anew);
}

/// Events of each table row, as the model folder has them.
fn row_counts(run: &str) -> Vec<u32> {
    let bytes = fs::read(root().join(run).join("model/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let counts = tensors.tensor("entity_row_counts").unwrap();
    counts.data().as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes).collect()
}

#[test]
fn rows_that_were_trained_stay_seen_and_events_add_up() {
    LazyLock::force(&FIXTURE);
    train("next-alone", &["--set", "hyperparameters.epochs=1"]).expect(0, &[]);
    let (old, alone) = (row_counts("old"), row_counts("next-alone"));
    assert_eq!((old.iter().sum::<u32>(), alone.iter().sum::<u32>()), (20_000, 9500));
    let sums: Vec<u32> = old.iter().zip(&alone).map(|(old, alone)| old + alone).collect();
    assert_eq!(row_counts("whole"), sums);
    let row_seen = |model: &str| {
        let score = ["score", "--model", model, "--device", "ndarray", "--format", "jsonl"];
        let scored = ipsight(root(), &score, b"only_then,10.1.2.3\n").expect(0, &[]).json_lines();
        scored[0]["entity_seen"].as_bool().unwrap()
    };
    assert!(row_seen("old/model") && row_seen("whole/model"));
    let summary = &manifest("whole")["training"];
    assert_eq!(summary["num_entity_rows_seen"], sums.iter().filter(|count| **count > 0).count());
    assert_eq!(summary["num_events"], 9500, "its own");
}

/// Trains a model with a history for one epoch.
fn train_history(output: &str, data: &str, more: &[&str]) -> Outcome {
    let sets = ["model.detector=history", "hyperparameters.epochs=1", "training.warmup_steps=0"];
    let sets: Vec<&str> = sets.iter().flat_map(|assignment| ["--set", assignment]).collect();
    train(output, &[&["--train", data], &sets[..], more].concat())
}

/// What `inspect` says of the history.
fn history(run: &str) -> Value {
    let model = format!("{run}/model");
    let inspected = ipsight(root(), &["inspect", "--model", &model, "--json"], b"").expect(0, &[]).json();
    inspected["history"].clone()
}

#[test]
fn events_are_added_to_the_history_of_the_model_that_a_run_begins_from() {
    LazyLock::force(&FIXTURE);
    let logins = fs::read_to_string(root().join("first.csv")).unwrap();
    let timed = |(i, line): (usize, &str)| format!("{line},{}\n", 1_700_000_000 + 600 * i);
    let rows: Vec<String> = logins.lines().step_by(40).enumerate().map(timed).collect();
    assert_eq!(rows.len(), 500);
    for (name, rows) in [("then", &rows[..300]), ("now", &rows[300..]), ("all", &rows[..])] {
        fs::write(root().join(format!("timed-{name}.csv")), rows.concat()).unwrap();
    }
    let of_model = |run: &str, name: &str| fs::read(root().join(run).join("model").join(name)).unwrap();
    let times = ["--time-column", "3"];
    let from = |run| [&times[..], &["--init-from", run]].concat();
    train_history("counted-then", "timed-then.csv", &times).expect(0, &[]);
    train_history("counted-sum", "timed-now.csv", &from("counted-then")).expect(0, &[]);
    train_history("counted-all", "timed-all.csv", &times).expect(0, &[]);
    assert!(of_model("counted-sum", HISTORY) == of_model("counted-all", HISTORY), "the sum is the whole");
    assert!(of_model("counted-sum", HEAD) == of_model("counted-then", HEAD), "the head has seen more events");
    let whole = history("counted-all");
    assert_eq!((&whole["events"], &whole["dropped_pairs"]), (&500.into(), &0.into()));
    assert_eq!(whole["last_time"].as_i64().unwrap() - whole["first_time"].as_i64().unwrap(), 600 * 499);
    assert_eq!(whole["ipv4"]["prefixes"]["32"], whole["networks"]);
    let text = ipsight(root(), &["inspect", "--model", "counted-sum/model"], b"").expect(0, &[]).stdout;
    assert!(text.contains("history: 500 events of ") && text.contains("from 2023-11-14T22:13:20Z"), "{text}");

    // Without times all is the same but the order of the events.
    train_history("order-then", "timed-then.csv", &[]).expect(0, &[]);
    train_history("order-sum", "timed-now.csv", &["--init-from", "order-then"]).expect(0, &[]);
    let (sum, whole) = (history("order-sum"), history("counted-all"));
    assert_eq!(sum["first_time"], Value::Null);
    for key in ["events", "entities", "pairs", "networks", "ipv4", "ipv6"] {
        assert_eq!(sum[key], whole[key], "{key}");
    }

    // A bound holds for the sum.
    let bound = [&from("counted-then")[..], &["--set", "model.max_networks_per_entity=1"]].concat();
    train_history("counted-bound", "timed-now.csv", &bound).expect(0, &[]);
    let bound = history("counted-bound");
    assert_eq!((&bound["events"], &bound["entities"]), (&whole["events"], &whole["entities"]));
    assert_eq!(bound["pairs"], whole["entities"]);
    let num = |history: &Value, key: &str| history[key].as_u64().unwrap();
    assert_eq!(num(&bound, "pairs") + num(&bound, "dropped_pairs"), num(&whole, "pairs"));

    train_history("twice", "timed-then.csv", &from("counted-then")).expect(0, &["are some events in both?"]);
    train_history("counts-anew", "timed-now.csv", &from("old")).expect(0, &["have no history"]);
    assert_eq!(history("counts-anew")["events"], 200);
    let untimed = ["--init-from", "counted-then"];
    let words = ["--init-from counted-then", "has times and the events have none", "--time-column"];
    train_history("never-counted", "timed-now.csv", &untimed).expect(2, &words);
    train_history("never-counted", "timed-now.csv", &from("order-then")).expect(2, &["has no times"]);
    assert!(!root().join("never-counted").exists());
    let words = ["model.max_networks_per_entity", "keeps no history"];
    train("never-counted", &["--set", "model.max_networks_per_entity=9"]).expect(2, &words);
}

fn config() -> Config {
    let set = ["data.train=[\"next.csv\"]".to_string()];
    Config::load(Some(&root().join("small.toml")), &set).unwrap()
}

/// The state of a run that begins, and is stopped before its first step.
fn begun(from: &Path, rows_per_shard: Option<u64>) -> Trained {
    let mut device = device::choose(DeviceChoice::Ndarray).unwrap();
    device.limits.max_binding_bytes = rows_per_shard.map(|rows| rows * 4 * 33);
    let config = config();
    let initial = InitialModel::open(from, &config).unwrap();
    let events = Events::from_columns(vec![1, 2], [3, 4].map(Address::from_ipv4).to_vec());
    let inputs = TrainInputs {
        config: &config,
        events: &events,
        validation: None,
        device: &device,
        stop: &|| Some(15),
        checkpoints: None,
        init_from: Some(&initial),
        from: None,
        until_epoch: None,
    };
    let trained = ipsight::train(&inputs, &mut |_| Ok(())).unwrap();
    assert_eq!((trained.num_steps, trained.stopped_by), (0, Some(15)));
    trained
}

#[test]
fn before_the_first_step_it_is_the_model_in_any_number_of_shards() {
    LazyLock::force(&FIXTURE);
    let bytes = fs::read(root().join("old/model/model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    for rows_per_shard in [None, Some(2400)] {
        let trained = begun(&root().join("old"), rows_per_shard);
        let num_shards = trained.model.entity_embedding.shards.len();
        assert_eq!(num_shards > 1, rows_per_shard.is_some(), "{num_shards} shards");
        let tensors = trained.model.named_tensors();
        assert!(tensors.len() >= 5);
        for tensor in tensors {
            let values: Vec<u8> = tensor
                .parts
                .iter()
                .flat_map(|part| part.to_data().iter::<f32>().flat_map(f32::to_le_bytes).collect::<Vec<_>>())
                .collect();
            assert!(values == stored.tensor(&tensor.name).unwrap().data(), "{}", tensor.name);
        }
        assert_eq!(trained.row_counts, row_counts("old"));
    }
}

/// Starts a training and kills it once it has told so many figures; whether that was before its end.
fn killed(output: &str, from: &str, num_lines: usize) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args([&TRAIN[..], &[output, "--init-from", from]].concat())
        .current_dir(root())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let metrics = root().join(output).join("metrics.jsonl");
    loop {
        if fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= num_lines) {
            let _ = child.kill(); // it may have ended meanwhile
            return child.wait().unwrap().code().is_none();
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_in_the_same_model() {
    LazyLock::force(&FIXTURE);
    let from_checkpoint = last_checkpoint(root(), "old");
    for (output, from, expected) in
        [("killed", "old", "whole"), ("killed-onward", from_checkpoint.as_str(), "onward")]
    {
        let num_killed = [2, 5, 9, 14].iter().filter(|num_lines| killed(output, from, **num_lines)).count();
        assert!(num_killed > 0, "{output}: every kill came too late");
        let last = train(output, &["--init-from", from]);
        match last.code {
            Some(2) => last.expect(2, &["is complete"]), // so did the last kill
            _ => last.expect(0, &[]),
        };
        assert_same_model(output, expected);
    }
}

#[test]
fn a_run_from_another_model_is_refused_by_name() {
    LazyLock::force(&FIXTURE);
    let pause = ["--init-from", "old", "--until-epoch", "2"];
    train("refused", &pause).expect(0, &["paused"]);
    let digest =
        |run: &str| manifest(run)["files"]["model.safetensors"]["blake3"].as_str().unwrap()[..8].to_string();
    let (then, now) = (digest("old"), digest("other"));
    let named = format!("--init-from: weights with BLAKE3 {then}… then, weights with BLAKE3 {now}… now");
    train("refused", &["--init-from", "other"]).expect(2, &["of another run", &named, "--overwrite"]);
    let named = format!("--init-from: weights with BLAKE3 {then}… then, nothing now");
    train("refused", &[]).expect(2, &["of another run", &named]);
    let with_moments = ["--init-from", &last_checkpoint(root(), "old")];
    train("refused", &with_moments).expect(2, &["and moments of 120 steps now"]);
    // The same weights under another name are the same beginning.
    copy("old/model", "copied");
    train("refused", &["--init-from", "copied"]).expect(0, &["going on from"]);
    assert_same_model("refused", "whole");
    // A run that began from nothing is another one, too.
    train("plain", &["--until-epoch", "2"]).expect(0, &[]);
    train("plain", &["--init-from", "old"]).expect(2, &["--init-from: nothing then, weights with BLAKE3"]);
}

fn copy(from: &str, to: &str) -> PathBuf {
    let to = root().join(to);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(root().join(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn weights_of_another_shape_are_refused_with_every_difference() {
    LazyLock::force(&FIXTURE);
    let set = |assignments: &[&str]| {
        let flags: Vec<&str> = assignments.iter().flat_map(|assignment| ["--set", assignment]).collect();
        train("shape", &[&["--init-from", "old", "--until-epoch", "1"], &flags[..]].concat())
    };
    set(&["hyperparameters.num_entity_vectors=7000"]).expect(
        2,
        &[
            "--init-from old: its weights do not fit",
            "hyperparameters.num_entity_vectors: 6000 then, 7000 now",
            "modulo num_entity_vectors",
            "cannot be dealt out anew",
            "keep the old number, or train from scratch",
        ],
    );
    set(&["hyperparameters.vector_dim=8", "hyperparameters.num_ip_encoder_layers=2"]).expect(
        2,
        &[
            "hyperparameters.num_ip_encoder_layers: 1 then, 2 now; ",
            "hyperparameters.vector_dim: 16 then, 8 now",
            "in config.toml beside the weights",
        ],
    );
    // A checkpoint's shape is looked at, too.
    let from = last_checkpoint(root(), "old");
    let smaller = ["--init-from", &from, "--set", "hyperparameters.vector_dim=8"];
    train("shape", &smaller).expect(2, &["hyperparameters.vector_dim: 16 then, 8 now"]);
    assert!(!root().join("shape").exists(), "nothing was begun");
    // What is not a matter of shape may differ.
    set(&["hyperparameters.learning_rate=0.01", "training.seed=3"]).expect(0, &["beginning from"]);
}

#[test]
fn what_is_no_model_or_a_damaged_one_is_refused() {
    LazyLock::force(&FIXTURE);
    let from = |path: &str| train("never", &["--init-from", path]);
    from("nowhere").expect(2, &["--init-from nowhere: there is no model", "RUN/checkpoints/step-"]);
    from("logins").expect(2, &["there is no model and no checkpoint"]);
    let folder = copy("old/model", "damaged");
    let mut bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    from("damaged").expect(3, &["damaged/model.safetensors", "BLAKE3"]);
    let folder = copy("old/model", "hashed");
    let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
    fs::write(folder.join("manifest.json"), text.replace("xxh3_64:v1", "xxh3_64:v0")).unwrap();
    support::reseal_manifest(&folder.join("manifest.json"));
    let more = ["--init-from", "hashed", "--set", "hyperparameters.vector_dim=8"];
    train("never", &more).expect(
        2,
        &["entity hash: xxh3_64:v0 then, xxh3_64:v1 now; hyperparameters.vector_dim: 16 then, 8 now"],
    );
    // And nothing else reads it.
    ipsight(root(), &["inspect", "--model", "hashed"], b"").expect(3, &["hashed with xxh3_64:v0"]);
    assert!(!root().join("never").exists());
    // What would be replaced cannot be begun from.
    for inside in ["old", "old/model", &last_checkpoint(root(), "old")] {
        train("old", &["--init-from", inside, "--overwrite"]).expect(2, &["lies in the folder of the run"]);
    }
}

/// Runs `examples/nightly.sh` on `home` with a day's logins.
fn nightly(logins: &str, night: &str, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/nightly.sh");
    let output = Command::new("sh")
        .arg(script)
        .args(["home", logins, night])
        .env("IPSIGHT", env!("CARGO_BIN_EXE_ipsight"))
        .envs(more.iter().copied())
        .current_dir(root())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_night_swaps_the_model_that_is_served_if_it_is_good_enough() {
    LazyLock::force(&FIXTURE);
    if Command::new("curl").arg("--version").output().is_err() {
        skipped("curl is not installed");
        return;
    }
    let home = root().join("home");
    fs::create_dir(&home).unwrap();
    symlink("../old/model", home.join("current")).unwrap();
    let server = Server::start(root(), "home/current", &["--watch-interval", "0"]);
    let reload = format!("http://{}/reload", server.admin);
    let leads_to = || fs::read_link(home.join("current")).unwrap();
    let answer = || {
        let body = "user_1,203.0.113.7";
        let (status, answer) =
            Client::connect(server.address).post("/invocations", "text/csv", body).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let by_old = answer();

    let (code, said) = nightly("next.csv", "one", &[("RELOAD", &reload)]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(leads_to(), Path::new("nights/one/run/model"));
    let by_new = answer();
    assert_ne!(by_new, by_old, "the server has the new model");
    let night = home.join("nights/one");
    let comparison: Value =
        serde_json::from_slice(&fs::read(night.join("comparison.json")).unwrap()).unwrap();
    assert_eq!(comparison["num_events"], 950, "every tenth login");
    assert_eq!(comparison["old"]["blake3"], manifest("old")["files"]["model.safetensors"]["blake3"]);
    assert!(fs::read_to_string(home.join("current/thresholds.json")).unwrap().contains("step_up"));
    let new = manifest("home/nights/one/run");
    assert_eq!(new["training"]["init_from"]["blake3"], comparison["old"]["blake3"]);
    assert_eq!(new["training"]["num_events"], 8550);

    // A day on which everybody logs in from somebody else's places makes another model: it stays outside.
    let text = fs::read_to_string(root().join("next.csv")).unwrap();
    let (users, ips): (Vec<&str>, Vec<&str>) = text.lines().map(|line| line.split_once(',').unwrap()).unzip();
    let turned = users.iter().zip(ips.iter().cycle().skip(4321)).map(|(user, ip)| format!("{user},{ip}\n"));
    // Five times, so that the rate comes to its height.
    fs::write(root().join("turned.csv"), turned.collect::<String>().repeat(5)).unwrap();
    let (code, said) = nightly("turned.csv", "two", &[("RELOAD", &reload)]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is above --max-psi 0.25"), "{said}");
    assert_eq!(leads_to(), Path::new("nights/one/run/model"));
    assert_eq!(answer(), by_new);

    // A gate of one's own.
    let (code, said) = nightly("next.csv", "three", &[("GATES", "--min-auc 1")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("below --min-auc 1"), "{said}");
    server.stop();
}
