//! JSON by paths.

use super::*;

#[test]
fn json_is_read_by_paths() {
    let record = r#"{"user":{"name":"ann","id":7,"rate":1.5},"source.ip":"1.2.3.4","source":{"ip":"9.9.9.9"},
        "@timestamp":"2024-05-31T23:59:59Z","list":[{"ip":"1.2.3.4"}],"a/b":"x","ms":1717199999500,"s":1717199999.5}"#;
    let with = |entity: &[&str], ip: &str, time: Option<&str>| ImportOptions {
        ip: Some(ip.into()),
        time: time.map(str::to_string),
        ..options(LogFormat::Json, entity)
    };
    let ann = Ok("ann 1.2.3.4 1717199999");
    for (options, expected) in [
        (with(&["user.name"], "source.ip", Some("@timestamp")), ann),
        (with(&["/user/name"], "/list/0/ip", Some("/@timestamp")), ann),
        (with(&["user.name"], "list.0.ip", Some("ms")), ann),
        (with(&["user.name"], "list.0.ip", Some("s")), ann),
        (with(&["none", "user.rate", "user.name"], "source.ip", Some("s")), ann),
        (with(&["user.id"], "source.ip", None), Ok("7 1.2.3.4 -")),
        (with(&["/a~1b"], "/source/ip", None), Ok("x 9.9.9.9 -")),
        (with(&["user"], "source.ip", None), Err(Skip::NoEntity)),
        (with(&["user.rate"], "source.ip", None), Err(Skip::FloatingPoint)),
        (with(&["user.name"], "user.id", None), Err(Skip::NoAddress)),
        (with(&["user.name"], "user.name", None), Err(Skip::NotAddress)),
        (with(&["user.name"], "source.ip", Some("none")), Err(Skip::BadTime)),
        (with(&["user.name"], "source.ip", Some("user")), Err(Skip::BadTime)),
    ] {
        assert_parsed(&options, &[(record, expected)]);
    }
    let defaults = options(LogFormat::Json, &[]);
    assert_parsed(
        &defaults,
        &[
            (r#"{"entity":"ann","ip":"1.2.3.4"}"#, Ok("ann 1.2.3.4 -")),
            (r#"{"entity":"ann","ip":"1.2.3.4","time":"1717199999"}"#, ann),
            (r#"{"entity":"","ip":"1.2.3.4"}"#, Err(Skip::NoEntity)),
            (r#"{"entity":"a\u0000","ip":"1.2.3.4"}"#, Err(Skip::BadEntity)),
            (r#"{"entity":"ann","ip":"1.2.3.4","time":1e300}"#, Ok("ann 1.2.3.4 -")),
            (r#"{"entity":"ann","ip":"1.2.3.4","time":"99999999999999"}"#, Err(Skip::BadTime)),
            ("[1]", Err(Skip::NoMatch)),
            ("{", Err(Skip::NoMatch)),
        ],
    );
}

#[test]
fn json_in_text_times_in_any_unit_and_bytes_that_are_no_text() {
    let json = options(LogFormat::Json, &[]);
    for time in [
        "1717199999",
        "1717199999500",
        "1717199999500000",
        "1717199999500000000",
        "\"1717199999500000\"",
        "\"31/May/2024:23:59:59 +0000\"",
        "\"2024-05-31 23:59:59,123\"",
        "\"2024-05-31 23:59:59+00\"",
        "\" 2024-05-31 15:59:59 -0800\"",
    ] {
        let record = format!(r#"{{"entity":"ann","ip":"1.2.3.4:80","time":{time}}}"#);
        assert_parsed(&json, &[(&record, Ok("ann 1.2.3.4 1717199999"))]);
    }
    let in_text =
        ImportOptions { ip: Some("event.source".into()), ..options(LogFormat::Json, &["event.who.name"]) };
    let record = r#"{"event":"{\"who\":{\"name\":\"ann\"},\"source\":\"1.2.3.4\"}"}"#;
    assert_parsed(&in_text, &[(record, Ok("ann 1.2.3.4 -"))]);
    let mut kept = Kept::default();
    let mut importer = Importer::new(&json, &mut kept).unwrap();
    importer.feed(b"{\"entity\":\"a\",\"ip\":\"1.2.3.4\",\"x\":\"\xFF\"}\n{\"entity\":\"a\xFF\",\"ip\":\"1.2.3.4\"}\n").unwrap();
    importer.end_input(true).unwrap();
    assert_eq!(importer.report().skipped["entity that is not UTF-8"], 1);
    assert_eq!(importer.report().num_used, 1);
}

#[test]
fn a_condition_on_a_path_keeps_what_fits() {
    let success = ImportOptions {
        filters: vec!["outcome.result=SUCCESS".parse().unwrap()],
        ..options(LogFormat::Json, &[])
    };
    let record =
        |result: &str| format!(r#"{{"entity":"a","ip":"1.2.3.4","outcome":{{"result":"{result}"}}}}"#);
    assert_parsed(
        &success,
        &[(&record("SUCCESS"), Ok("a 1.2.3.4 -")), (&record("FAILURE"), Err(Skip::Filtered))],
    );
}
