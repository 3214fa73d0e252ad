//! Times of events as text.

/// Whole seconds since 1970-01-01T00:00:00Z of `text`: Unix seconds, whose fraction is cut off, or a time of RFC
/// 3339, with a space for the `T`, without an offset (then UTC) and with one without a colon too.
pub(crate) fn unix_seconds(text: &[u8]) -> Option<i64> {
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
            let seconds = offset_seconds(offset)?;
            if sign == "+" { seconds } else { -seconds }
        }
        Some(_) => return None,
    };
    Some(civil_seconds([year, month, day, hour, minute, second])? - offset)
}

/// The seconds of an offset from UTC, `hh:mm` or `hhmm`.
fn offset_seconds(offset: &str) -> Option<i64> {
    let [hours, minutes] = match offset.split_at_checked(2) {
        Some((hours, minutes)) if offset.len() == 4 => {
            [numbers(hours, ':', [2])?[0], numbers(minutes, ':', [2])?[0]]
        }
        _ => numbers(offset, ':', [2, 2])?,
    };
    (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)
}

/// Whole seconds from 1970-01-01T00:00:00Z to a year, month, day, hour, minute and second of UTC, if there is such a
/// time. A leap second counts as the first of the next minute.
pub(crate) fn civil_seconds([year, month, day, hour, minute, second]: [i64; 6]) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let num_days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_valid = (1..=12).contains(&month)
        && (1..=num_days).contains(&day)
        && (0..=23).contains(&hour)
        && (0..=59).contains(&minute)
        && (0..=60).contains(&second);
    is_valid.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The year, month and day of UTC on which a time in seconds since 1970-01-01T00:00:00Z lies.
pub(crate) fn date_of(seconds: i64) -> [i64; 3] {
    // The inverse of `days`: eras of 400 years have 146,097 days.
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    [400 * era + year_of_era + i64::from(month <= 2), month, day]
}

/// A time as RFC 3339 writes it, in UTC. `seconds` lies in the years 0 to 9999.
pub(crate) fn rfc3339_utc(seconds: i64) -> String {
    let [year, month, day] = date_of(seconds);
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
            ("2024-06-01T01:59:59+0200", Some(1_717_199_999)),
            ("2024-06-01T01:59:59+020", None),
            ("2024-06-01T01:59:59+0:00", None),
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

    #[test]
    fn days_of_all_centuries_are_written_as_they_are_read() {
        for day in (-719_468_i64..=2_932_896).step_by(11) {
            let seconds = day * 86_400 + day.rem_euclid(86_399);
            let text = rfc3339_utc(seconds);
            assert_eq!(unix_seconds(text.as_bytes()), Some(seconds), "{text}");
        }
        assert_eq!(rfc3339_utc(951_827_400), "2000-02-29T12:30:00Z");
    }
}
