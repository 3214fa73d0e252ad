//! Clients that are not ours against `ipsight serve`: AWS's SDK, a fuzzer that reads the OpenAPI document, bytes that no
//! well-behaved client sends, and our examples. The scripts are in `serve_clients/`.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use support::server::{Client, Server};
use support::{ipsight, python, skipped};
use tempfile::TempDir;

const VECTOR_DIM: &str = "16";

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 400
vector_dim = 16
mini_batch_size = 500
learning_rate = 0.02
epochs = 2
[model]
addresses = "both"
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#;

/// A model of both families with thresholds, and `scores.csv`: what `ipsight score` says of forty events of both.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let generate = ["generate", "--users", "200", "--days", "10", "--seed", "37", "--output", "logins"];
    let ipv6 = ["--ipv6-users", "0.5", "--ipv6-logins", "0.8"];
    ipsight(root, &[&generate[..], &ipv6].concat(), b"").expect(0, &[]);
    fs::write(root.join("small.toml"), SMALL).unwrap();
    ipsight(root, &["train", "--config", "small.toml", "--output", "run"], b"").expect(0, &[]);
    let choose =
        ["evaluate", "--model", "run/model", "--device", "ndarray", "--data", "logins/validation.csv"];
    let thresholds =
        ["--attacks", "default", "--target-fpr", "step_up=0.04", "--target-fpr", "investigate=0.001"];
    ipsight(root, &[&choose[..], &thresholds].concat(), b"").expect(0, &[]);
    let events = fs::read_to_string(root.join("logins/test.csv")).unwrap();
    let events: String = events.lines().take(40).map(|line| format!("{line}\n")).collect();
    assert!(events.contains("::,") || events.contains("::\n"), "an IPv6 address among\n{events}");
    let score = ["score", "--model", "run/model", "--device", "ndarray", "--output", "scores.csv"];
    ipsight(root, &score, events.as_bytes()).expect(0, &[]);
    folder
});

/// Runs a script with `args` after the URL of a server of the model, which has `options`.
fn script(modules: &str, path: &str, args: &[&str], options: &[&str]) {
    let root = FIXTURE.path();
    let server = Server::start(root, "run/model", options);
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    python(root, modules, &[&[path.as_str(), &server.url], args].concat());
    server.stop();
}

#[test]
fn boto3_finds_what_it_finds_at_sagemaker() {
    script("boto3", "tests/serve_clients/boto3_client.py", &["scores.csv", VECTOR_DIM], &[]);
}

#[test]
fn boto3_is_told_to_come_again_where_there_is_no_room() {
    let options = ["--max-body-bytes", "1000", "--max-queue-bytes", "1000"];
    script("boto3", "tests/serve_clients/boto3_busy.py", &["1000"], &options);
}

#[test]
fn tls_and_a_token_keep_others_out_and_let_boto3_in() {
    let root = FIXTURE.path();
    let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem \
                       -days 2 -subj /CN=ipsight -addext subjectAltName=IP:127.0.0.1";
    let made = Command::new("openssl").args(certificate.split_whitespace()).current_dir(root).output();
    if !made.is_ok_and(|output| output.status.success()) {
        skipped("openssl makes no certificate");
        return;
    }
    let token = "a-token-that-is-long-enough";
    fs::write(root.join("token"), token).unwrap();
    let options = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--auth-token-file", "token"];
    script("boto3", "tests/serve_clients/tls_token.py", &["cert.pem", token], &options);
}

#[test]
fn schemathesis_finds_no_contradiction_to_the_openapi_document() {
    script("schemathesis", "tests/serve_clients/fuzz_openapi.py", &[], &[]);
}

#[test]
fn no_bytes_on_a_socket_smuggle_a_request_or_stop_the_server() {
    script("socket", "tests/serve_clients/raw_http.py", &["5"], &["--header-timeout", "5"]);
}

#[test]
fn a_connection_too_many_is_told_so_in_json() {
    let server = Server::start(FIXTURE.path(), "run/model", &["--max-connections", "3"]);
    let ask = |client: &mut Client| client.post("/invocations", "text/csv", "user_1,1.2.3.4\n");
    let mut open: Vec<Client> = (0..3).map(|_| Client::connect(server.address)).collect();
    for client in &mut open {
        assert_eq!(ask(client).unwrap().0, 200);
    }
    let (status, body) = Client::connect(server.address).read_answer().unwrap();
    assert_eq!(status, 503, "{body}");
    let document: Value = serde_json::from_str(&body).expect(&body);
    assert!(document["Message"].is_string(), "{body}");
    open.pop();
    // The server has to see that it is closed.
    let mut answer = ask(&mut Client::connect(server.address));
    for _ in 0..500 {
        if answer.as_ref().is_ok_and(|(status, _)| *status == 200) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        answer = ask(&mut Client::connect(server.address));
    }
    assert_eq!(answer.unwrap().0, 200);
    server.stop();
}

#[test]
fn the_examples_run() {
    script("boto3", "examples/boto3_client.py", &[], &[]);
    let root = FIXTURE.path();
    if Command::new("curl").arg("--version").output().is_err() {
        skipped("curl is not installed");
        return;
    }
    let server = Server::start(root, "run/model", &[]);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/curl.sh");
    let output = Command::new("sh")
        .arg(example)
        .args([server.url.clone(), format!("http://{}", server.admin)])
        .output();
    let output = output.unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    for word in ["dot_product", "ip_embedding", "anomaly_score", "decision", "MULTI_RECORD"] {
        assert!(said.contains(word), "no `{word}` in\n{said}");
    }
    server.stop();
}
