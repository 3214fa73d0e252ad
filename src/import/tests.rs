use std::borrow::Cow;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::formats::parser_of;
use super::login::Skip;
use super::*;
use crate::data::{Input, MAX_LINE};
use crate::event::{Address, AddressFamilies, parse_ipv4};
use crate::{Error, Result};

/// What the parser makes of one record: `entity ip seconds times`, or why nothing.
fn parsed(options: &ImportOptions, record: &str) -> std::result::Result<String, &'static str> {
    let parser = parser_of(options).unwrap();
    let login = parser.parse(record.as_bytes(), NEWEST).and_then(Login::checked).map_err(Skip::name)?;
    let ip = login.address;
    let seconds = login.seconds.map_or("-".into(), |seconds| seconds.to_string());
    let times = if login.num_times == 1 { String::new() } else { format!(" {}", login.num_times) };
    Ok(format!("{} {ip} {seconds}{times}", String::from_utf8_lossy(&login.entity)))
}

/// 2024-05-31T23:59:59Z.
const NEWEST: i64 = 1_717_199_999;

#[track_caller]
fn assert_parsed(options: &ImportOptions, cases: &[(&str, std::result::Result<&str, Skip>)]) {
    let mut wrong = Vec::new();
    for (record, expected) in cases {
        let expected = expected.map(str::to_string).map_err(Skip::name);
        let found = parsed(options, record);
        if found != expected {
            wrong.push(format!("{record}\n  gives {found:?}\n  not   {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn options(format: LogFormat, entity: &[&str]) -> ImportOptions {
    let entity = entity.iter().map(|field| field.to_string()).collect();
    ImportOptions { entity, ..ImportOptions::new(format) }
}

const TIME: &str = "[17/May/2015:10:05:03 +0000]";

#[test]
fn requests_of_users_are_found_in_all_forms_of_access_logs() {
    let user = options(LogFormat::Apache, &[]);
    let line = |client: &str, rest: &str| format!("{client} {TIME} \"GET /a HTTP/1.1\" {rest}");
    let good = [
        line("1.2.3.4 - ann", "200 12"),
        line("1.2.3.4 - ann", "200 -"),
        line("1.2.3.4 ident ann", r#"200 12 "http://x/\"y" "agent \\""#),
        line("example.org:443 1.2.3.4 - ann", r#"200 12 "-" "agent""#),
        line("::ffff:1.2.3.4 - ann", "404 12"),
        line("1.2.3.4 - ann", r#"200 12 "-" "agent" "10.0.0.1" extra"#),
        r#"1.2.3.4 - ann [17/May/2015:12:05:03 +0200] "\x16\x03" 400 0"#.into(),
        r#"1.2.3.4 - ann [17/May/2015:05:35:03 -0430] "-" 408 -"#.into(),
    ];
    for line in &good {
        assert_parsed(&user, &[(line, Ok("ann 1.2.3.4 1431857103"))]);
    }
    let spaces = line("1.2.3.4 - a [b] \"c, d", "200 1");
    assert_parsed(
        &user,
        &[
            (&spaces, Ok("a [b] \"c, d 1.2.3.4 1431857103")),
            (&line("1.2.3.4 - -", "200 1"), Err(Skip::NoEntity)),
            (&line("1.2.3.4 - \"\"", "200 1"), Err(Skip::NoEntity)),
            (&line("1.2.3.4 - ann", "401 1"), Err(Skip::NotChosen)),
            (&line("2001:db8::1 - ann", "200 1"), Ok("ann 2001:db8:: 1431857103")),
            (&line("::1 - ann", "200 1"), Err(Skip::UnspecifiedIpv6)),
            (&line("fe80::1 - ann", "200 1"), Err(Skip::LinkLocalIpv6)),
            (&line("host.example - ann", "200 1"), Err(Skip::NotAddress)),
            (&line("1.2.3.4 - ann", "2xx 1"), Err(Skip::NoMatch)),
            (&line("1.2.3.4 - ann", ""), Err(Skip::NoMatch)),
            (&line("1.2.3.4", "200 1"), Err(Skip::NoMatch)),
            (r#"1.2.3.4 - ann [31/Feb/2015:10:05:03 +0000] "GET" 200 1"#, Err(Skip::BadTime)),
            (r#"1.2.3.4 - ann [17/Mai/2015:10:05:03 +0000] "GET" 200 1"#, Err(Skip::BadTime)),
            (r#"1.2.3.4 - ann [17/May/2015:10:05:03 +0000] "GET 200 1"#, Err(Skip::NoMatch)),
            ("hello", Err(Skip::NoMatch)),
            ("", Err(Skip::NoMatch)),
        ],
    );
}

#[test]
fn other_fields_of_an_access_log_are_entities_too() {
    let line = format!(
        r#"example.org:443 1.2.3.4 - - {TIME} "GET /a/b?q=1 HTTP/1.1" 200 5 "http://r/" "Mozilla/5.0 (X; \"y\")""#
    );
    for (field, entity) in
        [("user_agent", r#"Mozilla/5.0 (X; \"y\")"#), ("path", "/a/b"), ("vhost", "example.org")]
    {
        let expected = format!("{entity} 1.2.3.4 1431857103");
        assert_parsed(&options(LogFormat::Apache, &[field]), &[(&line, Ok(&expected))]);
    }
    let common = format!(r#"1.2.3.4 - - {TIME} "\x16\x03" 400 5"#);
    for field in ["user_agent", "path", "vhost"] {
        assert_parsed(&options(LogFormat::Apache, &[field]), &[(&common, Err(Skip::NoEntity))]);
    }
}

#[test]
fn a_refused_name_of_an_access_log_is_a_failed_login() {
    let refused = format!(r#"1.2.3.4 - ann {TIME} "GET / HTTP/1.1" 401 5"#);
    let let_in = format!(r#"1.2.3.4 - ann {TIME} "GET / HTTP/1.1" 403 5"#);
    let with = |outcomes| ImportOptions { outcomes: Some(outcomes), ..options(LogFormat::Apache, &[]) };
    let login = Ok("ann 1.2.3.4 1431857103");
    let left_out = Err(Skip::NotChosen);
    assert_parsed(&with(Outcomes::Failed), &[(&refused, login), (&let_in, left_out)]);
    assert_parsed(&with(Outcomes::Accepted), &[(&refused, left_out), (&let_in, login)]);
    assert_parsed(&with(Outcomes::All), &[(&refused, login), (&let_in, login)]);
}

/// A line of syslog at 2024-03-27T13:06:56Z.
fn syslog(message: &str) -> String {
    format!("Mar 27 13:06:56 web-1 sshd[1291]: {message}")
}

#[test]
fn logins_are_found_in_what_sshd_says() {
    let cases = [
        ("Accepted password for ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Accepted publickey for ann from 1.2.3.4 port 51123 ssh2: RSA SHA256:Kl8k from x", Ok("ann")),
        ("Accepted keyboard-interactive/pam for ann from 1.2.3.4 port 1 ssh2", Ok("ann")),
        ("Accepted password for ann from ::ffff:1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Accepted password for ann from fe80::1%eth0 port 22 ssh2", Err(Skip::LinkLocalIpv6)),
        ("Accepted password for ann from UNKNOWN port 22 ssh2", Err(Skip::NotAddress)),
        ("Accepted password for ann", Err(Skip::OtherMessage)),
        ("Failed password for ann from 1.2.3.4 port 22 ssh2", Err(Skip::NotChosen)),
        ("Disconnected from user ann 1.2.3.4 port 22", Err(Skip::OtherMessage)),
        ("Server listening on 0.0.0.0 port 22.", Err(Skip::OtherMessage)),
        ("Received disconnect from 1.2.3.4: 11: Bye Bye [preauth]", Err(Skip::OtherMessage)),
    ];
    let accepted = options(LogFormat::Sshd, &[]);
    for (message, user) in cases {
        let expected = user.map(|user| format!("{user} 1.2.3.4 1711544816"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&accepted, &[(&syslog(message), expected)]);
    }
    let ipv6 = syslog("Accepted password for ann from 2001:db8:1:2::7%eth0 port 22 ssh2");
    assert_parsed(&accepted, &[(&ipv6, Ok("ann 2001:db8:1:2:: 1711544816"))]);
    assert_parsed(&accepted, &[("Mar 27 13:06:56 web-1 CRON[1]: Accepted", Err(Skip::OtherMessage))]);
}

#[test]
fn failed_logins_are_found_in_what_sshd_says() {
    let cases = [
        ("Failed password for ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Failed password for invalid user ann from 1.2.3.4 port 22 ssh2", Ok("ann")),
        ("Failed password for invalid user  from 1.2.3.4 port 22 ssh2", Err(Skip::NoEntity)),
        ("Failed publickey for ann from 1.2.3.4 port 22 ssh2: RSA SHA256:aC2U", Ok("ann")),
        ("Failed none for invalid user a b from 1.2.3.4 port 22 ssh2", Ok("a b")),
        ("Invalid user ann from 1.2.3.4", Ok("ann")),
        ("Invalid user ann from 1.2.3.4 port 22", Ok("ann")),
        ("Invalid user  from 1.2.3.4", Err(Skip::NoEntity)),
        ("Illegal user ann from 1.2.3.4", Ok("ann")),
        ("Connection closed by authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Connection closed by invalid user a b 1.2.3.4 port 22 [preauth]", Ok("a b")),
        ("Connection closed by invalid user  1.2.3.4 port 22 [preauth]", Err(Skip::NoEntity)),
        ("Connection reset by authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Disconnected from authenticating user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        ("Disconnected from invalid user ann 1.2.3.4 port 22 [preauth]", Ok("ann")),
        (
            "error: maximum authentication attempts exceeded for invalid user ann from 1.2.3.4 port 2 ssh2 [preauth]",
            Ok("ann"),
        ),
        ("User ann from 1.2.3.4 not allowed because not listed in AllowUsers", Ok("ann")),
        ("Connection closed by 1.2.3.4 port 22 [preauth]", Err(Skip::OtherMessage)),
        ("Accepted password for ann from 1.2.3.4 port 22 ssh2", Err(Skip::NotChosen)),
    ];
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::Sshd, &[]) };
    for (message, user) in cases {
        let expected = user.map(|user| format!("{user} 1.2.3.4 1711544816"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&failed, &[(&syslog(message), expected)]);
    }
    let repeated = syslog("message repeated 5 times: [ Failed password for root from 1.2.3.4 port 22 ssh2]");
    assert_parsed(&failed, &[(&repeated, Ok("root 1.2.3.4 1711544816 5"))]);
    let flood = repeated.replace(" 5 ", " 4000000000 ");
    assert_parsed(&failed, &[(&flood, Err(Skip::OtherMessage))]);
}

/// Whoever tries to log in must not be able to have another address blamed.
#[test]
fn a_user_name_that_looks_like_the_rest_of_a_message_is_a_user_name() {
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::Sshd, &[]) };
    for user in ["x from 9.9.9.9 port 1 ssh2", "x from 9.9.9.9", "x from", "from 9.9.9.9 port 1 from "] {
        for message in [
            format!("Invalid user {user} from 1.2.3.4"),
            format!("Invalid user {user} from 1.2.3.4 port 5"),
            format!("Failed password for invalid user {user} from 1.2.3.4 port 5 ssh2"),
            format!("Connection closed by invalid user {user} 1.2.3.4 port 5 [preauth]"),
        ] {
            let expected = format!("{user} 1.2.3.4 1711544816");
            assert_parsed(&failed, &[(&syslog(&message), Ok(&expected))]);
        }
    }
}

#[test]
fn the_times_of_syslog_and_the_journal_are_read() {
    let message = "Accepted password for ann from 1.2.3.4 port 22 ssh2";
    let user = options(LogFormat::Sshd, &[]);
    let cases = [
        ("2024-05-31T23:59:59Z h sshd[1]: ", Ok(1_717_199_999)),
        ("2024-06-01T01:59:59.123456+02:00 h sshd-session[1]: ", Ok(1_717_199_999)),
        ("2024-06-01T01:59:59+0200 h sshd-auth[1]: ", Ok(1_717_199_999)),
        ("May 31 23:59:59 h sshd: ", Ok(1_717_199_999)),
        ("Jun  1 23:59:59 h /usr/sbin/sshd[1]: ", Ok(1_717_199_999 + 86_400)),
        // Later than the newest by more than a day: a year ago.
        ("Jun  3 00:00:00 h sshd[1]: ", Ok(1_685_750_400)),
        ("Feb 29 00:00:00 h sshd[1]: ", Ok(1_709_164_800)),
        ("Feb 30 00:00:00 h sshd[1]: ", Err(Skip::BadTime)),
        ("2024-05-32T23:59:59Z h sshd[1]: ", Err(Skip::NoMatch)),
        ("yesterday h sshd[1]: ", Err(Skip::NoMatch)),
        ("May 31 23:59:59 h sshd[1] ", Err(Skip::NoMatch)),
    ];
    for (start, seconds) in cases {
        let expected = seconds.map(|seconds| format!("ann 1.2.3.4 {seconds}"));
        let expected = expected.as_deref().map_err(|skip| *skip);
        assert_parsed(&user, &[(&format!("{start}{message}"), expected)]);
    }
    let of_year = ImportOptions { year: Some(2015), ..user };
    let line = |date: &str| format!("{date} 13:06:56 h sshd[1]: {message}");
    assert_parsed(
        &of_year,
        &[
            (&line("Mar 27"), Ok("ann 1.2.3.4 1427461616")),
            (&line("Dec 27"), Ok("ann 1.2.3.4 1451221616")),
            (&line("Feb 29"), Err(Skip::BadTime)),
            (&format!("2024-05-31T23:59:59Z h sshd[1]: {message}"), Ok("ann 1.2.3.4 1717199999")),
        ],
    );
}

#[test]
fn a_server_is_an_entity_too() {
    let line = syslog("Accepted password for ann from 1.2.3.4 port 22 ssh2");
    for (field, entity) in [("user", "ann"), ("host", "web-1"), ("user@host", "ann@web-1")] {
        let expected = format!("{entity} 1.2.3.4 1711544816");
        assert_parsed(&options(LogFormat::Sshd, &[field]), &[(&line, Ok(&expected))]);
    }
    let nobody = syslog("Invalid user  from 1.2.3.4");
    let failed = |field: &str| ImportOptions {
        outcomes: Some(Outcomes::Failed),
        ..options(LogFormat::Sshd, &[field])
    };
    assert_parsed(&failed("user@host"), &[(&nobody, Err(Skip::NoEntity))]);
    assert_parsed(&failed("host"), &[(&nobody, Ok("web-1 1.2.3.4 1711544816"))]);
}

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

#[test]
fn cloudtrail_has_identities_services_and_errors() {
    let record = |identity: &str, ip: &str, more: &str| {
        format!(
            r#"{{"eventName":"GetObject","eventTime":"2024-05-31T23:59:59Z","userIdentity":{identity},"sourceIPAddress":"{ip}"{more}}}"#
        )
    };
    let arn = r#"{"arn":"arn:aws:iam::1:user/ann","principalId":"AID","userName":"ann"}"#;
    let ann = Ok("ann 1.2.3.4 1717199999");
    assert_parsed(
        &options(LogFormat::CloudTrail, &[]),
        &[
            (&record(arn, "1.2.3.4", ""), Ok("arn:aws:iam::1:user/ann 1.2.3.4 1717199999")),
            (&record(r#"{"principalId":"AID"}"#, "1.2.3.4", ""), Ok("AID 1.2.3.4 1717199999")),
            (&record(r#"{"userName":"ann"}"#, "1.2.3.4", ""), ann),
            (&record(r#"{"type":"AWSService"}"#, "1.2.3.4", ""), Err(Skip::NoEntity)),
            (&record(arn, "s3.amazonaws.com", ""), Err(Skip::Service)),
            (&record(arn, "AWS Internal", ""), Err(Skip::Service)),
            (&record(arn, "2001:db8::1", ""), Ok("arn:aws:iam::1:user/ann 2001:db8:: 1717199999")),
            (&record(arn, "1.2.3.4", r#","errorCode":"AccessDenied""#), Err(Skip::NotChosen)),
            (
                &record(arn, "1.2.3.4", r#","errorCode":null"#),
                Ok("arn:aws:iam::1:user/ann 1.2.3.4 1717199999"),
            ),
            (r#"{"entity":"ann","ip":"1.2.3.4"}"#, Err(Skip::NoMatch)),
        ],
    );
    assert_parsed(
        &options(LogFormat::CloudTrail, &["userIdentity.userName"]),
        &[(&record(arn, "1.2.3.4", ""), ann)],
    );
    let failed = ImportOptions { outcomes: Some(Outcomes::Failed), ..options(LogFormat::CloudTrail, &[]) };
    let login = r#","responseElements":{"ConsoleLogin":"Failure"}"#;
    let hidden = r#"{"userName":"HIDDEN_DUE_TO_SECURITY_REASONS"}"#;
    assert_parsed(
        &failed,
        &[
            (&record(r#"{"userName":"ann"}"#, "1.2.3.4", login), ann),
            (&record(hidden, "1.2.3.4", login), Err(Skip::NoEntity)),
            (&record(arn, "1.2.3.4", ""), Err(Skip::NotChosen)),
        ],
    );
}

#[test]
fn options_that_a_format_does_not_have_are_refused() {
    let refused = |options: ImportOptions, at: &'static str| match parser_of(&options).map(|_| ()) {
        Err(Error::Config { at: found, .. }) => assert_eq!(found.to_string(), at),
        other => panic!("{other:?}"),
    };
    refused(options(LogFormat::Apache, &["nobody"]), "entity");
    refused(options(LogFormat::Sshd, &["user", "host"]), "entity");
    refused(options(LogFormat::Json, &[""]), "entity");
    refused(ImportOptions { ip: Some("ip".into()), ..options(LogFormat::Sshd, &[]) }, "ip");
    refused(ImportOptions { time: Some("t".into()), ..options(LogFormat::CloudTrail, &[]) }, "time");
    refused(ImportOptions { year: Some(2024), ..options(LogFormat::Apache, &[]) }, "year");
    refused(ImportOptions { year: Some(0), ..options(LogFormat::Sshd, &[]) }, "year");
    refused(ImportOptions { outcomes: Some(Outcomes::All), ..options(LogFormat::Json, &[]) }, "events");
}

/// All options that change what a parser looks at.
fn all_options() -> Vec<ImportOptions> {
    let fields = [
        (LogFormat::Apache, &["user", "user_agent", "path", "vhost"][..]),
        (LogFormat::Sshd, &["user", "host", "user@host"]),
        (LogFormat::Json, &["/a/b", "a.b.0", "entity"]),
        (LogFormat::CloudTrail, &["userIdentity.arn"]),
    ];
    let with = |format, field: &&str| {
        let outcomes = (format != LogFormat::Json).then_some(Outcomes::All);
        ImportOptions { outcomes, ..options(format, &[field]) }
    };
    fields.iter().flat_map(|(format, fields)| fields.iter().map(|field| with(*format, field))).collect()
}

/// Records that all of a format's parts are in, to be mutated.
const SEEDS: [&str; 9] = [
    r#"example.org:443 1.2.3.4 - ann [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 5 "r" "agent \" x""#,
    "Mar 27 13:06:56 h sshd[1]: Accepted publickey for ann from 1.2.3.4 port 22 ssh2: RSA SHA256:x",
    "Mar  7 13:06:56 h sshd[1]: message repeated 5 times: [ Failed password for ann from 1.2.3.4 port 22 ssh2]",
    "2024-05-31T12:00:00.5+02:00 h sshd[1]: Failed password for invalid user a b from 1.2.3.4 port 22 ssh2",
    "Feb 29 13:06:56 h sshd[1]: Invalid user ann from 1.2.3.4 port 2",
    "Mar 27 13:06:56 h sshd[1]: User ann from 1.2.3.4 not allowed because x",
    "Mar 27 13:06:56 h sshd[1]: Connection closed by authenticating user ann 1.2.3.4 port 22 [preauth]",
    r#"{"entity":"ann","a":{"b":["x"]},"ip":"1.2.3.4","time":"2024-05-31T23:59:59Z"}"#,
    r#"{"eventName":"x","eventTime":"2024-05-31T23:59:59Z","userIdentity":{"arn":"a"},"sourceIPAddress":"1.2.3.4"}"#,
];

/// Entities that look like something else at the beginning of a file: JSON, Parquet, Arrow, marks, magic numbers.
const MISLEADING: [&[u8]; 14] = [
    b"{",
    b"PAR1",
    b"ARROW1",
    b"\"",
    b"a,b",
    b"\xEF\xBB\xBFx",
    b"x\r\ny",
    b" x ",
    b"-",
    b"\x1F\x8Bx",
    b"\x28\xB5\x2F\xFD",
    b"P*M\x18",
    b"\xFF\xFEa",
    b"ip",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic_and_what_it_finds_can_be_written(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        seed in prop::sample::select(&SEEDS[..]),
        place in any::<prop::sample::Index>(),
        cut in 0_usize..4,
        insert in proptest::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b" \"[]:from\\-{}"[..])], 0..4),
        newest in any::<i64>(),
    ) {
        let mut mutated = seed.as_bytes().to_vec();
        let at = place.index(mutated.len());
        let end = (at + cut).min(mutated.len());
        mutated.splice(at..end, insert);
        for options in all_options() {
            let parser = parser_of(&options).unwrap();
            for record in [&noise, &mutated] {
                if let Ok(login) = parser.parse(record, newest).and_then(Login::checked) {
                    prop_assert!(login.to_csv().ends_with(b"\n"));
                    prop_assert!(login.num_times >= 1);
                }
            }
        }
    }

    /// Whatever an entity is made of, the readers give it back, also as the first row of a file.
    #[test]
    fn a_row_is_read_back_as_it_was(
        entity in prop_oneof![
            proptest::collection::vec(1_u8..=255, 1..40),
            prop::sample::select(&MISLEADING[..]).prop_map(<[u8]>::to_vec),
        ],
        address in prop_oneof![
            any::<u32>().prop_map(Address::from_ipv4),
            any::<u128>().prop_filter_map("reserved", |bits| Address::try_from(Ipv6Addr::from(bits)).ok()),
        ],
        seconds in proptest::option::of(-62_135_596_800_i64..=253_402_300_799),
    ) {
        let login = Login { entity: Cow::Borrowed(&entity), address, seconds, num_times: 1 };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), login.to_csv()).unwrap();
        let inputs = [Input::File(file.path().into())];
        let time_column = seconds.map(|_| "3".to_string());
        let addresses = AddressFamilies::Both;
        let options = crate::data::ReadOptions { time_column, addresses, ..Default::default() };
        let mut rows = Vec::new();
        let mut on_row = |row: crate::data::Row<'_>, _: crate::data::Place<'_>| {
            rows.push((row.entity.to_vec(), row.address, row.seconds));
            Ok(())
        };
        crate::data::read_rows(&inputs, &options, &mut on_row).unwrap();
        prop_assert_eq!(rows, vec![(entity, address, seconds)]);
    }
}

/// Keeps the rows.
#[derive(Default)]
struct Kept(Vec<String>);

impl LoginSink for Kept {
    fn login(&mut self, login: &Login<'_>) -> Result<()> {
        self.0.push(String::from_utf8_lossy(&login.to_csv()).trim_end().to_string());
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What is found after each step, where a step writes, renames, … and the follower then polls.
#[test]
fn a_file_is_followed_through_rotation_and_truncation() {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("auth.log");
    let line = |user: &str| {
        format!("2024-05-31T23:59:59Z h sshd[1]: Accepted password for {user} from 1.2.3.4 port 22 ssh2\n")
    };
    let append = |name: &str, text: &str| {
        let file = OpenOptions::new().append(true).create(true).open(folder.path().join(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    let half = line("half");
    let (first, second) = half.split_at(60);
    // Whole lines and a half one are there before.
    append("auth.log", &line("old"));
    append("auth.log", first);

    let mut kept = Kept::default();
    let mut importer = Importer::new(&options(LogFormat::Sshd, &[]), &mut kept).unwrap();
    let mut follower = Follower::new(path.clone(), Start::End);
    let mut poll = || {
        let before = importer.report().num_rows;
        follower.poll(&mut importer, NEWEST).unwrap();
        (importer.report().num_rows - before, importer.report().skipped.get("unfinished").copied())
    };
    assert_eq!(poll(), (0, None), "the end is where the last line begins");
    assert_eq!(poll(), (0, None));
    append("auth.log", second);
    assert_eq!(poll(), (1, None), "a line that was half there is whole now");
    append("auth.log", &line("a"));
    append("auth.log", &line("b"));
    append("auth.log", first);
    assert_eq!(poll(), (2, None), "whole lines only");
    append("auth.log", second);
    // Rotation: the rest of the old file is read, also what comes before the new one has a line.
    append("auth.log", &line("c"));
    fs::rename(&path, folder.path().join("auth.log.1")).unwrap();
    assert_eq!(poll(), (2, None), "the file is gone");
    append("auth.log.1", &line("d"));
    append("auth.log", "");
    assert_eq!(poll(), (1, None), "the new file is empty");
    append("auth.log.1", &line("e"));
    append("auth.log.1", first);
    append("auth.log", &line("f"));
    assert_eq!(poll(), (2, Some(1)), "both files, and a line that nobody will finish");
    append("auth.log.1", second);
    append("auth.log", &line("g"));
    assert_eq!(poll(), (1, Some(1)), "the new file only");
    // Truncation, with a half line before it.
    append("auth.log", first);
    assert_eq!(poll(), (0, Some(1)));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append("auth.log", &line("h"));
    assert_eq!(poll(), (1, Some(2)));
    let users: Vec<&str> = kept.0.iter().map(|row| row.split(',').next().unwrap()).collect();
    assert_eq!(users, ["half", "a", "b", "half", "c", "d", "e", "f", "g", "h"]);
    assert_eq!(parse_ipv4(kept.0[0].split(',').nth(1).unwrap().as_bytes()), Some(0x0102_0304));
}

#[test]
fn following_begins_where_it_should_and_needs_a_plain_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let line = "{\"entity\":\"a\",\"ip\":\"1.2.3.4\"}\n";
    let json = options(LogFormat::Json, &[]);
    let num_rows = |start: Start, text: &[&[u8]]| {
        let _ = std::fs::remove_file(&path);
        let mut kept = Kept::default();
        let mut importer = Importer::new(&json, &mut kept)?;
        let mut follower = Follower::new(path.clone(), start);
        for text in text {
            if !text.is_empty() {
                std::fs::write(&path, text).unwrap();
            }
            follower.poll(&mut importer, NEWEST)?;
        }
        Ok::<_, Error>(importer.report().num_rows)
    };
    assert_eq!(num_rows(Start::Beginning, &[line.as_bytes()]).unwrap(), 1);
    assert_eq!(num_rows(Start::End, &[line.as_bytes()]).unwrap(), 0);
    // A file that comes later is all new.
    assert_eq!(num_rows(Start::End, &[&b""[..], line.as_bytes()]).unwrap(), 1);
    // The end of a line that is too long to be one is no line.
    let long = [&vec![b'x'; 3 * MAX_LINE][..], line.as_bytes(), line.as_bytes()].concat();
    assert_eq!(num_rows(Start::End, &[&long[..3 * MAX_LINE], &long]).unwrap(), 1);
    assert!(matches!(num_rows(Start::End, &[&b"\x1F\x8B\x08\x00"[..]]), Err(Error::Data { .. })));
    let mut kept = Kept::default();
    let mut importer = Importer::new(&json, &mut kept).unwrap();
    let folder = Follower::new(folder.path().into(), Start::End).poll(&mut importer, NEWEST);
    assert!(matches!(folder, Err(Error::Config { .. })));
}

#[test]
fn where_nothing_is_found_the_help_says_what_to_try() {
    let apache = format!("1.2.3.4 - - {TIME} \"GET / HTTP/1.1\" 200 5 \"-\" \"agent\"\n");
    let sshd = syslog("Failed password for ann from 1.2.3.4 port 22 ssh2\n");
    let cloudtrail = r#"{"Records":[{"eventName":"x","eventTime":"2024-05-31T23:59:59Z","userIdentity":{"arn":"a"},"sourceIPAddress":"s3.amazonaws.com"}]}"#;
    let json = "{\"who\":\"ann\",\"where\":\"1.2.3.4\"}\n";
    let cases = [
        (LogFormat::Sshd, apache.as_str(), "ipsight import apache"),
        (LogFormat::Apache, &sshd, "ipsight import sshd"),
        (LogFormat::Json, &sshd, "ipsight import sshd"),
        (LogFormat::Sshd, cloudtrail, "ipsight import cloudtrail"),
        (
            LogFormat::Sshd,
            json,
            "ipsight import json, with --entity PATH and --ip PATH; the first object has `who`",
        ),
        (LogFormat::Json, json, "--entity PATH; the first object has `who`, `where`"),
        (LogFormat::Sshd, &sshd, "--events failed"),
        (LogFormat::Apache, &apache, "--entity user_agent"),
        (LogFormat::Sshd, "ann,1.2.3.4\n", "events already"),
        (LogFormat::Sshd, "hello\n", "check that it is a log of the format `sshd`"),
        (LogFormat::Sshd, "", "give a log of the format `sshd`"),
    ];
    for (format, text, words) in cases {
        let mut kept = Kept::default();
        let mut importer = Importer::new(&options(format, &[]), &mut kept).unwrap();
        importer.feed(text.as_bytes()).unwrap();
        importer.end_input(true).unwrap();
        let error = importer.finish("x.log").unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let help = error.help().unwrap();
        assert!(help.contains(words), "{format:?} {text:?}: {error}: {help}");
    }
}
