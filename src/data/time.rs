//! Times of events as text.

/// Whole seconds since 1970-01-01T00:00:00Z of `text`: Unix seconds, whose fraction is cut off, or a time of RFC
/// 3339, with a space for the `T` and without an offset (then UTC) too.
pub(super) fn unix_seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let whole =
        text.split_once('.').map_or(Some(text), |(whole, fraction)| is_digits(fraction).then_some(whole));
    match whole.and_then(|whole| whole.parse().ok()) {
        Some(seconds) => Some(seconds),
        None => rfc3339(text),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let clock_end = time.find(|char: char| !char.is_ascii_digit() && char != ':').unwrap_or(time.len());
    let (clock, mut rest) = time.split_at(clock_end);
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|char: char| !char.is_ascii_digit()).unwrap_or(fraction.len());
        if end == 0 {
            return None;
        }
        rest = &fraction[end..];
    }
    let offset = match rest.split_at_checked(1) {
        None => 0,
        Some(("Z" | "z", "")) => 0,
        Some((sign @ ("+" | "-"), offset)) => {
            let [hours, minutes] = numbers(offset, ':', [2, 2])?;
            let seconds = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            if sign == "+" { seconds } else { -seconds }
        }
        Some(_) => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let num_days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // A leap second counts as the first of the next minute.
    let is_valid = (1..=12).contains(&month)
        && (1..=num_days).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    is_valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

/// The numbers of `text` between `separator`s, each of as many digits as `lengths` says.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next().filter(|part| part.len() == length && is_digits(part))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, years counted from March so that a leap day is the
/// last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let days_before_month = (153 * ((month + 9) % 12) + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    365 * year + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_and_rfc_3339_are_read() {
        let cases = [
            ("0", Some(0)),
            ("1717199999", Some(1_717_199_999)),
            ("1717199999.75", Some(1_717_199_999)),
            ("-5", Some(-5)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-05-31T23:59:59Z", Some(1_717_199_999)),
            ("2024-05-31 23:59:59", Some(1_717_199_999)),
            ("2024-06-01T01:59:59.123+02:00", Some(1_717_199_999)),
            ("2000-02-29T12:00:00-00:30", Some(951_827_400)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2023-02-29T00:00:00Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-05-31", None),
            ("2024-05-31T24:00:00Z", None),
            ("2024-05-31T23:59:59+", None),
            ("2024-05-31T23:59:59.Z", None),
            ("5.", None),
            ("", None),
            ("yesterday", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(unix_seconds(text.as_bytes()), seconds, "{text:?}");
        }
    }
}
