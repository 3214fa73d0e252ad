//! A server takes a new model without a failed request, and never answers from two at once.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::server::{Client, Server};
use support::{generated_and_trained, ipsight};
use tempfile::TempDir;

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 400
vector_dim = 16
mini_batch_size = 500
learning_rate = 0.02
epochs = 2
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#;

const NUM_RELOADS: usize = 100;
const NUM_CLIENTS: usize = 4;
/// Scores of the same weights differ by rounding only; those of the two models by much more.
const TOLERANCE: f64 = 1e-4;

/// `run/model` and `other/model`, which differ, and `broken`, which a disk has damaged.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("200", "31", SMALL);
    let root = folder.path();
    let other = ["--set", "training.seed=7", "--output", "other"];
    ipsight(root, &[&["train", "--config", "small.toml"][..], &other].concat(), b"").expect(0, &[]);
    fs::create_dir(root.join("broken")).unwrap();
    for entry in fs::read_dir(root.join("other/model")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), root.join("broken").join(entry.file_name())).unwrap();
    }
    let weights = root.join("broken/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(weights, bytes).unwrap();
    folder
});

const MODELS: [&str; 2] = ["run/model", "other/model"];

/// Points `link` at another model folder in one step: whoever opens it sees the old or the new one.
fn point(link: &Path, model: &str) {
    let next = link.with_extension("next");
    symlink(model, &next).unwrap();
    fs::rename(next, link).unwrap();
}

/// The first events of the test, as a CSV body.
fn events(root: &Path) -> String {
    let text = fs::read_to_string(root.join("logins/test.csv")).unwrap();
    text.lines().take(50).map(|line| format!("{line}\n")).collect()
}

/// What `ipsight score` says of the events, by each model.
fn expected(root: &Path, events: &str) -> [Vec<f64>; 2] {
    MODELS.map(|model| {
        let args = ["score", "--model", model, "--device", "ndarray", "--format", "jsonl"];
        let scored = ipsight(root, &args, events.as_bytes()).expect(0, &[]).json_lines();
        scored.iter().map(|row| row["dot_product"].as_f64().unwrap()).collect()
    })
}

/// Which of the models an answer is from; an error where it is none of them, or a mixture.
fn which(answer: std::io::Result<(u16, String)>, expected: &[Vec<f64>; 2]) -> Result<usize, String> {
    let (status, body) = answer.map_err(|error| error.to_string())?;
    let document: Value = serde_json::from_str(&body).unwrap_or_default();
    let predictions = document["predictions"].as_array().filter(|_| status == 200);
    let predictions = predictions.ok_or_else(|| format!("{status} {body}"))?;
    let scores: Vec<f64> = predictions.iter().filter_map(|row| row["dot_product"].as_f64()).collect();
    let is = |model: &Vec<f64>| {
        scores.len() == model.len() && scores.iter().zip(model).all(|(a, b)| (a - b).abs() < TOLERANCE)
    };
    expected.iter().position(is).ok_or_else(|| format!("scores of no model, or of two: {body}"))
}

fn ask(client: &mut Client, events: &str) -> std::io::Result<(u16, String)> {
    client.post("/invocations", "text/csv", events)
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let root = FIXTURE.path();
    let link = root.join("current");
    point(&link, MODELS[0]);
    let events = events(root);
    let expected = expected(root, &events);
    let differ = expected[0].iter().zip(&expected[1]).filter(|(a, b)| (*a - *b).abs() > 100.0 * TOLERANCE);
    assert!(differ.count() > 25, "the models score alike: a mixture would not be seen");

    let server = Server::start(root, "current", &[]);
    let (stop, num_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            let mut client = Client::connect(server.address);
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) && failures.is_empty() {
                failures.extend(which(ask(&mut client, &events), &expected).err());
                num_answers.fetch_add(1, Ordering::Relaxed);
            }
            failures
        };
        let clients: Vec<_> = (0..NUM_CLIENTS).map(|_| scope.spawn(load)).collect();
        let mut failures = reload_often(&server, &link, &events, &expected, &num_answers);
        stop.store(true, Ordering::Relaxed);
        failures.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        failures
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    server.stop();
}

/// Swaps the models again and again; each answered reload has to be seen by the next request.
fn reload_often(
    server: &Server,
    link: &Path,
    events: &str,
    expected: &[Vec<f64>; 2],
    num_answers: &AtomicUsize,
) -> Vec<String> {
    let (mut admin, mut client) = (Client::connect(server.admin), Client::connect(server.address));
    let mut failures = Vec::new();
    for i in 1..=NUM_RELOADS {
        let model = i % 2;
        point(link, MODELS[model]);
        // The load is on all the time: each reload meets requests.
        let before = num_answers.load(Ordering::Relaxed);
        match admin.post("/reload", "text/plain", "") {
            Ok((200, _)) => {}
            answer => failures.push(format!("reload {i}: {answer:?}")),
        }
        match which(ask(&mut client, events), expected) {
            Ok(found) if found == model => {}
            found => failures.push(format!("after reload {i} to {}: {found:?}", MODELS[model])),
        }
        if failures.len() > 3 {
            break;
        }
        for _ in 0..1000 {
            if num_answers.load(Ordering::Relaxed) >= before + NUM_CLIENTS {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    failures
}

#[test]
fn a_broken_model_is_refused_and_the_old_one_stays() {
    let root = FIXTURE.path();
    let link = root.join("damaged");
    point(&link, MODELS[0]);
    let events = events(root);
    let expected = expected(root, &events);
    let server = Server::start(root, "damaged", &[]);
    let (mut admin, mut client) = (Client::connect(server.admin), Client::connect(server.address));
    for model in ["broken", "nowhere"] {
        point(&link, model);
        let (status, said) = admin.post("/reload", "text/plain", "").unwrap();
        assert!(status >= 400, "{model}: {status} {said}");
        assert_eq!(which(ask(&mut client, &events), &expected), Ok(0), "{model}");
    }
    // And once it is mended, it is taken.
    point(&link, MODELS[1]);
    assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 200);
    assert_eq!(which(ask(&mut client, &events), &expected), Ok(1));
    server.stop();
}

#[test]
fn sighup_takes_a_new_model_and_sigterm_lets_a_request_finish() {
    let root = FIXTURE.path();
    let link = root.join("signalled");
    point(&link, MODELS[0]);
    let events = events(root);
    let expected = expected(root, &events);
    let server = Server::start(root, "signalled", &[]);
    let mut client = Client::connect(server.address);
    assert_eq!(which(ask(&mut client, &events), &expected), Ok(0));
    point(&link, MODELS[1]);
    server.signal("HUP");
    let mut found = Ok(0);
    for _ in 0..3000 {
        found = which(ask(&mut client, &events), &expected);
        if found != Ok(0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(found, Ok(1));
    // A request is at work when the signal comes: the server has asked for its body.
    let large = events.repeat(2000);
    client.begin_post("/invocations", "text/csv", large.len()).unwrap();
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(50));
    let (status, body) = client.finish_post(&large).unwrap();
    assert_eq!(status, 200, "{body:.200}");
    assert_eq!(body.matches("dot_product").count(), 50 * 2000);
    server.wait();
}
