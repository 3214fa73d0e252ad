//! Addresses of both families, from a log to a score of every verb.

mod support;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::Value;
use support::server::{Client, Server};
use support::{Outcome, ipsight};
use tempfile::TempDir;

const CONFIG: &str = "[hyperparameters]\nnum_entity_vectors = \"auto\"\nmini_batch_size = \"auto\"\nvector_dim = 16\n\
    epochs = 3\nlearning_rate = 0.02\n[model]\ndetector = \"history\"\naddresses = \"both\"\n\
    [training]\ndevice = \"ndarray\"\n[data]\ntrain = [\"logins/train.csv\"]\nvalidation = [\"logins/validation.csv\"]\n";

/// Logins of 300 users, half of whom have IPv6, and `run/`, a model of both families.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let users = ["generate", "--users", "300", "--days", "10", "--seed", "3", "--output", "logins"];
    let ipv6 = ["--ipv6-users", "0.5", "--ipv6-logins", "0.6"];
    ipsight(root, &[&users[..], &ipv6].concat(), b"").expect(0, &[]);
    fs::write(root.join("both.toml"), CONFIG).unwrap();
    ipsight(root, &["train", "--config", "both.toml", "--output", "run"], b"")
        .expect(0, &["num_entity_vectors: 6"]);
    folder
});

fn root() -> &'static Path {
    FIXTURE.path()
}

fn run(args: &[&str], stdin: &str) -> Outcome {
    ipsight(root(), args, stdin.as_bytes())
}

/// Every form of an address is the same event, in every format that is read and in every one that is written.
#[test]
fn an_address_has_one_score_in_every_form_and_format() {
    let logins = fs::read_to_string(root().join("logins/train.csv")).unwrap();
    let (user, network) = logins
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find_map(|fields| Some((fields[0].to_string(), fields[1].strip_suffix("::")?.to_string())))
        .unwrap();
    let forms =
        [format!("{network}::"), format!("{network}:1:2:3:4"), format!("{}::%eth0", network.to_uppercase())];
    let score = |format: &str, rows: String| {
        let model = ["score", "--model", "run/model", "--device", "ndarray", "--format", format];
        run(&model, &rows).expect(0, &[]).stdout
    };
    let as_csv = forms.each_ref().map(|ip| format!("{user},{ip}\n")).concat();
    let as_json = forms.each_ref().map(|ip| format!("{{\"entity\":\"{user}\",\"ip\":\"{ip}\"}}\n")).concat();
    let lines = score("csv", as_csv.clone());
    let rows: Vec<&str> = lines.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{lines}");
    assert!(
        rows.iter().all(|row| *row == rows[0] && row.starts_with(&format!("{user},{network}::,"))),
        "{lines}"
    );
    assert_eq!(score("csv", as_json.clone()), lines);
    assert_eq!(score("jsonl", as_json), score("jsonl", as_csv));
    // An IPv4 address inside an IPv6 one is that IPv4 address.
    let held = "user_1,203.0.113.7\nuser_1,::ffff:203.0.113.7\nuser_1,64:ff9b::203.0.113.7\n";
    let held = score("csv", held.into());
    let held: Vec<&str> = held.lines().skip(1).collect();
    assert!(held.iter().all(|row| *row == held[0] && row.starts_with("user_1,203.0.113.7,")), "{held:?}");
}

/// A prepared file holds what its text holds: the same model comes from it, byte for byte.
#[test]
fn a_prepared_file_of_both_families_trains_the_same_model() {
    let prepare = ["prepare", "logins/train.csv", "--addresses", "both", "--output", "train.arrow"];
    run(&prepare, "").expect(0, &[]);
    let train = ["train", "--config", "both.toml", "--train", "train.arrow", "--output", "prepared"];
    run(&train, "").expect(0, &[]);
    let mut names: Vec<_> =
        fs::read_dir(root().join("run/model")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| !["manifest.json", "config.toml"].contains(&name.to_str().unwrap()));
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let [text, prepared] =
            ["run", "prepared"].map(|run| fs::read(root().join(run).join("model").join(&name)).unwrap());
        assert!(text == prepared, "{name:?}");
    }
}

#[test]
fn own_networks_of_either_family_look_usual_and_others_do_not() {
    let evaluate =
        ["evaluate", "--model", "run/model", "--device", "ndarray", "--data", "logins/test.csv", "--json"];
    let evaluation = run(&evaluate, "").expect(0, &[]).json();
    assert!(evaluation["detectors"]["ipsight"]["auc"].as_f64().unwrap() > 0.95, "{evaluation:#}");
    let inspected = run(&["inspect", "--model", "run/model"], "").expect(0, &[]).stdout;
    assert!(inspected.contains("of IPv6 the upper 64 bits"), "{inspected}");
    let explained =
        run(&["explain", "--model", "run/model", "--device", "ndarray", "user_1", "2001:db8:1:2::7"], "");
    assert!(explained.expect(0, &[]).stdout.contains("2001:db8:1:2::"));
}

/// What is no address of a network that an account could own is refused by name, and so are forms that a log's field
/// needs cut off.
#[test]
fn addresses_of_nobody_are_refused_by_name() {
    for (ip, words) in [
        ("::1", ["::/32", ""]),
        ("fe80::1", ["link-local IPv6 address", "global address"]),
        ("[2001:db8::1]", ["without brackets, without a port", ""]),
        ("[2001:db8::1]:443", ["without brackets, without a port", ""]),
        ("1.2.3.4:22", ["without brackets, without a port", ""]),
    ] {
        let scored =
            run(&["score", "--model", "run/model", "--device", "ndarray"], &format!("user_1,{ip}\n"));
        scored.expect(3, &words);
    }
}

#[test]
fn a_server_on_ipv6_takes_ipv6_addresses_in_every_format() {
    let score = ["score", "--model", "run/model", "--device", "ndarray", "--format", "jsonl"];
    let expected = run(&score, "user_1,2001:db8:1:2::7\n").expect(0, &[]).json_lines();
    let server = Server::start_on("[::1]:0", root(), &["serve", "--model", "run/model"]);
    assert!(server.address.is_ipv6());
    let mut client = Client::connect(server.address);
    let instances = r#"{"instances":[{"features":["user_1","2001:db8:1:2::7"]}]}"#;
    let line = r#"{"features":["user_1","2001:DB8:1:2:0::9%2"]}"#;
    let bodies = [
        ("application/json", instances),
        ("application/jsonlines", line),
        ("text/csv", "user_1,2001:db8:1:2::\n"),
    ];
    let scores = bodies.map(|(content_type, body)| {
        let (status, answer) = client.post("/invocations", content_type, body).unwrap();
        assert_eq!(status, 200, "{content_type}: {answer}");
        let answer: Value = serde_json::from_str(&answer).expect(&answer);
        answer
            .pointer("/predictions/0/dot_product")
            .or(answer.get("dot_product"))
            .expect(content_type)
            .clone()
    });
    let number = |value: &Value| value.as_f64().unwrap() as f32;
    let expected = number(&expected[0]["dot_product"]);
    assert!(scores.iter().all(|score| number(score) == expected), "{scores:?} {expected}");
    let (status, answer) = client.post("/invocations", "text/csv", "user_1,::1\n").unwrap();
    assert!(status == 400 && answer.contains("::/32"), "{answer}");
    server.stop();
}
