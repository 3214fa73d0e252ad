//! Who may ask while a server runs, and answers that arrive at clients that are still sending.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use support::server::{Client, Server};
use support::{generated_and_trained, ipsight};
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = 400\nvector_dim = 8\nepochs = 1\nmini_batch_size = 500\n\
    [data]\ntrain = [\"logins/train.csv\"]\n[training]\ndevice = \"ndarray\"\n";

static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| generated_and_trained("100", "47", CONFIG));

const MODEL: &str = "run/model";
const TOKENS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

fn status_with(client: &mut Client, token: &str) -> u16 {
    client.ask("GET", "/v1/model", &[&format!("Authorization: Bearer {token}")], "").unwrap().0
}

/// Asks again and again until the answer is the one of after a signal.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not come");
}

#[test]
fn a_revoked_token_opens_nothing_after_a_reload_or_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, TOKENS.join("\n")).unwrap();
    let options = ["--auth-token-file", path.to_str().unwrap(), "--watch-interval", "0"];
    let server = Server::start(FIXTURE.path(), MODEL, &options);
    let (mut client, mut admin) = (Client::connect(server.address), Client::connect(server.admin));
    let mut reload =
        |token: &str| admin.ask("POST", "/reload", &[&format!("Authorization: Bearer {token}")], "").unwrap();
    assert_eq!(TOKENS.map(|token| status_with(&mut client, token)), [200, 200]);
    fs::write(&path, TOKENS[1]).unwrap();
    assert_eq!(status_with(&mut client, TOKENS[0]), 200, "nobody has read the file again");
    assert_eq!(reload(TOKENS[1]).0, 200);
    // On a connection that is open, too.
    assert_eq!(TOKENS.map(|token| status_with(&mut client, token)), [401, 200]);
    assert_eq!(reload(TOKENS[0]).0, 401);

    // A file that holds none leaves those in force, and the answer and the log say so.
    fs::write(&path, "short").unwrap();
    let (status, body) = reload(TOKENS[1]);
    assert!(status == 422 && body.contains("less than 16"), "{status} {body}");
    assert_eq!(TOKENS.map(|token| status_with(&mut client, token)), [401, 200]);

    fs::write(&path, TOKENS[0]).unwrap();
    server.signal("HUP");
    wait_for("the new token", || status_with(&mut client, TOKENS[0]) == 200);
    assert_eq!(status_with(&mut client, TOKENS[1]), 401);
    let said = server.stop();
    assert!(said.contains("in force stay") && said.contains("were read again"), "{said}");
}

/// What a server answers on a new connection, where it shows this certificate.
fn answer(address: SocketAddr, certificate: &Path, request: &str) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let fields = "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{request} HTTP/1.1\r\n{fields}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn shows(address: SocketAddr, certificate: &Path) -> bool {
    answer(address, certificate, "GET /ping").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[test]
fn a_new_certificate_is_shown_after_a_reload_or_a_signal_and_a_broken_one_never() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
    let [old, new] = [golden.clone(), golden.join("next")].map(|folder| folder.join("cert.pem"));
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key]: [PathBuf; 2] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let take = |from: &Path| {
        fs::copy(from.join("cert.pem"), &certificate).unwrap();
        fs::copy(from.join("key.pem"), &key).unwrap();
    };
    take(&golden);
    let tls = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::start(FIXTURE.path(), MODEL, &[&tls[..], &["--watch-interval", "0"]].concat());
    assert!(shows(server.address, &old) && !shows(server.address, &new));
    take(&golden.join("next"));
    assert!(shows(server.address, &old), "nobody has read the files again");
    assert!(answer(server.admin, &old, "POST /reload").unwrap().starts_with("HTTP/1.1 200"));
    assert!(shows(server.address, &new) && !shows(server.address, &old));
    assert!(answer(server.admin, &new, "GET /metrics").is_some());
    // The certificate of another key, then none, then no file.
    for (content, word) in [
        (fs::read_to_string(&old).unwrap(), "tls"),
        ("none".into(), "no certificate"),
        (String::new(), "no certificate"),
    ] {
        fs::write(&certificate, content).unwrap();
        let refused = answer(server.admin, &new, "POST /reload").unwrap();
        assert!(refused.starts_with("HTTP/1.1 422") && refused.contains(word), "{refused}");
        assert!(shows(server.address, &new) && !shows(server.address, &old));
    }
    fs::remove_file(&certificate).unwrap();
    let refused = answer(server.admin, &new, "POST /reload").unwrap();
    assert!(refused.starts_with("HTTP/1.1 422") && refused.contains("cert.pem: cannot read"), "{refused}");
    assert!(shows(server.address, &new));
    take(&golden);
    server.signal("HUP");
    wait_for("the old certificate", || shows(server.address, &old));
    let said = server.stop();
    assert_eq!(said.matches("in force stay").count(), 4, "{said}");
    assert!(said.contains("were read again"), "{said}");
}

#[test]
fn files_of_tls_and_tokens_that_are_missing_are_named() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
    let [certificate, key] =
        ["cert.pem", "key.pem"].map(|name| golden.join(name).to_str().unwrap().to_string());
    let serve = |args: &[&str]| {
        ipsight(
            FIXTURE.path(),
            &[&["serve", "--model", MODEL, "--listen", "127.0.0.1:0"], args].concat(),
            b"",
        )
    };
    serve(&["--tls-cert", "nowhere.pem", "--tls-key", &key])
        .expect(4, &["nowhere.pem: cannot read", "check the path"]);
    serve(&["--tls-cert", &certificate, "--tls-key", "nowhere.pem"]).expect(4, &["nowhere.pem: cannot read"]);
    serve(&["--auth-token-file", "nowhere"]).expect(4, &["nowhere: cannot read"]);
    // A key of another certificate, and what is no PEM.
    let other = golden.join("next/key.pem");
    serve(&["--tls-cert", &certificate, "--tls-key", other.to_str().unwrap()]).expect(2, &["--tls-cert"]);
    serve(&["--tls-cert", &certificate, "--tls-key", "small.toml"]).expect(2, &["--tls-key"]);
}

/// Sends all of a long body before it reads a byte, as many clients do, and returns the answer's first line.
fn send_all_first(address: SocketAddr, head: &str, length: usize) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n").as_bytes()).unwrap();
    let piece = b"user_1,1.2.3.4\n".repeat(1000);
    let mut left = length;
    while left > 0 {
        let sent = piece.len().min(left);
        stream.write_all(&piece[..sent]).expect("the connection is reset while the body is sent");
        left -= sent;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer is lost");
    answer.lines().next().unwrap_or_default().to_string()
}

#[test]
fn a_refusal_arrives_at_a_client_that_is_still_sending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, TOKENS[0]).unwrap();
    let options = ["--max-body-bytes", "1000", "--auth-token-file", path.to_str().unwrap()];
    let server = Server::start(FIXTURE.path(), MODEL, &options);
    let good = format!("Host: a\r\nAuthorization: Bearer {}\r\n", TOKENS[0]);
    for (line, fields, status) in [
        ("POST /invocations", good.as_str(), 413),
        ("POST /v1/score", &good, 413),
        ("POST /invocations", "Host: a\r\n", 401),
        ("POST /nowhere", &good, 404),
        ("PUT /invocations", &good, 405),
    ] {
        let head = format!("{line} HTTP/1.1\r\n{fields}");
        let answer = send_all_first(server.address, &head, 20_000_000);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
    }
    server.stop();
}

#[test]
fn codings_that_are_not_undone_are_refused() {
    let server = Server::start(FIXTURE.path(), MODEL, &[]);
    let ask = |field: &str| {
        let mut client = Client::connect(server.address);
        let head = format!("POST /invocations HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        client.send_raw(format!("{head}f\r\nuser_1,1.2.3.4\n\r\n0\r\n\r\n").as_bytes()).unwrap();
        client.read_answer().map_or(0, |(status, _)| status)
    };
    for chunked in ["Transfer-Encoding: chunked", "transfer-encoding:  Chunked "] {
        assert_eq!(ask(chunked), 200, "{chunked}");
    }
    for field in ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"]
    {
        assert_eq!(ask(field), 501, "{field}");
    }
    server.stop();
}
