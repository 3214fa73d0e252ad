//! Tests of whole readings, from bytes in a file to rows.

mod blocks;
mod compressed;
mod csv;
mod json_lines;
mod parquet;
mod prepared;
mod properties;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::intake::{Intake, Sink};
use super::*;
use crate::event::{Address, AddressFamilies};
use crate::{Error, Result};

/// A folder for the files of one test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Input {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        Input::File(path)
    }
}

/// The good rows as text (`entity ip [label]`) and the report.
fn read_inputs(inputs: &[Input], options: &ReadOptions) -> Result<(Vec<String>, ReadReport)> {
    let mut rows = Vec::new();
    let report = read_rows(inputs, options, &mut |row, _| {
        let label = row.label.map(|label| format!(" {label}")).unwrap_or_default();
        rows.push(format!("{} {}{label}", row.entity.escape_ascii(), row.address));
        Ok(())
    })?;
    assert_eq!(report.num_rows, rows.len() as u64);
    Ok((rows, report))
}

fn read_bytes(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> Result<(Vec<String>, ReadReport)> {
    let folder = Folder::new();
    read_inputs(&[folder.write("input", bytes)], options)
}

fn rows_of(bytes: impl AsRef<[u8]>) -> Vec<String> {
    read_bytes(bytes, &ReadOptions::default()).unwrap().0
}

/// Where (behind the folder), what and help of the error that `bytes` give, with the exit code.
fn error_of(bytes: impl AsRef<[u8]>, options: &ReadOptions) -> (String, u8) {
    error_text(read_bytes(bytes, options).unwrap_err())
}

fn error_text(error: Error) -> (String, u8) {
    let text = format!("{error} | {}", error.help().unwrap_or_default());
    let text = match text.split_once("/input") {
        Some((_, text)) => format!("input{text}"),
        None => text,
    };
    (text, error.exit_code())
}

fn skip(max_bad_fraction: f64) -> ReadOptions {
    ReadOptions { on_bad_row: OnBadRow::Skip, max_bad_fraction, ..ReadOptions::default() }
}

fn columns(entity: Option<&str>, ip: Option<&str>, label: Option<&str>) -> ReadOptions {
    ReadOptions {
        entity_column: entity.map(String::from),
        ip_column: ip.map(String::from),
        label_column: label.map(String::from),
        ..ReadOptions::default()
    }
}

#[test]
fn options_are_parsed_from_their_names() {
    let formats = [Format::Csv, Format::JsonLines, Format::Parquet, Format::Arrow];
    for (text, format) in ["csv", "jsonl", "parquet", "arrow"].iter().zip(formats) {
        assert_eq!(text.parse::<Format>().unwrap(), format);
    }
    let error = "parqet".parse::<Format>().unwrap_err();
    assert!(error.help().unwrap().contains("did you mean `parquet`?"));

    assert_eq!("fail".parse::<OnBadRow>().unwrap(), OnBadRow::Fail);
    assert_eq!("skip".parse::<OnBadRow>().unwrap(), OnBadRow::Skip);
    assert_eq!("quarantine=a=b".parse::<OnBadRow>().unwrap(), OnBadRow::Quarantine("a=b".into()));
    for text in ["", "skip=", "quarantine", "quarantine="] {
        assert_eq!(text.parse::<OnBadRow>().unwrap_err().exit_code(), 2, "{text:?}");
    }
}

#[test]
fn inputs_are_read_in_order_and_may_differ_in_format() {
    let folder = Folder::new();
    let inputs = [
        folder.write("b", "a,1.2.3.4"),
        folder.write("empty", ""),
        folder.write("a", "{\"entity\":\"b\",\"ip\":\"5.6.7.8\"}"),
    ];
    let (rows, report) = read_inputs(&inputs, &ReadOptions::default()).unwrap();
    assert_eq!(rows, ["a 1.2.3.4", "b 5.6.7.8"]);
    assert_eq!(report.to_string(), "");
}

#[test]
fn inputs_without_a_row_are_an_error_that_names_them() {
    let folder = Folder::new();
    let inputs = [folder.write("one", ""), folder.write("two", "\n \n")];
    let error = read_inputs(&inputs, &ReadOptions::default()).unwrap_err();
    let (text, code) = error_text(error);
    assert!(text.contains("/one`, `") && text.contains("/two`: no rows"), "{text}");
    assert_eq!(code, 3);
}

#[test]
fn a_missing_file_is_an_io_error() {
    let error = read_inputs(&[Input::File("/no/such/file".into())], &ReadOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 4);
}

#[test]
fn an_error_of_the_callback_ends_the_reading() {
    let folder = Folder::new();
    let mut num_rows = 0;
    let result = read_rows(
        &[folder.write("input", "a,1.2.3.4\nb,1.2.3.4\n")],
        &ReadOptions::default(),
        &mut |_, _| {
            num_rows += 1;
            Err(Error::Gate("enough".into()))
        },
    );
    assert_eq!(result.unwrap_err().to_string(), "enough");
    assert_eq!(num_rows, 1);
}

#[test]
fn skipped_rows_are_counted_by_reason_up_to_the_fraction() {
    let text = "a,1.2.3.4\nb,::1\n,1.2.3.4\nc\nd,1.2.3.4:80\ne,1.2.3.4\nf,::2\n";
    let (rows, report) = read_bytes(text, &skip(0.8)).unwrap();
    assert_eq!(rows, ["a 1.2.3.4", "e 1.2.3.4"]);
    assert_eq!(
        report.to_string(),
        "5 of 7 rows are bad: 2 IPv6 address, 1 address with brackets or a port, 1 empty entity, 1 too few columns"
    );
    let (text, code) = error_of(text, &skip(0.7));
    assert!(text.contains("5 of 7 rows") && text.contains("2 IPv6 address"), "{text}");
    assert_eq!(code, 3);
}

#[test]
fn all_rows_bad_is_an_error_even_when_every_fraction_is_put_up_with() {
    let (text, code) = error_of("a,::1\n", &skip(1.0));
    assert!(text.contains("no rows"), "{text}");
    assert_eq!(code, 3);
}

#[test]
fn quarantined_rows_are_kept_as_they_stood_also_when_reading_fails() {
    let folder = Folder::new();
    let file = folder.path("bad");
    let options = |max_bad_fraction| ReadOptions {
        on_bad_row: OnBadRow::Quarantine(file.clone()),
        max_bad_fraction,
        ..ReadOptions::default()
    };
    let text = b"a,1.2.3.4\r\n\"b\"\"\", ::1,x\r\n\xFF,01.2.3.4\n";
    let inputs = [folder.write("input", text)];
    for (max_bad_fraction, is_ok) in [(1.0, true), (0.5, false)] {
        let _ = fs::remove_file(&file);
        assert_eq!(read_inputs(&inputs, &options(max_bad_fraction)).is_ok(), is_ok);
        assert_eq!(fs::read(&file).unwrap(), b"\"b\"\"\", ::1,x\n\xFF,01.2.3.4\n");
    }

    let jsonl = folder.write("jsonl", "{\"entity\":\"a\",\"ip\":\"1.2.3.4\"}\n{\"entity\": \"b\"}\nx\n");
    let missing = Input::File(folder.path("missing"));
    assert!(read_inputs(&[jsonl, missing], &options(1.0)).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"{\"entity\": \"b\"}\nx\n");
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 3, "a temporary file is left");
}

#[test]
fn an_input_is_never_replaced_by_the_quarantine() {
    let folder = Folder::new();
    let input = folder.write("input", "a,1.2.3.4\n");
    let options =
        ReadOptions { on_bad_row: OnBadRow::Quarantine(folder.path("input")), ..ReadOptions::default() };
    assert_eq!(read_inputs(&[input], &options).unwrap_err().exit_code(), 2);
    assert_eq!(fs::read(folder.path("input")).unwrap(), b"a,1.2.3.4\n");
}

/// Kinds and times of all rows, from CSV, JSON Lines and Parquet.
#[test]
fn kinds_and_times_are_read_from_every_format() {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};

    let options = |kind: &str, time: &str| ReadOptions {
        kind_column: Some(kind.into()),
        time_column: Some(time.into()),
        ..ReadOptions::default()
    };
    let csv = "a,1.2.3.4,spray,1970-01-01T00:01:00Z\nb,5.6.7.8,,61.5\n";
    let json_lines = concat!(
        r#"{"entity":"a","ip":"1.2.3.4","kind":"spray","time":"1970-01-01T00:01:00Z"}"#,
        "\n",
        r#"{"entity":"b","ip":"5.6.7.8","kind":null,"time":61.5}"#,
    );
    let parquet = parquet::write(vec![
        ("entity", Arc::new(StringArray::from(vec!["a", "b"]))),
        ("ip", Arc::new(StringArray::from(vec!["1.2.3.4", "5.6.7.8"]))),
        ("kind", Arc::new(StringArray::from(vec![Some("spray"), None]))),
        ("time", Arc::new(Int64Array::from(vec![60, 61]))),
    ]);
    let inputs: [(&[u8], ReadOptions); 3] = [
        (csv.as_bytes(), options("3", "4")),
        (json_lines.as_bytes(), options("kind", "time")),
        (&parquet, options("kind", "time")),
    ];
    for (bytes, options) in inputs {
        let folder = Folder::new();
        let mut found = Vec::new();
        read_rows(&[folder.write("input", bytes)], &options, &mut |row, _| {
            found.push((row.kind.unwrap().to_vec(), row.seconds.unwrap()));
            Ok(())
        })
        .unwrap();
        assert_eq!(found, [(b"spray".to_vec(), 60), (Vec::new(), 61)]);
    }
    let (text, code) = error_of("a,1.2.3.4,x,noon\n", &options("3", "4"));
    assert!(text.starts_with("input:1: bad time"), "{text}");
    assert_eq!(code, 3);
    assert_eq!(error_of("a,1.2.3.4\n", &options("3", "4")).1, 3);
    let (text, code) = error_of(csv, &options("2", "4"));
    assert!(text.starts_with("kind_column: the column has another role"), "{text}");
    assert_eq!(code, 2);
}

/// Both families, in all their forms, and times, from CSV, JSON Lines and Parquet, as rows, as events and prepared.
#[test]
fn both_families_and_times_are_read_from_every_format() {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};

    let texts = ["1.2.3.4", "2001:db8:1:2::5", "::ffff:1.2.3.5", "64:FF9B::102:306", "2001:db8::7%eth0"];
    let addresses = ["1.2.3.4", "2001:db8:1:2::", "1.2.3.5", "1.2.3.6", "2001:db8::"];
    let times = [60, 0, 1_717_199_999, 61, 4_294_967_295_u32];
    let rows = || texts.into_iter().zip(times);
    let csv: String = rows().map(|(ip, time)| format!("a,{ip},{time}\n")).collect();
    let json_lines: String =
        rows().map(|(ip, time)| format!("{{\"entity\":\"a\",\"ip\":\"{ip}\",\"time\":{time}}}\n")).collect();
    let parquet = parquet::write(vec![
        ("entity", Arc::new(StringArray::from(vec!["a"; 5]))),
        ("ip", Arc::new(StringArray::from(texts.to_vec()))),
        ("time", Arc::new(Int64Array::from_iter_values(times.map(i64::from)))),
    ]);
    let formats: [(&[u8], &str); 3] =
        [(csv.as_bytes(), "3"), (json_lines.as_bytes(), "time"), (&parquet, "time")];
    for (bytes, time_column) in formats {
        let folder = Folder::new();
        let input = [folder.write("input", bytes)];
        let options = ReadOptions {
            time_column: Some(time_column.into()),
            addresses: AddressFamilies::Both,
            ..ReadOptions::default()
        };
        let written: Vec<String> = addresses.iter().map(|address| format!("a {address}")).collect();
        assert_eq!(read_inputs(&input, &options).unwrap().0, written);
        let prepared = folder.path("events.arrow");
        write_prepared(&input, &options, &prepared).unwrap();
        let without_column = ReadOptions { time_column: None, ..options.clone() };
        for (input, options) in [(&input[0], &options), (&Input::File(prepared), &without_column)] {
            let (events, _) = load_events(std::slice::from_ref(input), options).unwrap();
            let found: Vec<String> = events.iter().map(|event| event.address.to_string()).collect();
            assert_eq!(found, addresses);
            assert!((0..5).all(|index| events.time(index) == Some(times[index])));
        }
    }
}

#[test]
fn a_time_that_no_column_holds_is_a_bad_row_of_events() {
    let folder = Folder::new();
    let options = ReadOptions { time_column: Some("3".into()), ..skip(1.0) };
    let text = "a,1.2.3.4,5\na,1.2.3.4,-1\na,1.2.3.4,4294967296\na,1.2.3.4,99999999999\na,1.2.3.4,\n";
    let input = [folder.write("input", text)];
    let (events, report) = load_events(&input, &options).unwrap();
    assert_eq!((events.len(), events.time(0)), (1, Some(5)));
    assert_eq!(report.bad_by_reason, [("bad time", 1), ("time before 1970 or after 2106", 3)].into());
    // As rows, too.
    assert_eq!(read_inputs(&input, &options).unwrap().0.len(), 1);
    let error = load_events(&input, &ReadOptions { on_bad_row: OnBadRow::Fail, ..options }).unwrap_err();
    let (text, _) = error_text(error);
    assert!(text.starts_with("input:2: time before 1970 or after 2106") && text.contains("milli-"), "{text}");
}

/// Each reason for an IPv6 address that is none of a client, with its line and its help.
#[test]
fn reserved_and_decorated_addresses_are_bad_rows_with_reasons_of_their_own() {
    let both = |on_bad_row| ReadOptions {
        addresses: AddressFamilies::Both,
        on_bad_row,
        max_bad_fraction: 1.0,
        ..ReadOptions::default()
    };
    let cases = [
        ("::1", "IPv6 address in ::/32", "nobody's"),
        ("::13.1.68.3", "IPv6 address in ::/32", "nobody's"),
        ("fe80::1%eth0", "link-local IPv6 address", "global address"),
        ("[2001:db8::1]", "address with brackets or a port", "without brackets"),
        ("[2001:db8::1]:443", "address with brackets or a port", "without a port"),
        ("1.2.3.4:80", "address with brackets or a port", "without a port"),
        ("2001:db8::/32", "address with a prefix length", "one address"),
        ("2001:db8:::1", "not an IP address", "hexadecimal digits with colons"),
    ];
    let mut all = String::from("a,1.2.3.4\n");
    for (ip, reason, help) in cases {
        let text = format!("a,2001:db8::1\na,{ip}\n");
        let (error, code) = error_of(&text, &both(OnBadRow::Fail));
        assert!(error.starts_with(&format!("input:2: {reason}: `a,{ip}`")), "{error}");
        assert!(error.contains(help), "{error}");
        assert_eq!(code, 3);
        all += &text;
    }
    let folder = Folder::new();
    let (events, report) = load_events(&[folder.write("input", &all)], &both(OnBadRow::Skip)).unwrap();
    assert_eq!(events.len(), 1 + cases.len());
    for (_, reason, _) in cases {
        let num = cases.iter().filter(|case| case.1 == reason).count() as u64;
        assert_eq!(report.bad_by_reason[reason], num, "{reason}");
    }
    // Where IPv4 alone is taken, the help names the key that takes IPv6.
    let (error, _) = error_of("a,1.2.3.4\na,2001:db8::1\n", &ReadOptions::default());
    assert!(error.starts_with("input:2: IPv6 address: ") && error.contains("model.addresses"), "{error}");
}
