//! What strangers write: user names and addresses as honeypots see them, in every format and on every way in. A name is
//! opaque bytes and taken as it is, unless it is empty or has 64 KiB or more. An address is four decimal numbers, alone or
//! held by an IPv6 address, or the row is bad for a reason that its report counts. No row is taken for another, and none ends the reading but a line of
//! 64 KiB, behind which nothing can be trusted.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use ipsight::Error;
use ipsight::data::{Input, OnBadRow, ReadOptions, ReadReport, load_events, read_rows, write_prepared};
use ipsight::event::{Address, AddressFamilies, hash_entity, parse_address};
use parquet::arrow::ArrowWriter;
use serde_json::json;
use support::server::{Client, Server};
use support::{generated_and_trained, ipsight};

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Taken,
    Bad(&'static str),
}
use Policy::{Bad, Taken};

const NOT_IP: Policy = Bad("not an IP address");
const SPACES: Policy = Bad("white space around the address");
const SEVERAL: Policy = Bad("several addresses");
const ZEROS: Policy = Bad("IPv4 with leading zeros");
const PORT: Policy = Bad("address with brackets or a port");
const PREFIX: Policy = Bad("address with a prefix length");
const IPV6: Policy = Bad("IPv6 address");

/// Names, all with the address 1.2.3.4.
const ENTITIES: [(&str, &[u8], Policy); 24] = [
    ("nothing", b"", Bad("empty entity")),
    ("a space", b" ", Taken),
    ("spaces around", b"  root  ", Taken),
    ("a zero byte", b"\0", Taken),
    ("a zero byte within", b"root\0admin", Taken),
    ("what steers a terminal", b"\x1b[2J\x07\x08\x7f", Taken),
    ("a line feed", b"root\nadmin,9.9.9.9\n", Taken),
    ("a carriage return", b"root\r\n\r", Taken),
    ("a quote", b"\"", Taken),
    ("quotes and commas", b"\",\"\"1.2.3.4\",\n\"", Taken),
    ("a comma", b"root,9.9.9.9", Taken),
    ("a byte order mark", b"\xEF\xBB\xBFroot", Taken),
    ("no UTF-8", b"\xFF\xFE\xC3(", Taken),
    ("UTF-16", b"r\0o\0o\0t\0", Taken),
    ("an overlong zero byte", b"\xC0\x80", Taken),
    ("letters of full width", "ｒｏｏｔ".as_bytes(), Taken),
    ("right to left", "\u{202e}toor".as_bytes(), Taken),
    ("JSON", b"{\"entity\":\"x\",\"ip\":\"9.9.9.9\"}", Taken),
    ("a Parquet file's beginning", b"PAR1", Taken),
    ("an Arrow file's beginning", b"ARROW1\0\0", Taken),
    ("a gzip file's beginning", b"\x1F\x8B\x08\0", Taken),
    ("a shell command", b"$(reboot)`reboot`;' OR 1=1 --", Taken),
    ("a log4j lookup", b"${jndi:ldap://9.9.9.9/a}", Taken),
    ("an address", b"9.9.9.9", Taken),
];

/// Addresses, all of the entity `root`.
const ADDRESSES: [(&str, Policy); 46] = [
    ("1.2.3.4", Taken),
    ("0.0.0.0", Taken),
    ("255.255.255.255", Taken),
    ("127.0.0.1", Taken),
    ("", NOT_IP),
    ("1.2.3", NOT_IP),
    ("1.2.3.4.5", NOT_IP),
    ("1.2.3.256", NOT_IP),
    ("1.2.3.-4", NOT_IP),
    ("+1.2.3.4", NOT_IP),
    ("1.2.3.4e0", NOT_IP),
    ("1..2.3", NOT_IP),
    ("01.2.3.4", ZEROS),
    ("001.002.003.004", ZEROS),
    ("0177.0.0.1", ZEROS),
    ("0377.0377.0377.0377", NOT_IP),
    ("0x7f.0.0.1", NOT_IP),
    ("0x7f000001", NOT_IP),
    ("2130706433", Bad("integer")),
    ("99999999999999999999999999", Bad("integer")),
    ("127.1", NOT_IP),
    ("1.2.3.4:22", PORT),
    ("1.2.3.4:99999999", PORT),
    ("1.2.3.4/32", PREFIX),
    ("1.2.3.0/24", PREFIX),
    ("1.2.3.0/255.255.255.0", NOT_IP),
    ("::1", IPV6),
    ("2001:db8::1", IPV6),
    ("[2001:db8::1]:22", IPV6),
    ("fe80::1%eth0", IPV6),
    ("2001:db8::/32", IPV6),
    ("[1.2.3.4]", PORT),
    ("::ffff:1.2.3.4", Taken),
    ("::ffff:102:304", Taken),
    ("64:ff9b::1.2.3.4", Taken),
    ("::ffff:1.2.3.4%eth0", Taken),
    ("１.2.3.4", NOT_IP),
    ("١.٢.٣.٤", NOT_IP),
    ("1。2。3。4", NOT_IP),
    ("1.2.3.4 ", SPACES),
    ("1.2.3.4\n", SPACES),
    ("1.2.3.4\0", NOT_IP),
    ("\u{feff}1.2.3.4", NOT_IP),
    ("1.2.3.4, 5.6.7.8", SEVERAL),
    ("localhost", NOT_IP),
    ("-", NOT_IP),
];

/// Entity, address and policy of all of them.
fn cases() -> impl Iterator<Item = (String, Vec<u8>, Vec<u8>, Policy)> {
    let entities = ENTITIES
        .iter()
        .map(|(what, entity, policy)| (what.to_string(), entity.to_vec(), b"1.2.3.4".to_vec(), *policy));
    let addresses = ADDRESSES
        .iter()
        .map(|(ip, policy)| (format!("{ip:?}"), b"root".to_vec(), ip.as_bytes().to_vec(), *policy));
    entities.chain(addresses)
}

/// The first row of every input: it says what the input is, and a bad one would end the reading.
const GOOD: (&[u8], Address) = (b"good", Address::from_ipv4(0x0909_0909));

fn csv_row(entity: &[u8], ip: &[u8]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
    writer.write_record([entity, ip]).unwrap();
    writer.into_inner().unwrap()
}

fn csv_file(entity: &[u8], ip: &[u8]) -> Vec<u8> {
    [b"good,9.9.9.9\n", &csv_row(entity, ip)[..]].concat()
}

/// A JSON Lines file; what is no UTF-8 stands in it as it is, which is no JSON.
fn json_file(entity: &[u8], ip: &[u8]) -> Vec<u8> {
    let quoted = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text).to_string().into_bytes(),
        Err(_) => [b"\"", bytes, b"\""].concat(),
    };
    let row = [b"{\"entity\":", &quoted(entity)[..], b",\"ip\":", &quoted(ip), b"}\n"].concat();
    [b"{\"entity\":\"good\",\"ip\":\"9.9.9.9\"}\n", &row[..]].concat()
}

fn parquet_file(path: &Path, entity: &[u8], ip: &[u8]) {
    let column = |values: Vec<&[u8]>| -> ArrayRef { Arc::new(BinaryArray::from(values)) };
    let columns = [("entity", column(vec![GOOD.0, entity])), ("ip", column(vec![b"9.9.9.9", ip]))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

type Rows = Vec<(Vec<u8>, Address)>;

/// The good rows of a file, and the report.
fn read(path: &Path) -> Result<(Rows, ReadReport), Error> {
    read_families(path, AddressFamilies::Ipv4)
}

fn read_families(path: &Path, addresses: AddressFamilies) -> Result<(Rows, ReadReport), Error> {
    let (on_bad_row, max_bad_fraction) = (OnBadRow::Skip, 1.0);
    let options = ReadOptions { on_bad_row, max_bad_fraction, addresses, ..ReadOptions::default() };
    let mut rows = Vec::new();
    let report = read_rows(&[Input::File(path.into())], &options, &mut |row, _| {
        rows.push((row.entity.to_vec(), row.address));
        Ok(())
    })?;
    Ok((rows, report))
}

/// Fails unless the file has the good row and this one, as its policy says.
#[track_caller]
fn assert_policy(what: &str, path: &Path, entity: &[u8], ip: &[u8], policy: Policy) {
    let (rows, report) = read(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut expected = vec![(GOOD.0.to_vec(), GOOD.1)];
    match policy {
        Taken => {
            expected.push((entity.to_vec(), parse_address(ip).unwrap()));
            assert_eq!(report.num_bad, 0, "{what}: {report}");
        }
        Bad(reason) => {
            let counted: Vec<_> = report.bad_by_reason.iter().map(|(name, num)| (*name, *num)).collect();
            assert_eq!(counted, [(reason, 1)], "{what}");
        }
    }
    assert_eq!(rows, expected, "{what}");

    // The same through the readers of columns, and from a prepared file.
    let options = ReadOptions { on_bad_row: OnBadRow::Skip, max_bad_fraction: 1.0, ..ReadOptions::default() };
    let prepared = path.with_extension("arrow");
    write_prepared(&[Input::File(path.into())], &options, &prepared).unwrap();
    let expected: Vec<_> = expected.iter().map(|(entity, ip)| (hash_entity(entity), *ip)).collect();
    for input in [path, &prepared] {
        let (events, _) = load_events(&[Input::File(input.into())], &options).unwrap();
        let events: Vec<_> = events.iter().map(|event| (event.entity, event.address)).collect();
        assert_eq!(events, expected, "{what}: {}", input.display());
    }
}

#[test]
fn names_and_addresses_of_strangers_meet_one_policy_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let [csv, json, parquet] =
        ["csv", "jsonl", "parquet"].map(|end| folder.path().join(format!("input_{end}.{end}")));
    for (what, entity, ip, policy) in cases() {
        fs::write(&csv, csv_file(&entity, &ip)).unwrap();
        assert_policy(&format!("CSV, {what}"), &csv, &entity, &ip, policy);
        fs::write(&json, json_file(&entity, &ip)).unwrap();
        // Bytes that are no text are written as they are, control characters among them.
        let in_json = match (std::str::from_utf8(&entity).is_ok(), entity.iter().any(u8::is_ascii_control)) {
            (true, _) => policy,
            (false, true) => Bad("not a JSON object"),
            (false, false) => Bad("text that is not UTF-8"),
        };
        assert_policy(&format!("JSON Lines, {what}"), &json, &entity, &ip, in_json);
        parquet_file(&parquet, &entity, &ip);
        assert_policy(&format!("Parquet, {what}"), &parquet, &entity, &ip, policy);
    }
}

#[test]
fn a_name_of_64_kib_is_refused_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    for len in [65_536, 1_000_000] {
        let entity = vec![b'x'; len];
        parquet_file(&path, &entity, b"1.2.3.4");
        assert_policy("Parquet", &path, &entity, b"1.2.3.4", Bad("entity of 64 KiB or more"));
        // Behind such a line of text nothing can be trusted: a quote may be missing.
        for text in [csv_file(&entity, b"1.2.3.4"), json_file(&entity, b"1.2.3.4")] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("input:2: the line has 64 KiB or more"), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
    }
    let longest = vec![b'x'; 65_535];
    parquet_file(&path, &longest, b"1.2.3.4");
    assert_policy("Parquet", &path, &longest, b"1.2.3.4", Taken);
}

/// A name, an input, the rows that are read of it, as `entity ip`, and the reasons that are counted.
type Text<'a> = (&'a str, &'a [u8], &'a [&'a str], &'a [&'a str]);

#[test]
fn csv_that_is_odd_as_text_is_read_as_the_csv_crate_reads_it() {
    let cases: [Text<'_>; 12] = [
        ("a byte order mark", b"\xEF\xBB\xBFroot,1.2.3.4\n", &["root 1.2.3.4"], &[]),
        ("CRLF", b"root,1.2.3.4\r\na,1.2.3.4\r\n", &["root 1.2.3.4", "a 1.2.3.4"], &[]),
        ("lone CR", b"root,1.2.3.4\ra,1.2.3.4\r", &["root 1.2.3.4", "a 1.2.3.4"], &[]),
        ("LF CR", b"root,1.2.3.4\n\ra,1.2.3.4", &["root 1.2.3.4", "a 1.2.3.4"], &[]),
        ("a quote within", b"ro\"ot,1.2.3.4\n", &["ro\\\"ot 1.2.3.4"], &[]),
        (
            "text behind a quote",
            b"a,1.2.3.4\n\"ro\"ot,1.2.3.4\n",
            &["a 1.2.3.4"],
            &["text behind a closing quote"],
        ),
        ("spaces before a quote", b"root,  \"1.2.3.4\"\n", &["root 1.2.3.4"], &[]),
        ("a line feed in quotes", b"\"ro\nx,9.9.9.9\",1.2.3.4\n", &["ro\\nx,9.9.9.9 1.2.3.4"], &[]),
        (
            "a quote that stays open",
            b"a,1.2.3.4\n\"root,1.2.3.4\nb,1.2.3.4\n",
            &["a 1.2.3.4"],
            &["unclosed quote"],
        ),
        ("a column that is missing", b"a,1.2.3.4\nroot\n", &["a 1.2.3.4"], &["too few columns"]),
        ("blank lines", b"\n\n  \t\nroot,1.2.3.4\n\n", &["root 1.2.3.4"], &[]),
        ("an Arabic comma", "a,1.2.3.4\nroot،1.2.3.4\n".as_bytes(), &["a 1.2.3.4"], &["too few columns"]),
    ];
    check_texts(&cases);
}

#[test]
fn json_that_is_odd_as_text_is_an_event_or_counted() {
    let deep = |depth: usize| {
        format!("{{\"x\":{}{},\"entity\":\"root\",\"ip\":\"1.2.3.4\"}}", "[".repeat(depth), "]".repeat(depth))
    };
    let (shallow, too_deep) = (deep(100), deep(10_000));
    let row = |text: &'static str| [GOOD_JSON, text].concat();
    const GOOD_JSON: &str = "{\"entity\":\"good\",\"ip\":\"9.9.9.9\"}\n";
    let not_json: &[&str] = &["not a JSON object"];
    let not_text: &[&str] = &["not text or a number"];
    let floating: &[&str] = &["floating-point number for an entity"];
    let cases: [(&str, String, Option<&str>, &[&str]); 20] = [
        ("half of a surrogate pair", row(r#"{"entity":"\ud800","ip":"1.2.3.4"}"#), None, not_json),
        ("halves in the wrong order", row(r#"{"entity":"\udc00\ud800","ip":"1.2.3.4"}"#), None, not_json),
        ("an escaped zero byte", row(r#"{"entity":"\u0000","ip":"1.2.3.4"}"#), Some("\\x00 1.2.3.4"), &[]),
        ("an escaped address", row(r#"{"entity":"a","ip":"\u0031.2.3.4"}"#), Some("a 1.2.3.4"), &[]),
        ("a raw control character", row("{\"entity\":\"a\x01\",\"ip\":\"1.2.3.4\"}"), None, not_json),
        // As in Python, jq and browsers.
        (
            "a key twice: the last",
            row(r#"{"entity":"a","entity":"b","ip":"1.2.3.4"}"#),
            Some("b 1.2.3.4"),
            &[],
        ),
        (
            "a whole number",
            row(r#"{"entity":18446744073709551615,"ip":"1.2.3.4"}"#),
            Some("18446744073709551615 1.2.3.4"),
            &[],
        ),
        ("a number past 64 bits", row(r#"{"entity":18446744073709551616,"ip":"1.2.3.4"}"#), None, floating),
        ("a number past all", row(r#"{"entity":1e999,"ip":"1.2.3.4"}"#), None, not_json),
        ("a fraction", row(r#"{"entity":7.0,"ip":"1.2.3.4"}"#), None, floating),
        ("an address as a number", row(r#"{"entity":"a","ip":16909060}"#), None, &["integer"]),
        ("null", row(r#"{"entity":null,"ip":"1.2.3.4"}"#), None, &["missing value"]),
        ("a boolean", row(r#"{"entity":true,"ip":"1.2.3.4"}"#), None, not_text),
        ("a list", row(r#"{"entity":["a"],"ip":"1.2.3.4"}"#), None, not_text),
        ("no address", row(r#"{"entity":"a"}"#), None, &["missing key"]),
        ("a list of pairs", row(r#"[["a","1.2.3.4"]]"#), None, not_json),
        (
            "two objects in a line",
            row(r#"{"entity":"a","ip":"1.2.3.4"}{"entity":"b","ip":"1.2.3.4"}"#),
            None,
            not_json,
        ),
        ("NaN", row(r#"{"entity":"a","ip":"1.2.3.4","x":NaN}"#), None, not_json),
        ("nesting", [GOOD_JSON, &shallow].concat(), Some("root 1.2.3.4"), &[]),
        ("deep nesting", [GOOD_JSON, &too_deep].concat(), None, not_json),
    ];
    for (what, text, taken, bad) in &cases {
        let mut rows = vec!["good 9.9.9.9"];
        rows.extend(taken);
        check_texts(&[(*what, text.as_bytes(), &rows, bad)]);
    }
}

#[track_caller]
fn check_texts(cases: &[Text<'_>]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    for (what, text, expected, bad) in cases {
        fs::write(&path, text).unwrap();
        let (rows, report) = read(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        let rows: Vec<String> =
            rows.iter().map(|(entity, ip)| format!("{} {ip}", entity.escape_ascii())).collect();
        assert_eq!(rows, *expected, "{what}");
        assert_eq!(report.bad_by_reason.keys().copied().collect::<Vec<_>>(), *bad, "{what}");
    }
}

/// A folder with a trained model.
static MODEL: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let config = "[hyperparameters]\nnum_entity_vectors = 100\nvector_dim = 4\nepochs = 1\nmini_batch_size = 100\n\
        [data]\ntrain = [\"logins/train.csv\"]\n[training]\ndevice = \"ndarray\"\n";
    generated_and_trained("20", "7", config)
});

#[test]
fn a_request_meets_the_same_policy_in_every_form_of_its_body() {
    let server = Server::start(MODEL.path(), "run/model", &[]);
    let mut client = Client::connect(server.address);
    let long =
        ("1 MB".to_string(), vec![b'x'; 1_000_000], b"1.2.3.4".to_vec(), Bad("entity of 64 KiB or more"));
    for (what, entity, ip, policy) in cases().chain([long]) {
        let mut bodies = vec![("/invocations", "text/csv", csv_file(&entity, &ip))];
        let texts = (std::str::from_utf8(&entity), std::str::from_utf8(&ip));
        if let (Ok(entity), Ok(ip)) = texts {
            let pair = json!({"features": [entity, ip]});
            let good = json!({"features": ["good", "9.9.9.9"]});
            let json = json!({"instances": [good, {"data": {"features": {"values": [entity, ip]}}}]});
            let plain =
                json!({"events": [{"entity": "good", "ip": "9.9.9.9"}, {"entity": entity, "ip": ip}]});
            bodies.push(("/invocations", "application/json", json.to_string().into_bytes()));
            bodies.push(("/invocations", "application/jsonlines", format!("{good}\n{pair}\n").into_bytes()));
            bodies.push(("/v1/score", "application/json", plain.to_string().into_bytes()));
        }
        for (path, content_type, body) in bodies {
            let (status, answer) = client.post(path, content_type, &body).unwrap();
            let at = format!("{what}: {path} {content_type}: {status} {}", &answer[..answer.len().min(300)]);
            match policy {
                Taken => assert!(status == 200 && answer.matches("dot_product").count() == 2, "{at}"),
                Bad(reason) => {
                    assert!(status == 400 && answer.contains(reason) && answer.contains("record 1 "), "{at}")
                }
            }
        }
    }
    // Not text, twice, too deep, cut off: never anything but a 400 that says so.
    let bodies: [(&[u8], &str); 8] = [
        (b"{\"instances\":[{\"features\":[\"\xFF\",\"1.2.3.4\"]}]}", "invalid unicode"),
        (br#"{"instances":[{"features":["\ud800","1.2.3.4"]}]}"#, "unexpected end of hex escape"),
        (br#"{"instances":[{"features":["a","1.2.3.4"],"features":["b","1.2.3.4"]}]}"#, "given twice"),
        (br#"{"instances":[],"instances":[]}"#, "not twice"),
        (br#"{"instances":[{"features":[1e999,"1.2.3.4"]}]}"#, "out of range"),
        (br#"{"instances":[{"features":[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}]}"#, "nests deeper"),
        (br#"{"instances":[{"features":["a","1.2.3.4"]}"#, "EOF"),
        (br#"{"instances":[{"features":["a","1.2.3.4","5.6.7.8"]}]}"#, "two values"),
    ];
    for (body, words) in bodies {
        let (status, answer) = client.post("/invocations", "application/json", body).unwrap();
        assert!(status == 400 && answer.contains(words), "{}: {status} {answer}", body.escape_ascii());
    }
    server.stop();
}

#[test]
fn what_import_writes_of_strangers_is_what_the_readers_read() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.json");
    let rows = folder.path().join("rows.csv");
    let mut expected: Rows = vec![(GOOD.0.to_vec(), GOOD.1)];
    let mut lines = String::from("{\"entity\":\"good\",\"ip\":\"9.9.9.9\"}\n");
    for (_, entity, ip, policy) in cases() {
        let (Ok(entity), Ok(ip)) = (std::str::from_utf8(&entity), std::str::from_utf8(&ip)) else { continue };
        lines += &format!("{}\n", json!({"entity": entity, "ip": ip}));
        // Logs have addresses of both families; a zero byte would be taken for UTF-16.
        // Ports of logs are dropped.
        let without_port = match (ip, policy) {
            (_, PORT) => "1.2.3.4",
            ("[2001:db8::1]:22", _) => "2001:db8::1",
            _ => ip,
        };
        let is_address = policy == Taken || policy == IPV6 || policy == PORT;
        let address = parse_address(without_port.as_bytes()).filter(|_| is_address);
        if let Some(address) = address.filter(|_| !entity.contains('\0')) {
            expected.push((entity.as_bytes().to_vec(), address));
        }
    }
    lines += &format!("{}\n", json!({"entity": "x".repeat(100_000), "ip": "1.2.3.4"}));
    fs::write(&log, lines).unwrap();
    let args = ["import", "json", "--input", "log.json", "--output", "rows.csv"];
    let words = [
        "entity of over 16 KiB or with a zero byte",
        "no entity",
        "not an IP address",
        "IPv6 address in ::/32",
        "link-local IPv6 address",
    ];
    ipsight(folder.path(), &args, b"").expect(0, &words);
    let (found, report) = read_families(&rows, AddressFamilies::Both).unwrap();
    assert_eq!((found, report.num_bad), (expected, 0));
}

/// A terminal that shows a message is not steered by what stands in an input.
#[test]
fn messages_show_what_strangers_wrote_without_its_control_characters() {
    let inputs: [&[u8]; 5] = [
        b"a,1.2.3.4\nb,\x1b]0;owned\x07\n",
        b"\x1b[31muser,\x1b[31maddress\nb,1.2.3.4\n",
        b"{\"\\u001b[2Juser\":\"a\",\"\\u001b[2Jip\":\"1.2.3.4\"}\n",
        b"\x1b[2J;1.2.3.4\n",
        b"1.2.3.4,\x1b[2J\n",
    ];
    for input in inputs {
        let outcome = ipsight(MODEL.path(), &["prepare", "-", "--output", "x.arrow"], input).expect(3, &[]);
        assert!(
            !outcome.stderr.chars().any(|char| char.is_control() && char != '\n'),
            "{:?}",
            outcome.stderr
        );
    }
    let log = b"{\"\\u001b[2Juser\":\"a\",\"ip\":\"1.2.3.4\"}\n";
    let outcome =
        ipsight(MODEL.path(), &["import", "json", "--input", "-"], log).expect(3, &["the first object has"]);
    assert!(!outcome.stderr.chars().any(|char| char.is_control() && char != '\n'), "{:?}", outcome.stderr);
}
