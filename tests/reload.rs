//! A server takes a new model without a failed request, and never answers from two at once.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::expected_scores::{ExpectedScores, MODELS};
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

/// Points `link` at another model folder in one step: whoever opens it sees the old or the new one.
fn point(link: &Path, model: &str) {
    let next = link.with_extension("next");
    symlink(model, &next).unwrap();
    fs::rename(next, link).unwrap();
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let root = FIXTURE.path();
    let link = root.join("current");
    point(&link, MODELS[0]);
    let expected = ExpectedScores::new(root, 50);

    let server = Server::start(root, "current", &[]);
    let (stop, num_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let load = || {
            let mut client = Client::connect(server.address);
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) && failures.is_empty() {
                failures.extend(expected.which(&mut client, "/invocations").err());
                num_answers.fetch_add(1, Ordering::Relaxed);
            }
            failures
        };
        let clients: Vec<_> = (0..NUM_CLIENTS).map(|_| scope.spawn(load)).collect();
        let mut failures = reload_often(&server, &link, &expected, &num_answers);
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
    expected: &ExpectedScores,
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
        match expected.which(&mut client, "/invocations") {
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
    let expected = ExpectedScores::new(root, 50);
    let server = Server::start(root, "damaged", &[]);
    let (mut admin, mut client) = (Client::connect(server.admin), Client::connect(server.address));
    for model in ["broken", "nowhere"] {
        point(&link, model);
        let (status, said) = admin.post("/reload", "text/plain", "").unwrap();
        assert!(status >= 400, "{model}: {status} {said}");
        assert_eq!(expected.which(&mut client, "/invocations"), Ok(0), "{model}");
    }
    // And once it is mended, it is taken.
    point(&link, MODELS[1]);
    assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 200);
    assert_eq!(expected.which(&mut client, "/invocations"), Ok(1));
    server.stop();
}

#[test]
fn sighup_takes_a_new_model_and_sigterm_lets_a_request_finish() {
    let root = FIXTURE.path();
    let link = root.join("signalled");
    point(&link, MODELS[0]);
    let expected = ExpectedScores::new(root, 50);
    let server = Server::start(root, "signalled", &[]);
    let mut client = Client::connect(server.address);
    assert_eq!(expected.which(&mut client, "/invocations"), Ok(0));
    point(&link, MODELS[1]);
    server.signal("HUP");
    let mut found = Ok(0);
    for _ in 0..3000 {
        found = expected.which(&mut client, "/invocations");
        if found != Ok(0) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(found, Ok(1));
    // A request is at work when the signal comes: the server has asked for its body.
    let large = expected.events.repeat(2000);
    client.begin_post("/invocations", "text/csv", large.len()).unwrap();
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(50));
    let (status, body) = client.finish_post(&large).unwrap();
    assert_eq!(status, 200, "{body:.200}");
    assert_eq!(body.matches("dot_product").count(), 50 * 2000);
    server.wait();
}
