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
    let ip: ArrayRef = Arc::new(UInt32Array::from_iter_values(0..num_rows));
    foreign(vec![("entity", entity), ("ip", ip)], &[HASH], batch_size)
}

fn load(inputs: &[Input]) -> Result<Vec<Event>> {
    let (events, report) = load_events(inputs, &ReadOptions::default())?;
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
    assert_eq!(events[1], Event { entity: hash_entity(b"b"), ip: 0x0506_0708 });
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
    let chunks = super::super::prepared::read_chunks(Stream::open(&Input::File(output)).unwrap()).unwrap();
    // A buffer that borrows from the mapping is as large as the file less what stands before it.
    assert!(chunks[0].entity.inner().capacity() >= bytes.len());
}

#[test]
fn columns_of_other_programs_are_read_whatever_their_batches_are() {
    for batch_size in [1, 3, 4, 100] {
        let events = load_bytes(small_file(10, batch_size)).unwrap();
        let wanted: Vec<Event> = (0..10).map(|i| Event { entity: i << 33, ip: i as u32 }).collect();
        assert_eq!(events, wanted, "{batch_size}");
    }
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x", "yy"]));
    let words: DictionaryArray<types::Int32Type> = ["p", "q"].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("time", text),
        ("ip", Arc::new(UInt32Array::from(vec![7, 8]))),
        ("word", Arc::new(words)),
        ("entity", Arc::new(UInt64Array::from(vec![1, 2]))),
    ];
    let events = load_bytes(foreign(columns, &[HASH, ("pandas", "{}")], 10)).unwrap();
    assert_eq!(events, [Event { entity: 1, ip: 7 }, Event { entity: 2, ip: 8 }]);
}

#[test]
fn what_is_not_a_prepared_file_is_refused() {
    let entity = || -> ArrayRef { Arc::new(UInt64Array::from(vec![1, 2])) };
    let ip = || -> ArrayRef { Arc::new(UInt32Array::from(vec![7, 8])) };
    let nulls: ArrayRef = Arc::new(UInt32Array::from(vec![Some(7), None]));
    let both = || vec![("entity", entity()), ("ip", ip())];
    let cases = [
        (foreign(both(), &[], 9), "the schema's metadata have no `ipsight.entity_hash`"),
        (foreign(both(), &[("ipsight.entity_hash", "md5")], 9), "made with the entity hash `md5`, not `xxh3"),
        (foreign(both(), &[HASH, ("ipsight.format", "2")], 9), "format 2 of prepared files"),
        (foreign(vec![("entity", entity())], &[HASH], 9), "there is no column `ip`"),
        (foreign(vec![("entity", ip()), ("ip", ip())], &[HASH], 9), "column `entity` is UInt32, not UInt64"),
        (foreign(vec![("entity", entity()), ("ip", nulls)], &[HASH], 9), "the columns have nulls"),
    ];
    for (bytes, wanted) in cases {
        let (error, code) = error_text(load_bytes(bytes).unwrap_err());
        assert!(error.starts_with(&format!("input: {wanted}")), "{error}");
        assert!(error.contains("ipsight prepare"), "{error}");
        assert_eq!(code, 3);
    }
}

/// The files are pyarrow's: `ipc.new_file` with and without `IpcWriteOptions(compression="lz4")`, twice the batch
/// entity = 1, 2, 3 and ip = 7, 8, 9.
#[test]
fn a_file_of_pyarrow_is_read_unless_its_columns_are_compressed() {
    let events = load_bytes(include_bytes!("pyarrow.arrow")).unwrap();
    let batch = [(1, 7), (2, 8), (3, 9)].map(|(entity, ip)| Event { entity, ip });
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
