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
        (with(&["user.rate"], "source.ip", None), Err(Skip::NoEntity)),
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
