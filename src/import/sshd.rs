//! What OpenSSH's sshd says of logins, a message a line, in syslog's classic form, in its RFC 3339 form or as
//! `journalctl -o short-iso` prints it:
//!
//! ```text
//! Mar 27 13:08:09 host sshd[1361]: Accepted publickey for alice from 203.0.113.7 port 51123 ssh2: RSA SHA256:…
//! 2024-05-31T12:00:00.123456+02:00 host sshd-session[99]: Failed password for invalid user bob from …
//! ```
//!
//! The messages are those of OpenSSH's `auth.c`, `auth2.c`, `monitor.c` and `packet.c`. Times of the classic form, which
//! have no zone, are taken for UTC.
//!
//! Whoever tries to log in chooses the user name, and it may look like the rest of a message. A name that was let in is
//! a real one, so it ends at the first ` from `; any other at the last.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memmem;

use super::login::{Login, Skip, address};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::{formatted_seconds, has_form, unix_seconds, year_of};

/// What can be the entity.
#[derive(Clone, Copy)]
enum Field {
    User,
    Host,
    UserAtHost,
}

const FIELDS: [(&str, Field); 3] =
    [("user", Field::User), ("host", Field::Host), ("user@host", Field::UserAtHost)];

/// Programs that say what sshd says: since OpenSSH 9.8 it is the second, since 10.0 the third, too.
const PROGRAMS: [&[u8]; 3] = [b"sshd", b"sshd-session", b"sshd-auth"];

/// Repetitions that syslog may have counted in a line; more are none of its.
const MAX_REPEATED: u32 = 10_000;

pub(super) struct Sshd {
    field: Field,
    outcomes: Outcomes,
    year: Option<i16>,
}

impl Sshd {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        let outcomes = options.outcomes.unwrap_or_default();
        Ok(Sshd { field: options.field(&FIELDS)?, outcomes, year: options.year })
    }
}

impl Parser for Sshd {
    fn records(&self) -> Records {
        Records::lines()
    }

    fn parse<'a>(&self, record: &'a [u8], newest: i64) -> std::result::Result<Login<'a>, Skip> {
        let line = Line::parse(record).ok_or(Skip::NoMatch)?;
        if !PROGRAMS.contains(&line.program) {
            return Err(Skip::OtherMessage);
        }
        let (num_times, message) = repeated(line.message).unwrap_or((1, line.message));
        let attempt = Attempt::parse(message).ok_or(Skip::OtherMessage)?;
        if !self.outcomes.wants(attempt.has_failed) {
            return Err(Skip::NotChosen);
        }
        let entity = match self.field {
            Field::User => Cow::Borrowed(attempt.user),
            Field::Host => Cow::Borrowed(line.host),
            Field::UserAtHost if attempt.user.is_empty() => return Err(Skip::NoEntity),
            Field::UserAtHost => Cow::Owned([attempt.user, b"@", line.host].concat()),
        };
        if entity.is_empty() {
            return Err(Skip::NoEntity);
        }
        let address = address(attempt.address)?;
        let seconds = line.time.seconds(self.year, newest).ok_or(Skip::BadTime)?;
        Ok(Login { entity, address, seconds: Some(seconds), num_times })
    }
}

/// The parts of a line of syslog.
struct Line<'a> {
    time: Time<'a>,
    host: &'a [u8],
    program: &'a [u8],
    message: &'a [u8],
}

/// A time with its year, or a classic time stamp.
enum Time<'a> {
    Known(i64),
    WithoutYear(&'a [u8]),
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (time, rest) = match classic_time(line) {
            Some(time) => (Time::WithoutYear(time), &line[time.len()..]),
            None => {
                let end = memchr(b' ', line)?;
                (Time::Known(unix_seconds(&line[..end])?), &line[end..])
            }
        };
        let rest = rest.strip_prefix(b" ")?;
        let (host, rest) = rest.split_at(memchr(b' ', rest)?);
        let rest = &rest[1..];
        // A program may have its process's number behind it, and a path before it.
        let tag_end = memmem::find(rest, b": ")?;
        let tag = &rest[..tag_end];
        let program = &tag[..memchr(b'[', tag).unwrap_or(tag.len())];
        let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
        (!host.is_empty() && !program.contains(&b' ')).then_some(Line {
            time,
            host,
            program,
            message: rest[tag_end + 2..].trim_ascii_end(),
        })
    }
}

impl Time<'_> {
    /// Seconds since 1970-01-01T00:00:00Z. A time without a year is of `year`, or of the last in which it is not after
    /// `newest`, give or take a day, because the clock's zone is not known.
    fn seconds(&self, year: Option<i16>, newest: i64) -> Option<i64> {
        let time = match self {
            Time::Known(seconds) => return Some(*seconds),
            Time::WithoutYear(time) => time,
        };
        let in_year = |year| formatted_seconds("%b %e %H:%M:%S", time, Some(year));
        if let Some(year) = year {
            return in_year(year);
        }
        let newest = newest.clamp(0, MAX_NEWEST) + 86_400;
        let last = year_of(newest);
        // The 29th of February may be eight years back.
        (last - 8..=last).rev().find_map(|year| in_year(year).filter(|seconds| *seconds <= newest))
    }
}

/// The seconds of 9999-12-30T23:59:59Z.
const MAX_NEWEST: i64 = 253_402_214_399;

/// A classic time stamp at the beginning of a line; a day of one digit has a space before it.
fn classic_time(line: &[u8]) -> Option<&[u8]> {
    let (time, _) = line.split_at_checked(b"Mar 27 13:08:09".len())?;
    let is_form = has_form(time, b"aaa _0 00:00:00") && (time[4] == b' ' || time[4].is_ascii_digit());
    is_form.then_some(time)
}

/// The message and the number of `message repeated 5 times: [ … ]`, as rsyslog sums up.
fn repeated(message: &[u8]) -> Option<(u32, &[u8])> {
    let rest = message.strip_prefix(b"message repeated ")?;
    let (number, rest) = rest.split_at(memchr(b' ', rest)?);
    let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let message = rest.strip_prefix(b" times: [ ")?.strip_suffix(b"]")?;
    (1..=MAX_REPEATED).contains(&number).then_some((number, message))
}

/// Somebody's attempt to log in.
#[derive(Debug, PartialEq, Eq)]
struct Attempt<'a> {
    has_failed: bool,
    user: &'a [u8],
    address: &'a [u8],
}

impl<'a> Attempt<'a> {
    /// The attempt that a message tells of.
    fn parse(message: &'a [u8]) -> Option<Self> {
        let message = message.strip_suffix(b" [preauth]").unwrap_or(message);
        let message = message.strip_prefix(b"error: ").unwrap_or(message);
        if let Some(rest) = message.strip_prefix(b"Accepted ") {
            let (user, address) = accepted(rest)?;
            return Some(Attempt { has_failed: false, user, address });
        }
        let (user, address) = failed(message)?;
        Some(Attempt { has_failed: true, user, address })
    }
}

/// `METHOD for USER from ADDRESS port N ssh2…`.
fn accepted(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = after_method(rest)?;
    let end = memmem::find(rest, FROM)?;
    let (address, _) = port_of(&rest[end + FROM.len()..])?;
    Some((&rest[..end], address))
}

const FROM: &[u8] = b" from ";

/// What stands behind `METHOD for `.
fn after_method(text: &[u8]) -> Option<&[u8]> {
    let end = memchr(b' ', text).filter(|end| *end > 0)?;
    text[end..].strip_prefix(b" for ")
}

/// The user and the address of any of sshd's messages about an attempt that failed.
fn failed(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let named = |rest: &'static [u8]| message.strip_prefix(rest);
    let attempt = named(b"Failed ").and_then(after_method);
    if let Some(rest) = attempt.or_else(|| named(b"maximum authentication attempts exceeded for ")) {
        return last_from(rest.strip_prefix(b"invalid user ").unwrap_or(rest), |rest| {
            let (address, rest) = port_of(rest)?;
            let rest = rest.strip_prefix(b" ssh2")?;
            (rest.is_empty() || rest.starts_with(b": ")).then_some(address)
        });
    }
    if let Some(rest) = named(b"Invalid user ").or_else(|| named(b"Illegal user ")) {
        return last_from(rest, |rest| match port_of(rest) {
            Some((address, b"")) => Some(address),
            Some(_) => None,
            None => Some(rest).filter(|rest| !rest.contains(&b' ')),
        });
    }
    if let Some(rest) = named(b"User ") {
        return last_from(rest, |rest| {
            let (address, rest) = rest.split_at(memchr(b' ', rest)?);
            rest.starts_with(b" not allowed because ").then_some(address)
        });
    }
    [&b"Connection closed by "[..], b"Connection reset by ", b"Disconnected from "]
        .into_iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| {
            rest.strip_prefix(b"authenticating user ").or_else(|| rest.strip_prefix(b"invalid user "))
        })
        .and_then(user_and_address)
}

/// The user before the last ` from ` behind which `address_of` finds an address.
fn last_from<'a>(
    text: &'a [u8],
    address_of: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
) -> Option<(&'a [u8], &'a [u8])> {
    let mut end = text.len();
    loop {
        let at = memmem::rfind(&text[..end], FROM)?;
        if let Some(address) = address_of(&text[at + FROM.len()..]) {
            return Some((&text[..at], address));
        }
        // Two may share a space.
        end = at + FROM.len() - 1;
    }
}

/// The address of `ADDRESS port N…` and what follows the number.
fn port_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (address, rest) = text.split_at(memchr(b' ', text)?);
    let rest = rest.strip_prefix(b" port ")?;
    let num_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (num_digits > 0 && !address.is_empty()).then(|| (address, &rest[num_digits..]))
}

/// `USER ADDRESS port N`, where the user may have spaces.
fn user_and_address(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let port = memmem::rfind(text, b" port ")?;
    let digits = &text[port + b" port ".len()..];
    let space = text[..port].iter().rposition(|byte| *byte == b' ')?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| (&text[..space], &text[space + 1..port]))
}
