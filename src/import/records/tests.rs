//! Records, in whatever pieces their bytes come.

use proptest::prelude::*;

use super::*;

/// The records of `text`, fed `size` bytes at a time.
fn records_of(mut records: Records, text: &[u8], size: usize) -> Vec<std::result::Result<String, Skip>> {
    let mut found = Vec::new();
    let mut on_record = |record: std::result::Result<&[u8], Skip>| {
        found.push(record.map(|record| String::from_utf8_lossy(record).into_owned()));
        Ok(())
    };
    text.chunks(size).for_each(|chunk| records.feed(chunk, &mut on_record).unwrap());
    records.end(&mut on_record).unwrap();
    found
}

#[track_caller]
fn assert_records(new: fn() -> Records, text: &str, expected: &[std::result::Result<&str, Skip>]) {
    let expected: Vec<_> = expected.iter().map(|record| record.map(str::to_string)).collect();
    for size in [1, 2, 3, 7, 1 << 20] {
        assert_eq!(records_of(new(), text.as_bytes(), size), expected, "{text:?} by {size}");
    }
}

#[test]
fn lines_end_with_lf_or_crlf_and_the_last_with_the_input() {
    assert_records(Records::lines, "a\r\nb\n\nc", &[Ok("a"), Ok("b"), Ok(""), Ok("c")]);
    assert_records(Records::lines, "", &[]);
}

#[test]
fn a_line_that_is_too_long_costs_only_itself() {
    for num in [MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE] {
        let text = format!("a\n{}\nb\n", "x".repeat(num));
        assert_records(Records::lines, &text, &[Ok("a"), Err(Skip::TooLong), Ok("b")]);
    }
    let longest = "x".repeat(MAX_LINE - 1);
    assert_records(Records::lines, &format!("{longest}\nb"), &[Ok(&longest), Ok("b")]);
}

#[test]
fn objects_are_found_in_lines_arrays_and_records() {
    let both = [Ok(r#"{"a":"]}\"{"}"#), Ok(r#"{"b":{"c":[1]}}"#)];
    let [a, b] = both.map(|object| object.unwrap_or_default());
    for text in [
        format!("{a}\n{b}\n"),
        format!("{a}\r\n\n{b}"),
        format!("{a}{b}"),
        format!("[{a},{b}]"),
        format!("[\n  {a},\n  {b}\n]\n"),
        format!("[{a}]\n[{b}]"),
        format!("{{\"Records\":[{a},{b}]}}"),
        format!("{{ \"Records\" : [ {a} , {b} ] , \"more\": [1, {{}}] }}\n"),
        format!("{{\"Records\":[{a}]}}{{\"Records\":[{b}]}}"),
        format!("{{\"Records\":[{a}]}}\n{b}"),
    ] {
        assert_records(|| Records::objects(Vec::new()), &text, &both);
    }
    let pretty = "{\n  \"a\": {\n    \"b\": [\n{\n}\n]\n  }\n}";
    assert_records(
        || Records::objects(Vec::new()),
        &format!("{pretty}\n{pretty}"),
        &[Ok(pretty), Ok(pretty)],
    );
    assert_records(|| Records::objects(Vec::new()), "{\"Records\":1}", &[Ok("{\"Records\":1}")]);
}

#[test]
fn objects_are_found_behind_text_and_in_wrappers() {
    let both = [Ok(r#"{"a":1}"#), Ok(r#"{"b":2}"#)];
    let objects = || Records::objects(vec!["user".into()]);
    for text in [
        "2025-03-04T10:00:00.114Z {\"a\":1}\nx y: {\"b\":2}\n",
        "{\"@odata.context\":\"x\",\"value\":[{\"a\":1},{\"b\":2}],\"next\":{\"c\":[3]}}",
        "{\"kind\": \"k\", \"n\": 1,\n \"items\": [ {\"a\":1}, {\"b\":2} ] }",
        "{\"Events\":[{\"a\":1},{\"b\":2}],\"NextToken\":\"t\"}\n",
    ] {
        assert_records(objects, text, &both);
    }
    for text in
        [r#"{"user":"x","items":[{"a":1}]}"#, r#"{"x":{"items":[{"a":1}]}}"#, r#"{"x":[1],"value":[{}]}"#]
    {
        assert_records(objects, text, &[Ok(text)]);
    }
}

#[test]
fn records_of_an_export_end_with_empty_lines_and_values_may_have_any_bytes() {
    let binary = b"__CURSOR=a\nMESSAGE\n\x04\0\0\0\0\0\0\0a\n\n=\nX=1\n\n__CURSOR=b\nMESSAGE=y\n\n";
    let text = String::from_utf8_lossy(binary);
    let (first, second) = ("__CURSOR=a\nMESSAGE\n\u{4}\0\0\0\0\0\0\0a\n\n=\nX=1", "__CURSOR=b\nMESSAGE=y");
    assert_records(Records::export, &text, &[Ok(first), Ok(second)]);
}

#[test]
fn a_line_that_breaks_off_costs_only_itself() {
    let bad = Err(Skip::NoMatch);
    for broken in ["{\"a\":\"b", "{\"a\":\"b\\", "{\"a\":1", "{\"a\":[1,2", "{", "junk {", "\"a\"", "}", "1"]
    {
        let text = format!("{{\"x\":1}}\n{broken}\n{{\"y\":2}}\n");
        assert_records(|| Records::objects(Vec::new()), &text, &[Ok("{\"x\":1}"), bad, Ok("{\"y\":2}")]);
    }
    assert_records(|| Records::objects(Vec::new()), "{\"a\"", &[bad]);
    let deep = "[".repeat(100_000);
    assert_records(|| Records::objects(Vec::new()), &format!("{{\"a\":{deep}\n{{}}"), &[bad, Ok("{}")]);
}

#[test]
fn an_object_that_is_too_long_costs_only_itself() {
    let text = format!("{{\"a\":\"{}\"}}\n{{}}", "x".repeat(MAX_OBJECT));
    assert_eq!(
        records_of(Records::objects(Vec::new()), text.as_bytes(), 1 << 16),
        [Err(Skip::TooLong), Ok("{}".into())]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_do_not_depend_on_the_pieces_that_bytes_come_in(
        bytes in proptest::collection::vec(
            prop_oneof![prop::sample::select(&b"{}[]\",:\\\n\r 1a"[..]), any::<u8>()], 0..300),
        size in 1_usize..50,
    ) {
        for new in [Records::lines, || Records::objects(Vec::new()), Records::export] {
            prop_assert_eq!(records_of(new(), &bytes, size), records_of(new(), &bytes, 1000));
        }
    }
}
