//! A model folder that is written to while it is served changes nothing until a reload that verifies; and no request
//! waits for what reads, removes or adds models.

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use support::expected_scores::{ExpectedScores, MODELS};
use support::server::{Client, Server};
use support::{generated_and_trained, ipsight};
use tempfile::TempDir;

const CONFIG: &str = r#"
[hyperparameters]
num_entity_vectors = 400
vector_dim = 16
mini_batch_size = 500
epochs = 2
[model]
detector = "history"
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#;

/// Rounds of overwriting, at least 2; the release is tried with 100.
const NUM_ROUNDS: &str = "IPSIGHT_NUM_OVERWRITES";

const NUM_CLIENTS: usize = 3;

/// Two models with a usage history, of different events.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("200", "41", CONFIG);
    let other = ["--train", "logins/validation.csv", "--set", "training.seed=7", "--output", "other"];
    ipsight(folder.path(), &[&["train", "--config", "small.toml"][..], &other].concat(), b"").expect(0, &[]);
    folder
});

/// Writes every file of a folder over that of another one, in its place, as `cp -r from/. to/` does. Where `cut` says so,
/// the last ones, the large ones among them, are half there.
fn overwrite(from: &Path, to: &Path, cut: bool) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        let bytes = fs::read(path).unwrap();
        let is_cut = cut
            && ["folded.safetensors", "history.bin", "model.safetensors"].contains(&name.to_str().unwrap());
        // Cut short and written to: the file keeps its inode, and a mapping of it sees both.
        let mut file = File::create(to.join(&name)).unwrap();
        file.write_all(&bytes[..if is_cut { bytes.len() / 2 } else { bytes.len() }]).unwrap();
    }
}

/// Runs `work` while clients ask without a pause, and returns what was wrong in all of their answers, or in its own.
/// `work` is given the number of answers so far.
fn under_load(
    server: &Server,
    expected: &ExpectedScores,
    path: &str,
    work: impl FnOnce(&AtomicUsize) -> Vec<String>,
) -> Vec<String> {
    let (stop, num_answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            let mut client = Client::connect(server.address);
            let mut failures = Vec::new();
            while !stop.load(Ordering::Relaxed) && failures.is_empty() {
                failures.extend(expected.which(&mut client, path).err());
                num_answers.fetch_add(1, Ordering::Relaxed);
            }
            failures
        };
        let clients: Vec<_> = (0..NUM_CLIENTS).map(|_| scope.spawn(load)).collect();
        let mut failures = work(&num_answers);
        stop.store(true, Ordering::Relaxed);
        failures.extend(clients.into_iter().flat_map(|client| client.join().unwrap()));
        failures
    })
}

/// Waits until the load has got an answer since, so that what comes next meets it.
fn wait_for_answers(num_answers: &AtomicUsize) {
    let before = num_answers.load(Ordering::Relaxed);
    for _ in 0..5000 {
        if num_answers.load(Ordering::Relaxed) >= before + NUM_CLIENTS {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_folder_that_is_overwritten_changes_nothing_until_a_reload_that_verifies() {
    let root = FIXTURE.path();
    let expected = ExpectedScores::new(FIXTURE.path(), 40);
    let served = root.join("served");
    overwrite(&root.join(MODELS[0]), &served, false);
    let rounds = std::env::var(NUM_ROUNDS).map_or(6, |rounds| rounds.parse().unwrap());
    let server = Server::start(root, "served", &["--watch-interval", "0"]);
    let failures = under_load(&server, &expected, "/invocations", |num_answers| {
        let (mut admin, mut client) = (Client::connect(server.admin), Client::connect(server.address));
        let mut reload = || admin.post("/reload", "text/plain", "").unwrap();
        let mut failures = Vec::new();
        for round in 1..=rounds {
            let (old, new) = ((round + 1) % 2, round % 2);
            let mut is = |model: usize, when: &str, failures: &mut Vec<String>| match expected
                .which(&mut client, "/invocations")
            {
                Ok(found) if found == model => {}
                found => failures.push(format!("round {round}, {when}: {found:?}")),
            };
            overwrite(&root.join(MODELS[new]), &served, true);
            is(old, "half of the files are there", &mut failures);
            let (status, body) = reload();
            if status != 422 || !body.contains("instead of the manifest's") {
                failures.push(format!("round {round}: half a model was answered {status} {body}"));
            }
            is(old, "half a model was refused", &mut failures);
            overwrite(&root.join(MODELS[new]), &served, false);
            wait_for_answers(num_answers);
            is(old, "all files are there", &mut failures);
            let (status, body) = reload();
            if status != 200 {
                failures.push(format!("round {round}: {status} {body}"));
            }
            is(new, "it was reloaded", &mut failures);
        }
        failures
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let said = server.stop();
    assert_eq!(said.matches("stays as it was").count(), rounds, "{said}");
}

#[test]
fn a_folder_that_is_watched_is_taken_once_it_is_quiet_and_whole() {
    let root = FIXTURE.path();
    let expected = ExpectedScores::new(FIXTURE.path(), 40);
    let watched = root.join("watched");
    overwrite(&root.join(MODELS[0]), &watched, false);
    let server = Server::start(root, "watched", &["--watch-interval", "0.02"]);
    let failures = under_load(&server, &expected, "/invocations", |num_answers| {
        let mut client = Client::connect(server.address);
        let mut failures = Vec::new();
        for round in 1..=4 {
            overwrite(&root.join(MODELS[round % 2]), &watched, true);
            wait_for_answers(num_answers);
            overwrite(&root.join(MODELS[round % 2]), &watched, false);
            let mut found = Ok(usize::MAX);
            for _ in 0..3000 {
                found = expected.which(&mut client, "/invocations");
                if found != Ok((round + 1) % 2) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            if found != Ok(round % 2) {
                failures.push(format!("round {round}: {found:?}"));
            }
        }
        failures
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    server.stop();
}

/// What a folder holds beside what is mapped: embeddings, explanations and thresholds are those of the model, too.
#[test]
fn explanations_and_embeddings_are_of_the_model_that_is_served() {
    let root = FIXTURE.path();
    let explained = root.join("explained");
    overwrite(&root.join(MODELS[0]), &explained, false);
    for options in [&["--watch-interval", "0"][..], &["--watch-interval", "0", "--map-in-place"]] {
        let server = Server::start(root, "explained", options);
        let mut client = Client::connect(server.address);
        let mut answers = || {
            let verbose = ["Accept: application/json;verbose=True", "Content-Type: text/csv"];
            [
                client.ask("POST", "/invocations", &verbose, "user_1,203.0.113.7\n").unwrap(),
                client
                    .post("/v1/explain", "application/json", r#"{"entity":"user_1","ip":"203.0.113.7"}"#)
                    .unwrap(),
                client.ask("GET", "/v1/model", &[], "").unwrap(),
            ]
        };
        let before = answers();
        assert!(before.iter().all(|(status, _)| *status == 200), "{before:?}");
        if options.len() == 2 {
            overwrite(&root.join(MODELS[1]), &explained, false);
            assert_eq!(answers(), before);
            overwrite(&root.join(MODELS[0]), &explained, false);
        }
        server.stop();
    }
}

/// `models/a` and `models/b` in a folder of their own.
fn two_models() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, model) in ["a", "b"].into_iter().zip(MODELS) {
        overwrite(&FIXTURE.path().join(model), &folder.path().join("models").join(name), false);
    }
    folder
}

/// While a folder is read, here from a pipe that nobody has written to yet, everything else is answered.
#[test]
fn nothing_waits_for_a_folder_that_is_being_read() {
    let folder = two_models();
    let root = folder.path();
    let expected = ExpectedScores::new(FIXTURE.path(), 40);
    let server = Server::start(root, "models", &["--watch-interval", "0"]);
    let manifest = root.join("models/b/manifest.json");
    let text = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    assert!(Command::new("mkfifo").arg(&manifest).status().unwrap().success());
    std::thread::scope(|scope| {
        let admin_address = server.admin;
        let admin = move || Client::connect(admin_address);
        let reload = scope.spawn(move || admin().post("/reload", "text/plain", "").unwrap());
        // Opened once a reader is there: the reload is under way.
        let mut writer = File::options().write(true).open(&manifest).unwrap();
        let mut client = Client::connect(server.address);
        assert_eq!(expected.which(&mut client, "/models/b/invoke"), Ok(1));
        let delete = |name: &str| admin().ask("DELETE", &format!("/models/{name}"), &[], "").unwrap().0;
        assert_eq!(delete("anything"), 404);
        assert_eq!((delete("a"), delete("b")), (200, 200));
        let load = json!({ "model_name": "again", "url": "a" }).to_string();
        let loading = scope.spawn(move || admin().post("/models", "application/json", load).unwrap());
        for path in ["/models", "/metrics"] {
            assert_eq!(admin().ask("GET", path, &[], "").unwrap().0, 200, "{path}");
        }
        assert_eq!(client.ask("GET", "/ping", &[], "").unwrap().0, 200);
        assert_eq!(client.ask("POST", "/models/a/invoke", &[], &expected.events).unwrap().0, 404);
        // What is read after it is a file again.
        fs::write(root.join("manifest"), &text).unwrap();
        fs::rename(root.join("manifest"), &manifest).unwrap();
        writer.write_all(&text).unwrap();
        drop(writer);
        assert_eq!(reload.join().unwrap().0, 200);
        assert_eq!(loading.join().unwrap().0, 200);
        assert_eq!(expected.which(&mut client, "/models/again/invoke"), Ok(0));
        // What was removed while it was read stays removed.
        assert_eq!(admin().ask("GET", "/models/b", &[], "").unwrap().0, 404);
        assert_eq!(client.ask("POST", "/models/b/invoke", &[], &expected.events).unwrap().0, 404);
    });
    server.stop();
}

#[test]
fn a_storm_of_reloads_removals_and_loads_costs_no_answer() {
    let folder = two_models();
    let expected = ExpectedScores::new(FIXTURE.path(), 40);
    let server = Server::start(folder.path(), "models", &["--watch-interval", "0.01"]);
    let failures = under_load(&server, &expected, "/models/a/invoke", |num_answers| {
        let stop = AtomicBool::new(false);
        let started = Instant::now();
        std::thread::scope(|scope| {
            let storm =
                |method: &'static str, path: &'static str, body: &'static str, allowed: &'static [u16]| {
                    let (stop, server) = (&stop, &server);
                    scope.spawn(move || {
                        let mut admin = Client::connect(server.admin);
                        let mut failures = Vec::new();
                        while !stop.load(Ordering::Relaxed) && failures.is_empty() {
                            let (status, body) = admin.ask(method, path, &[], body).unwrap();
                            if !allowed.contains(&status) {
                                failures.push(format!("{method} {path}: {status} {body}"));
                            }
                        }
                        failures
                    })
                };
            let load = r#"{"model_name":"b","url":"b"}"#;
            let storms = [
                storm("POST", "/reload", "", &[200]),
                storm("DELETE", "/models/anything", "", &[404]),
                storm("DELETE", "/models/b", "", &[200, 404]),
                storm("POST", "/models", load, &[200, 409]),
                storm("GET", "/models", "", &[200]),
            ];
            let mut client = Client::connect(server.address);
            let mut failures = Vec::new();
            // Loads wait behind reloads on one thread, while a 404 is quick: a slow machine answers 200 of them
            // before the model is loaded for the first time.
            let mut num_found = 0;
            let mut round = 0;
            while round < 200 || (num_found == 0 && started.elapsed() < Duration::from_secs(120)) {
                round += 1;
                if round % 20 == 0 {
                    server.signal("HUP");
                }
                match client.post("/models/b/invoke", "text/csv", &expected.events).unwrap() {
                    (404, _) => {}
                    answer => match expected.model_of(answer) {
                        Ok(1) => num_found += 1,
                        found => failures.push(format!("round {round}: {found:?}")),
                    },
                }
            }
            if num_found == 0 {
                failures.push("the model that comes and goes was never there".into());
            }
            wait_for_answers(num_answers);
            stop.store(true, Ordering::Relaxed);
            failures.extend(storms.into_iter().flat_map(|storm| storm.join().unwrap()));
            failures
        })
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    server.stop();
}
