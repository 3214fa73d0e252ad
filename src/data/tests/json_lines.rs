//! JSON Lines, from bytes to rows.

use super::*;

#[test]
fn all_forms_of_a_row_are_read() {
    let cases = [
        ("flat", r#"{"entity":"a","ip":"1.2.3.4"}"#, "a 1.2.3.4"),
        ("other keys", r#"{"x":[{}],"ip":"1.2.3.4","data":7,"entity":"a"}"#, "a 1.2.3.4"),
        ("nested", r#"{"data":{"features":{"values":["a","1.2.3.4"]}}}"#, "a 1.2.3.4"),
        ("features", r#"{"features":["a","1.2.3.4"]}"#, "a 1.2.3.4"),
        ("features with spaces", r#" { "features" : [ "a" , "1.2.3.4" ] } "#, "a 1.2.3.4"),
        ("escapes", r#"{"entity":"\u00fc\"","ip":"1.2.3.4"}"#, "\\xc3\\xbc\\\" 1.2.3.4"),
        ("a number", r#"{"entity":17,"ip":"1.2.3.4"}"#, "17 1.2.3.4"),
        ("a comma at the end", r#"{"features":["a","1.2.3.4"]},"#, "a 1.2.3.4"),
        ("a bracket at the end", r#"{"features":["a","1.2.3.4"]}]"#, "a 1.2.3.4"),
    ];
    for (name, line, row) in cases {
        for end in ["", "\n", "\r\n", "\n\n"] {
            assert_eq!(rows_of(format!("{line}{end}")), [row], "{name}");
        }
    }
}

#[test]
fn the_documented_sample_is_read_although_it_is_malformed() {
    let sample = "\u{FEFF}{\"data\": {\"features\": {\"values\": [\"entity_id_1\", \"53.237.59.13\"]}}},\n\
                  {\"features\": [\"entity_id_2\", \"1.2.3.4\"]}\n]\n";
    assert_eq!(rows_of(sample), ["entity_id_1 53.237.59.13", "entity_id_2 1.2.3.4"]);
}

#[test]
fn keys_and_labels_are_chosen_by_name() {
    let options = columns(Some("user"), Some("src"), Some("y"));
    let text =
        "{\"user\":\"a\",\"src\":\"1.2.3.4\",\"y\":1}\n{\"user\":\"b\",\"src\":\"1.2.3.4\",\"y\":false}\n";
    assert_eq!(read_bytes(text, &options).unwrap().0, ["a 1.2.3.4 true", "b 1.2.3.4 false"]);
    for label in ["2", "null", "\"x\"", "[]"] {
        let text = format!("{{\"user\":\"a\",\"src\":\"1.2.3.4\",\"y\":{label}}}");
        let (error, _) = error_of(text, &options);
        assert!(error.starts_with("input:1: bad label"), "{error}");
    }
    let (error, code) = error_text(read_bytes(text, &columns(Some("usr"), Some("src"), None)).unwrap_err());
    assert!(error.contains("no column `usr`") || error.contains("did you mean `user`?"), "{error}");
    assert_eq!(code, 2);
}

#[test]
fn a_bad_line_is_refused_with_its_reason() {
    let first = "{\"entity\":\"a\",\"ip\":\"1.2.3.4\"}\r";
    let cases: [(&[u8], &str); 11] = [
        (b"x", "not a JSON object"),
        (b"[]x", "not a JSON object"),
        (b"{\"entity\":\"a\"", "not a JSON object"),
        (b"{\"entity\":\"\xFF\",\"ip\":\"1.2.3.4\"}", "text that is not UTF-8"),
        (b"{\"entity\":\"a\"}", "missing key"),
        (b"{\"features\":[\"a\"]}", "missing key"),
        (b"{\"entity\":null,\"ip\":\"1.2.3.4\"}", "missing value"),
        (b"{\"entity\":[],\"ip\":\"1.2.3.4\"}", "not text or a number"),
        (b"{\"entity\":\"\",\"ip\":\"1.2.3.4\"}", "empty entity"),
        (b"{\"entity\":\"a\",\"ip\":16909060}", "integer"),
        (b"{\"entity\":\"a\",\"ip\":\"::1\"}", "IPv6 address"),
    ];
    for (line, reason) in cases {
        let text = [first.as_bytes(), line].concat();
        let (error, code) = error_of(&text, &ReadOptions::default());
        assert!(error.starts_with(&format!("input:2: {reason}: `")), "{error}");
        assert_eq!(code, 3);
        let (rows, report) = read_bytes(&text, &skip(1.0)).unwrap();
        assert_eq!((rows.len(), report.bad_by_reason[reason]), (1, 1));
    }
}

#[test]
fn a_long_line_is_refused() {
    let text = format!("{{\"entity\":\"{}\",\"ip\":\"1.2.3.4\"}}", "x".repeat(70_000));
    let (error, _) = error_of(text, &skip(1.0));
    assert!(error.starts_with("input:1: the line has 64 KiB or more"), "{error}");
}

#[test]
fn keys_are_paths_and_other_fields_need_not_be_text() {
    let nested = columns(Some("user.name"), Some("source.ip"), None);
    let row = r#"{"user":{"name":"ann"},"source":{"ip":"1.2.3.4"}}"#;
    assert_eq!(read_bytes(row, &nested).unwrap().0, ["ann 1.2.3.4"]);
    assert_eq!(rows_of(b"{\"entity\":\"a\",\"ip\":\"1.2.3.4\",\"x\":\"\xFF\"}"), ["a 1.2.3.4"]);
    let (text, _) = error_of(b"{\"entity\":\"a\xFF\",\"ip\":\"1.2.3.4\"}", &ReadOptions::default());
    assert!(text.starts_with("input:1: text that is not UTF-8"), "{text}");
    let (text, _) = error_of(r#"{"entity":1001.0,"ip":"1.2.3.4"}"#, &ReadOptions::default());
    assert!(
        text.starts_with("input:1: floating-point number for an entity") && text.contains("Int64"),
        "{text}"
    );
    let (rows, report) = read_bytes(r#"{"Entity":"a","IP":"1.2.3.4"}"#, &ReadOptions::default()).unwrap();
    assert_eq!((rows.len(), report.notes.len()), (1, 2));
}
