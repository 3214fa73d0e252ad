mod apache;
mod cloudtrail;
mod follow;
mod json;
mod properties;
mod sources;
mod sshd;

use super::formats::parser_of;
use super::login::Skip;
use super::*;
use crate::{Error, Result};

/// What the parser makes of one record: `entity ip seconds times`, or why nothing.
fn parsed(options: &ImportOptions, record: &str) -> std::result::Result<String, &'static str> {
    let mut parser = parser_of(options).unwrap();
    // What the records are depends on their beginning.
    parser.records(record.as_bytes());
    let login = parser.parse(record.as_bytes(), NEWEST);
    let login = login.and_then(|login| login.checked(false)).map_err(Skip::name)?;
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

/// A line of syslog at 2024-03-27T13:06:56Z.
fn syslog(message: &str) -> String {
    format!("Mar 27 13:06:56 web-1 sshd[1291]: {message}")
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
    refused(ImportOptions { ip: Some("x".into()), ..options(LogFormat::Apache, &[]) }, "ip");
    let filters = vec!["x=y".parse().unwrap()];
    refused(ImportOptions { filters, ..options(LogFormat::Apache, &[]) }, "where");
    refused(options(LogFormat::Json, &["value.0.user"]), "entity");
    refused(ImportOptions { time: Some("t".into()), ..options(LogFormat::CloudTrail, &[]) }, "time");
    refused(ImportOptions { year: Some(2024), ..options(LogFormat::Apache, &[]) }, "year");
    refused(ImportOptions { year: Some(0), ..options(LogFormat::Sshd, &[]) }, "year");
    refused(ImportOptions { outcomes: Some(Outcomes::All), ..options(LogFormat::Json, &[]) }, "events");
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
