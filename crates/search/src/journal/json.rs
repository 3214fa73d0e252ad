//! JSON as Python's module `json` writes it: with `NaN` and `Infinity`, and with floats that are read back exactly.
//! serde_json knows no such numbers, and without its feature `float_roundtrip`, which slows all its readers, it reads one
//! float in ten wrong in the last bit.

use serde_json::{Number, Value};

/// Begins a string that stands for a number which serde_json would not read exactly.
const MARK: char = '\0';

/// The text of a number, the shortest that is read back as the same.
pub fn number(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        _ => format!("{value:?}"),
    }
}

/// The text of a string, with its quotes.
pub fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Reads a line. A [`Value`] cannot hold NaN and the infinities: [`as_f64`] returns them.
///
/// # Errors
///
/// Those of serde_json.
pub fn read(line: &str) -> serde_json::Result<Value> {
    let mut value = serde_json::from_str(&with_marked_floats(line))?;
    restore_floats(&mut value);
    Ok(value)
}

/// A number in a value of [`read`], finite or not.
pub fn as_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => marked_float(text),
        _ => None,
    }
}

/// The line with each number except integers as a string that begins with the mark.
fn with_marked_floats(line: &str) -> String {
    let mut marked = String::with_capacity(line.len() + 64);
    let mut rest = line;
    while let Some(start) = rest.find(|char: char| matches!(char, '"' | '-' | '0'..='9' | 'N' | 'I')) {
        let (before, token) = rest.split_at(start);
        let end = if token.starts_with('"') { string_end(token) } else { number_end(token) };
        let (token, after) = token.split_at(end);
        marked += before;
        let is_integer = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
        if token.parse::<f64>().is_ok() && !is_integer {
            marked += &string(&format!("{MARK}{token}"));
        } else {
            marked += token;
        }
        rest = after;
    }
    marked + rest
}

fn number_end(text: &str) -> usize {
    text.find(|char: char| !(char.is_ascii_alphanumeric() || "+-.".contains(char))).unwrap_or(text.len())
}

/// Past the quote that ends a string.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (position, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return position + 1,
            _ => {}
        }
    }
    text.len()
}

fn restore_floats(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(number) = marked_float(text).and_then(Number::from_f64) {
                *value = Value::Number(number);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(restore_floats),
        Value::Object(fields) => fields.values_mut().for_each(restore_floats),
        _ => {}
    }
}

fn marked_float(text: &str) -> Option<f64> {
    text.strip_prefix(MARK)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn floats_come_back_to_the_last_bit() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            // xorshift64: floats of all sizes.
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            let read = as_f64(&read(&number(value)).unwrap()).unwrap();
            assert!(read.to_bits() == bits || read.is_nan() && value.is_nan(), "{value:?}");
        }
        for value in [0.0, -0.0, 1.0, 5e-324, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
            let read = as_f64(&read(&number(value)).unwrap()).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{value}");
        }
    }

    #[test]
    fn a_line_is_read_as_what_it_is() {
        let line = r#"{"a":[1,-2,0.5,-1e-5,NaN],"b":{"NaN":"Infinity, 0.5 \" 1.5 \\","I":-Infinity},"c":null,"d":true}"#;
        let value = read(line).unwrap();
        assert_eq!(value["a"].as_array().unwrap()[..4], [json!(1), json!(-2), json!(0.5), json!(-1e-5)]);
        assert!(as_f64(&value["a"][4]).unwrap().is_nan());
        assert_eq!(value["b"]["NaN"], "Infinity, 0.5 \" 1.5 \\");
        assert_eq!(as_f64(&value["b"]["I"]), Some(f64::NEG_INFINITY));
        assert_eq!((&value["c"], &value["d"]), (&Value::Null, &json!(true)));
        assert_eq!(as_f64(&json!("0.5")), None);
        assert_eq!(as_f64(&read("18446744073709551615").unwrap()), Some(u64::MAX as f64));
        for line in ["", "{", "[1", "\"a", "\"a\\", "[Nothing]", "{\"a\":1}}", "[1.5.5]", "é", "[1]é"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
