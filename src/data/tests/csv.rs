//! CSV, from bytes to rows.

use super::*;

#[test]
fn csv_is_read_as_it_is_written_everywhere() {
    let cases: [(&str, &[u8], &[&str]); 20] = [
        ("plain", b"a,1.2.3.4\nb,5.6.7.8\n", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("a space after the comma", b"a, 1.2.3.4\nb,  5.6.7.8\n", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("a quote behind a space", b"a, \"1.2.3.4\"\n", &["a 1.2.3.4"]),
        ("spaces of the entity", b" a b ,1.2.3.4\n", &[" a b  1.2.3.4"]),
        ("extra columns", b"a,1.2.3.4,x,\"y,z\"\n", &["a 1.2.3.4"]),
        ("quotes", b"\"a,b\",\"1.2.3.4\"\n", &["a,b 1.2.3.4"]),
        ("doubled quotes", b"\"a\"\"b\",1.2.3.4\n", &["a\\\"b 1.2.3.4"]),
        ("a quote inside a field", b"a\"b,1.2.3.4\n", &["a\\\"b 1.2.3.4"]),
        ("a newline in quotes", b"\"a\nb\",1.2.3.4\nc,1.2.3.4", &["a\\nb 1.2.3.4", "c 1.2.3.4"]),
        ("CRLF", b"a,1.2.3.4\r\nb,5.6.7.8\r\n", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("CRLF behind a quote", b"a,\"1.2.3.4\"\r\nb,5.6.7.8\r\n", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("lone CR", b"a,1.2.3.4\rb,5.6.7.8\r", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("no last newline", b"a,1.2.3.4\nb,5.6.7.8", &["a 1.2.3.4", "b 5.6.7.8"]),
        ("a last quote", b"a,\"1.2.3.4\"", &["a 1.2.3.4"]),
        ("a BOM", b"\xEF\xBB\xBFa,1.2.3.4\n", &["a 1.2.3.4"]),
        ("a BOM and a quote", b"\xEF\xBB\xBF\"a\",1.2.3.4\n", &["a 1.2.3.4"]),
        ("no UTF-8", b"\xFFa\xC3,1.2.3.4\n", &["\\xffa\\xc3 1.2.3.4"]),
        ("blank lines", b"\n\r\n  \na,1.2.3.4\n\t\n\r\rb,1.2.3.4\n\n", &["a 1.2.3.4", "b 1.2.3.4"]),
        ("an address as an entity", b"1.2.3.4,5.6.7.8\n", &["1.2.3.4 5.6.7.8"]),
        ("a zero byte", b"a\0b,1.2.3.4\n", &["a\\x00b 1.2.3.4"]),
    ];
    for (name, bytes, rows) in cases {
        assert_eq!(rows_of(bytes), rows, "{name}");
    }
}

#[test]
fn a_bom_is_not_part_of_the_first_entity() {
    assert_eq!(rows_of(b"\xEF\xBB\xBFa,1.2.3.4\n"), rows_of(b"a,1.2.3.4\n"));
}

#[test]
fn columns_are_chosen_by_position_and_by_name() {
    let named = b"\xEF\xBB\xBFtime, \"src ip\",user,y\n9,1.2.3.4,a,1\n8,5.6.7.8,b,false\n";
    let bare = b"9,1.2.3.4,a,1\n8,5.6.7.8,b,0\n";
    let rows = ["a 1.2.3.4 true", "b 5.6.7.8 false"];
    let by_name = columns(Some("user"), Some("src ip"), Some("y"));
    let mixed = columns(Some("3"), Some("src ip"), Some("4"));
    let by_position = columns(Some("3"), Some("2"), Some("4"));
    assert_eq!(read_bytes(named, &by_name).unwrap().0, rows);
    assert_eq!(read_bytes(named, &mixed).unwrap().0, rows);
    assert_eq!(read_bytes(bare, &by_position).unwrap().0, rows);
    assert_eq!(read_bytes(named, &columns(Some("user"), None, None)).unwrap().0, ["a 1.2.3.4", "b 5.6.7.8"]);
}

#[test]
fn each_file_has_its_own_header() {
    let folder = Folder::new();
    let inputs = [folder.write("1", "user,ip\na,1.2.3.4\n"), folder.write("2", "ip,user\n5.6.7.8,b\n")];
    let (rows, _) = read_inputs(&inputs, &columns(Some("user"), Some("ip"), None)).unwrap();
    assert_eq!(rows, ["a 1.2.3.4", "b 5.6.7.8"]);
}

#[test]
fn wrong_columns_are_configuration_errors() {
    let cases = [
        (columns(Some("usr"), Some("ip"), None), "/input:1 has no column `usr`"),
        (columns(Some("0"), None, None), "there is no column 0"),
        (columns(Some("2"), None, None), "ip_column: the column has another role already"),
        (columns(Some("user"), Some("ip"), Some("1")), "label_column: the column has another role already"),
    ];
    for (options, wanted) in cases {
        let error = read_bytes("user,ip\na,1.2.3.4\n", &options).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}\n{wanted}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = read_bytes("user,ip\n", &columns(Some("usr"), None, None)).unwrap_err();
    assert_eq!(error.help().unwrap(), "did you mean `user`? There are `user`, `ip`");
}

#[test]
fn a_first_line_that_shows_another_layout_fails_even_when_bad_rows_are_skipped() {
    let cases: [(&[u8], &str); 12] = [
        (
            b"user,ip\na,1.2.3.4\n",
            "input:1: looks like a header: `user,ip` | remove the first line, or name its columns: \
             entity_column user ip_column ip",
        ),
        (
            b"\"user id\",source.ip4\n",
            "input:1: looks like a header: `\"user id\",source.ip4` | remove the first line, or name its \
             columns: entity_column 'user id' ip_column source.ip4",
        ),
        (
            b"\n1.2.3.4,a\n",
            "input:2: the columns are swapped: `1.2.3.4,a` | name them the other way: entity_column 2 \
             ip_column 1",
        ),
        (b"a\n", "input:1: has one column: `a` | expected entity,address"),
        (b"a\t1.2.3.4\n", "here is a tab instead of the comma: convert it with tr '\\t' ','"),
        (b"a;1.2.3.4\n", "here is a semicolon instead of the comma: convert it with tr ';' ','"),
        (b"[{}]", "a JSON array becomes JSON Lines with jq -c '.[]'"),
        (b"\xFF\xFEa\0,\x001\0", "input:1: the text is UTF-16 | convert it: iconv -f UTF-16 -t UTF-8"),
        (b"\xFE\xFF\0a\0,\x001", "input:1: the text is UTF-16 | convert it: iconv -f UTF-16 -t UTF-8"),
        (b"a\0,\x001\0.\x002\0", "input:1: the text is UTF-16 | convert it: iconv -f UTF-16 -t UTF-8"),
        (b"\0a\0,\x001\0.\x002", "input:1: the text is UTF-16 | convert it: iconv -f UTF-16 -t UTF-8"),
        (b"user,IPv4 address\n", "input:1: looks like a header"),
    ];
    for (bytes, wanted) in cases {
        for options in [ReadOptions::default(), skip(1.0)] {
            let (text, code) = error_of(bytes, &options);
            assert!(text.contains(wanted), "{text}\n{wanted}");
            assert_eq!(code, 3);
        }
    }
    let (text, _) = error_of("a,1.2.3.4\n", &columns(Some("3"), None, None));
    assert!(text.contains("input:1: has 2 columns, column 3 is wanted"), "{text}");
}

#[test]
fn a_bad_first_row_that_is_no_header_can_be_skipped() {
    for first in ["a,::1", "a,", "a,-", "a,unknown", "a,1.2.3.4:80", "a,1.2.3", ",1.2.3.4"] {
        let (rows, report) = read_bytes(format!("{first}\nb,1.2.3.4\n"), &skip(1.0)).unwrap();
        assert_eq!(rows, ["b 1.2.3.4"], "{first}");
        assert_eq!(report.num_bad, 1, "{first}");
    }
}

#[test]
fn a_bad_row_is_refused_with_file_line_reason_and_help() {
    let first = "x,1.2.3.4\n";
    let cases = [
        (",1.2.3.4", "empty entity: `,1.2.3.4` | give the entity"),
        ("a", "too few columns: `a` | expected entity,address"),
        ("a,1.2.3.4:80", "address with brackets or a port: `a,1.2.3.4:80` | write the address alone"),
        ("a,1.2.3.0/24", "address with a prefix length: `a,1.2.3.0/24` | give one address"),
        ("a,2001:db8::1", "IPv6 address: `a,2001:db8::1` | only IPv4 is taken here (model.addresses"),
        ("a,16909060", "integer: `a,16909060` | write the address as four numbers"),
        ("a,1.2.3.04", "IPv4 with leading zeros: `a,1.2.3.04` | write the octets without"),
        ("a,host", "not an IP address: `a,host` | an IPv4 address is"),
        ("1.2.3.4,a", "not an IP address: `1.2.3.4,a` | an IPv4 address is"),
        ("a,1.2.3.4,\"x\nb,1.2.3.4\n", "unclosed quote: `a,1.2.3.4,\"x\\nb,1.2.3.4\\n` | close the quote"),
    ];
    for (row, wanted) in cases {
        let (text, code) = error_of(format!("{first}{row}"), &ReadOptions::default());
        assert!(text.starts_with(&format!("input:2: {wanted}")), "{text}");
        assert!(text.ends_with("or read on without such rows: on_bad_row skip"), "{text}");
        assert_eq!(code, 3);
    }
    let (text, _) = error_of("a,1.2.3.4,1\nb,1.2.3.4,2\n", &columns(None, None, Some("3")));
    assert!(text.starts_with("input:2: bad label"), "{text}");
}

#[test]
fn line_numbers_count_physical_lines() {
    let cases = [
        ("a,1.2.3.4\nx,\n", 2),
        ("a,1.2.3.4\r\nx,\n", 2),
        ("a,1.2.3.4\rx,\n", 2),
        ("\n\r\n\ra,1.2.3.4\nx,\n", 5),
        ("\"a\nb\",1.2.3.4\nx,\n", 3),
        ("\"a\r\nb\rc\",1.2.3.4\r\nx,\n", 4),
        ("\"a\n\r\",1.2.3.4\nx,\n", 4),
        ("a,1.2.3.4,\"\n\"\r\"x\n\",\n", 3),
    ];
    for (text, line) in cases {
        let (error, _) = error_of(text, &ReadOptions::default());
        assert!(error.starts_with(&format!("input:{line}:")), "{text:?}: {error}");
    }
}

#[test]
fn a_line_of_64_kib_is_refused_without_reading_to_its_end() {
    let long = |len: usize| format!("a,1.2.3.4\n{},1.2.3.4", "x".repeat(len - 8));
    assert_eq!(rows_of(long(65_535)).len(), 2);
    assert_eq!(rows_of(long(65_535) + "\r\n").len(), 2);
    for text in [long(65_536), long(65_536) + "\n", format!("a,1.2.3.4\n\"{}", "x\n".repeat(40_000))] {
        for options in [ReadOptions::default(), skip(1.0)] {
            let (text, code) = error_of(&text, &options);
            assert!(text.starts_with("input:2: the line has 64 KiB or more | look for a missing"), "{text}");
            assert_eq!(code, 3);
        }
    }
}

#[test]
fn an_endless_line_does_not_fill_the_memory() {
    let endless = Box::new(std::io::repeat(b'x'));
    let stream = Stream::from_reader("test".into(), "test".into(), false, endless).unwrap();
    let mut ignore = |_: Row<'_>, _: Place<'_>| Ok(());
    let options = skip(1.0);
    let mut intake = Intake::new(&[], &options, Sink::Rows(&mut ignore)).unwrap();
    assert!(csv_rows::read(stream, &options, &mut intake).is_err());
}

#[test]
fn text_behind_a_closing_quote_is_a_bad_row_and_an_escape_reads_it() {
    let spark = b"x,1.2.3.4\n\"o\\\"neil\",1.2.3.4\n\"corp\\\\jorge\",1.2.3.4\n\"a \\\"b\\\", c\",1.2.3.4\n";
    let (text, code) = error_of(spark, &ReadOptions::default());
    assert!(text.starts_with("input:2: quote escaped by a backslash: "), "{text}");
    assert!(text.contains("csv_escape '\\'"), "{text}");
    assert_eq!(code, 3);
    let escaped = ReadOptions { csv_escape: Some(b'\\'), ..ReadOptions::default() };
    let rows = read_bytes(spark, &escaped).unwrap().0;
    assert_eq!(rows, ["x 1.2.3.4", "o\\\"neil 1.2.3.4", "corp\\\\jorge 1.2.3.4", "a \\\"b\\\", c 1.2.3.4"]);
    let (text, _) = error_of("x,1.2.3.4\n\"a\"b,1.2.3.4\n", &ReadOptions::default());
    assert!(text.starts_with("input:2: text behind a closing quote"), "{text}");
    // Doubled quotes are quotes with an escape, too.
    assert_eq!(read_bytes("\"a\"\"b\",1.2.3.4\n", &escaped).unwrap().0, ["a\\\"b 1.2.3.4"]);
}

#[test]
fn names_that_stand_for_nobody_are_no_entities() {
    for name in ["-", "\\N", "NULL", "nan", "None"] {
        let bytes = format!("x,1.2.3.4\n{name},1.2.3.4\n");
        let (text, _) = error_of(&bytes, &ReadOptions::default());
        assert!(text.starts_with("input:2: a name that stands for nobody"), "{text}");
        let kept = ReadOptions { keep_nobody: true, ..ReadOptions::default() };
        assert_eq!(read_bytes(&bytes, &kept).unwrap().0.len(), 2);
    }
}

#[test]
fn times_are_in_one_unit_of_any() {
    let timed = ReadOptions { time_column: Some("3".into()), ..ReadOptions::default() };
    let seconds_of = |text: &str| {
        let folder = Folder::new();
        let mut seconds = Vec::new();
        read_rows(&[folder.write("input", text)], &timed, &mut |row, _| {
            seconds.push(row.seconds.unwrap());
            Ok(())
        })
        .unwrap();
        seconds
    };
    for unit in
        ["1741082400", "1741082400000", "1741082400000000", "1741082400000000000", "2025-03-04T10:00:00Z"]
    {
        assert_eq!(
            seconds_of(&format!("a,1.2.3.4,{unit}\nb,1.2.3.4,{unit}\n")),
            [1_741_082_400; 2],
            "{unit}"
        );
    }
    let mixed = "a,1.2.3.4,1741082400\nb,1.2.3.4,1741082400000\n";
    let (text, code) = error_of(mixed, &timed);
    assert!(text.starts_with("input:2: the times mix units: milliseconds here, seconds before"), "{text}");
    assert_eq!(code, 3);
    // In blocks, too.
    let folder = Folder::new();
    let many = "a,1.2.3.4,1741082400\n".repeat(100_000) + "b,1.2.3.4,1741082400000\n";
    let error = load_events(&[folder.write("input", many)], &timed).unwrap_err();
    assert!(error.to_string().contains("input:100001: the times mix units"), "{error}");
    for text in ["99999999999", "4294967296", "-1", "1960-01-01T00:00:00Z"] {
        let (text, _) = error_of(format!("a,1.2.3.4,{text}\n"), &timed);
        assert!(text.starts_with("input:1: time before 1970 or after 2106"), "{text}");
    }
}

#[test]
fn what_programs_write_before_and_between_rows_is_no_row() {
    let named = columns(Some("user"), Some("ip"), None);
    for text in [
        "#TYPE System.Management.Automation.PSCustomObject\n\"user\",\"ip\"\n\"a\",\"1.2.3.4\"\n",
        "sep=,\nuser,ip\na,1.2.3.4\n",
        "user,ip\na,1.2.3.4\nuser,ip\n",
        "User,IP\na,1.2.3.4\n",
    ] {
        assert_eq!(read_bytes(text, &named).unwrap().0, ["a 1.2.3.4"], "{text}");
    }
    let notes = read_bytes("User, IP \na,1.2.3.4\n", &named).unwrap().1.notes;
    assert_eq!(notes, ["column `User` is read for `user`", "column `IP ` is read for `ip`"]);
    let (text, _) = error_of("sep=;\nuser;ip\na;1.2.3.4\n", &named);
    assert!(text.contains("here is a semicolon instead of the comma"), "{text}");
    let (text, _) = error_of(",entity,ip\n0,a,1.2.3.4\n", &ReadOptions::default());
    assert!(text.contains("entity_column entity ip_column ip; the first column is an index"), "{text}");
    let (text, _) = error_of("0,a,1.2.3.4\n1,b,1.2.3.4\n", &ReadOptions::default());
    assert!(text.contains("say which they are: entity_column 2 ip_column 3"), "{text}");
    let (text, _) = error_of("time,user,src\n9,a,1.2.3.4\n", &ReadOptions::default());
    assert!(text.contains("entity_column"), "{text}");
    let notes = read_bytes("1001.0,1.2.3.4\n", &ReadOptions::default()).unwrap().1.notes;
    assert!(notes[0].contains("the entity `1001.0` is another than `1001`"), "{notes:?}");
    for (label, is_attack) in
        [("True", true), ("FALSE", false), ("t", true), ("F", false), ("1.0", true), ("0.0", false)]
    {
        let labelled = ReadOptions { labels: true, ..ReadOptions::default() };
        let rows = read_bytes(format!("a,1.2.3.4,{label}\n"), &labelled).unwrap().0;
        assert_eq!(rows, [format!("a 1.2.3.4 {is_attack}")]);
    }
}
