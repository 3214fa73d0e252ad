//! Compressed inputs, known by their magic bytes.

use std::io::Write;

use super::*;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn compression_is_seen_in_the_content_with_several_members() {
    let (one, two) = (b"a,1.2.3.4\nb,5.6.", b"7.8\nc,1.2.3.4\n");
    let skippable = [0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 9, 9];
    let cases = [
        ("gzip", [gzip(one), gzip(two)].concat()),
        ("gzip with an empty member", [gzip(one), gzip(b""), gzip(two)].concat()),
        ("zstd", [zstd(one), zstd(two)].concat()),
        ("zstd behind a skippable frame", [skippable.to_vec(), zstd(one), zstd(two)].concat()),
    ];
    for (name, bytes) in cases {
        assert_eq!(rows_of(bytes), ["a 1.2.3.4", "b 5.6.7.8", "c 1.2.3.4"], "{name}");
    }
    assert_eq!(rows_of(gzip(b"{\"entity\":\"a\",\"ip\":\"1.2.3.4\"}")), ["a 1.2.3.4"]);
}

#[test]
fn truncated_or_damaged_data_are_an_error_that_names_the_file() {
    let text: Vec<u8> =
        (0..5000).flat_map(|i| format!("user{i},1.{}.3.4\n", i * 7 % 256).into_bytes()).collect();
    for (name, whole) in [("gzip", gzip(&text)), ("zstd", zstd(&text))] {
        let mut damaged = whole.clone();
        for byte in &mut damaged[whole.len() / 2..whole.len() / 2 + 8] {
            *byte ^= 0xA5;
        }
        for bytes in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], &whole[..6]] {
            let (error, code) = error_of(bytes, &skip(1.0));
            assert!(
                error.starts_with(&format!("input: the {name} data are truncated or damaged")),
                "{error}"
            );
            assert_eq!(code, 3);
        }
        assert!(read_bytes(damaged, &ReadOptions::default()).is_err(), "{name}");
    }
}
