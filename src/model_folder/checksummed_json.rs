//! Manifests: JSON that ends with a checksum of itself, so that no byte of a folder changes unseen.
//!
//! The last key is `"checksum"`. It holds BLAKE3, in lower-case hexadecimal, of the file's bytes before these digits
//! and after them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const KEY: &str = "checksum";

/// What stands before the digits.
const START: &[u8] = b"\n  \"checksum\": \"";
/// What stands behind them, to the end of the file.
const END: &[u8] = b"\"\n}\n";
const NUM_DIGITS: usize = 2 * blake3::OUT_LEN;

/// Why a manifest cannot be read; the text says what was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Another version of `ipsight` wrote it.
    OtherVersion(String),
    /// It is not what was written.
    Damaged(String),
}

/// The text of a manifest's file.
pub(crate) fn to_text(manifest: &impl Serialize) -> String {
    let mut value = serde_json::to_value(manifest).expect("a manifest has string keys and finite numbers");
    value[KEY] = "".into();
    let mut text = serde_json::to_string_pretty(&value).expect("a JSON value can be written");
    text.push('\n');
    let at = text.len() - END.len();
    let (before, after) = text.as_bytes().split_at(at);
    let digits = checksum(before, after);
    text.insert_str(at, &digits);
    text
}

/// Reads what [`to_text`] wrote for a layout of this version.
///
/// A file of another version has the checksum that is right, or, where it is older than checksums, none at all. One
/// whose version is another and whose checksum is wrong is damaged.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8], version: u32) -> Result<T, Unreadable> {
    let damaged = |what: String| Unreadable::Damaged(what);
    let value: Value = serde_json::from_slice(text).map_err(|error| damaged(format!("not JSON: {error}")))?;
    let found = value.get("format_version").and_then(Value::as_u64);
    let is_other = found != Some(u64::from(version));
    if !is_whole(text) && (value.get(KEY).is_some() || !is_other) {
        return Err(damaged("its checksum is not that of its bytes".into()));
    }
    // The version before the rest: a later layout may not parse as this one.
    if is_other {
        let found = found.map_or("no format version".into(), |found| format!("format version {found}"));
        return Err(Unreadable::OtherVersion(found));
    }
    serde_json::from_value(value).map_err(|error| damaged(format!("not a manifest: {error}")))
}

fn is_whole(text: &[u8]) -> bool {
    let Some(text) = text.strip_suffix(END) else { return false };
    let Some((before, digits)) = text.split_last_chunk::<NUM_DIGITS>() else { return false };
    before.ends_with(START) && checksum(before, END).as_bytes() == digits
}

fn checksum(before: &[u8], after: &[u8]) -> String {
    blake3::Hasher::new().update(before).update(after).finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    type Numbers = BTreeMap<String, Value>;

    fn text(version: u32) -> Vec<u8> {
        to_text(&json!({ "format_version": version, "loss": 0.1 + 0.2, "name": "checksum" })).into_bytes()
    }

    #[test]
    fn what_is_written_is_read_and_ends_with_its_checksum() {
        let text = text(3);
        let read: Numbers = read(&text, 3).unwrap();
        assert_eq!((&read["format_version"], &read["loss"]), (&json!(3), &json!(0.1 + 0.2)));
        let digits = read["checksum"].as_str().unwrap();
        let without = String::from_utf8(text).unwrap().replace(digits, "");
        assert_eq!(blake3::hash(without.as_bytes()).to_hex().as_str(), digits);
        assert!(without.ends_with("\"checksum\": \"\"\n}\n"), "{without}");
    }

    #[test]
    fn any_change_is_damage_and_never_another_version() {
        let good = text(3);
        let is_damaged = |bytes: &[u8]| matches!(read::<Numbers>(bytes, 3), Err(Unreadable::Damaged(_)));
        for at in 0..good.len() {
            assert!(is_damaged(&good[..at]), "cut off at {at}");
            for mask in 1..=255 {
                let mut bytes = good.clone();
                bytes[at] ^= mask;
                assert!(is_damaged(&bytes), "byte {at} ^ {mask}");
            }
        }
        assert!(is_damaged(&[&good[..], b"\n"].concat()));
    }

    #[test]
    fn other_versions_are_told_by_their_number_with_and_without_a_checksum() {
        let other = |bytes: &[u8]| match read::<Numbers>(bytes, 3) {
            Err(Unreadable::OtherVersion(found)) => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(other(&text(4)), "format version 4");
        assert_eq!(other(b"{\"format_version\": 2}"), "format version 2");
        assert_eq!(other(b"{}"), "no format version");
        let edited =
            String::from_utf8(text(3)).unwrap().replace("\"format_version\": 3", "\"format_version\": 2");
        assert!(matches!(read::<Numbers>(edited.as_bytes(), 3), Err(Unreadable::Damaged(_))));
        // As an older version would have left it, but with the number of this one.
        assert!(matches!(read::<Numbers>(b"{\"format_version\": 3}", 3), Err(Unreadable::Damaged(_))));
    }
}
