//! Models that come and go by requests: their names, their number and size, and where they are managed.

mod support;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};
use support::server::{Client, Server};
use support::{generated_and_trained, ipsight};
use tempfile::TempDir;

const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = 2000\nvector_dim = 32\nepochs = 1\nmini_batch_size = 500\n\
    [data]\ntrain = [\"logins/train.csv\"]\n[training]\ndevice = \"ndarray\"\n";

/// `models/` with one model, `a`.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = generated_and_trained("100", "43", CONFIG);
    fs::create_dir(folder.path().join("models")).unwrap();
    fs::rename(folder.path().join("run/model"), folder.path().join("models/a")).unwrap();
    folder
});

fn copy(to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(FIXTURE.path().join("models/a")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// `models/` with copies of the model under these names.
fn models(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    names.iter().for_each(|name| copy(&folder.path().join("models").join(name)));
    folder
}

fn num_bytes() -> u64 {
    let files = fs::read_dir(FIXTURE.path().join("models/a")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

const QUIET: [&str; 2] = ["--watch-interval", "0"];

fn load(client: &mut Client, name: &str, url: &str) -> (u16, String) {
    let body = json!({ "model_name": name, "url": url }).to_string();
    client.post("/models", "application/json", body).unwrap()
}

#[test]
fn a_name_is_a_name_and_labels_and_lines_escape_the_rest() {
    let folder = models(&["a"]);
    let server = Server::start(folder.path(), "models", &QUIET);
    let mut admin = Client::connect(server.admin);
    let long = "x".repeat(129);
    for name in
        ["", ".", "..", "a b", "a\"} 1\nipsight_forged{x=\"", "a\nlistening on http://x", "ä", "a/b", &long]
    {
        let (status, body) = load(&mut admin, name, "a");
        assert!(status == 400 && body.contains("1 to 128"), "{name:?}: {status} {body}");
    }
    for name in ["x", "A.b_c-1", &long[1..]] {
        assert_eq!(load(&mut admin, name, "a").0, 200, "{name}");
        assert_eq!(admin.ask("DELETE", &format!("/models/{name}"), &[], "").unwrap().0, 200);
    }
    // A folder that comes with another name is refused by name.
    copy(&folder.path().join("models/no name"));
    let (status, body) = admin.post("/reload", "text/plain", "").unwrap();
    assert!(status == 422 && body.contains("no name") && body.contains("1 to 128"), "{status} {body}");
    server.stop();
    ipsight(folder.path(), &["serve", "--model", "models", "--listen", "127.0.0.1:0"], b"")
        .expect(2, &["models/no name", "1 to 128", "rename the folder"]);

    // The name of a model that is served alone is its folder's, which may be any.
    let name = "a\"} 1\nforged line\\";
    let alone = tempfile::tempdir().unwrap();
    copy(&alone.path().join(name));
    let server = Server::start(alone.path(), name, &QUIET);
    let mut admin = Client::connect(server.admin);
    let metrics = admin.ask("GET", "/metrics", &[], "").unwrap().1;
    let line = metrics.lines().find(|line| line.starts_with("ipsight_model{")).unwrap();
    assert!(line.starts_with(r#"ipsight_model{model="a\"} 1\nforged line\\",version=""#), "{line}");
    let weights = alone.path().join(name).join("model.safetensors");
    fs::write(weights, "cut").unwrap();
    assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 422);
    let said = server.stop();
    assert!(said.lines().all(|line| !line.starts_with("forged")), "{said}");
    assert!(said.contains(r#"model a"} 1\nforged line\ stays as it was"#), "{said}");
}

#[test]
fn models_are_managed_behind_the_operators_address_unless_a_flag_says_otherwise() {
    let folder = models(&["a", "b"]);
    let server = Server::start(folder.path(), "models", &QUIET);
    let mut client = Client::connect(server.address);
    for (method, path) in
        [("GET", "/models"), ("POST", "/models"), ("GET", "/models/a"), ("DELETE", "/models/a")]
    {
        assert_eq!(client.ask(method, path, &[], "{}").unwrap().0, 404, "{method} {path}");
    }
    assert_eq!(client.ask("POST", "/models/a/invoke", &[], "u,1.2.3.4").unwrap().0, 200);
    let documented = |client: &mut Client| {
        let document: Value =
            serde_json::from_str(&client.ask("GET", "/openapi.json", &[], "").unwrap().1).unwrap();
        document["paths"].as_object().unwrap().contains_key("/models")
    };
    assert!(!documented(&mut client));
    server.stop();

    let server = Server::start(folder.path(), "models", &["--watch-interval", "0", "--manage-models"]);
    for address in [server.address, server.admin] {
        let mut client = Client::connect(address);
        assert_eq!(client.ask("DELETE", "/models/a", &[], "").unwrap().0, 200);
        assert_eq!(load(&mut client, "a", "a").0, 200);
        assert_eq!(client.ask("GET", "/models/a", &[], "").unwrap().0, 200);
    }
    assert!(documented(&mut Client::connect(server.address)));
    server.stop();
}

/// SageMaker's contract of a multi-model endpoint, on the port of the requests, within the bounds.
#[test]
fn a_multi_model_endpoint_loads_and_unloads_where_it_is_asked() {
    let folder = models(&["a", "b"]);
    let mut command = support::command(folder.path(), &["sagemaker", "serve", "--root", "."]);
    command.args(["--device", "ndarray", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--max-models", "1"]).env("SAGEMAKER_MULTI_MODEL", "true");
    let server = Server::try_start(command).unwrap();
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask("GET", "/models", &[], "").unwrap(), (200, r#"{"models":[]}"#.into()));
    assert_eq!(load(&mut client, "hash-1", "./models/a").0, 200);
    assert_eq!(load(&mut client, "hash-1", "./models/a").0, 409);
    // The platform unloads another one then.
    assert_eq!(load(&mut client, "hash-2", "./models/b").0, 507);
    assert_eq!(client.ask("POST", "/models/hash-1/invoke", &[], "u,1.2.3.4").unwrap().0, 200);
    assert_eq!(client.ask("DELETE", "/models/hash-1", &[], "").unwrap().0, 200);
    assert_eq!(client.ask("DELETE", "/models/hash-1", &[], "").unwrap().0, 404);
    assert_eq!(load(&mut client, "hash-2", "./models/b").0, 200);
    assert_eq!(client.ask("DELETE", "/models/hash-2", &[], "").unwrap().0, 200);
    assert_eq!(load(&mut client, "hash-3", "./models/nothing").0, 404);
    server.stop();
}

#[test]
fn the_number_and_the_bytes_of_models_are_bounded() {
    let folder = models(&["a", "b"]);
    let root = folder.path();
    let one = num_bytes();
    let serve = |args: &[&str]| {
        ipsight(root, &[&["serve", "--model", "models", "--listen", "127.0.0.1:0"], args].concat(), b"")
    };
    serve(&["--max-models", "1"]).expect(2, &["--max-models", "2 models are more than 1"]);
    let (little, enough) = ((2 * one - 4096).to_string(), (2 * one).to_string());
    serve(&["--max-model-bytes", &little]).expect(5, &["models/b", "--max-model-bytes"]);

    let server = Server::start(
        root,
        "models",
        &[&QUIET[..], &["--max-models", "3", "--max-model-bytes", &enough]].concat(),
    );
    let mut admin = Client::connect(server.admin);
    // Another name of the same folder takes no bytes; another folder has none left.
    copy(&root.join("models/c"));
    let (status, body) = load(&mut admin, "c", "c");
    assert!(status == 507 && body.contains("more than"), "{status} {body}");
    assert_eq!(load(&mut admin, "alias", "a").0, 200);
    let (status, body) = load(&mut admin, "another", "a");
    assert!(status == 507 && body.contains("3 models"), "{status} {body}");
    // What is reloaded takes the place of what it was.
    fs::remove_dir_all(root.join("models/c")).unwrap();
    let (status, body) = admin.post("/reload", "text/plain", "").unwrap();
    assert!(status == 200 && body.matches("version").count() == 3, "{status} {body}");
    server.stop();
}

/// Resident memory of a process, in bytes.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

#[test]
fn many_names_of_one_folder_share_its_memory_and_are_not_all_listed() {
    let folder = models(&["a"]);
    let server = Server::start(folder.path(), "models", &QUIET);
    let mut admin = Client::connect(server.admin);
    assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 200);
    let before = resident(server.id());
    for i in 0..1000 {
        assert_eq!(load(&mut admin, &format!("name-{i:04}"), "a").0, 200);
    }
    assert_eq!(admin.post("/reload", "text/plain", "").unwrap().0, 200);
    let grown = resident(server.id()).saturating_sub(before);
    assert!(grown < 20 * num_bytes().max(1 << 20), "{grown} bytes for names of a folder of {}", num_bytes());

    let mut client = Client::connect(server.address);
    for (method, path, status) in [
        ("GET", "/v1/model", 404),
        ("GET", "/v1/model?model=name-0123x", 404),
        ("POST", "/invocations", 400),
        ("POST", "/endpoints/name-0123x/invocations", 400),
    ] {
        let (found, body) = client.ask(method, path, &[], "u,1.2.3.4").unwrap();
        assert_eq!(found, status, "{path}");
        assert!(body.len() < 300 && body.contains("one of 1001, such as"), "{path}: {body}");
        assert!(!path.contains('x') || body.contains("such as name-0123, "), "{path}: {body}");
    }
    server.stop();
}
