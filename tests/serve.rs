//! `ipsight serve` as a whole: a started server, asked over sockets.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use support::ipsight;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder with `plain/` and `wide/`, model folders of which the second has thresholds.
static FIXTURE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let config = "[hyperparameters]\nnum_entity_vectors = 400\nvector_dim = 16\nepochs = 2\nmini_batch_size = 500\n\
        [data]\ntrain = [\"logins/train.csv\"]\nvalidation = [\"logins/validation.csv\"]\n\
        [training]\ndevice = \"ndarray\"\n";
    let folder = support::generated_and_trained("200", "7", config);
    let root = folder.path();
    let evaluate =
        ["evaluate", "--model", "run/model", "--data", "logins/test_labelled.csv", "--device", "ndarray"];
    ipsight(root, &[&evaluate[..], &["--target-fpr", "step_up=0.05"]].concat(), b"").expect(0, &[]);
    let plain = ["--set", "hyperparameters.vector_dim=8"];
    let train = ["train", "--config", "small.toml", "--output", "plain_run"];
    ipsight(root, &[&train[..], &plain].concat(), b"").expect(0, &[]);
    fs::rename(root.join("run/model"), root.join("wide")).unwrap();
    fs::rename(root.join("plain_run/model"), root.join("plain")).unwrap();
    folder
});

/// A started server, which ends with the test.
struct Server {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// Starts one on free ports, with `--device ndarray`.
    fn start(folder: &Path, model: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipsight"))
            .args(["serve", "--model", model, "--device", "ndarray"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(args)
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let unset = "0.0.0.0:0".parse().unwrap();
        let mut server = Self { child, stderr, address: unset, admin: unset };
        server.admin = server.address_in("admin on ");
        server.address = server.address_in("listening on ");
        server
    }

    fn address_in(&mut self, what: &str) -> SocketAddr {
        self.line_with(what).rsplit('/').next().unwrap().trim().parse().unwrap()
    }

    /// Reads stderr up to a line that has `word`.
    #[track_caller]
    fn line_with(&mut self, word: &str) -> String {
        let mut all = String::new();
        loop {
            let start = all.len();
            assert!(self.stderr.read_line(&mut all).unwrap() > 0, "no `{word}` in\n{all}");
            if all[start..].contains(word) {
                return all[start..].to_string();
            }
        }
    }

    fn connect(&self) -> Client {
        Client::new(self.address)
    }

    /// Asks on a connection of its own.
    fn post(&self, path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Response {
        self.connect().ask("POST", path, headers, body.as_ref())
    }

    fn get(&self, path: &str) -> Response {
        self.connect().ask("GET", path, &[], b"")
    }

    /// Asks the operator's address.
    fn manage(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
        Client::new(self.admin).ask(method, path, &[], body.as_ref())
    }

    fn reload(&self) -> Response {
        Client::new(self.admin).ask("POST", "/reload", &[], b"")
    }

    /// The value of a metric without labels.
    fn metric(&self, name: &str) -> f64 {
        let text = Client::new(self.admin).ask("GET", "/metrics", &[], b"").text();
        let line = text.lines().find(|line| line.starts_with(&format!("ipsight_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Waits until a metric is at least so much.
    fn wait_for(&self, name: &str, at_least: f64) {
        while self.metric(name) < at_least {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection.
struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { stream: BufReader::new(stream) }
    }
}

impl<S: Read + Write> Client<S> {
    fn ask(&mut self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        self.send(&head(method, path, headers, body.len()));
        self.send(body);
        self.response()
    }

    /// A server that refuses a body closes early: that shows in its response.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes).and_then(|()| self.stream.get_mut().flush());
    }

    fn response(&mut self) -> Response {
        self.try_response().expect("a response")
    }

    fn try_response(&mut self) -> Option<Response> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).ok()?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_string())),
                None => break,
            }
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let len = response.header("content-length").map_or(0, |len| len.parse().unwrap());
        response.body = vec![0; len];
        self.stream.read_exact(&mut response.body).ok()?;
        Some(response)
    }
}

fn head(method: &str, path: &str, headers: &[&str], len: usize) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {len}\r\n{headers}\r\n").into_bytes()
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Fails unless the request was refused in the SDKs' form, for a reason with all of `words`.
    #[track_caller]
    fn expect_refusal(&self, status: u16, error_type: &str, words: &[&str]) {
        assert_eq!((self.status, self.header("x-amzn-errortype")), (status, Some(error_type)), "{self:?}");
        let message = self.json()["Message"].as_str().unwrap().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{words:?} in {message}");
        assert_eq!(self.header("retry-after").is_some(), status == 503);
    }
}

fn model(name: &str) -> PathBuf {
    FIXTURE.path().join(name)
}

/// What `ipsight score` says of rows.
fn scored(model: &str, rows: &str) -> Vec<Value> {
    let args = ["score", "--model", model, "--format", "jsonl", "--device", "ndarray"];
    ipsight(FIXTURE.path(), &args, rows.as_bytes()).expect(0, &[]).json_lines()
}

const ROWS: &str = "user_1,1.2.3.4\nuser_2,5.6.7.8\n";

const JSON: &str = r#"{"instances":[{"data":{"features":{"values":["user_1","1.2.3.4"]}}},{"features":["user_2","5.6.7.8"]}]}"#;

/// The documentation's sample, with its stray `,` and `]`.
const LINES: &str = "{\"data\": {\"features\": {\"values\": [\"user_1\", \"1.2.3.4\"]}}},\n\
                     {\"features\": [\"user_2\", \"5.6.7.8\"]}]\n";

fn dot_products(values: &[Value]) -> Vec<f64> {
    values.iter().map(|value| value["dot_product"].as_f64().unwrap()).collect()
}

#[test]
fn every_format_gives_the_scores_of_the_score_verb() {
    let server = Server::start(FIXTURE.path(), "wide", &[]);
    let expected = dot_products(&scored("wide", ROWS));
    let close = |found: Vec<f64>| {
        found.len() == 2
            && found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-6)
    };
    let spaced = ROWS.replace(',', ", ");
    let quoted = "\u{feff}\"user_1\",\"1.2.3.4\"\r\n\r\nuser_2,5.6.7.8,more";
    let requests: [(&[&str], &str); 11] = [
        (&["content-type: text/csv"], ROWS),
        (&["content-type: text/csv; charset=utf-8"], &spaced),
        (&["Content-Type: TEXT/CSV;charset=UTF-8"], quoted),
        (&[], ROWS),
        (&["content-type: application/x-www-form-urlencoded"], ROWS),
        (&["content-type: application/json"], JSON),
        (&["content-type: Application/JSON; charset=utf-8", "accept: application/json"], JSON),
        (&[], JSON),
        (&["content-type: application/json", "accept: */*"], JSON),
        (&["content-type: application/json", "accept: text/html, application/json;q=0.5"], JSON),
        (&["content-type: application/jsonlines", "accept: application/json"], LINES),
    ];
    for (headers, body) in requests {
        for path in ["/invocations", "/endpoints/any-name/invocations"] {
            let response = server.post(path, headers, body);
            assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
            let predictions = response.json()["predictions"].as_array().unwrap().clone();
            assert!(close(dot_products(&predictions)), "{headers:?} {body}: {predictions:?}");
            assert!(predictions.iter().all(|one| one.as_object().unwrap().len() == 1), "{predictions:?}");
        }
    }
    for headers in [&["content-type: application/jsonlines"][..], &[], &["accept: application/jsonlines"]] {
        let response = server.post("/invocations", headers, LINES);
        assert_eq!(response.header("content-type"), Some("application/jsonlines"));
        let lines: Vec<Value> =
            response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(close(dot_products(&lines)), "{lines:?}");
    }
    for (headers, body) in [(["accept: text/csv"], ROWS), (["accept: text/csv"], LINES)] {
        let response = server.post("/invocations", &headers, body);
        assert_eq!((response.status, response.header("content-type")), (200, Some("text/csv")));
        assert!(close(response.text().lines().map(|line| line.parse().unwrap()).collect()), "{response:?}");
    }
    let response = server.post("/invocations", &["content-type: application/json"], r#"{"instances":[]}"#);
    assert_eq!(response.json(), json!({ "predictions": [] }));
    for number in ["17", "17.0", "1.7e1"] {
        let body = format!("{{\"instances\":[{{\"features\":[{number},\"1.2.3.4\"]}}]}}");
        let as_number = server.post("/invocations", &[], body).json();
        assert_eq!(as_number, server.post("/invocations", &[], "17,1.2.3.4").json());
    }
}

#[test]
fn verbose_adds_the_embeddings_whose_product_the_score_is() {
    let server = Server::start(FIXTURE.path(), "plain", &[]);
    for accept in [
        "application/json;verbose=True",
        "application/json; verbose=true",
        "application/jsonlines;Verbose=TRUE",
    ] {
        let accept_header = format!("accept: {accept}");
        let text = server.post("/invocations", &[&accept_header], ROWS).text();
        let records: Vec<Value> = match accept.contains("lines") {
            true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => serde_json::from_str::<Value>(&text).unwrap()["predictions"].as_array().unwrap().clone(),
        };
        assert_eq!(records.len(), 2);
        let floats = |value: &Value| -> Vec<f64> {
            value.as_array().unwrap().iter().map(|float| float.as_f64().unwrap()).collect()
        };
        for record in &records {
            let keys: Vec<&String> = record.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["dot_product", "ip_embedding", "entity_embedding"]);
            let (ip, entity) = (floats(&record["ip_embedding"]), floats(&record["entity_embedding"]));
            assert_eq!((ip.len(), entity.len()), (8, 8));
            let product: f64 = ip.iter().zip(&entity).map(|(a, b)| a * b).sum();
            assert!((product - record["dot_product"].as_f64().unwrap()).abs() < 1e-4, "{product} {record}");
        }
    }
}

#[test]
fn a_stream_is_the_same_response_in_messages() {
    let server = Server::start(FIXTURE.path(), "plain", &[]);
    let path = "/endpoints/e/invocations-response-stream";
    let response = server.post(path, &["x-amzn-sagemaker-accept: application/jsonlines"], JSON);
    assert_eq!(response.header("content-type"), Some("application/vnd.amazon.eventstream"));
    assert_eq!(response.header("x-amzn-sagemaker-content-type"), Some("application/jsonlines"));
    let headers_len = u32::from_be_bytes(response.body[4..8].try_into().unwrap()) as usize;
    let payload = &response.body[12 + headers_len..response.body.len() - 4];
    let plain = server.post("/invocations", &["accept: application/jsonlines"], JSON);
    assert_eq!(payload, plain.body);
}

#[test]
fn a_bad_record_is_named_with_its_mend() {
    let server = Server::start(FIXTURE.path(), "plain", &[]);
    let json = |records: &str| format!("{{\"instances\":[{{\"features\":[\"a\",\"1.2.3.4\"]}},{records}]}}");
    let cases = [
        ("a,1.2.3.4\n\nb,::1".to_string(), "record 1", "IPv6"),
        ("a,1.2.3.4\nb".to_string(), "record 1", "expected entity,address"),
        ("a,1.2.3.4\n,1.2.3.4".to_string(), "record 1", "empty entity"),
        ("a,1.2.3.4\n\"b,1.2.3.4".to_string(), "record 1", "close the quote"),
        ("a,1.2.3.4\nb,01.2.3.4".to_string(), "record 1", "leading zeros"),
        (json(r#"{"features":["b","1.2.3.4:80"]}"#), "record 1", "without a port"),
        (json(r#"{"features":["b"]}"#), "record 1", "two values"),
        (json(r#"{"features":["b","1.2.3.4",1]}"#), "record 1", "two values"),
        (json(r#"{"features":[null,"1.2.3.4"]}"#), "record 1", "the entity as a string"),
        (json(r#"{"features":["",  "1.2.3.4"]}"#), "record 1", "empty entity"),
        (json(r#"{"features":["b",16909060]}"#), "record 1", "the address as a string"),
        (json(r#"{"other":["b","1.2.3.4"]}"#), "record 1", "features"),
        (json("7"), "record 1", "features"),
        (json(r#"{"features":["\ud800","1.2.3.4"]}"#), "record 1", "hex escape"),
        ("{\"features\":[\"a\",\"1.2.3.4\"]}\n{\"features\":[\"b\"}".to_string(), "record 1", "expected"),
        (r#"{"instances":7}"#.to_string(), "the body", "list of records"),
        (r#"{"instances":[]} x"#.to_string(), "the body", "trailing"),
        (r#"{"instances":[],"instances":[]}"#.to_string(), "the body", "twice"),
        (String::new(), "no record", "entity,address"),
        ("[".repeat(100_000), "record 0", "expected entity,address"),
    ];
    for (body, place, mend) in cases {
        for path in ["/invocations", "/endpoints/e/invocations", "/endpoints/e/invocations-response-stream"] {
            server.post(path, &[], &body).expect_refusal(400, "ValidationError", &[place, mend]);
        }
    }
    let as_json = ["content-type: application/json"];
    let deep = format!("{{\"instances\":{}", "[".repeat(100_000));
    server.post("/invocations", &as_json, deep).expect_refusal(400, "ValidationError", &["deeper than 16"]);
    let latin = [b"{\"instances\":[{\"features\":[\"".as_slice(), b"\xE9\",\"1.2.3.4\"]}]}"].concat();
    server.post("/invocations", &as_json, latin).expect_refusal(400, "ValidationError", &["record 0"]);
    server.post("/invocations", &as_json, "{}").expect_refusal(400, "ValidationError", &["`instances`"]);
    server.get("/nothing").expect_refusal(404, "ResourceNotFound", &["openapi"]);
    let wrong_method = server.get("/invocations");
    wrong_method.expect_refusal(405, "ValidationError", &["Allow"]);
    assert_eq!(wrong_method.header("allow"), Some("POST"));
}

#[test]
fn held_ipv4_addresses_are_taken_and_ipv6_is_refused_by_a_model_of_ipv4() {
    let json = r#"{"instances":[{"features":["user_1","::ffff:1.2.3.4"]}]}"#;
    let line = r#"{"features":["user_1","::ffff:1.2.3.4"]}"#;
    let own = r#"{"events":[{"entity":"user_1","ip":"::ffff:1.2.3.4"}]}"#;
    let explain = r#"{"entity":"user_1","ip":"::ffff:1.2.3.4"}"#;
    let csv = "user_1,::ffff:1.2.3.4\n";
    let requests =
        [("/invocations", csv), ("/invocations", json), ("/invocations", line), ("/v1/score", own)];
    let server = Server::start(FIXTURE.path(), "plain", &[]);
    for (path, body) in requests.into_iter().chain([("/v1/explain", explain)]) {
        let plain = server.post(path, &[], body.replace("::ffff:", ""));
        for held in [body.to_string(), body.replace("::ffff:", "64:ff9b::")] {
            let held = server.post(path, &[], held);
            assert_eq!((held.status, held.text()), (200, plain.text()), "{path} {body}");
        }
        let ipv6 = body.replace("::ffff:1.2.3.4", "2001:db8::1");
        server.post(path, &[], ipv6).expect_refusal(400, "ValidationError", &["IPv6", "model.addresses"]);
    }
}

#[test]
fn our_own_api_says_what_the_verbs_say() {
    let server = Server::start(FIXTURE.path(), "wide", &[]);
    let events = r#"{"events":[{"entity":"user_1","ip":"1.2.3.4"},{"ip":"5.6.7.8","entity":"user_2"}]}"#;
    let scores = server.post("/v1/score", &[], events).json();
    let expected = scored("wide", ROWS);
    for (found, expected) in scores["scores"].as_array().unwrap().iter().zip(&expected) {
        for key in ["dot_product", "anomaly_score", "percentile", "probability"] {
            let (found, expected) = (found[key].as_f64().unwrap(), expected[key].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-6, "{key}: {found} {expected}");
        }
        assert_eq!(
            (&found["decision"], &found["entity_seen"]),
            (&expected["decision"], &expected["entity_seen"])
        );
    }
    assert_eq!(scores["scores"].as_array().unwrap().len(), 2);

    let explained = server.post("/v1/explain", &[], r#"{"entity":"user_1","ip":"1.2.3.4"}"#).json();
    let args = ["explain", "--model", "wide", "--json", "--device", "ndarray", "user_1", "1.2.3.4"];
    assert_eq!(explained, ipsight(FIXTURE.path(), &args, b"").expect(0, &[]).json());

    let found = server.get("/v1/model").json();
    assert_eq!((&found["name"], found["thresholds"][0]["name"].as_str()), (&json!("wide"), Some("step_up")));
    assert_eq!(found["manifest"]["vector_dim"], 16);
    let parameters = server.get("/execution-parameters").json();
    let expected =
        json!({ "MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6 });
    assert_eq!(parameters, expected);
    let ping = server.get("/ping");
    assert_eq!((ping.status, ping.body.len()), (200, 0));
    assert_eq!(server.get("/openapi.json").json()["openapi"], "3.1.0");

    for (path, body, word) in [
        ("/v1/score", r#"{"events":[{"entity":"a","ip":"1.2.3.4"},{"entity":"b"}]}"#, "record 1"),
        ("/v1/score", r#"{"events":[{"entity":"a","ip":"1.2.3.4","x":1}]}"#, "`x` does not belong"),
        ("/v1/score", r#"{"rows":[]}"#, "`rows` does not belong"),
        ("/v1/explain", r#"{"entity":"","ip":"1.2.3.4"}"#, "empty"),
        ("/v1/explain", r#"{"entity":"a","ip":"1.2.3"}"#, "IPv4"),
        ("/v1/explain", "7", "the body"),
    ] {
        server.post(path, &[], body).expect_refusal(400, "ValidationError", &[word]);
    }
    server.post("/v1/score?model=no", &[], events).expect_refusal(404, "ResourceNotFound", &["wide"]);
}

#[test]
fn what_is_too_much_is_refused_and_the_next_request_is_not() {
    let limits = ["--max-body-bytes", "1000", "--max-records", "3", "--max-response-bytes", "600"];
    let server = Server::start(FIXTURE.path(), "plain", &limits);
    let long = "user_1,1.2.3.4\n".repeat(100);
    server.post("/invocations", &[], &long).expect_refusal(413, "ValidationError", &["1000 bytes"]);

    let mut client = server.connect();
    client.send(b"POST /invocations HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    client.response().expect_refusal(413, "ValidationError", &["1000 bytes"]);

    let four = "u,1.2.3.4\n".repeat(4);
    server.post("/invocations", &[], &four).expect_refusal(413, "ValidationError", &["3 records"]);
    let four = format!("{{\"instances\":[{}]}}", [r#"{"features":["u","1.2.3.4"]}"#; 4].join(","));
    server.post("/invocations", &[], &four).expect_refusal(413, "ValidationError", &["3 records"]);
    let verbose = ["accept: application/json;verbose=true"];
    server.post("/invocations", &verbose, "u,1.2.3.4\n".repeat(3)).expect_refusal(
        413,
        "ValidationError",
        &["600"],
    );
    assert_eq!(server.post("/invocations", &verbose, "u,1.2.3.4\n".repeat(2)).status, 200);

    // A chunked request that is fine is answered, and is the last of its connection.
    let mut client = server.connect();
    client.send(b"POST /invocations HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(b"9\r\nu,1.2.3.4\r\n0\r\n\r\nGET /ping HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(client.try_response().is_none());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_bodies_are_decoded_within_the_bound() {
    let server = Server::start(FIXTURE.path(), "plain", &["--max-body-bytes", "20000"]);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let rows = "user_1,1.2.3.4\n".repeat(1000);
    let plain = server.post("/invocations", &[], &rows).json();
    for (coding, body) in [
        ("gzip", gzip(rows.as_bytes())),
        ("X-Gzip", [gzip(&rows.as_bytes()[..7500]), gzip(&rows.as_bytes()[7500..])].concat()),
        ("zstd", zstd(rows.as_bytes())),
        ("identity", rows.clone().into_bytes()),
    ] {
        let header = format!("content-encoding: {coding}");
        assert_eq!(server.post("/invocations", &[&header], &body).json(), plain, "{coding}");
    }
    let document = gzip(br#"{"events":[{"entity":"user_1","ip":"1.2.3.4"}]}"#);
    let scored =
        server.post("/v1/score", &["content-encoding: gzip", "content-type: application/json"], document);
    assert_eq!(scored.status, 200, "{scored:?}");
    let long = rows.repeat(2);
    for (coding, body) in [("gzip", gzip(long.as_bytes())), ("zstd", zstd(long.as_bytes()))] {
        assert!(body.len() < 1000);
        let response = server.post("/invocations", &[&format!("content-encoding: {coding}")], &body);
        response.expect_refusal(413, "ValidationError", &["20000 bytes"]);
        let cut = &body[..body.len() / 2];
        let response = server.post("/invocations", &[&format!("content-encoding: {coding}")], cut);
        response.expect_refusal(400, "ValidationError", &["Content-Encoding"]);
    }
    server.post("/invocations", &["content-encoding: gzip"], &rows).expect_refusal(
        400,
        "ValidationError",
        &["Content-Encoding"],
    );
    for headers in [&["content-encoding: br"][..], &["content-encoding: gzip", "content-encoding: gzip"]] {
        let response = server.post("/invocations", headers, gzip(rows.as_bytes()));
        response.expect_refusal(415, "ValidationError", &["gzip", "zstd"]);
        assert_eq!(response.header("accept-encoding"), Some("gzip, zstd"));
    }
    assert_eq!(server.post("/invocations", &[], &rows).json(), plain);
}

#[test]
fn bodies_share_a_budget_past_which_a_request_is_sent_away_at_once() {
    let limits = ["--max-queue-bytes", "2000000", "--max-body-bytes", "2000000", "--body-timeout", "50"];
    let server = Server::start(FIXTURE.path(), "plain", &limits);
    let row = b"user_1,1.2.3.4\n";
    let mut slow = server.connect();
    slow.send(&head("POST", "/invocations", &[], 100_000 * row.len()));
    slow.send(&row.repeat(90_000));
    server.wait_for("body_bytes", 1_350_000.0);
    server.post("/invocations", &[], row.repeat(50_000)).expect_refusal(
        503,
        "ServiceUnavailable",
        &["later"],
    );
    assert_eq!(server.post("/invocations", &[], row).status, 200);
    slow.send(&row.repeat(10_000));
    assert_eq!(slow.response().json()["predictions"].as_array().unwrap().len(), 100_000);
    while server.metric("body_bytes") > 0.0 {}
}

#[test]
fn connections_past_the_bound_are_sent_away_until_one_is_free() {
    let server = Server::start(FIXTURE.path(), "plain", &["--max-connections", "2"]);
    let mut open = [server.connect(), server.connect()];
    for client in &mut open {
        assert_eq!(client.ask("GET", "/ping", &[], b"").status, 200);
    }
    server.connect().response().expect_refusal(503, "ServiceUnavailable", &["connections"]);
    let [first, _second] = open;
    drop(first);
    // The server sees the end a moment later.
    while server.connect().try_response_to_ping() != Some(200) {}
}

impl Client {
    fn try_response_to_ping(&mut self) -> Option<u16> {
        self.send(&head("GET", "/ping", &[], 0));
        self.try_response().map(|response| response.status)
    }
}

#[test]
fn slow_clients_are_given_up() {
    let limits = ["--header-timeout", "0.3", "--body-timeout", "0.3", "--idle-timeout", "0.3"];
    let server = Server::start(FIXTURE.path(), "plain", &limits);
    let mut idle = server.connect();
    let mut slow_head = server.connect();
    slow_head.send(b"POST /invocations HTTP/1.1\r\nhost: h\r\n");
    let mut slow_body = server.connect();
    slow_body.send(&head("POST", "/invocations", &[], 100));
    slow_body.send(b"user_1,1");
    slow_body.response().expect_refusal(408, "ValidationError", &["in time"]);
    for mut closed in [idle.stream.into_inner(), slow_head.stream.into_inner(), slow_body.stream.into_inner()]
    {
        let mut rest = Vec::new();
        // Closed, with or without a word, rather than kept.
        let _ = closed.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }
    idle = server.connect();
    assert_eq!(idle.ask("GET", "/ping", &[], b"").status, 200);
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut server = Server::start(FIXTURE.path(), "plain", &[]);
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/ping", &[], b"").status, 200);
    let mut slow = server.connect();
    slow.send(&head("POST", "/invocations", &[], 9));
    slow.send(b"u,1.2");
    server.wait_for("body_bytes", 5.0);
    server.signal("TERM");
    server.line_with("stopping");
    let mut end = String::new();
    assert_eq!(idle.stream.read_line(&mut end).unwrap_or(0), 0, "an idle connection is closed");
    slow.send(b".3.4");
    assert_eq!(slow.response().status, 200);
    assert!(slow.try_response().is_none(), "it is closed then");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn sigterm_waits_no_longer_than_it_is_told() {
    let mut server = Server::start(FIXTURE.path(), "plain", &["--drain-timeout", "0.2"]);
    let mut slow = server.connect();
    slow.send(&head("POST", "/invocations", &[], 9));
    slow.send(b"u,1.2");
    server.wait_for("body_bytes", 5.0);
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

/// A folder in which `current` leads to a copy of `plain`, beside a copy of `wide`.
fn with_current() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain", "wide"] {
        copy(&model(name), &folder.path().join(name));
    }
    std::os::unix::fs::symlink("plain", folder.path().join("current")).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn lead_current_to(folder: &Path, name: &str) {
    let new = folder.join("new");
    std::os::unix::fs::symlink(name, &new).unwrap();
    fs::rename(new, folder.join("current")).unwrap();
}

#[test]
fn a_model_is_swapped_by_request_by_signal_and_by_its_link() {
    let folder = with_current();
    let mut server = Server::start(folder.path(), "current", &["--watch-interval", "0"]);
    let version = |server: &Server| server.get("/v1/model").json()["version"].as_str().unwrap().to_string();
    let plain = version(&server);
    lead_current_to(folder.path(), "wide");
    assert_eq!(version(&server), plain, "nobody looks");
    let reloaded = server.reload();
    let wide = version(&server);
    assert_eq!(reloaded.json(), json!({ "models": [{ "name": "current", "version": wide }] }));
    assert_ne!(plain, wide);
    lead_current_to(folder.path(), "plain");
    server.signal("HUP");
    server.line_with(&plain);
    assert_eq!(version(&server), plain);

    let mut watching = Server::start(folder.path(), "current", &["--watch-interval", "0.02"]);
    lead_current_to(folder.path(), "wide");
    watching.line_with(&wide);
    assert_eq!(version(&watching), wide);
}

#[test]
fn a_model_that_does_not_verify_is_refused_and_the_old_one_stays() {
    let folder = with_current();
    let mut server = Server::start(folder.path(), "current", &["--watch-interval", "0.02"]);
    let before = server.get("/v1/model").json();
    let path = folder.path().join("wide/folded.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    lead_current_to(folder.path(), "wide");
    let line = server.line_with("stays as it was");
    assert!(line.contains("folded.safetensors") && line.contains("BLAKE3"), "{line}");
    server.reload().expect_refusal(422, "ValidationError", &["folded.safetensors", "BLAKE3"]);
    assert_eq!(server.get("/v1/model").json(), before);
    assert_eq!(server.post("/invocations", &[], ROWS).status, 200);
}

#[test]
fn several_models_are_served_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain", "wide"] {
        copy(&model(name), &folder.path().join("models").join(name));
    }
    let server = Server::start(folder.path(), "models", &["--watch-interval", "0"]);
    let one = |path: &str, headers: &[&str]| server.post(path, headers, "user_1,1.2.3.4");
    for name in ["plain", "wide"] {
        let expected = dot_products(&scored(name, "user_1,1.2.3.4\n"))[0];
        let target = format!("X-Amzn-SageMaker-Target-Model: {name}");
        for response in [
            one(&format!("/endpoints/{name}/invocations"), &[]),
            one(&format!("/models/{name}/invoke"), &[]),
            one("/invocations", &[&target]),
            one("/endpoints/other/invocations", &[&target]),
        ] {
            let found = response.json()["predictions"][0]["dot_product"].as_f64().unwrap();
            assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
        }
        assert_eq!(server.get(&format!("/v1/model?model={name}")).json()["name"], name);
    }
    one("/invocations", &[]).expect_refusal(400, "ValidationError", &["Target-Model"]);
    one("/endpoints/none/invocations", &[]).expect_refusal(400, "ValidationError", &["no such model"]);
    one("/models/none/invoke", &[]).expect_refusal(404, "ResourceNotFound", &[]);
    one("/models/%FF/invoke", &[]).expect_refusal(400, "ValidationError", &["UTF-8"]);
    server.get("/v1/model").expect_refusal(404, "ResourceNotFound", &["plain, wide"]);

    let described = |name: &str| json!({ "modelName": name, "modelUrl": format!("models/{name}") });
    assert_eq!(
        server.manage("GET", "/models", "").json(),
        json!({ "models": [described("plain"), described("wide")] })
    );
    assert_eq!(server.manage("GET", "/models/wide", "").json(), described("wide"));
    let delete = |name: &str| server.manage("DELETE", &format!("/models/{name}"), "");
    assert_eq!(delete("wide").status, 200);
    delete("wide").expect_refusal(404, "ResourceNotFound", &[]);
    assert_eq!(server.reload().status, 200);
    server.manage("GET", "/models/wide", "").expect_refusal(404, "ResourceNotFound", &[]);

    let load = |name: &str, url: &str| {
        server.manage("POST", "/models", json!({ "model_name": name, "url": url }).to_string())
    };
    for url in ["..", "", "/etc", "../wide", "/opt/ml/models/wide", "."] {
        load("wide", url).expect_refusal(404, "ResourceNotFound", &["no such model"]);
    }
    for (name, url) in [("wide", "wide"), ("other", "models/wide/")] {
        assert_eq!(load(name, url).status, 200, "{name} {url}");
    }
    load("wide", "wide").expect_refusal(409, "ValidationError", &[]);
    server.manage("POST", "/models", "{}").expect_refusal(400, "ValidationError", &["model_name"]);
    assert_eq!(one("/models/wide/invoke", &[]).json(), one("/models/other/invoke", &[]).json());
    assert_eq!(server.reload().json()["models"].as_array().unwrap().len(), 3);

    // A folder that comes is served at the next look, a run's too.
    copy(&model("plain"), &folder.path().join("models/later/model"));
    assert_eq!(server.reload().status, 200);
    assert_eq!(one("/models/later/invoke", &[]).json(), one("/models/plain/invoke", &[]).json());
}

#[test]
fn others_are_let_in_with_tls_and_a_token_only() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
    let (certificate, key) = (golden.join("cert.pem"), golden.join("key.pem"));
    let tokens = FIXTURE.path().join("tokens");
    fs::write(&tokens, "0123456789abcdef0123456789abcdef\n").unwrap();
    let secrets = [
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
        "--auth-token-file",
        tokens.to_str().unwrap(),
    ];
    let serve = |args: &[&str]| {
        let start = ["serve", "--model", "plain", "--device", "ndarray"];
        ipsight(FIXTURE.path(), &[&start[..], args].concat(), b"")
    };
    serve(&["--listen", "0.0.0.0:0"]).expect(2, &["--listen", "--tls-cert", "--insecure"]);
    serve(&["--admin-listen", "[::]:0"]).expect(2, &["--admin-listen"]);
    serve(&[&["--listen", "0.0.0.0:0"], &secrets[..4]].concat()).expect(2, &["--auth-token-file"]);
    serve(&["--tls-cert", "plain/config.toml", "--tls-key", "plain/config.toml"]).expect(2, &["--tls-cert"]);

    let server = Server::start(FIXTURE.path(), "plain", &secrets);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |address: SocketAddr, method: &str, path: &str, headers: &[&str]| {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        let stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
        Client { stream: BufReader::new(stream) }.ask(method, path, headers, b"")
    };
    let token = ["authorization: Bearer 0123456789abcdef0123456789abcdef"];
    assert_eq!(ask(server.address, "GET", "/ping", &[]).status, 200);
    assert_eq!(ask(server.address, "GET", "/v1/model", &token).status, 200);
    assert_eq!(ask(server.admin, "GET", "/metrics", &token).status, 200);
    let wrong = ["authorization: Bearer 0123456789abcdef0123456789abcdeX"];
    for (address, headers) in [(server.address, &[][..]), (server.address, &wrong), (server.admin, &[])] {
        let path = if address == server.admin { "/metrics" } else { "/v1/model" };
        let refused = ask(address, "GET", path, headers);
        refused.expect_refusal(401, "AccessDeniedException", &["Bearer"]);
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    // What speaks no TLS gets no answer.
    let mut plain = server.connect();
    plain.send(&head("GET", "/ping", &[], 0));
    assert!(plain.try_response().is_none());
}

#[test]
fn limits_that_cannot_be_are_refused_before_the_model_is_read() {
    let serve = |args: &[&str]| {
        ipsight(FIXTURE.path(), &[&["serve", "--model", "no such model"], args].concat(), b"")
    };
    serve(&["--max-queue-bytes", "1000"]).expect(2, &["--max-queue-bytes", "--max-body-bytes"]);
    serve(&["--drain-timeout", "26"]).expect(2, &["--drain-timeout", "25"]);
    serve(&["--max-connections", "0"]).expect(2, &["--max-connections"]);
    serve(&["--header-timeout", "x"]).expect(2, &["--header-timeout"]);
    serve(&[]).expect(4, &["no such model"]);
    let empty = tempfile::tempdir().unwrap();
    ipsight(empty.path(), &["serve", "--model", "."], b"").expect(2, &["there is no model"]);
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_what_to_do() {
    let serve = |args: &[&str]| {
        let start = ["serve", "--model", "plain", "--device", "ndarray"];
        ipsight(FIXTURE.path(), &[&start[..], args].concat(), b"")
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--admin-listen"] {
        let named = format!("{flag}: cannot listen on {address}");
        serve(&[flag, &address]).expect(4, &[&named, "another process listens there"]);
    }
    // Of documentation (RFC 5737): no machine has it.
    let foreign = ["--listen", "192.0.2.1:0", "--insecure"];
    serve(&foreign).expect(4, &["cannot listen on 192.0.2.1:0", "choose an address of this machine"]);
}

#[test]
fn a_log_of_requests_holds_nothing_of_them() {
    let mut server = Server::start(FIXTURE.path(), "plain", &["--log-requests"]);
    assert_eq!(server.post("/endpoints/secret-endpoint/invocations", &[], "secret-user,1.2.3.4").status, 200);
    let line = server.line_with("POST");
    assert!(line.contains("/endpoints/{name}/invocations 200") && !line.contains("secret"), "{line}");
    server.post("/invocations", &[], "secret-user,1.2.3");
    let line = server.line_with("POST");
    assert!(line.contains("/invocations 400") && !line.contains("secret"), "{line}");
}
