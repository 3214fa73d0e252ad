//! Parquet, from bytes to rows.

use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::types::{Int32Type, UInt32Type};
use arrow_array::*;

use super::*;

pub(super) fn write(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn ips() -> ArrayRef {
    Arc::new(StringArray::from(vec!["1.2.3.4", "5.6.7.8"]))
}

#[test]
fn entities_and_addresses_may_have_any_fitting_type() {
    let text = ["7", "8"];
    let dictionary: DictionaryArray<Int32Type> = text.into_iter().collect();
    let entities: [(&str, ArrayRef); 11] = [
        ("string", Arc::new(StringArray::from(text.to_vec()))),
        ("large string", Arc::new(LargeStringArray::from(text.to_vec()))),
        ("string view", Arc::new(StringViewArray::from(text.to_vec()))),
        ("binary", Arc::new(BinaryArray::from(vec![&b"7"[..], b"8"]))),
        ("large binary", Arc::new(LargeBinaryArray::from(vec![&b"7"[..], b"8"]))),
        ("binary view", Arc::new(BinaryViewArray::from(vec![&b"7"[..], b"8"]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![7, 8]).with_precision_and_scale(20, 0).unwrap())),
        ("int64", Arc::new(Int64Array::from(vec![7, 8]))),
        ("uint8", Arc::new(UInt8Array::from(vec![7, 8]))),
        ("uint64", Arc::new(UInt64Array::from(vec![7, 8]))),
        ("dictionary", Arc::new(dictionary)),
    ];
    for (name, entity) in entities {
        let bytes = write(vec![("x", ips()), ("ip", ips()), ("entity", entity)]);
        assert_eq!(rows_of(bytes), ["7 1.2.3.4", "8 5.6.7.8"], "{name}");
    }
    let dictionary: DictionaryArray<UInt32Type> = ["1.2.3.4", "5.6.7.8"].into_iter().collect();
    let addresses: [ArrayRef; 2] =
        [Arc::new(UInt32Array::from(vec![0x0102_0304, 0x0506_0708])), Arc::new(dictionary)];
    for ip in addresses {
        let bytes = write(vec![("entity", ips()), ("ip", ip)]);
        assert_eq!(rows_of(bytes), ["1.2.3.4 1.2.3.4", "5.6.7.8 5.6.7.8"]);
    }
}

#[test]
fn compressed_parquet_is_read_from_memory() {
    let bytes = write(vec![("entity", ips()), ("ip", ips())]);
    assert_eq!(rows_of(compressed::gzip(&bytes)).len(), 2);
    assert_eq!(rows_of(compressed::zstd(&bytes)).len(), 2);
}

#[test]
fn labels_are_booleans_integers_or_text() {
    let labels: [ArrayRef; 3] = [
        Arc::new(BooleanArray::from(vec![true, false])),
        Arc::new(Int32Array::from(vec![1, 0])),
        Arc::new(StringArray::from(vec!["true", "0"])),
    ];
    for label in labels {
        let bytes = write(vec![("user", ips()), ("src", ips()), ("y", label)]);
        let options = columns(Some("user"), Some("src"), Some("y"));
        let (rows, _) = read_bytes(bytes, &options).unwrap();
        assert_eq!(rows, ["1.2.3.4 1.2.3.4 true", "5.6.7.8 5.6.7.8 false"]);
    }
}

#[test]
fn nulls_and_bad_addresses_are_bad_rows() {
    let entity: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c"), Some("")]));
    let ip: ArrayRef =
        Arc::new(StringArray::from(vec![Some("1.2.3.4"), Some("1.2.3.4"), Some("::1"), Some("1.2.3.4")]));
    let bytes = write(vec![("entity", entity), ("ip", ip)]);
    let (error, code) = error_of(&bytes, &ReadOptions::default());
    assert!(error.starts_with("input: row 2: missing value: `,1.2.3.4`"), "{error}");
    assert_eq!(code, 3);

    let folder = Folder::new();
    let options = ReadOptions {
        on_bad_row: OnBadRow::Quarantine(folder.path("bad")),
        max_bad_fraction: 1.0,
        ..ReadOptions::default()
    };
    let (rows, report) = read_inputs(&[folder.write("input", &bytes)], &options).unwrap();
    assert_eq!(rows, ["a 1.2.3.4"]);
    assert_eq!(report.num_bad, 3);
    assert_eq!(fs::read_to_string(folder.path("bad")).unwrap(), ",1.2.3.4\nc,::1\n,1.2.3.4\n");

    let nulls: DictionaryArray<Int32Type> = [None, None::<&str>].into_iter().collect();
    let bytes = write(vec![("entity", Arc::new(nulls)), ("ip", ips())]);
    let (error, _) = error_of(&bytes, &ReadOptions::default());
    assert!(error.starts_with("input: row 1: missing value"), "{error}");
}

#[test]
fn ipv6_is_taken_where_it_is_asked_for_and_held_ipv4_addresses_always() {
    let entity: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let ip: ArrayRef = Arc::new(StringArray::from(vec!["::ffff:1.2.3.4", "2001:db8:1:2:3::4"]));
    let bytes = write(vec![("entity", entity), ("ip", ip)]);
    let options = ReadOptions { addresses: AddressFamilies::Both, ..ReadOptions::default() };
    assert_eq!(read_bytes(&bytes, &options).unwrap().0, ["a 1.2.3.4", "b 2001:db8:1:2::"]);
    let (error, code) = error_of(&bytes, &ReadOptions::default());
    assert!(error.contains("row 2: IPv6 address") && error.contains("model.addresses"), "{error}");
    assert_eq!(code, 3);
}

#[test]
fn missing_columns_and_wrong_types_are_errors() {
    let bytes = write(vec![("user", ips()), ("ip", ips())]);
    let error = read_bytes(&bytes, &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("there is no column `entity`"), "{error}");
    assert_eq!(error.exit_code(), 3);

    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let int: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    for (entity, ip, wanted) in [
        (float, ips(), "input: column `entity` is Float64 | an entity is"),
        (ips(), int, "input: column `ip` is Int64 | an address is"),
    ] {
        let (error, code) = error_of(write(vec![("entity", entity), ("ip", ip)]), &skip(1.0));
        assert!(error.starts_with(wanted), "{error}");
        assert_eq!(code, 3);
    }
}

/// The file is that of `tests/golden/make_polars.py`.
#[test]
fn a_column_of_a_type_that_only_its_writer_knows_is_in_nobodys_way() {
    let bytes = include_bytes!("polars_int128.parquet");
    let (rows, _) = read_bytes(bytes, &ReadOptions::default()).unwrap();
    assert_eq!(rows, ["user_1 203.0.113.7", "user_2 198.51.100.9"]);
    let entity_column = Some("number".into());
    let (error, code) = error_of(bytes, &ReadOptions { entity_column, ..ReadOptions::default() });
    assert!(
        error.starts_with("input: column `number` has a type that only its writer knows | an entity is"),
        "{error}"
    );
    assert_eq!(code, 3);
}

#[test]
fn a_truncated_file_is_an_error() {
    let bytes = write(vec![("entity", ips()), ("ip", ips())]);
    for len in [4, 8, bytes.len() / 2, bytes.len() - 1] {
        let (error, code) = error_of(&bytes[..len], &ReadOptions::default());
        assert!(error.starts_with("input: not a whole Parquet file"), "{error}");
        assert_eq!(code, 3);
    }
}

/// A file of one column `entity` of 16 bytes, with or without the logical type UUID, beside `ip`.
fn with_16_bytes(logical_type: &str) -> Vec<u8> {
    use ::parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArrayType};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    let schema = format!(
        "message m {{ required fixed_len_byte_array(16) entity {logical_type}; required binary ip (UTF8); }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let uuid: Vec<u8> = (0x70..0x80).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<FixedLenByteArrayType>().write_batch(&[ByteArray::from(uuid).into()], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&[ByteArray::from("1.2.3.4")], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn the_logical_type_decides_what_bytes_are() {
    assert_eq!(rows_of(with_16_bytes("(UUID)")), ["70717273-7475-7677-7879-7a7b7c7d7e7f 1.2.3.4"]);
    let (text, code) = error_of(with_16_bytes(""), &ReadOptions::default());
    assert!(text.starts_with("input: column `entity` is 16 bytes without a type"), "{text}");
    assert_eq!(code, 3);
    let fraction = Decimal128Array::from(vec![75, 80]).with_precision_and_scale(20, 1).unwrap();
    for entity in [Arc::new(fraction) as ArrayRef, Arc::new(Float64Array::from(vec![1001.0, 2002.0]))] {
        let (text, _) = error_of(write(vec![("entity", entity), ("ip", ips())]), &ReadOptions::default());
        assert!(text.contains("column `entity` is") && text.contains("cast it to Int64 or text"), "{text}");
    }
}

fn seconds_in(bytes: Vec<u8>) -> Vec<i64> {
    let folder = Folder::new();
    let options = ReadOptions { time_column: Some("time".into()), ..ReadOptions::default() };
    let mut seconds = Vec::new();
    read_rows(&[folder.write("input", bytes)], &options, &mut |row, _| {
        seconds.push(row.seconds.unwrap());
        Ok(())
    })
    .unwrap();
    seconds
}

#[test]
fn times_are_timestamps_in_any_unit_and_numbers() {
    let first = 1_741_082_400;
    let times: [ArrayRef; 6] = [
        Arc::new(TimestampSecondArray::from(vec![first, first + 1])),
        Arc::new(
            TimestampMillisecondArray::from(vec![first * 1000 + 999, (first + 1) * 1000])
                .with_timezone("UTC"),
        ),
        Arc::new(TimestampMicrosecondArray::from(vec![first * 1_000_000, (first + 1) * 1_000_000])),
        Arc::new(TimestampNanosecondArray::from(vec![first * 1_000_000_000, (first + 1) * 1_000_000_000])),
        Arc::new(Int64Array::from(vec![first * 1000, (first + 1) * 1000])),
        Arc::new(Float64Array::from(vec![first as f64 + 0.5, (first + 1) as f64])),
    ];
    for time in times {
        let what = time.data_type().to_string();
        let bytes = write(vec![("entity", ips()), ("ip", ips()), ("time", time)]);
        assert_eq!(seconds_in(bytes), [first, first + 1], "{what}");
    }
}

#[test]
fn nested_columns_are_read_by_their_paths() {
    let name: ArrayRef = Arc::new(StringArray::from(vec![Some("ann"), Some("bob")]));
    let field = |name: &str, array: &ArrayRef| {
        Arc::new(arrow_schema::Field::new(name, array.data_type().clone(), true))
    };
    let user: ArrayRef = Arc::new(StructArray::from(vec![(field("name", &name), name)]));
    let actor: ArrayRef = Arc::new(StructArray::from(vec![(field("user", &user), user)]));
    let bytes = write(vec![("actor", actor), ("ip", ips())]);
    let rows = read_bytes(&bytes, &columns(Some("actor.user.name"), None, None)).unwrap().0;
    assert_eq!(rows, ["ann 1.2.3.4", "bob 5.6.7.8"]);
    let error = read_bytes(&bytes, &columns(Some("user"), None, None)).unwrap_err();
    assert!(error.help().unwrap().contains("`actor.user.name`"), "{error}");
}

#[test]
fn the_names_of_folders_are_columns_of_a_partitioned_table() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("t/entity=a%20b/day=1")).unwrap();
    let file = folder.write("t/entity=a%20b/day=1/part.parquet", write(vec![("ip", ips())]));
    assert_eq!(read_inputs(&[file], &ReadOptions::default()).unwrap().0, ["a b 1.2.3.4", "a b 5.6.7.8"]);
}

#[test]
fn arrow_files_of_strings_are_rows() {
    let batch = RecordBatch::try_from_iter(vec![("entity", ips()), ("ip", ips())]).unwrap();
    let lz4 = arrow_ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    for options in [arrow_ipc::writer::IpcWriteOptions::default(), lz4] {
        let mut writer =
            arrow_ipc::writer::FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options)
                .unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert_eq!(rows_of(bytes), ["1.2.3.4 1.2.3.4", "5.6.7.8 5.6.7.8"]);
    }
}
