//! `ipsight sagemaker train` in a folder like a training container's.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ipsight::train::checkpoint;
use support::server::{Client, Server};
use support::{Outcome, ipsight, python};
use tempfile::TempDir;

const HYPERPARAMETERS: &str = r#"{
    "num_entity_vectors": "600", "vector_dim": "16", "mini_batch_size": "1000", "epochs": "6",
    "learning_rate": "0.02", "batch_metrics_publish_interval": "5", "device": "ndarray",
    "checkpoint_interval": "7 steps", "_tuning_objective_metric": "validation:discriminator_auc"
}"#;

/// `ml/` as a container finds it, with 15 mini-batches of logins in two files, one in a folder of its own.
fn container() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    ipsight(root, &["generate", "--users", "200", "--days", "10", "--seed", "3", "--output", "logins"], b"")
        .expect(0, &[]);
    let rows = |name: &str, range: std::ops::Range<usize>| {
        let text = fs::read_to_string(root.join("logins").join(name)).unwrap();
        assert!(text.lines().count() >= range.end, "{}", text.lines().count());
        // With a space after the comma, as in the documentation's samples.
        let lines = text.lines().skip(range.start).take(range.len());
        lines.map(|line| format!("{}\n", line.replacen(',', ", ", 1))).collect::<String>()
    };
    write(root, "input/data/train/part-1", &rows("train.csv", 0..8000));
    write(root, "input/data/train/more/part-2.csv", &rows("train.csv", 8000..15_000));
    write(root, "input/data/validation/part-1", &rows("validation.csv", 0..1000));
    write(root, "input/config/hyperparameters.json", HYPERPARAMETERS);
    write(
        root,
        "input/config/inputdataconfig.json",
        r#"{"train": {"ContentType": "text/csv", "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
                      "RecordWrapperType": "None"},
            "validation": {"TrainingInputMode": "FastFile", "S3DistributionType": "FullyReplicated"}}"#,
    );
    write(
        root,
        "input/config/resourceconfig.json",
        r#"{"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}"#,
    );
    // The service mounts this one: it is there, empty, and stays.
    fs::create_dir_all(root.join("ml/model")).unwrap();
    folder
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join("ml").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn train(root: &Path) -> Outcome {
    ipsight(root, &["sagemaker", "train", "--root", "ml"], b"")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const MODEL: [&str; 4] = ["config.toml", "folded.safetensors", "manifest.json", "model.safetensors"];

#[cfg(unix)]
fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[test]
fn a_job_trains_tells_its_metrics_and_leaves_a_model_that_scores() {
    let folder = container();
    let root = folder.path();
    let mount = inode(&root.join("ml/model"));
    let outcome = train(root).expect(0, &["training: 15,000 events", "validation: 1,000 events"]);
    assert_eq!(names(&root.join("ml/model")), MODEL);
    assert_eq!(inode(&root.join("ml/model")), mount, "the folder is a mount point and must stay");
    assert_eq!(names(&root.join("ml/output")), ["data"], "no failure");
    assert_eq!(names(&root.join("ml/output/data")), ["config.toml", "metrics.jsonl", "tensorboard"]);
    let score = ["score", "--model", "ml/model", "--input", "-", "--device", "ndarray"];
    let scores = ipsight(root, &score, b"user_1, 1.2.3.4\n").expect(0, &[]).stdout;
    assert!(scores.lines().nth(1).unwrap().starts_with("user_1,1.2.3.4,"), "{scores}");
    let manifest = ipsight(root, &["inspect", "--model", "ml/model", "--json"], b"").expect(0, &[]).json();
    assert_eq!(manifest["training"]["num_events"], 15_000);

    // Served from where it is, it gives the same score.
    let server = Server::start_verb(root, &["sagemaker", "serve", "--root", "ml"]);
    let (status, body) =
        Client::connect(server.address).post("/invocations", "text/csv", "user_1, 1.2.3.4\n").unwrap();
    let served: serde_json::Value = serde_json::from_str(&body).expect(&body);
    let served = served["predictions"][0]["dot_product"].as_f64().expect(&body);
    let scored: f64 = scores.lines().nth(1).unwrap().split(',').nth(2).unwrap().parse().unwrap();
    assert!(status == 200 && (served - scored).abs() < 1e-5, "{status} {served} {scored}");
    server.stop();

    // The expressions are those by which the service reads the log.
    fs::write(root.join("log"), &outcome.stdout).unwrap();
    let script = r"
import json, re
log = open('log').read().splitlines()
def values(expression):
    found = [re.search(expression, line) for line in log]
    return [float(match.group(1)) for match in found if match]
batch = r'#quality_metric: host=\S+, epoch=\S+, batch=\S+ train binary_classification_'
epoch = r'#quality_metric: host=\S+, epoch=\S+, train binary_classification_'
assert len(values(batch + r'accuracy <score>=(\S+)')) == 18, log
assert len(values(batch + r'cross_entropy <loss>=(\S+)')) == 18, log
assert len(values(epoch + r'accuracy <score>=(\S+)')) == 6, log
loss = values(epoch + r'cross_entropy <loss>=(\S+)')
assert len(loss) == 6 and loss[5] < loss[0], loss
auc = values(r'#quality_metric: host=\S+, epoch=\S+, validation discriminator_auc <score>=(\S+)')
assert len(auc) == 6 and all(0.5 < value <= 1 for value in auc), auc
assert values(r'#progress_metric: host=\S+, completed (\S+) %')[-1] == 100
assert len(values(r'#throughput_metric: host=\S+, train throughput=(\S+) records/second')) == 6
metrics = [json.loads(line) for line in open('ml/output/data/metrics.jsonl')]
assert loss == [line['loss'] for line in metrics if line['event'] == 'epoch'], metrics
";
    python(root, "re", &["-c", script]);
    let expected = "#quality_metric: host=algo-1, epoch=5, validation discriminator_auc <score>=0.";
    assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);

    // The same job again finds its last checkpoint, and comes to the same end.
    let files = || MODEL.map(|name| fs::read(root.join("ml/model").join(name)).unwrap());
    let before = files();
    write(root, "model/thresholds.json", "of another model");
    train(root).expect(0, &["going on from ml/checkpoints/step-0000000090: all epochs are done"]);
    assert!(files() == before);
    assert_eq!(names(&root.join("ml/model")), MODEL, "what belonged to the model before is gone with it");
}

#[test]
fn a_job_that_is_interrupted_goes_on_from_its_checkpoints_alone() {
    let (whole, cut) = (container(), container());
    // Long enough that the signal comes in time.
    let hyperparameters = HYPERPARAMETERS.replace(r#""epochs": "6""#, r#""epochs": "60""#);
    for folder in [&whole, &cut] {
        write(folder.path(), "input/config/hyperparameters.json", &hyperparameters);
    }
    train(whole.path()).expect(0, &[]);
    let root = cut.path();
    // What the service does to a spot instance: SIGTERM, and a new machine that has the checkpoints and no output.
    let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
        .args(["sagemaker", "train", "--root", "ml"])
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let metrics = root.join("ml/output/data/metrics.jsonl");
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 6) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(1));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(names(&root.join("ml/model")), MODEL, "what was learned so far can be served");
    ipsight(root, &["score", "--model", "ml/model", "--input", "-"], b"user_1,1.2.3.4\n").expect(0, &[]);
    assert!(!checkpoint::list(&root.join("ml/checkpoints")).unwrap().is_empty());
    fs::remove_dir_all(root.join("ml/output")).unwrap();
    fs::remove_dir_all(root.join("ml/model")).unwrap();
    train(root).expect(0, &["going on from ml/checkpoints/step-"]);
    for name in MODEL {
        let file = |root: &Path| fs::read(root.join("ml/model").join(name)).unwrap();
        assert!(file(root) == file(whole.path()), "{name} differs");
    }
    // Figures of the epochs before are known from the checkpoint.
    let text = fs::read_to_string(metrics).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(r#""event":"epoch""#)).count(), 60, "{text}");

    // Checkpoints of another job are not gone on from, nor removed.
    write(root, "input/config/hyperparameters.json", &hyperparameters.replace("\"16\"", "\"32\""));
    train(root).expect(2, &["hyperparameters.vector_dim: 16 then, 32 now"]);
    let failure = fs::read_to_string(root.join("ml/output/failure")).unwrap();
    assert!(failure.contains("hyperparameters.vector_dim: 16 then, 32 now"), "{failure}");
    assert_eq!(checkpoint::list(&root.join("ml/checkpoints")).unwrap().len(), 2);
}

#[test]
fn a_failure_says_what_where_and_how_to_mend_it() {
    let folder = container();
    let root = folder.path();
    let hyperparameters = |key: &str, value: &str| {
        let text = HYPERPARAMETERS.trim_end().trim_end_matches('}').to_string();
        write(root, "input/config/hyperparameters.json", &format!("{text}, \"{key}\": \"{value}\"}}"));
    };
    let fails = |code: i32, words: &[&str]| {
        let outcome = train(root).expect(code, words);
        let failure = fs::read_to_string(root.join("ml/output/failure")).unwrap();
        for word in words {
            assert!(failure.contains(word), "no {word} in {failure}");
        }
        assert!(failure.chars().count() <= 1024, "{failure}");
        assert!(outcome.stdout.is_empty(), "{}", outcome.stdout);
        assert!(names(&root.join("ml/model")).is_empty());
    };
    hyperparameters("weight_dekay", "1");
    fails(2, &["hyperparameters.json: weight_dekay", "unknown", "did you mean `weight_decay`?"]);
    hyperparameters("weight_decay", "11");
    fails(2, &["weight_decay = 11", "out of range", "allowed: 0..=10"]);
    hyperparameters("weight_decay", "much");
    fails(2, &["weight_decay = \"much\"", "expected a number", "allowed: 0..=10"]);
    write(root, "input/config/hyperparameters.json", HYPERPARAMETERS);

    write(
        root,
        "input/config/resourceconfig.json",
        r#"{"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}"#,
    );
    fails(2, &["several hosts are not supported", "set instance_count to 1"]);
    fs::remove_file(root.join("ml/input/config/resourceconfig.json")).unwrap();

    write(root, "input/data/train/zz.csv", "user_1, 1.2.3.4\nuser_2, 1.2.3\n");
    fails(3, &["ml/input/data/train/zz.csv:2", "1.2.3"]);
    fs::remove_file(root.join("ml/input/data/train/zz.csv")).unwrap();

    let channels = fs::read_to_string(root.join("ml/input/config/inputdataconfig.json")).unwrap();
    write(root, "input/config/inputdataconfig.json", &channels.replace("\"File\"", "\"Pipe\""));
    fails(2, &["inputdataconfig.json: train", "Pipe", "File or FastFile"]);
    write(root, "input/config/inputdataconfig.json", &channels.replace("text/csv", "application/jsonlines"));
    fails(3, &["ml/input/data/train/more/part-2.csv:1"]);
    fs::remove_dir_all(root.join("ml/input/data/train")).unwrap();
    write(root, "input/config/inputdataconfig.json", &channels);
    fails(4, &["ml/input/data/train", "check the path"]);

    // A job that works leaves no failure of the one before.
    fs::remove_file(root.join("ml/input/config/inputdataconfig.json")).unwrap();
    write(root, "input/data/train/a.csv", "user_1, 1.2.3.4\nuser_2, 5.6.7.8\n");
    train(root).expect(0, &[]);
    assert!(!root.join("ml/output/failure").exists());
}

#[test]
fn the_recommended_model_can_be_asked_for_and_events_may_be_json_lines() {
    let folder = container();
    let root = folder.path();
    fs::remove_dir_all(root.join("ml/input/data")).unwrap();
    let lines =
        (0..600u32).map(|i| format!("{{\"entity\": \"user_{}\", \"ip\": \"10.0.{}.7\"}}\n", i % 20, i % 50));
    write(root, "input/data/train/a.jsonl", &lines.collect::<String>());
    let channels =
        r#"{"train": {"ContentType": "application/jsonlines"}, "code": {"TrainingInputMode": "Pipe"}}"#;
    write(root, "input/config/inputdataconfig.json", channels);
    write(
        root,
        "input/config/hyperparameters.json",
        r#"{"num_entity_vectors": "40", "vector_dim": "8", "mini_batch_size": "100", "epochs": "1",
            "learning_rate_schedule": "linear", "warmup_steps": "3", "seed": "9", "device": "ndarray"}"#,
    );
    let outcome = train(root).expect(0, &["the channel `code` is not used"]);
    assert!(outcome.stdout.contains("#progress_metric: host=algo-1, completed 100 %"), "{}", outcome.stdout);
    let config = fs::read_to_string(root.join("ml/model/config.toml")).unwrap();
    for line in ["learning_rate_schedule = \"linear\"", "warmup_steps = 3", "seed = 9"] {
        assert!(config.contains(line), "{config}");
    }
}
