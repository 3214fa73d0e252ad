//! Texts and numbers as reports show them.

/// A count with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A number with six significant digits, without zeros at its end: as a decimal from 1e-4 to below 1e7 (there with all
/// seven digits), else with an exponent.
pub fn significant(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value == 0.0 || !value.is_finite() {
        return (value + 0.0).to_string(); // a negative 0 becomes one without a sign
    }
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    let scientific = format!("{:.*e}", DIGITS as usize - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        // What is rounded up to the next power of ten has its exponent.
        Ok(exponent) if (-4..=DIGITS).contains(&exponent) => {
            trimmed(&format!("{:.*}", (DIGITS - 1 - exponent).max(0) as usize, value))
        }
        _ => format!("{}e{exponent}", trimmed(mantissa)),
    }
}

/// Text of at most `num_chars` characters, at least one; where it is longer, it ends with an ellipsis.
pub fn shortened(text: &str, num_chars: usize) -> String {
    if text.chars().count() <= num_chars {
        return text.into();
    }
    text.chars().take(num_chars.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// Text as XML and HTML take it, in attributes too. Control characters that XML does not allow become U+FFFD.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char if char.is_control() && !matches!(char, '\n' | '\t') => escaped.push('\u{FFFD}'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a b='c'>&\"\u{1}"), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;\u{FFFD}");
    }

    #[test]
    fn numbers_have_six_digits() {
        let numbers = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.98765449, "0.987654"),
            (-1.5, "-1.5"),
            (0.0001234, "0.0001234"),
            (0.00001234567, "1.23457e-5"),
            (999_999.7, "1000000"),
            (1_234_567.0, "1234567"),
            (2e7, "2e7"),
            (123_456_789.0, "1.23457e8"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in numbers {
            assert_eq!(significant(number), text);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("\u{e9}t\u{e9}s", 4), "\u{e9}t\u{e9}s");
        assert_eq!(shortened("\u{e9}t\u{e9}s!", 4), "\u{e9}t\u{e9}\u{2026}");
        assert_eq!(shortened("ab", 0), "\u{2026}");
    }
}
