//! Every parser takes any bytes, and what is written is read back.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::data::Input;
use crate::event::{Address, AddressFamilies};

/// All options that change what a parser looks at.
fn all_options() -> Vec<ImportOptions> {
    let fields = [
        (LogFormat::Apache, &["user", "user_agent", "path", "vhost"][..]),
        (LogFormat::Sshd, &["user", "host", "user@host", "key_id"]),
        (LogFormat::Zeek, &["user"]),
        (LogFormat::W3c, &["cs-username"]),
        (LogFormat::Alb, &["domain_name"]),
        (LogFormat::Okta, &["actor.id"]),
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
            let mut parser = parser_of(&options).unwrap();
            for record in [&noise, &mutated] {
                parser.records(record);
                let _ = parser.culprit(record, Skip::BadTime);
                let _ = parser.culprit(record, Skip::NotAddress);
                if let Ok(login) = parser.parse(record, newest).and_then(|login| login.checked(false)) {
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
        seconds in proptest::option::of(0..=i64::from(u32::MAX)),
    ) {
        let login = Login { entity: Cow::Borrowed(&entity), address, seconds, num_times: 1 };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), login.to_csv()).unwrap();
        let inputs = [Input::File(file.path().into())];
        let time_column = seconds.map(|_| "3".to_string());
        let addresses = AddressFamilies::Both;
        let options = crate::data::ReadOptions { time_column, addresses, keep_nobody: true, ..Default::default() };
        let mut rows = Vec::new();
        let mut on_row = |row: crate::data::Row<'_>, _: crate::data::Place<'_>| {
            rows.push((row.entity.to_vec(), row.address, row.seconds));
            Ok(())
        };
        crate::data::read_rows(&inputs, &options, &mut on_row).unwrap();
        prop_assert_eq!(rows, vec![(entity, address, seconds)]);
    }
}
