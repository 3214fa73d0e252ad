//! Times of events as text. The calendar is jiff's; leap seconds, which it does not have, are added here.

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

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
    const FORM: &[u8] = b"0000-00-00_00:00:00";
    let (civil, mut rest) = text.split_at_checked(FORM.len())?;
    if !has_form(civil.as_bytes(), FORM) || !matches!(civil.as_bytes()[10], b'T' | b't' | b' ') {
        return None;
    }
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
    Some(seconds_of(civil.parse().ok()?) + leap_second(civil.as_bytes()) - offset)
}

/// The seconds of an offset from UTC, `hh:mm` or `hhmm`.
fn offset_seconds(offset: &str) -> Option<i64> {
    let minutes = match offset.len() {
        4 => &offset[2..],
        5 => offset[2..].strip_prefix(':')?,
        _ => return None,
    };
    let number = |text: &str| is_digits(text).then(|| text.parse::<i64>().ok())?;
    let (hours, minutes) = (number(&offset[..2])?, number(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)
}

/// Whole seconds since 1970-01-01T00:00:00Z of `text` in a format of `strftime`. Where the format has no offset the time
/// is UTC; where it has no year it is of `year`. The format's form must leave `:60` to the seconds.
pub(crate) fn formatted_seconds(format: &str, text: &[u8], year: Option<i16>) -> Option<i64> {
    let mut parts = BrokenDownTime::parse(format, text).ok()?;
    if year.is_some() {
        parts.set_year(year).ok()?;
    }
    let offset = parts.offset().map_or(0, |offset| offset.seconds());
    Some(seconds_of(parts.to_datetime().ok()?) + leap_second(text) - i64::from(offset))
}

/// Whether `text` has the form: `0` stands for a digit, `a` for a letter, `_` for any byte and the others for themselves.
pub(crate) fn has_form(text: &[u8], form: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_alphabetic(),
        b'_' => true,
        _ => byte == form,
    };
    text.len() == form.len() && text.iter().zip(form).all(fits)
}

/// A leap second counts as the first of the next minute; the parser takes it for the one before.
fn leap_second(text: &[u8]) -> i64 {
    text.windows(3).any(|three| three == b":60").into()
}

/// Whole seconds from 1970-01-01T00:00:00Z to a time of UTC.
fn seconds_of(time: DateTime) -> i64 {
    time.duration_since(EPOCH).as_secs()
}

/// The time of UTC that is so many seconds after 1970-01-01T00:00:00Z, in the years -9999 to 9999.
fn utc(seconds: i64) -> DateTime {
    EPOCH.saturating_add(SignedDuration::from_secs(seconds))
}

/// The year of UTC of a time in seconds since 1970-01-01T00:00:00Z.
pub(crate) fn year_of(seconds: i64) -> i16 {
    utc(seconds).year()
}

/// A time as RFC 3339 writes it, in UTC. `seconds` lies in the years 0 to 9999.
pub(crate) fn rfc3339_utc(seconds: i64) -> String {
    format!("{}Z", utc(seconds))
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
            ("2016-12-31T23:59:60Z", Some(1_483_228_800)),
            ("2016-12-31T23:60:00Z", None),
            ("2024-05-31T23:59Z", None),
            ("20240531T235959Z", None),
            ("2024-05-31_23:59:59Z", None),
            ("2024-05-31T23:59:59.1234567890123Z", Some(1_717_199_999)),
            ("2024-05-31T23:59:59+02:0é", None),
            ("2024-05-31T23:59:59Z[Europe/Paris]", None),
            ("9999-12-31T23:59:59-23:59", Some(253_402_387_139)),
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
