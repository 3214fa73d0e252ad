//! Times of events as text, by one parser for every reader and every log. The calendar is jiff's; leap seconds, which it
//! does not have, are added here.

use jiff::SignedDuration;
use jiff::civil::DateTime;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// What a number of a time counts. It is told from the number's size: read in any other unit, the time would not lie
/// between 1970 and 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    const ALL: [Unit; 4] = [Unit::Seconds, Unit::Milliseconds, Unit::Microseconds, Unit::Nanoseconds];

    /// How many of it a second has.
    fn in_second(self) -> i128 {
        match self {
            Unit::Seconds => 1,
            Unit::Milliseconds => 1_000,
            Unit::Microseconds => 1_000_000,
            Unit::Nanoseconds => 1_000_000_000,
        }
    }

    /// The unit in which a number of this size is a plausible time. Below the first numbers of each unit lie times of
    /// before 1973 in it and of after 2106 in the unit before: those are in no unit.
    fn of(number: i128) -> Option<Self> {
        Unit::ALL.into_iter().find(|unit| {
            let first = if *unit == Unit::Seconds { 1 } else { unit.in_second() * 100_000_000 };
            (first..=unit.in_second() * MAX_SECONDS).contains(&number)
        })
    }

    /// The unit's name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Microseconds => "microseconds",
            Unit::Nanoseconds => "nanoseconds",
        }
    }
}

/// The last second in which a number is a plausible time: 2106-02-07T06:28:15Z.
pub(super) const MAX_SECONDS: i128 = u32::MAX as i128;

/// A time that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// Whole seconds since 1970-01-01T00:00:00Z; a fraction is cut off.
    pub(crate) seconds: i64,
    /// What the number counts; none for a date, for 0 and for a number that is no plausible time in any unit, which is
    /// taken as seconds.
    pub(crate) unit: Option<Unit>,
}

impl Time {
    /// The time of a whole number.
    pub(crate) fn of_number(number: i128) -> Self {
        let unit = Unit::of(number);
        let seconds = number.div_euclid(unit.unwrap_or(Unit::Seconds).in_second());
        Time { seconds: seconds.clamp(i64::MIN.into(), i64::MAX.into()) as i64, unit }
    }

    /// The time of `text`: a number of seconds, milli-, micro- or nanoseconds since 1970, or a date and time. Dates are
    /// RFC 3339 with a space for the `T`, a comma for the point, a space before the offset, an offset without a colon or
    /// of hours alone, ` UTC` or ` GMT` for it, and without one (then UTC); and the common log format's
    /// `26/Jun/2025:14:24:53 +0800`.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let date = |seconds| Time { seconds, unit: None };
        match text {
            [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] => rfc3339(text).map(date),
            [_, _, b'/', ..] => common_log(text).map(date),
            [b'[', inner @ .., b']'] => common_log(inner).map(date),
            _ => number(text),
        }
    }
}

/// Whole seconds since 1970-01-01T00:00:00Z of a time, as [`Time::parse`] reads it.
pub(crate) fn unix_seconds(text: &[u8]) -> Option<i64> {
    Time::parse(text).map(|time| time.seconds)
}

/// A number with or without a fraction or an exponent, as programs write floating-point numbers.
fn number(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(number) = text.parse::<i64>() {
        return Some(Time::of_number(number.into()));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if let Some((whole, fraction)) = digits.split_once('.')
        && is_digits(whole)
        && is_digits(fraction)
    {
        let whole: i128 = text[..text.len() - fraction.len() - 1].parse().ok()?;
        // The floor, of negative numbers too.
        let has_fraction = fraction.bytes().any(|byte| byte != b'0');
        return Some(Time::of_number(whole - i128::from(digits.len() < text.len() && has_fraction)));
    }
    let is_float = digits.starts_with(|char: char| char.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && !digits.ends_with('.');
    let float = text.parse::<f64>().ok().filter(|float| is_float && float.is_finite())?;
    Some(Time::of_number(float.floor() as i128))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number of two digits.
fn two_digits(text: &[u8]) -> Option<i8> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => Some(((tens - b'0') * 10 + (ones - b'0')) as i8),
        _ => None,
    }
}

/// The number of four digits.
fn four_digits(text: &[u8]) -> Option<i16> {
    Some(i16::from(two_digits(text)?) * 100 + i16::from(two_digits(text.get(2..)?)?))
}

fn rfc3339(text: &[u8]) -> Option<i64> {
    const FORM: &[u8] = b"0000-00-00_00:00:00";
    let (civil, rest) = text.split_at_checked(FORM.len())?;
    if civil[4] != b'-' || civil[7] != b'-' || !matches!(civil[10], b'T' | b't' | b' ') {
        return None;
    }
    let (month, day) = (two_digits(&civil[5..])?, two_digits(&civil[8..])?);
    let seconds = civil_seconds(four_digits(civil)?, month, day, &civil[11..])?;
    let rest = match rest {
        [b'.' | b',', fraction @ ..] => {
            let num_digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction.get(num_digits..).filter(|_| num_digits > 0)?
        }
        rest => rest,
    };
    Some(seconds - offset(rest)?)
}

/// The seconds of `26/Jun/2025:14:24:53 +0800`.
fn common_log(text: &[u8]) -> Option<i64> {
    const FORM: &[u8] = b"26/Jun/2025:14:24:53";
    let (civil, rest) = text.split_at_checked(FORM.len())?;
    if civil[6] != b'/' || civil[11] != b':' {
        return None;
    }
    let day = two_digits(civil)?;
    let seconds = civil_seconds(four_digits(&civil[7..])?, month_of(&civil[3..6])?, day, &civil[12..])?;
    Some(seconds - offset(rest)?)
}

/// The number of a month of three letters.
fn month_of(name: &[u8]) -> Option<i8> {
    const MONTHS: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    Some(MONTHS.iter().position(|month| name.eq_ignore_ascii_case(month))? as i8 + 1)
}

/// The seconds of a day and of a time `14:24:53` in UTC. A leap second counts as the first of the next minute.
fn civil_seconds(year: i16, month: i8, day: i8, time: &[u8]) -> Option<i64> {
    let [_, _, b':', _, _, b':', _, _] = time else { return None };
    let (hour, minute, second) = (two_digits(time)?, two_digits(&time[3..])?, two_digits(&time[6..])?);
    let time = DateTime::new(year, month, day, hour, minute, second.min(59), 0).ok()?;
    (second <= 60).then(|| seconds_of(time) + i64::from(second == 60))
}

/// The seconds of a classic syslog time stamp `Mar  4 10:00:00` in a year.
pub(crate) fn classic_seconds(text: &[u8], year: i16) -> Option<i64> {
    let day = match text.get(4..6)? {
        [b' ', ones @ b'0'..=b'9'] => (ones - b'0') as i8,
        two => two_digits(two)?,
    };
    civil_seconds(year, month_of(&text[..3])?, day, text.get(7..)?)
}

/// The seconds of an offset from UTC at the end of a time: nothing, `Z`, `+hh:mm`, `-hhmm`, `+hh`, ` UTC`, ` GMT`, an
/// offset with a space before it, and one with ` UTC` behind it.
fn offset(text: &[u8]) -> Option<i64> {
    let text = text.strip_prefix(b" ").filter(|rest| !rest.is_empty()).unwrap_or(text);
    let (sign, rest) = match text {
        b"" | b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let rest = rest.strip_suffix(b" UTC").unwrap_or(rest);
    let minutes = match rest {
        [_, _] => 0,
        [_, _, b':', minutes @ ..] | [_, _, minutes @ ..] if minutes.len() == 2 => two_digits(minutes)?,
        _ => return None,
    };
    let hours = two_digits(rest)?;
    (hours <= 23 && minutes <= 59).then(|| sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60))
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

/// Appends a time as RFC 3339 writes it, in UTC. `seconds` lies in the years 0 to 9999.
pub(crate) fn push_rfc3339(text: &mut Vec<u8>, seconds: i64) {
    let time = utc(seconds);
    let digits = |number: i8| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
    text.extend_from_slice(&digits((time.year() / 100) as i8));
    let mut two = |number: i8, behind: u8| {
        text.extend_from_slice(&digits(number));
        text.push(behind);
    };
    two((time.year() % 100) as i8, b'-');
    two(time.month(), b'-');
    two(time.day(), b'T');
    two(time.hour(), b':');
    two(time.minute(), b':');
    two(time.second(), b'Z');
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
            ("2025-06-26 14:24:53+00", Some(1_750_947_893)),
            ("2025-06-26 14:24:53.25+00", Some(1_750_947_893)),
            ("2025-06-26 14:24:53 UTC", Some(1_750_947_893)),
            ("2025-06-26 14:24:53.123 GMT", Some(1_750_947_893)),
            ("2025-06-26 06:24:53 -0800", Some(1_750_947_893)),
            ("2025-06-26 22:24:53 +08:00", Some(1_750_947_893)),
            ("2025-06-26 14:24:53.123456789 +0000 UTC", Some(1_750_947_893)),
            ("2025-06-26T14:24:53,123", Some(1_750_947_893)),
            ("2025-06-26 14:24:53,123+0000", Some(1_750_947_893)),
            ("26/Jun/2025:22:24:53 +0800", Some(1_750_947_893)),
            ("[26/Jun/2025:14:24:53 +0000]", Some(1_750_947_893)),
            ("26/Jun/2025:14:24:53", Some(1_750_947_893)),
            ("26/Jui/2025:14:24:53 +0000", None),
            ("31/Jun/2025:14:24:53 +0000", None),
            ("2025-06-26 14:24:53 CET", None),
            ("2025-06-26 14:24:53 ", None),
            ("2025-06-26 14:24:53 +0800 CST", None),
            ("2025-06-26 14:24:53,", None),
            ("3/4/2025 10:00:00 AM", None),
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
    fn the_unit_of_a_number_follows_from_its_size() {
        let time = |text: &str| Time::parse(text.as_bytes()).map(|time| (time.seconds, time.unit));
        let seconds = 1_741_082_400;
        for (text, unit) in [
            ("1741082400", Unit::Seconds),
            ("1741082400.5", Unit::Seconds),
            ("1.741082400E9", Unit::Seconds),
            ("1741082400123", Unit::Milliseconds),
            ("1741082400123.75", Unit::Milliseconds),
            ("1741082400000.0", Unit::Milliseconds),
            ("1.741082400123E12", Unit::Milliseconds),
            ("1741082400123456", Unit::Microseconds),
            ("1741082400123456789", Unit::Nanoseconds),
            ("1.7410824e18", Unit::Nanoseconds),
        ] {
            assert_eq!(time(text), Some((seconds, Some(unit))), "{text}");
        }
        // These are plausible in no unit, and 0 is the same in all.
        for (text, seconds) in [("0", 0), ("99999999999", 99_999_999_999), ("4294967296", 4_294_967_296)] {
            assert_eq!(time(text), Some((seconds, None)), "{text}");
        }
        assert_eq!(time("-1.5"), Some((-2, None)));
        for text in ["1e", "1.", ".5", "e5", "1e400", "nan", "inf", "0x10", "1_000", "+-5"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn times_are_the_same_in_every_form(seconds in 100_000_000_u32.., fraction in 0_u32..1_000_000_000) {
            let (seconds, fraction) = (i64::from(seconds), i64::from(fraction));
            let (date, time) = (rfc3339_utc(seconds), |text: String| unix_seconds(text.as_bytes()));
            let civil = date.trim_end_matches('Z');
            for text in [
                format!("{seconds}"),
                format!("{seconds}.{fraction:09}"),
                format!("{}", seconds * 1_000 + fraction / 1_000_000),
                format!("{}", seconds * 1_000_000 + fraction / 1_000),
                format!("{}", seconds * 1_000_000_000 + fraction),
                format!("{civil},{:03}", fraction / 1_000_000),
                format!("{}.{fraction:09} UTC", civil.replace('T', " ")),
                format!("{}+00", civil.replace('T', " ")),
                format!("{civil} -0000"),
            ] {
                proptest::prop_assert_eq!(time(text.clone()), Some(seconds), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let _ = Time::parse(&bytes);
            let _ = classic_seconds(&bytes, 2024);
        }
    }

    #[test]
    fn days_of_all_centuries_are_written_as_they_are_read() {
        for day in (-719_468_i64..=2_932_896).step_by(11) {
            let seconds = day * 86_400 + day.rem_euclid(86_399);
            let text = rfc3339_utc(seconds);
            assert_eq!(unix_seconds(text.as_bytes()), Some(seconds), "{text}");
            let mut pushed = Vec::new();
            push_rfc3339(&mut pushed, seconds);
            assert_eq!(pushed, text.as_bytes());
        }
        assert_eq!(rfc3339_utc(951_827_400), "2000-02-29T12:30:00Z");
    }
}
