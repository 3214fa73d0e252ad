//! Whole-program tests: every verb, every exit code, `--json` parsed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use support::{Outcome, ipsight};
use tempfile::TempDir;

/// Generated logins and two runs of one seed on them, made once for all tests.
struct Fixture {
    folder: TempDir,
    trained: Outcome,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let generate = [
        "generate",
        "--users",
        "300",
        "--days",
        "10",
        "--seed",
        "7",
        "--output",
        "logins",
        "--attacks",
        "address_ranges=1",
    ];
    ipsight(root, &generate, b"").expect(0, &["train.csv", "test_labelled.csv"]);
    fs::write(root.join("small.toml"), SMALL).unwrap();
    let train =
        |output| ipsight(root, &["train", "--config", "small.toml", "--output", output, "--json"], b"");
    let trained = train("run").expect(0, &["ndarray", "memory:"]);
    train("again").expect(0, &[]);
    Fixture { folder, trained }
});

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 600
vector_dim = 16
mini_batch_size = 500
learning_rate = 0.02
epochs = 6
batch_metrics_publish_interval = 50
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
validation = ["logins/validation.csv"]
"#;

fn root() -> &'static Path {
    FIXTURE.folder.path()
}

fn run(args: &[&str]) -> Outcome {
    ipsight(root(), args, b"")
}

fn run_with_stdin(args: &[&str], stdin: &str) -> Outcome {
    ipsight(root(), args, stdin.as_bytes())
}

fn write(name: &str, text: impl AsRef<[u8]>) -> String {
    fs::write(root().join(name), text).unwrap();
    name.into()
}

fn file(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap()
}

fn copy_folder(from: &str, to: &str) -> PathBuf {
    let to = root().join(to);
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(root().join(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn one_thread_trains_the_same_model_as_many() {
    let train = ["train", "--config", "small.toml", "--output", "single"];
    let trained = std::process::Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args(train)
        .current_dir(root())
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert!(trained.status.success(), "{trained:?}");
    for file in ["model.safetensors", "folded.safetensors"] {
        let bytes = |run: &str| fs::read(root().join(run).join("model").join(file)).unwrap();
        assert!(bytes("single") == bytes("run"), "{file} differs");
    }
}

#[test]
fn train_tells_epochs_and_the_end_as_json() {
    let lines = FIXTURE.trained.json_lines();
    assert_eq!(lines.len(), 7);
    for (epoch, line) in lines[..6].iter().enumerate() {
        assert_eq!(line["event"], "epoch");
        assert_eq!(line["epoch"], epoch);
        for key in ["loss", "accuracy", "discriminator_auc", "positives_per_second", "seconds"] {
            assert!(line[key].is_f64(), "{key} in {line}");
        }
    }
    assert!(lines[5]["loss"].as_f64() < lines[0]["loss"].as_f64());
    assert!(lines[5]["discriminator_auc"].as_f64() > Some(0.9), "{}", lines[5]);
    assert_eq!(lines[6]["event"], "done");
    assert_eq!(lines[6]["model"], "run/model");
}

#[test]
fn a_run_folder_holds_config_metrics_tensorboard_and_model() {
    LazyLock::force(&FIXTURE);
    let config = String::from_utf8(file("run/config.toml")).unwrap();
    assert!(config.contains("vector_dim = 16") && config.contains("weight_decay"), "{config}");
    let metrics = String::from_utf8(file("run/metrics.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.iter().filter(|event| event["event"] == "epoch").count(), 6);
    assert!(events.iter().any(|event| event["event"] == "batch" && event["step"] == 49));
    assert_eq!(fs::read_dir(root().join("run/tensorboard")).unwrap().count(), 1);
    let mut names: Vec<_> = fs::read_dir(root().join("run/model"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.toml", "folded.safetensors", "manifest.json", "model.safetensors"]);
    // The config of a run trains the same model again.
    run(&["train", "--config", "run/config.toml", "--output", "rerun"]).expect(0, &[]);
    assert_eq!(file("rerun/model/model.safetensors"), file("run/model/model.safetensors"));
}

#[test]
fn the_same_seed_gives_the_same_model_byte_for_byte() {
    LazyLock::force(&FIXTURE);
    for name in ["model.safetensors", "folded.safetensors", "config.toml", "manifest.json"] {
        assert_eq!(file(&format!("run/model/{name}")), file(&format!("again/model/{name}")), "{name}");
    }
    run(&["train", "--config", "small.toml", "--set", "training.seed=1", "--output", "seed1"]).expect(0, &[]);
    assert_ne!(file("seed1/model/model.safetensors"), file("run/model/model.safetensors"));
}

#[test]
fn prepared_input_trains_the_same_model_as_text() {
    LazyLock::force(&FIXTURE);
    run(&["prepare", "logins/train.csv", "--output", "train.arrow"]).expect(0, &["events in train.arrow"]);
    run(&["train", "--config", "small.toml", "--train", "train.arrow", "--output", "prepared"])
        .expect(0, &[]);
    assert_eq!(file("prepared/model/model.safetensors"), file("run/model/model.safetensors"));
}

#[test]
fn a_run_is_not_overwritten_unless_told() {
    LazyLock::force(&FIXTURE);
    let train = ["train", "--config", "small.toml", "--set", "hyperparameters.epochs=1", "--output", "once"];
    run(&train).expect(0, &[]);
    run(&train).expect(2, &["once", "--overwrite"]);
    run(&[&train[..], &["--overwrite"]].concat()).expect(0, &[]);
}

#[test]
fn people_get_the_auc_the_model_and_the_next_command() {
    LazyLock::force(&FIXTURE);
    let train =
        ["train", "--config", "small.toml", "--set", "hyperparameters.epochs=1", "--output", "people"];
    let outcome = run(&train).expect(0, &["epoch 1/1", "positives/s"]);
    assert!(outcome.stdout.contains("discriminator_auc: 0."), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("model: people/model"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("ipsight score --model people/model --input -"), "{}", outcome.stdout);
}

#[test]
fn score_keeps_the_order_and_says_what_was_seen() {
    let input = "user_1,203.0.113.7\nnobody at all,8.8.8.8\n\"user, 2\",1.2.3.4\nuser_1,203.0.113.7\n";
    let outcome =
        run_with_stdin(&["score", "--model", "run/model", "--input", "-", "--device", "ndarray"], input)
            .expect(0, &[]);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "entity,ip,dot_product,anomaly_score,entity_seen");
    assert!(lines[1].starts_with("user_1,203.0.113.7,") && lines[1].ends_with(",true"), "{}", lines[1]);
    assert!(lines[2].starts_with("nobody at all,8.8.8.8,"), "{}", lines[2]);
    assert!(lines[3].starts_with("\"user, 2\",1.2.3.4,"), "{}", lines[3]);
    assert_eq!(lines[1], lines[4]);
    let field = |line: &str, i: usize| line.split(',').nth(i).unwrap().parse::<f32>().unwrap();
    assert_eq!(field(lines[1], 2), -field(lines[1], 3));
    // 300 users leave about 6 in 10 of the 600 rows untouched: of many strangers some are not seen.
    let strangers: String = (0..50).map(|i| format!("stranger_{i},8.8.8.8\n")).collect();
    let outcome = run_with_stdin(&["score", "--model", "run/model"], &strangers).expect(0, &[]);
    assert!(outcome.stdout.contains(",false\n"), "{}", outcome.stdout);
}

#[test]
fn ipv6_is_refused_or_skipped_by_name_and_held_ipv4_addresses_are_taken() {
    LazyLock::force(&FIXTURE);
    let rows = "user_1,1.2.3.4\nuser_1,::ffff:1.2.3.4\nuser_1,2001:db8::1\nuser_1,::1\n";
    let score = |more: &[&str]| {
        run_with_stdin(&[&["score", "--model", "run/model", "--device", "ndarray"], more].concat(), rows)
    };
    score(&[]).expect(3, &["stdin:3", "IPv6 address", "model.addresses", "--on-bad-row skip"]);
    let skip = ["--on-bad-row", "skip", "--max-bad-fraction", "1"];
    let taken = score(&skip).expect(0, &["2 of 4 rows are bad: 2 IPv6 address"]);
    let lines: Vec<&str> = taken.stdout.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, lines[2]));

    // Every other verb that reads events: the same events, whichever way they are written.
    let plain: String = (0..400).map(|i| format!("user_{},1.2.{}.{}\n", i % 7, i % 5, i % 50)).collect();
    write("plain.csv", &plain);
    write("mapped.csv", plain.replace(",1.2.", ",::ffff:1.2."));
    run(&["prepare", "plain.csv", "--output", "plain.arrow"]).expect(0, &[]);
    run(&["prepare", "mapped.csv", "--output", "mapped.arrow"]).expect(0, &[]);
    assert!(file("plain.arrow") == file("mapped.arrow"));
    let train = |input: &str, output: &str, more: &[&str]| {
        let args =
            ["train", "--config", "small.toml", "--train", input, "--validation", input, "--output", output];
        run(&[&args[..], &["--set", "hyperparameters.epochs=1"], more].concat())
    };
    train("plain.csv", "plain_run", &[]).expect(0, &[]);
    train("mapped.csv", "mapped_run", &[]).expect(0, &[]);
    train("mapped.arrow", "prepared_run", &[]).expect(0, &[]);
    for run in ["mapped_run", "prepared_run"] {
        let weights = |run: &str| file(&format!("{run}/model/model.safetensors"));
        assert!(weights(run) == weights("plain_run"), "{run}");
    }
    let evaluate = |data: &str, more: &[&str]| {
        run(&[&["evaluate", "--model", "run/model", "--json", "--data", data, "--history", data], more]
            .concat())
    };
    let found = evaluate("mapped.csv", &[]).expect(0, &[]);
    assert_eq!(found.stdout, evaluate("plain.csv", &[]).expect(0, &[]).stdout);
}

#[test]
fn score_writes_json_lines_and_parquet_like_csv() {
    LazyLock::force(&FIXTURE);
    let score = |format: &str, output: &str| {
        let input = ["score", "--model", "run/model", "--input", "logins/test.csv"];
        run(&[&input[..], &["--format", format, "--output", output]].concat()).expect(0, &[]);
    };
    score("csv", "scores.csv");
    score("jsonl", "scores.jsonl");
    score("parquet", "scores.parquet");
    let csv = String::from_utf8(file("scores.csv")).unwrap();
    let jsonl = String::from_utf8(file("scores.jsonl")).unwrap();
    assert_eq!(csv.lines().count(), 1 + jsonl.lines().count());
    for (csv, json) in csv.lines().skip(1).zip(jsonl.lines()) {
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let fields: Vec<&str> = csv.split(',').collect();
        assert_eq!((fields[0], fields[1]), (json["entity"].as_str().unwrap(), json["ip"].as_str().unwrap()));
        let dot_product = json["dot_product"].as_f64().unwrap() as f32;
        assert_eq!(fields[2].parse::<f32>().unwrap(), dot_product);
        assert_eq!(fields[4], json["entity_seen"].to_string());
    }
    // What was written is an input again: the scores of Parquet's events are the same.
    run(&["score", "--model", "run/model", "--input", "scores.parquet", "--output", "again.csv"])
        .expect(0, &[]);
    assert_eq!(file("again.csv"), file("scores.csv"));
}

#[test]
fn evaluate_measures_labelled_events_and_random_ipv4() {
    LazyLock::force(&FIXTURE);
    let evaluate = ["evaluate", "--model", "run/model", "--json", "--data"];
    let random = run(&[&evaluate[..], &["logins/test.csv"]].concat()).expect(0, &[]).json();
    let num_test = String::from_utf8(file("logins/test.csv")).unwrap().lines().count();
    assert_eq!(random["num_events"], 2 * num_test);
    assert_eq!(random["num_attacks"], num_test);
    assert!(random["auc"].as_f64() > Some(0.9), "{random}");

    let labelled =
        run(&[&evaluate[..], &["logins/test_labelled.csv", "--labels"]].concat()).expect(0, &[]).json();
    assert_eq!(labelled["num_events"], 2 * num_test);
    assert_eq!(labelled["num_attacks"], num_test);
    assert!(labelled["auc"].as_f64() > Some(0.85), "{labelled}");
    assert!(labelled["tpr"].as_f64() > labelled["fpr"].as_f64(), "{labelled}");

    run(&[&evaluate[..], &["logins/test.csv", "--min-auc", "0.5"]].concat()).expect(0, &[]);
    run(&[&evaluate[..], &["logins/test.csv", "--min-auc", "0.99999"]].concat()).expect(1, &["--min-auc"]);
    run(&[&evaluate[..], &["logins/test.csv", "--min-auc", "nan"]].concat()).expect(2, &["0 to 1"]);
    run(&[&evaluate[..], &["logins/test.csv", "--labels"]].concat()).expect(3, &["logins/test.csv:1"]);
}

#[test]
fn a_damaged_model_is_refused() {
    LazyLock::force(&FIXTURE);
    let score = |model: &str| run_with_stdin(&["score", "--model", model], "user_1,1.2.3.4\n");
    score("no such model").expect(4, &["no such model"]);
    type Damage<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));
    let damage: [Damage; 6] = [
        ("model.safetensors", &|bytes| *bytes.last_mut().unwrap() ^= 1),
        ("model.safetensors", &|bytes| bytes.truncate(1000)),
        ("folded.safetensors", &|bytes| *bytes.last_mut().unwrap() ^= 1),
        ("config.toml", &|bytes| bytes.push(b'\n')),
        ("manifest.json", &|bytes| bytes.truncate(20)),
        ("manifest.json", &|bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            *bytes = text.replace("\"format_version\": 4", "\"format_version\": 3").into_bytes();
        }),
    ];
    for (i, (name, damage)) in damage.into_iter().enumerate() {
        let model = format!("damaged{i}");
        let path = copy_folder("run/model", &model).join(name);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        score(&model).expect(3, &[name, "help:"]);
        run(&["inspect", "--model", &model]).expect(3, &[name]);
    }
    let path = copy_folder("run/model", "incomplete");
    fs::remove_file(path.join("config.toml")).unwrap();
    score("incomplete").expect(4, &["config.toml"]);
}

/// `versions/` has a model folder and a checkpoint of the version before, as they were written then.
#[test]
fn folders_of_another_version_are_refused_with_both_versions_and_what_to_do() {
    LazyLock::force(&FIXTURE);
    let versions = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/versions");
    let (model, checkpoint) = (format!("{versions}/model-3"), format!("{versions}/checkpoint-2"));
    let of_model = ["manifest.json", "format version 3", "reads version 4", "train again"];
    run_with_stdin(&["score", "--model", &model], "user_1,10.1.0.1\n").expect(3, &of_model);
    run(&["inspect", "--model", &model]).expect(3, &of_model);
    let train = ["train", "--config", "small.toml", "--output", "from_another_version", "--init-from"];
    run(&[&train[..], &[&model]].concat()).expect(3, &of_model);
    let of_checkpoint = ["manifest.json", "format version 2", "reads version 3", "begin again"];
    run(&[&train[..], &[&checkpoint]].concat()).expect(2, &of_checkpoint);
}

#[test]
fn inspect_shows_the_manifest() {
    LazyLock::force(&FIXTURE);
    let manifest = run(&["inspect", "--model", "run/model", "--json"]).expect(0, &[]).json();
    assert_eq!(manifest["format_version"], 4);
    assert_eq!(manifest["entity_hash"], "xxh3_64:v1");
    assert_eq!(manifest["training"]["num_epochs"], 6);
    assert_eq!(manifest["training"]["completed"], true);
    assert!(manifest["files"]["model.safetensors"]["blake3"].as_str().unwrap().len() == 64);
    let text = run(&["inspect", "--model", "run/model"]).expect(0, &[]).stdout;
    assert!(text.contains("600 entity vectors of 16 floats"), "{text}");
}

#[test]
fn bad_rows_fail_are_skipped_or_go_to_quarantine() {
    let rows: String = (0..2000).map(|i| format!("u{i},10.0.{}.{}\n", i / 256, i % 256)).collect();
    let input = write("bad.csv", format!("{rows}u,01.2.3.4\n"));
    let prepare = ["prepare", &input, "--output", "bad.arrow"];
    run(&prepare).expect(3, &["bad.csv:2001", "leading zeros", "help:"]);
    run(&[&prepare[..], &["--on-bad-row", "skip"]].concat()).expect(0, &["1 of 2001 rows"]);
    run(&[&prepare[..], &["--on-bad-row", "quarantine=bad.rows"]].concat()).expect(0, &["1 of 2001 rows"]);
    assert_eq!(file("bad.rows"), b"u,01.2.3.4\n");
    let strict = ["--on-bad-row", "skip", "--max-bad-fraction", "0"];
    run(&[&prepare[..], &strict].concat()).expect(3, &["1"]);
    run(&[&prepare[..], &["--on-bad-row", "ignore"]].concat())
        .expect(2, &["fail", "skip", "quarantine=FILE"]);
}

#[test]
fn input_that_is_not_what_it_should_be_is_named_with_its_mend() {
    let prepare = |name: &str, text: &[u8]| run(&["prepare", &write(name, text), "--output", "out.arrow"]);
    prepare("header.csv", b"user,ip\na,1.2.3.4\n").expect(3, &["header.csv:1", "--entity-column user"]);
    prepare("swapped.csv", b"1.2.3.4,a\n").expect(3, &["swapped.csv:1", "--entity-column 2 --ip-column 1"]);
    prepare("one.csv", b"a\nb\n").expect(3, &["one.csv:1", "one column"]);
    prepare("utf16.csv", b"\xff\xfea\0,\0").expect(3, &["utf16.csv:1", "UTF-16"]);
    prepare("long.csv", &[b'a'; 70_000]).expect(3, &["long.csv:1"]);
    prepare("empty.csv", b"").expect(3, &["empty.csv", "no rows"]);
    run(&["prepare", "none.csv", "--output", "out.arrow"]).expect(4, &["none.csv"]);
    assert!(!root().join("out.arrow").exists());
}

#[test]
fn usage_and_configuration_errors_exit_with_2() {
    LazyLock::force(&FIXTURE);
    run(&["trian"]).expect(2, &["train"]);
    run(&["train", "--config", "small.toml", "--set", "hyperparameters.epoch=3"]).expect(2, &["`epochs`"]);
    run(&["train", "--config", "small.toml", "--set", "hyperparameters.learning_rate=20"])
        .expect(2, &["learning_rate", "10"]);
    let config = write("typo.toml", "[hyperparameters]\nepochs = 1\nvectordim = 8\n");
    run(&["train", "--config", &config]).expect(2, &["typo.toml:3", "vector_dim"]);
    run(&["train"]).expect(2, &["--train"]);
    run(&["train", "--config", "none.toml"]).expect(4, &["none.toml"]);
    run(&["train", "--config", "small.toml", "--device", "gpu"]).expect(2, &["ndarray"]);
}

#[test]
fn a_table_that_does_not_fit_is_refused_with_the_figure() {
    LazyLock::force(&FIXTURE);
    let huge = ["hyperparameters.num_entity_vectors=250000000", "hyperparameters.vector_dim=4096"];
    run(&["train", "--config", "small.toml", "--output", "huge", "--set", huge[0], "--set", huge[1]])
        .expect(5, &["TiB", "num_entity_vectors"]);
    assert!(!root().join("huge").exists(), "nothing is written for a run that cannot start");
}

#[test]
fn a_loss_that_explodes_is_an_error_and_not_a_model() {
    LazyLock::force(&FIXTURE);
    let outcome = run(&[
        "train",
        "--config",
        "small.toml",
        "--output",
        "exploded",
        "--set",
        "hyperparameters.learning_rate=10",
        "--set",
        "hyperparameters.num_ip_encoder_layers=30",
        "--set",
        "hyperparameters.epochs=1",
    ]);
    outcome.expect(2, &["diverged", "lower hyperparameters.learning_rate"]);
    assert!(!root().join("exploded/model").exists());
}

#[test]
fn a_signal_stops_a_run_after_its_model_is_saved() {
    LazyLock::force(&FIXTURE);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let output = format!("stopped-{signal}");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
            .args(["train", "--config", "small.toml", "--set", "hyperparameters.epochs=100000"])
            .args(["--output", &output])
            .current_dir(root())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // The metrics of the first epoch say that training is under way.
        let metrics = root().join(&output).join("metrics.jsonl");
        while !fs::read_to_string(&metrics).is_ok_and(|text| text.contains("\"epoch\"")) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let manifest =
            run(&["inspect", "--model", &format!("{output}/model"), "--json"]).expect(0, &[]).json();
        assert_eq!(manifest["training"]["completed"], false);
        let model = format!("{output}/model");
        run_with_stdin(&["score", "--model", &model], "user_1,1.2.3.4\n").expect(0, &[]);
    }
}

/// Nobody reading what it says must not cost a run its model.
#[test]
fn a_run_whose_output_nobody_reads_still_saves_its_model() {
    LazyLock::force(&FIXTURE);
    for (name, redirect) in
        [("stdout", "| true"), ("stderr", "2>&1 >/dev/null | true"), ("full", "2>/dev/full")]
    {
        let binary = env!("CARGO_BIN_EXE_ipsight");
        let train = format!("{binary} train --config small.toml --json --output unread-{name} {redirect}");
        Command::new("sh").args(["-c", &train]).current_dir(root()).output().unwrap();
        // A pipeline ends with its last command: the run itself may still be at work.
        let manifest = root().join(format!("unread-{name}/model/manifest.json"));
        for _ in 0..600 {
            if manifest.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(manifest.exists(), "{name}");
    }
}

#[test]
fn training_and_validation_have_quarantines_of_their_own() {
    LazyLock::force(&FIXTURE);
    for name in ["train", "validation"] {
        let good = String::from_utf8(file(&format!("logins/{name}.csv"))).unwrap();
        write(&format!("{name}-bad.csv"), format!("{good}{name},1.2.3\n"));
    }
    let args =
        ["train", "--config", "small.toml", "--set", "hyperparameters.epochs=1", "--output", "quarantined"];
    let bad = ["--train", "train-bad.csv", "--validation", "validation-bad.csv"];
    let policy = ["--on-bad-row", "quarantine=rows"];
    run(&[&args[..], &bad, &policy].concat()).expect(0, &["1 of "]);
    assert_eq!(file("rows"), b"train,1.2.3\n");
    assert_eq!(file("rows.validation"), b"validation,1.2.3\n");
}

#[test]
fn generate_is_a_function_of_its_flags() {
    LazyLock::force(&FIXTURE);
    let generate = |seed: &str, output: &str| {
        run(&["generate", "--users", "20", "--days", "10", "--seed", seed, "--output", output])
            .expect(0, &[]);
    };
    generate("1", "g1");
    generate("1", "g2");
    generate("2", "g3");
    for name in ["train.csv", "validation.csv", "test.csv", "test_labelled.csv"] {
        assert_eq!(file(&format!("g1/{name}")), file(&format!("g2/{name}")), "{name}");
        assert_ne!(file(&format!("g1/{name}")), file(&format!("g3/{name}")), "{name}");
    }
    let ranges = write("ranges.tsv", "10.0.0.0\t10.0.255.255\t7\tZZ\tTEST\n");
    let args = ["generate", "--users", "5", "--days", "10", "--output", "g4", "--ranges", &ranges];
    run(&args).expect(0, &[]);
    let train = String::from_utf8(file("g4/train.csv")).unwrap();
    assert!(train.lines().all(|line| line.contains(",10.0.")), "{train}");
    run(&[&args[..8], &["none.tsv"]].concat()).expect(4, &["none.tsv"]);
}

#[test]
fn devices_config_and_completions_print() {
    let devices = run(&["devices", "--json"]).expect(0, &[]).json();
    assert!(devices["auto"].is_string() && devices["adapters"].is_array(), "{devices}");
    assert!(run(&["devices"]).expect(0, &[]).stdout.contains("--device auto takes"));

    let config = run(&["config", "show", "--set", "hyperparameters.epochs=3"]).expect(0, &[]).stdout;
    assert!(config.contains("epochs = 3") && config.contains("[training]"), "{config}");
    let config = run(&["config", "show", "--json"]).expect(0, &[]).json();
    assert_eq!(config["hyperparameters"]["vector_dim"], 128);
    let schema = run(&["config", "schema"]).expect(0, &[]).json();
    assert_eq!(schema["properties"]["hyperparameters"]["properties"]["vector_dim"]["maximum"], 4096);

    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).expect(0, &[]).stdout.contains("ipsight"));
    }
    run(&["completions", "cobol"]).expect(2, &["bash"]);
    assert!(run(&["--help"]).expect(0, &[]).stdout.contains("Exit codes"));
}

#[test]
fn wgpu_trains_and_scores_like_the_cpu() {
    LazyLock::force(&FIXTURE);
    if support::wgpu().is_none() {
        return;
    }
    let train = |device: &str, output: &str| {
        let shrink = ["--set", "hyperparameters.epochs=1", "--set", "hyperparameters.vector_dim=8"];
        let args = ["train", "--config", "small.toml", "--json", "--device", device, "--output", output];
        run(&[&args[..], &shrink].concat()).expect(0, &[device]).json_lines()
    };
    let (cpu, gpu) = (train("ndarray", "on-cpu"), train("wgpu", "on-wgpu"));
    let loss = |lines: &[serde_json::Value]| lines[0]["loss"].as_f64().unwrap();
    assert!((loss(&cpu) / loss(&gpu) - 1.0).abs() < 1e-3, "{cpu:?}\n{gpu:?}");
    // One model, scored on both.
    let scores = |device: &str| {
        let args = ["score", "--model", "on-wgpu/model", "--input", "logins/test.csv", "--device", device];
        let outcome = run(&args).expect(0, &[]);
        let field = |line: &str| line.split(',').nth(2).unwrap().parse().unwrap();
        outcome.stdout.lines().skip(1).map(field).collect::<Vec<f32>>()
    };
    let mut mismatches = support::Mismatches::default();
    mismatches.check("scores", &scores("wgpu"), &scores("ndarray"), 1e-4);
    mismatches.assert_none();
}

/// Mesa's driver of AMD cards lists a card for the shader compiler alone, without hardware: no device comes of it.
#[test]
fn an_adapter_that_makes_no_device_is_an_error_or_passed_over() {
    let drivers = Path::new("/usr/share/vulkan/icd.d");
    let radeon =
        fs::read_dir(drivers).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).find(
            |path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("radeon_icd")),
        );
    let Some(radeon) = radeon else { return support::skipped("Mesa's radeon driver is not installed") };
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = support::command(folder.path(), args);
        command
            .env("VK_DRIVER_FILES", &radeon)
            .env("VK_ICD_FILENAMES", &radeon)
            .env("RADV_FORCE_FAMILY", "navi21");
        support::outcome(command, b"")
    };
    let devices = run(&["devices", "--json"]).expect(0, &[]).json();
    let listed = &devices["adapters"][0]["name"];
    let Some(name) = listed.as_str().filter(|name| name.contains("NAVI21")) else {
        return support::skipped(&format!("the driver lists {listed}"));
    };
    assert!(devices["auto"].as_str().unwrap().contains("makes no device"), "{devices}");
    fs::write(folder.path().join("events.csv"), "a,192.0.2.1\nb,192.0.2.2\n").unwrap();
    let train = ["train", "--train", "events.csv", "--set", "hyperparameters.num_entity_vectors=10"];
    let with = |more: &[&'static str]| run(&[&train[..], more].concat());
    with(&["--device", "wgpu", "--output", "wgpu"]).expect(5, &[name, "makes no device", "ndarray or auto"]);
    assert!(!folder.path().join("wgpu").exists(), "no run is begun");
    let auto = with(&["--device", "auto", "--output", "auto"]);
    auto.expect(0, &["device: ndarray on", "makes no device"]);
}
