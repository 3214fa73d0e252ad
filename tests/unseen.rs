//! Entities that a model was not trained on: they are told from those that it was, and flagged, scored as the mean of
//! all, or refused.

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::{DType, Tensor, TensorData};
use ipsight::LoadedModel;
use ipsight::config::DeviceChoice;
use ipsight::data::{EpochOrder, Events};
use ipsight::event::{Address, hash_entity};
use ipsight::model::IpInsightsConfig;
use ipsight::model_folder;
use ipsight::train::TrainInputs;
use ipsight::{Config, Event, Unseen, device};
use safetensors::SafeTensors;
use serde_json::Value;
use support::server::{Client, Server};
use support::{Outcome, ipsight};
use tempfile::TempDir;

/// Far fewer rows than users, so that a stranger's row is mostly another's.
const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = 100\nvector_dim = 16\nepochs = 4\nmini_batch_size = 500\n\
    learning_rate = 0.02\n[data]\ntrain = [\"seen.csv\"]\n[training]\ndevice = \"ndarray\"\n";

/// Logins of 400 users, of whom the model of `run/` knows those of even numbers.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let generate = ["generate", "--users", "400", "--days", "10", "--seed", "5", "--output", "logins"];
    ipsight(root, &generate, b"").expect(0, &[]);
    let logins = fs::read_to_string(root.join("logins/train.csv")).unwrap();
    for (name, parity) in [("seen.csv", 0), ("unseen.csv", 1)] {
        let lines = logins.lines().filter(|line| number_of(line) % 2 == parity);
        fs::write(root.join(name), lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    fs::write(root.join("small.toml"), CONFIG).unwrap();
    ipsight(root, &["train", "--config", "small.toml", "--output", "run"], b"").expect(0, &[]);
    folder
});

fn number_of(line: &str) -> u32 {
    let user = line.split(',').next().unwrap();
    user.rsplit('_').next().unwrap().parse().unwrap()
}

fn root() -> &'static Path {
    FIXTURE.path()
}

fn run(args: &[&str], stdin: &str) -> Outcome {
    ipsight(root(), args, stdin.as_bytes())
}

fn score(model: &str, more: &[&str], stdin: &str) -> Outcome {
    let model = format!("{model}/model");
    let args = ["score", "--model", &model, "--device", "ndarray", "--format", "jsonl"];
    run(&[&args[..], more].concat(), stdin)
}

#[test]
fn strangers_are_told_from_the_seen_where_rows_are_shared() {
    for (file, is_seen) in [("seen.csv", true), ("unseen.csv", false)] {
        let scored = score("run", &["--input", file], "").expect(0, &[]).json_lines();
        assert!(scored.iter().all(|row| row["entity_seen"] == is_seen), "{file}");
    }
    // Strangers by the thousand: at most one in 10,000 is taken for seen, though nearly every row is.
    let LoadedModel { scorer, .. } = load("run");
    let strangers = (0..200_000u32).map(|i| hash_entity(format!("stranger {i}").as_bytes()));
    let (mut num_taken, mut num_rows_trained) = (0, 0);
    for stranger in strangers {
        num_taken += u32::from(scorer.entity_seen(stranger));
        num_rows_trained += u32::from(scorer.num_row_events(stranger) > 0);
    }
    assert!(num_taken <= 20, "{num_taken} of 200,000");
    assert!(num_rows_trained > 150_000, "{num_rows_trained} of 200,000");
}

fn load(model: &str) -> LoadedModel {
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    LoadedModel::load(&root().join(model).join("model"), &device).unwrap()
}

/// The formula of the prior, written out over the model's definition.
#[test]
fn the_prior_is_the_score_of_the_mean_entity_on_every_device() {
    let ips: Vec<u32> = (0..200u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
    let events: Vec<Event> = ips
        .iter()
        .map(|ip| Event { entity: hash_entity(b"nobody"), address: Address::from_ipv4(*ip) })
        .collect();
    let folder = root().join("run/model");
    let expected = scores_of_the_mean(&folder, &ips);
    let mut mismatches = support::Mismatches::default();
    for choice in [DeviceChoice::Ndarray, DeviceChoice::Wgpu] {
        if choice == DeviceChoice::Wgpu && support::wgpu().is_none() {
            continue;
        }
        let LoadedModel { mut scorer, .. } =
            LoadedModel::load(&folder, &device::choose(choice).unwrap()).unwrap();
        let of_row = scorer.dot_products(&events).unwrap();
        scorer.set_unseen(Unseen::Prior).unwrap();
        let found = scorer.dot_products(&events).unwrap();
        assert_ne!(of_row, found);
        mismatches.check(&choice.to_string(), &found, &expected, 2e-4);
        // Entities that were seen are scored as before, also beside strangers.
        let seen = Event { entity: hash_entity(b"user_2"), address: Address::from_ipv4(ips[0]) };
        let mixed = scorer.dot_products(&[events[3], seen, events[5]]).unwrap();
        mismatches.check("mixed", &[mixed[0], mixed[2]], &[found[3], found[5]], 1e-6);
        scorer.set_unseen(Unseen::Flag).unwrap();
        mismatches.check("seen", &[mixed[1]], &scorer.dot_products(&[seen]).unwrap(), 1e-6);
    }
    mismatches.assert_none();
}

/// The scores of addresses for the mean of the trained rows, from the plain modules.
fn scores_of_the_mean(folder: &Path, ips: &[u32]) -> Vec<f32> {
    let device = device::choose(DeviceChoice::Ndarray).unwrap().device;
    let (_, config) = model_folder::read_and_verify(folder).unwrap();
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let data = tensors.tensor(name).unwrap().data();
        data.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect()
    };
    let counts = tensors.tensor("entity_row_counts").unwrap().data();
    let rows = floats("entity_embedding.weight");
    let rows = rows.chunks_exact(16).zip(counts.as_chunks::<4>().0);
    let trained: Vec<&[f32]> = rows.filter(|(_, count)| **count != [0; 4]).map(|(row, _)| row).collect();
    assert!((60..100).contains(&trained.len()), "{} rows are trained", trained.len());
    let mean = |i: usize| trained.iter().map(|row| f64::from(row[i])).sum::<f64>() / trained.len() as f64;
    let mean: Vec<f32> = (0..16).map(|i| mean(i) as f32).collect();
    let model = IpInsightsConfig::of(&config, usize::MAX)
        .from_tensors(&device, |name, _| Ok::<_, ()>(floats(name)))
        .unwrap();
    let mean = Tensor::<2>::from_data(TensorData::new(mean, [1, 16]), &device);
    let addresses = TensorData::new(ips.to_vec(), [1, ips.len()]);
    let logits = model.forward(mean, Tensor::from_data(addresses, (&device, DType::U32)));
    logits.into_data().try_into_vec::<f32>().unwrap()
}

/// Of users that were held out, the counts of all accounts tell logins from attacks better than rows of other users.
#[test]
fn a_history_tells_the_logins_of_strangers_better_than_the_rows_of_others() {
    let history = ["--set", "model.detector=history", "--output", "history_run"];
    run(&[&["train", "--config", "small.toml"][..], &history].concat(), "").expect(0, &[]);
    let auc = |model: &str, unseen: &str| {
        let args = ["evaluate", "--model", model, "--data", "unseen.csv", "--device", "ndarray", "--json"];
        let evaluation = run(&[&args[..], &["--unseen", unseen]].concat(), "").expect(0, &[]).json();
        let figures = &evaluation["detectors"]["ipsight"];
        assert_eq!(figures["by_seen"]["seen"]["num_ordinary"], 0);
        figures["auc"].as_f64().unwrap()
    };
    let (counts, row) = (auc("history_run/model", "score"), auc("run/model", "flag"));
    assert!(counts > row + 0.04, "{counts} and {row}");
    // Each kind of model refuses the choices of the other.
    let refused = |model: &str, unseen: &str| {
        run(&["score", "--model", model, "--unseen", unseen], "user_1,1.2.3.4\n")
            .expect(2, &["--unseen", unseen])
    };
    refused("history_run/model", "prior");
    refused("run/model", "score");
}

#[test]
fn an_unseen_entity_is_an_error_where_that_is_wanted() {
    let rows = "user_2,1.2.3.4\nuser_4,1.2.3.4\nuser_1,1.2.3.4\nuser_3,1.2.3.4\n";
    score("run", &["--unseen", "error"], rows)
        .expect(3, &["stdin:3", "not trained on this entity", "leave out --unseen"]);
    score("run", &["--unseen", "error", "--input", "seen.csv"], "").expect(0, &[]);
    fs::write(root().join("some.csv"), rows).unwrap();
    let out = ["--unseen", "error", "--input", "some.csv", "--output", "never.jsonl"];
    score("run", &out, "").expect(3, &["some.csv:3"]);
    assert!(!root().join("never.jsonl").exists());
    score("run", &["--unseen", "eror"], rows).expect(2, &["did you mean `error`"]);
    run(&["evaluate", "--model", "run/model", "--data", "some.csv", "--unseen", "error"], "")
        .expect(3, &["some.csv:3"]);
    let explain = ["explain", "--model", "run/model", "--device", "ndarray", "--unseen"];
    run(&[&explain[..], &["error", "user_1", "1.2.3.4"]].concat(), "").expect(3, &["not trained on"]);
    run(&[&explain[..], &["error", "user_2", "1.2.3.4"]].concat(), "").expect(0, &[]);
}

#[test]
fn an_explanation_by_the_prior_says_so() {
    let explain = ["explain", "--model", "run/model", "--device", "ndarray", "--unseen", "prior"];
    let told =
        |entity| run(&[&explain[..], &["--json", entity, "1.2.3.4"]].concat(), "").expect(0, &[]).json();
    let (a, b) = (told("user_1"), told("user_3"));
    for key in ["dot_product", "along_address", "usual_networks"] {
        assert_eq!(a[key], b[key], "all strangers are one");
    }
    assert_eq!((&a["scored_by_prior"], &a["entity_seen"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(told("user_2")["scored_by_prior"], false);
    let text = run(&[&explain[..], &["user_1", "1.2.3.4"]].concat(), "").expect(0, &[]).stdout;
    assert!(text.contains("the mean of all entities"), "{text}");
}

#[test]
fn a_server_flags_scores_by_the_prior_or_refuses() {
    let rows = "user_2,1.2.3.4\nuser_1,1.2.3.4\nuser_3,1.2.3.4\n";
    let json = r#"{"events":[{"entity":"user_2","ip":"1.2.3.4"},{"entity":"user_1","ip":"1.2.3.4"},{"entity":"user_3","ip":"1.2.3.4"}]}"#;
    let instances = r#"{"instances":[{"features":["user_2","1.2.3.4"]},{"features":["user_1","1.2.3.4"]}]}"#;
    for unseen in ["flag", "prior"] {
        let server = Server::start(root(), "run/model", &["--unseen", unseen]);
        let mut client = Client::connect(server.address);
        let (status, body) = client.post("/v1/score", "application/json", json).unwrap();
        assert_eq!(status, 200, "{body}");
        let found: Value = serde_json::from_str(&body).unwrap();
        let expected = score("run", &["--unseen", unseen], rows).expect(0, &[]).json_lines();
        for (found, expected) in found["scores"].as_array().unwrap().iter().zip(&expected) {
            assert_eq!(found["entity_seen"], expected["entity_seen"]);
            let [a, b] = [found, expected].map(|score| score["dot_product"].as_f64().unwrap());
            assert!((a - b).abs() < 1e-5, "{unseen}: {found} {expected}");
        }
        assert_eq!(found["scores"][1]["entity_seen"], false);
        let is_one = found["scores"][1]["dot_product"] == found["scores"][2]["dot_product"];
        assert_eq!(is_one, unseen == "prior", "{found}");
        // The vectors of a verbose response are those of the score.
        let (_, body) = client
            .post("/invocations", "application/jsonlines", "{\"features\":[\"user_1\",\"1.2.3.4\"]}")
            .unwrap();
        let plain: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(plain["dot_product"], found["scores"][1]["dot_product"]);
        server.stop();
    }
    let server = Server::start(root(), "run/model", &["--unseen", "error"]);
    let mut client = Client::connect(server.address);
    for (path, content_type, body, index) in [
        ("/invocations", "text/csv", rows, "record 1 (from 0)"),
        ("/invocations", "application/json", instances, "record 1 (from 0)"),
        (
            "/invocations",
            "application/jsonlines",
            "{\"features\":[\"user_1\",\"1.2.3.4\"]}",
            "record 0 (from 0)",
        ),
        ("/v1/score", "application/json", json, "record 1 (from 0)"),
        ("/v1/explain", "application/json", r#"{"entity":"user_1","ip":"1.2.3.4"}"#, "record 0 (from 0)"),
    ] {
        let (status, answer) = client.post(path, content_type, body).unwrap();
        assert_eq!(status, 400, "{path} {answer}");
        assert!(answer.contains(index) && answer.contains("not trained on this entity"), "{path} {answer}");
    }
    let (status, _) = client.post("/invocations", "text/csv", "user_2,1.2.3.4\nuser_4,1.2.3.4").unwrap();
    assert_eq!(status, 200);
    server.stop();
}

/// A run that a signal stops in its first epoch has not seen whoever comes later.
#[test]
fn the_entities_of_steps_that_were_not_done_are_unseen() {
    let config = Config::load(
        None,
        &[
            "hyperparameters.num_entity_vectors=50".into(),
            "hyperparameters.vector_dim=4".into(),
            "hyperparameters.mini_batch_size=100".into(),
            "hyperparameters.epochs=2".into(),
        ],
    )
    .unwrap();
    let device = device::choose(DeviceChoice::Ndarray).unwrap();
    let entities: Vec<u64> = (0..1000u32).map(|i| hash_entity(&i.to_le_bytes())).collect();
    let events = Events::from_columns(entities.clone(), (0..1000).map(Address::from_ipv4).collect());
    let train = |num_steps: usize| {
        let num_done = std::cell::Cell::new(0);
        let counted = std::sync::atomic::AtomicUsize::new(0);
        let inputs = TrainInputs {
            config: &config,
            events: &events,
            validation: None,
            device: &device,
            stop: &|| (counted.load(std::sync::atomic::Ordering::Relaxed) >= num_steps).then_some(15),
            checkpoints: None,
            from: None,
            init_from: None,
            until_epoch: None,
        };
        let trained = ipsight::train(&inputs, &mut |event| {
            if let ipsight::train::TrainEvent::Step { .. } = event {
                num_done.set(num_done.get() + 1);
                counted.store(num_done.get(), std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        });
        trained.unwrap().entity_filter
    };
    let order = EpochOrder::new(1000, config.training.seed, 0);
    let done: HashSet<u64> = (0..300).map(|position| entities[order.event_at(position)]).collect();
    let filter = train(3);
    assert!(entities.iter().all(|entity| filter.contains(*entity) == done.contains(entity)));
    for num_steps in [10, 13, 20] {
        let filter = train(num_steps);
        assert!(entities.iter().all(|entity| filter.contains(*entity)), "{num_steps}");
    }
}

/// Night after night: whoever was trained on before stays seen, and the filter is the one of all events together.
#[test]
fn the_entities_of_the_model_that_a_run_began_from_stay_seen() {
    let logins = fs::read_to_string(root().join("unseen.csv")).unwrap();
    let new: Vec<&str> = logins.lines().filter(|line| number_of(line) % 4 == 1).collect();
    fs::write(root().join("new.csv"), new.join("\n")).unwrap();
    let train =
        ["train", "--config", "small.toml", "--train", "new.csv", "--set", "hyperparameters.epochs=2"];
    let began = ["--init-from", "run", "--output", "night"];
    let checkpoints = ["--set", "training.checkpoint_interval=1 epochs"];
    run(&[&train[..], &began, &checkpoints].concat(), "").expect(0, &[]);
    let checkpoints = fs::read_dir(root().join("night/checkpoints")).unwrap();
    let last = checkpoints.map(|entry| entry.unwrap().path()).max().unwrap();
    let began = ["--init-from", last.to_str().unwrap(), "--output", "from_checkpoint"];
    run(&[&train[..], &began].concat(), "").expect(0, &[]);
    for model in ["night", "from_checkpoint"] {
        for (file, is_seen) in [("seen.csv", true), ("new.csv", true)] {
            let scored = score(model, &["--input", file], "").expect(0, &[]).json_lines();
            assert!(scored.iter().all(|row| row["entity_seen"] == is_seen), "{model} {file}");
        }
        let scored = score(model, &["--input", "unseen.csv"], "").expect(0, &[]).json_lines();
        for (row, line) in scored.iter().zip(logins.lines()) {
            assert_eq!(row["entity_seen"], number_of(line) % 4 == 1, "{model} {line}");
        }
    }
}
