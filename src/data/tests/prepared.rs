//! Prepared files: written, mapped back and refused.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::*;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use arrow_schema::Schema;

use super::*;

use crate::event::{ENTITY_HASH, Event, hash_entity};

const HASH: (&str, &str) = ("ipsight.entity_hash", ENTITY_HASH);

/// An Arrow file as another program might write it.
fn foreign(columns: Vec<(&str, ArrayRef)>, metadata: &[(&str, &str)], batch_size: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let schema = Arc::new(Schema::clone(&batch.schema()).with_metadata(metadata));
    let batch = batch.with_schema(schema.clone()).unwrap();
    let options = IpcWriteOptions::try_new(8, false, arrow_ipc::MetadataVersion::V5).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    for start in (0..batch.num_rows()).step_by(batch_size) {
        writer.write(&batch.slice(start, batch_size.min(batch.num_rows() - start))).unwrap();
    }
    writer.into_inner().unwrap()
}

pub(super) fn small_file(num_rows: u32, batch_size: usize) -> Vec<u8> {
    let entity: ArrayRef = Arc::new(UInt64Array::from_iter_values((0..u64::from(num_rows)).map(|i| i << 33)));
    let address: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..u64::from(num_rows)));
    let time: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..num_rows));
    let columns = vec![("entity", entity), ("address", address), ("time", time)];
    foreign(columns, &[HASH, ("ipsight.time_base", "0")], batch_size)
}

fn event(entity: u64, bits: u64) -> Event {
    Event { entity, address: Address::from_bits(bits) }
}

fn both_families() -> ReadOptions {
    ReadOptions { addresses: AddressFamilies::Both, ..ReadOptions::default() }
}

fn load(inputs: &[Input]) -> Result<Vec<Event>> {
    let (events, report) = load_events(inputs, &both_families())?;
    assert_eq!(report.num_rows, events.len() as u64);
    let by_index: Vec<Event> = (0..events.len()).map(|index| events.get(index)).collect();
    assert_eq!(by_index, events.iter().collect::<Vec<_>>());
    Ok(by_index)
}

fn load_bytes(bytes: impl AsRef<[u8]>) -> Result<Vec<Event>> {
    let folder = Folder::new();
    load(&[folder.write("input", bytes)])
}

#[test]
fn a_prepared_file_gives_the_events_of_the_text() {
    let folder = Folder::new();
    let text = folder.write("text", "a,1.2.3.4\nb,5.6.7.8\na,1.2.3.4\n");
    let output = folder.path("events.arrow");
    let report = write_prepared(std::slice::from_ref(&text), &ReadOptions::default(), &output).unwrap();
    assert_eq!(report.num_rows, 3);
    let events = load(std::slice::from_ref(&text)).unwrap();
    assert_eq!(events[1], event(hash_entity(b"b"), 0x0506_0708));
    let prepared = Input::File(output.clone());
    assert_eq!(load(std::slice::from_ref(&prepared)).unwrap(), events);

    // Prepared files, text and both compressed can be mixed, in the order given.
    let zipped = folder.write("zipped", compressed::gzip(&fs::read(&output).unwrap()));
    let mixed = [text.clone(), prepared.clone(), zipped, text];
    assert_eq!(load(&mixed).unwrap(), events.repeat(4));
    let again = folder.path("again.arrow");
    write_prepared(&mixed, &ReadOptions::default(), &again).unwrap();
    assert_eq!(load(&[Input::File(again)]).unwrap(), events.repeat(4));
}

#[test]
fn a_prepared_file_is_read_without_copying() {
    let folder = Folder::new();
    let output = folder.path("events.arrow");
    let text = folder.write("text", "a,1.2.3.4\n");
    write_prepared(&[text], &ReadOptions::default(), &output).unwrap();
    let stream = Stream::open(&Input::File(output.clone())).unwrap();
    let bytes = stream.into_bytes().unwrap();
    let chunks = super::super::prepared_file::read_chunks(
        "x",
        Stream::open(&Input::File(output)).unwrap().into_bytes().unwrap(),
        true,
    )
    .unwrap();
    // A buffer that borrows from the mapping is as large as the file less what stands before it.
    assert!(chunks[0].entity.inner().capacity() >= bytes.len());
}

#[test]
fn columns_of_other_programs_are_read_whatever_their_batches_are() {
    for batch_size in [1, 3, 4, 100] {
        let events = load_bytes(small_file(10, batch_size)).unwrap();
        let wanted: Vec<Event> = (0..10).map(|i| event(i << 33, i)).collect();
        assert_eq!(events, wanted, "{batch_size}");
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x", "yy"]));
    let words: DictionaryArray<types::Int32Type> = ["p", "q"].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", text),
        ("address", Arc::new(UInt64Array::from(vec![7, 8 << 32]))),
        ("word", Arc::new(words)),
        ("entity", Arc::new(UInt64Array::from(vec![1, 2]))),
    ];
    let events = load_bytes(foreign(columns, &[HASH, ("pandas", "{}")], 10)).unwrap();
    assert_eq!(events, [event(1, 7), event(2, 8 << 32)], "a column `time` without a base is none of ours");
}

#[test]
fn what_is_not_a_prepared_file_is_refused() {
    let column = || -> ArrayRef { Arc::new(UInt64Array::from(vec![1, 2])) };
    let narrow = || -> ArrayRef { Arc::new(UInt32Array::from(vec![7, 8])) };
    let nulls: ArrayRef = Arc::new(UInt64Array::from(vec![Some(7), None]));
    let both = || vec![("entity", column()), ("address", column())];
    let timed = |time| [both(), vec![("time", time)]].concat();
    let base = |base| [HASH, ("ipsight.time_base", base)];
    let cases = [
        (foreign(both(), &[], 9), "the schema's metadata have no `ipsight.entity_hash`"),
        (foreign(both(), &[("ipsight.entity_hash", "md5")], 9), "made with the entity hash `md5`, not `xxh3"),
        (
            foreign(both(), &[HASH, ("ipsight.format", "3")], 9),
            "format 3 of prepared files; this program reads 2",
        ),
        (foreign(vec![("entity", column())], &[HASH], 9), "there is no column `address`"),
        (
            foreign(vec![("entity", narrow()), ("address", column())], &[HASH], 9),
            "column `entity` is UInt32, not",
        ),
        (foreign(vec![("entity", column()), ("address", nulls)], &[HASH], 9), "the columns have nulls"),
        (foreign(both(), &base("0"), 9), "there is no column `time`"),
        (foreign(timed(column()), &base("0"), 9), "column `time` is UInt64, not UInt32"),
        (foreign(timed(narrow()), &base("now"), 9), "`ipsight.time_base` is `now` and not a whole number"),
        (foreign(timed(narrow()), &base("-8"), 9), "a time is before 1970 or after 2106"),
        (foreign(timed(narrow()), &base("4294967288"), 9), "a time is before 1970 or after 2106"),
        (foreign(timed(narrow()), &base("9223372036854775807"), 9), "a time is before 1970 or after 2106"),
    ];
    for (bytes, wanted) in cases {
        let (error, code) = error_text(load_bytes(bytes).unwrap_err());
        assert!(error.starts_with(&format!("input: {wanted}")), "{error}");
        assert!(error.contains("ipsight prepare"), "{error}");
        assert_eq!(code, 3);
    }
}

#[test]
fn times_are_counted_from_the_base_of_their_file() {
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            ("entity", Arc::new(UInt64Array::from(vec![1, 2]))),
            ("address", Arc::new(UInt64Array::from(vec![7, 8]))),
            ("time", Arc::new(UInt32Array::from(vec![10, 20]))),
        ]
    };
    let folder = Folder::new();
    let of_base = |base: &str| foreign(columns(), &[HASH, ("ipsight.time_base", base)], 9);
    let inputs = ["0", "1700000000", "-10"].map(|base| folder.write(&format!("base{base}"), of_base(base)));
    let (events, _) = load_events(&inputs, &both_families()).unwrap();
    let times: Vec<Option<u32>> = (0..events.len()).map(|index| events.time(index)).collect();
    assert_eq!(times, [10, 20, 1_700_000_010, 1_700_000_020, 0, 10].map(Some));
    // Prepared again they have one base.
    let output = folder.path("events.arrow");
    write_prepared(&inputs, &both_families(), &output).unwrap();
    let (again, _) = load_events(&[Input::File(output)], &both_families()).unwrap();
    assert_eq!(again.digest(), events.digest());
}

#[test]
fn a_prepared_file_with_times_gives_them_and_has_20_bytes_an_event() {
    let folder = Folder::new();
    let text = folder.write("text", "a,1.2.3.4,100\nb,2001:db8::1,1970-01-01T00:00:05Z\na,1.2.3.4,7\n");
    let timed = ReadOptions { time_column: Some("3".into()), ..both_families() };
    let size = |options: &ReadOptions, num_rows: usize| {
        let input = folder.write("rows", "a,1.2.3.4,100\n".repeat(num_rows));
        let output = folder.path("sized.arrow");
        write_prepared(&[input], options, &output).unwrap();
        fs::metadata(output).unwrap().len()
    };
    for (options, bytes) in [(&both_families(), 16), (&timed, 20)] {
        // Buffers begin at multiples of 64 bytes, so sizes of such multiples have no other difference.
        assert_eq!(size(options, 1600) - size(options, 640), 960 * bytes);
    }
    let output = folder.path("events.arrow");
    write_prepared(std::slice::from_ref(&text), &timed, &output).unwrap();
    for inputs in [[text.clone()], [Input::File(output.clone())]] {
        let (events, _) = load_events(&inputs, &timed).unwrap();
        assert!(events.have_times());
        assert_eq!([0, 1, 2].map(|index| events.time(index)), [Some(100), Some(5), Some(7)]);
        let written = folder.path("written.arrow");
        write_events(&events, &written).unwrap();
        assert_eq!(fs::read(written).unwrap(), fs::read(&output).unwrap());
    }

    // Events with times and events without do not become one.
    let refused =
        |inputs: &[Input], options: &ReadOptions| error_text(load_events(inputs, options).unwrap_err()).0;
    let untimed = folder.path("untimed.arrow");
    write_prepared(std::slice::from_ref(&text), &both_families(), &untimed).unwrap();
    let [output, untimed] = [output, untimed].map(Input::File);
    let error = refused(std::slice::from_ref(&untimed), &timed);
    assert!(error.contains("untimed.arrow: it has no times | prepare the file again"), "{error}");
    let error = refused(&[output.clone(), text.clone()], &both_families());
    assert!(error.contains("text: it has no times, but ") && error.contains("data.time_column"), "{error}");
    let error = refused(&[untimed, output], &both_families());
    assert!(error.contains("events.arrow: it has times, but "), "{error}");
}

#[test]
fn ipv6_rows_of_a_prepared_file_are_bad_rows_where_ipv4_alone_is_taken() {
    let folder = Folder::new();
    let text = folder.write("text", "a,1.2.3.4,1\nb,2001:db8::1,2\na,1.2.3.5,3\nb,2001:db8:1::,4\n");
    let timed = ReadOptions { time_column: Some("3".into()), ..both_families() };
    let output = folder.path("events.arrow");
    write_prepared(&[text], &timed, &output).unwrap();
    let inputs = [Input::File(output)];
    let error = error_text(load_events(&inputs, &ReadOptions::default()).unwrap_err()).0;
    assert!(error.contains(": row 2: IPv6 address") && error.contains("2001:db8::`"), "{error}");
    assert!(error.contains("model.addresses"), "{error}");
    let bad = folder.path("bad");
    let on_bad_row = OnBadRow::Quarantine(bad.clone());
    let (events, report) = load_events(&inputs, &ReadOptions { on_bad_row, ..skip(0.5) }).unwrap();
    assert_eq!(report.to_string(), "2 of 4 rows are bad: 2 IPv6 address");
    assert_eq!([0, 1].map(|index| events.time(index)), [Some(1), Some(3)]);
    assert!(events.iter().all(|event| event.address.is_ipv4()) && events.len() == 2);
    assert_eq!(
        fs::read_to_string(bad).unwrap().lines().last().unwrap().split(',').nth(1),
        Some("2001:db8:1::")
    );
}

/// The file is one of `tests/golden/make_prepared.py`.
#[test]
fn a_prepared_file_of_version_1_is_refused_with_both_versions() {
    let (error, code) = error_text(load_bytes(include_bytes!("format_1.arrow")).unwrap_err());
    assert!(
        error.starts_with("input: format 1 of prepared files; this program reads 2 | prepare it again"),
        "{error}"
    );
    assert_eq!(code, 3);
}

/// The files are those of `tests/golden/make_prepared.py`.
#[test]
fn a_file_of_pyarrow_is_read_unless_its_columns_are_compressed() {
    let folder = Folder::new();
    let input = folder.write("input", include_bytes!("pyarrow.arrow"));
    let (timed, _) = load_events(std::slice::from_ref(&input), &both_families()).unwrap();
    let times = (0..timed.len()).filter_map(|index| timed.time(index));
    assert_eq!(times.collect::<Vec<_>>(), [1_700_000_100, 1_700_000_200, 1_700_000_300].repeat(2));
    let events = load(&[input]).unwrap();
    let batch = [(1, 7), (2, 8), (3, 0x2001_0DB8_0000_0000)].map(|(entity, bits)| event(entity, bits));
    assert_eq!(events, batch.repeat(2));
    let (error, _) = error_text(load_bytes(include_bytes!("lz4.arrow")).unwrap_err());
    assert!(error.starts_with("input: the columns are compressed"), "{error}");
}

#[test]
fn rows_cannot_be_read_from_a_prepared_file() {
    let (error, code) = error_of(small_file(3, 3), &ReadOptions::default());
    assert!(error.starts_with("input: a prepared file holds hashes, not entities"), "{error}");
    assert_eq!(code, 3);
}

#[test]
fn a_truncated_prepared_file_is_an_error_at_every_length() {
    let bytes = small_file(10, 4);
    for len in 6..bytes.len() {
        let (error, code) = error_text(load_bytes(&bytes[..len]).unwrap_err());
        assert!(error.starts_with("input: not a whole Arrow file"), "{len}: {error}");
        assert_eq!(code, 3);
    }
}

#[test]
fn every_flipped_bit_gives_an_error_or_events_and_never_a_panic() {
    let bytes = small_file(5, 3);
    let folder = Folder::new();
    for index in 6 * 8..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[index / 8] ^= 1 << (index % 8);
        let _ = load(&[folder.write("input", flipped)]);
    }
}

#[test]
fn nothing_is_written_when_reading_fails() {
    let folder = Folder::new();
    let output = folder.path("events.arrow");
    for text in ["", "a,1.2.3.4\nb,::1\n"] {
        let input = folder.write("text", text);
        assert!(write_prepared(&[input], &ReadOptions::default(), &output).is_err());
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1, "{text:?}");
    }
}
