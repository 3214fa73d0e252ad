//! `explain`: its score is that of `score`, and its means are those of the scores of many addresses.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::Device;
use ipsight::config::DeviceChoice;
use ipsight::event::{Address, AddressFamilies};
use ipsight::inference::explain::{explain, network_length};
use ipsight::model::{IpInsights, IpInsightsConfig};
use ipsight::{Event, Scorer, device};
use ipsight_kernels::philox::philox4x32_10;
use serde_json::Value;
use support::{Outcome, generated_and_trained, ipsight};
use tempfile::TempDir;

const NUM_ROWS: usize = 7;

fn config(num_layers: usize) -> IpInsightsConfig {
    IpInsightsConfig::new(NUM_ROWS, 12, num_layers, usize::MAX)
}

fn random(counter: u32, stream: u32) -> u32 {
    philox4x32_10([counter, stream, 0, 0], [5, 11])[0]
}

/// A model of random weights; `change` may change a tensor of a name.
fn model(config: &IpInsightsConfig, device: &Device, change: impl Fn(&str, &mut [f32])) -> IpInsights {
    let mut num_tensors = 0;
    let tensor = |name: &str, shape: &[usize]| {
        num_tensors += 1;
        let value = |i| random(i, num_tensors) as f32 / 2f32.powi(31) - 1.0;
        let mut values: Vec<f32> = (0..shape.iter().product::<usize>() as u32).map(value).collect();
        change(name, &mut values);
        Ok::<_, ()>(values)
    };
    config.from_tensors(device, tensor).unwrap()
}

fn ndarray() -> Device {
    device::choose(DeviceChoice::Ndarray).unwrap().device
}

fn scorer(model: IpInsights) -> Scorer {
    Scorer::new(&model, vec![3; NUM_ROWS])
}

fn events() -> Vec<Event> {
    let entity = |i| u64::from(random(i, 100)) << 32 | u64::from(random(i, 101));
    (0..200).map(|i| Event { entity: entity(i), address: Address::from_ipv4(random(i, 102)) }).collect()
}

/// Against means over all that there is to take a mean of.
#[test]
fn means_along_the_address_and_of_networks_are_those_of_its_scores() {
    for num_layers in [0, 1, 2] {
        let at = format!("L = {num_layers}");
        let half = |_: &str, values: &mut [f32]| values.iter_mut().for_each(|v| *v *= 0.5);
        let scorer = scorer(model(&config(num_layers), &ndarray(), half));
        let event = events()[0];
        let explanation = explain(&scorer, event).unwrap();
        assert_eq!(explanation, explain(&scorer, event).unwrap(), "the same every time");
        let steps = &explanation.along_address;
        assert_eq!(steps.iter().map(|step| step.prefix.length()).collect::<Vec<_>>(), [0, 8, 16, 24, 32]);
        let of_network = |length: u32| {
            let first = event.address.ipv4().unwrap() & (u32::MAX << (32 - length));
            let ips = (0..1u32 << (32 - length))
                .map(|rest| Event { address: Address::from_ipv4(first | rest), ..event });
            let scores = scorer.dot_products(&ips.collect::<Vec<_>>()).unwrap();
            let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / scores.len() as f64;
            let square = scores.iter().map(|score| (f64::from(*score) - mean).powi(2)).sum::<f64>();
            (mean, (square / scores.len() as f64).sqrt())
        };
        let (mean_24, _) = of_network(24);
        assert!((steps[3].mean_score - mean_24).abs() < 1e-5, "{at}: a /24 is taken whole");
        let (mean_16, deviation) = of_network(16);
        let error = (steps[2].mean_score - mean_16).abs();
        assert!(error < 5.0 * deviation / 32.0, "{at}: {error} from 1,024 of deviation {deviation}");
        assert_eq!(steps[4].mean_score, f64::from(explanation.dot_product));
        let changes: f64 = steps.iter().filter_map(|step| step.change).sum();
        assert!((steps[0].mean_score + changes - steps[4].mean_score).abs() < 1e-9);

        let usual = &explanation.usual_networks;
        assert_eq!(usual.highest.len(), 5);
        assert!(usual.highest.is_sorted_by(|a, b| a.mean_score >= b.mean_score), "{at}: {usual:?}");
        assert!(usual.nearest.is_sorted_by(|a, b| a.shared_bits >= b.shared_bits), "{at}: {usual:?}");
        assert!(usual.nearest.iter().all(|network| network.mean_score > 0.0), "{at}: {usual:?}");
        assert_eq!(usual.nearest.len(), usual.num_usual.min(3), "{at}");
        for network in usual.highest.iter().chain(&usual.nearest) {
            assert_eq!(network.network.length(), network_length(event.address));
        }
    }
}

/// A model of both families explains IPv6 by networks of IPv6, and IPv4 as a model of IPv4 alone does.
#[test]
fn means_of_ipv6_are_those_of_its_scores() {
    for num_layers in [0, 1, 2] {
        let at = format!("L = {num_layers}");
        let half = |_: &str, values: &mut [f32]| values.iter_mut().for_each(|v| *v *= 0.5);
        let config = config(num_layers).with_addresses(AddressFamilies::Both);
        let scorer = scorer(model(&config, &ndarray(), half));
        let event = Event { address: Address::from_bits(0x2A01_04F8_1234_5678), ..events()[0] };
        let explanation = explain(&scorer, event).unwrap();
        assert_eq!(explanation, explain(&scorer, event).unwrap(), "the same every time");
        let steps = &explanation.along_address;
        let prefixes: Vec<String> = steps.iter().map(|step| step.prefix.to_string()).collect();
        let expected =
            ["2000::/3", "2a01::/16", "2a01:4f8::/32", "2a01:4f8:1234::/48", "2a01:4f8:1234:5678::/64"];
        assert_eq!(prefixes, expected);
        // A /48 has 2^16 addresses, which are all taken here.
        let first = event.address.bits() & !0xFFFF;
        let all: Vec<Event> =
            (0..1 << 16).map(|rest| Event { address: Address::from_bits(first | rest), ..event }).collect();
        let scores = scorer.dot_products(&all).unwrap();
        let mean = scores.iter().map(|score| f64::from(*score)).sum::<f64>() / scores.len() as f64;
        let squares = scores.iter().map(|score| (f64::from(*score) - mean).powi(2)).sum::<f64>();
        let deviation = (squares / scores.len() as f64).sqrt();
        let error = (steps[3].mean_score - mean).abs();
        assert!(error < 5.0 * deviation / 32.0, "{at}: {error} from 1,024 of deviation {deviation}");
        assert_eq!(steps[4].mean_score, f64::from(explanation.dot_product));

        let usual = &explanation.usual_networks;
        assert!(usual.nearest.is_sorted_by(|a, b| a.shared_bits >= b.shared_bits), "{at}: {usual:?}");
        assert_eq!((usual.highest.len(), usual.nearest.len()), (5, usual.num_usual.min(3)), "{at}");
        for network in usual.highest.iter().chain(&usual.nearest) {
            let text = network.network.to_string();
            assert!(text.ends_with("::/19") && (text.starts_with('2') || text.starts_with('3')), "{text}");
        }
        assert_eq!(explain(&scorer, events()[0]).unwrap().along_address.len(), 5);
    }
}

/// An entity that no address is usual for.
#[test]
fn no_network_is_usual_where_none_scores_above_0() {
    let cold = model(&config(0), &ndarray(), |name, values| {
        values.fill(match name {
            "entity_embedding.weight" => 1.0,
            "ip_encoder.layers.0.bias" => -1.0,
            _ => 0.0,
        })
    });
    let usual = explain(&scorer(cold), events()[1]).unwrap().usual_networks;
    assert_eq!((usual.num_usual, usual.nearest.len(), usual.highest.len()), (0, 0, 5));
    // The product of the vectors, of 12 floats.
    assert!(usual.highest.iter().all(|network| network.mean_score == -12.0), "{usual:?}");
    // Of equal networks the lowest.
    assert_eq!(usual.highest[0].network.to_string(), "0.0.0.0/16");
}

#[test]
fn a_score_that_is_no_number_is_an_error() {
    let broken = model(&config(0), &ndarray(), |_, values| values.fill(f32::NAN));
    let error = explain(&scorer(broken), events()[1]).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

/// Logins of 200 users with a model of them.
static FIXTURE: LazyLock<TempDir> = LazyLock::new(|| generated_and_trained("200", "29", SMALL));

const SMALL: &str = r#"
[hyperparameters]
num_entity_vectors = 4000
vector_dim = 16
mini_batch_size = 500
learning_rate = 0.02
epochs = 3
[training]
device = "ndarray"
[data]
train = ["logins/train.csv"]
"#;

fn root() -> &'static Path {
    FIXTURE.path()
}

fn explained(model: &str, args: &[&str]) -> Outcome {
    let fixed = ["explain", "--device", "ndarray", "--model", model];
    ipsight(root(), &[&fixed[..], args].concat(), b"")
}

/// The row with the /16 that its entity has the most logins from, among the training logins.
fn usual_login() -> (String, String) {
    let text = fs::read_to_string(root().join("logins/train.csv")).unwrap();
    let mut counts: BTreeMap<(&str, &str), (usize, &str)> = BTreeMap::new();
    for row in text.lines() {
        let (entity, ip) = row.split_once(',').unwrap();
        let network = &ip[..ip.match_indices('.').nth(1).unwrap().0];
        counts.entry((entity, network)).or_insert((0, ip)).0 += 1;
    }
    let ((entity, _), (_, ip)) = counts.into_iter().max_by_key(|(_, (count, _))| *count).unwrap();
    (entity.into(), ip.into())
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn it_tells_what_score_tells_and_why() {
    let (entity, ip) = usual_login();
    let told = explained("run/model", &[&entity, &ip, "--json"]).expect(0, &[]).json();
    let score = ["score", "--device", "ndarray", "--model", "run/model", "--format", "jsonl"];
    let scored = ipsight(root(), &score, format!("{entity},{ip}\n").as_bytes()).expect(0, &[]).json();
    for key in ["entity", "ip", "entity_seen"] {
        assert_eq!(told[key], scored[key], "{told}");
    }
    for key in ["dot_product", "anomaly_score"] {
        assert_eq!(number(&told[key]) as f32, number(&scored[key]) as f32, "{told}");
    }
    assert!(told.get("decision").is_none(), "there are no thresholds: {told}");

    // Its own network is usual and the nearest, and coming nearer to it raises the score.
    let network: Vec<&str> = ip.split('.').take(2).collect();
    let nearest = &told["usual_networks"]["nearest"][0];
    assert_eq!(nearest["network"], format!("{}.0.0/16", network.join(".")), "{told}");
    assert_eq!(nearest["shared_bits"], 16);
    let means: Vec<f64> =
        told["along_address"].as_array().unwrap().iter().map(|step| number(&step["mean_score"])).collect();
    assert!(means[0] < means[1] && means[1] < means[2], "{told}");
    let rows = fs::read_to_string(root().join("logins/train.csv")).unwrap();
    let num_events = rows.lines().filter(|row| row.split(',').next() == Some(&entity)).count();
    assert!(told["num_row_events"].as_u64().unwrap() >= num_events as u64, "{told}");

    let text = explained("run/model", &[&entity, &ip]).expect(0, &[]).stdout;
    let score = format!("{:.3}", number(&told["dot_product"]));
    for word in [&entity, &ip, &score, "any address", nearest["network"].as_str().unwrap(), "learned from"] {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    assert!(!text.contains("decision"), "{text}");
}

#[test]
fn an_entity_that_was_never_seen_is_said_to_be() {
    // Most of 4,000 rows have none of 200 users.
    let unseen = (0..40).map(|i| format!("stranger_{i}")).find(|entity| {
        let told = explained("run/model", &[entity, "192.0.2.1", "--json"]).expect(0, &[]).json();
        told["entity_seen"] == false && told["num_row_events"] == 0
    });
    let text = explained("run/model", &[&unseen.unwrap(), "192.0.2.1"]).expect(0, &[]).stdout;
    assert!(text.contains("never seen"), "{text}");
    let text = explained("run/model", &["O'Neill\u{1b}[2J", "192.0.2.1"]).expect(0, &[]).stdout;
    assert!(text.starts_with("O'Neill\\u{1b}[2J from 192.0.2.1"), "a terminal is not cleared: {text}");
}

#[test]
fn thresholds_are_told_as_score_tells_them() {
    fs::create_dir(root().join("chosen")).unwrap();
    for entry in fs::read_dir(root().join("run/model")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, root().join("chosen").join(path.file_name().unwrap())).unwrap();
    }
    let evaluate = ["evaluate", "--device", "ndarray", "--model", "chosen", "--data", "logins/test.csv"];
    ipsight(root(), &[&evaluate[..], &["--target-fpr", "ask=0.02"]].concat(), b"").expect(0, &["thresholds"]);
    let (entity, ip) = usual_login();
    let mut decisions = Vec::new();
    for ip in [ip.as_str(), "203.0.113.7", "240.1.2.3", "7.7.7.7"] {
        let told = explained("chosen", &[&entity, ip, "--json"]).expect(0, &[]).json();
        let score = ["score", "--device", "ndarray", "--model", "chosen", "--format", "jsonl"];
        let scored = ipsight(root(), &score, format!("{entity},{ip}\n").as_bytes()).expect(0, &[]).json();
        for key in ["percentile", "probability"] {
            assert_eq!(number(&told[key]) as f32, number(&scored[key]) as f32, "{told}");
        }
        assert_eq!(told["decision"], scored["decision"]);
        let decision = told["decision"].as_str().unwrap().to_string();
        let text = explained("chosen", &[&entity, ip]).expect(0, &[]).stdout;
        assert!(text.contains(&format!("decision {decision}")), "{text}");
        decisions.push(decision);
    }
    assert_eq!(decisions[0], "allow");
    assert!(decisions.iter().any(|decision| decision == "ask"), "{decisions:?}");
}

#[test]
fn what_is_wrong_is_said() {
    explained("run/model", &["user_1", "2001:db8::1"]).expect(2, &["IP", "model.addresses"]);
    explained("run/model", &["user_1", "[::1]:443"]).expect(2, &["<IP>", "IPv6"]);
    for ip in ["1.2.3", "1.2.3.256", "01.2.3.4", "1.2.3.4:80", "1.2.3.0/24", "", "x"] {
        explained("run/model", &["user_1", ip]).expect(2, &["IP", "four numbers from 0 to 255"]);
    }
    explained("run/model", &["", "1.2.3.4"]).expect(2, &["ENTITY"]);
    explained("run/model", &["user_1"]).expect(2, &["<IP>"]);
    explained("nowhere", &["user_1", "1.2.3.4"]).expect(4, &["nowhere"]);
    fs::create_dir(root().join("damaged")).unwrap();
    for entry in fs::read_dir(root().join("run/model")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, root().join("damaged").join(path.file_name().unwrap())).unwrap();
    }
    let weights = root().join("damaged/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    explained("damaged", &["user_1", "1.2.3.4"]).expect(3, &["model.safetensors"]);
}
