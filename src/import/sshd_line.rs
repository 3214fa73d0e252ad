//! The lines around what sshd says: syslog's forms, the journal's, and those of containers.

use memchr::{memchr, memmem};

use crate::data::{Time, classic_seconds, has_form, unix_seconds, year_of};

/// The parts of a line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: LineTime<'a>,
    /// Empty where the line has none.
    pub(super) host: &'a [u8],
    /// Empty where sshd writes to a file or a container's output itself.
    pub(super) program: &'a [u8],
    pub(super) pid: &'a [u8],
    pub(super) message: &'a [u8],
}

/// When a line was written.
#[derive(Clone, Copy, Debug)]
pub(super) enum LineTime<'a> {
    Known(i64),
    /// A classic time stamp `Mar  4 10:00:00`.
    WithoutYear(&'a [u8]),
    /// One that cannot be read, such as one of a zone by its name.
    Bad(&'a [u8]),
    None,
}

/// What messages about logins begin with.
const SENTENCES: [&[u8]; 12] = [
    b"Accepted ",
    b"Failed ",
    b"Invalid user ",
    b"Illegal user ",
    b"Connection closed by ",
    b"Connection reset by ",
    b"Disconnected from ",
    b"Disconnecting ",
    b"maximum authentication attempts exceeded for ",
    b"error: maximum authentication attempts exceeded for ",
    b"error: PAM: ",
    b"User ",
];

fn is_sentence(text: &[u8]) -> bool {
    SENTENCES.iter().any(|start| text.starts_with(start))
}

impl<'a> Line<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let line = without_container_name(line);
        let without_priority = priority_end(line).map(|end| &line[end..]);
        if let Some(rest) = without_priority.and_then(|rest| rest.strip_prefix(b"1 ")) {
            return rfc5424(rest);
        }
        let line = without_priority.unwrap_or(line);
        if is_sentence(line) {
            return Some(Line::bare(LineTime::None, line));
        }
        let (time, rest) = split_time(line)?;
        let rest = without_stream(rest.trim_ascii_start());
        if is_sentence(rest) {
            return Some(Line::bare(time, rest));
        }
        syslog(time, rest)
    }

    fn bare(time: LineTime<'a>, message: &'a [u8]) -> Self {
        Line { time, host: b"", program: b"", pid: b"", message: message.trim_ascii_end() }
    }
}

/// What follows the name of a container, as `docker compose logs` writes it before each line.
fn without_container_name(line: &[u8]) -> &[u8] {
    const MAX_NAME: usize = 64;
    let Some(at) = memmem::find(&line[..line.len().min(MAX_NAME)], b" | ") else { return line };
    let name = line[..at].trim_ascii_end();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    if !name.is_empty() && name.iter().all(is_name) { &line[at + b" | ".len()..] } else { line }
}

/// What follows the stream and the tag that Kubernetes writes behind the time.
fn without_stream(rest: &[u8]) -> &[u8] {
    let tagged = rest.strip_prefix(b"stdout ").or_else(|| rest.strip_prefix(b"stderr "));
    tagged.and_then(|rest| rest.strip_prefix(b"F ").or_else(|| rest.strip_prefix(b"P "))).unwrap_or(rest)
}

/// The length of `<86>` at the beginning of a line.
fn priority_end(line: &[u8]) -> Option<usize> {
    let end = memchr(b'>', line.get(..5.min(line.len()))?)?;
    let is_number = line[0] == b'<' && end > 1 && line[1..end].iter().all(u8::is_ascii_digit);
    is_number.then_some(end + 1)
}

/// `TIME HOST APP PROCID MSGID STRUCTURED-DATA MESSAGE`, of RFC 5424.
fn rfc5424(text: &[u8]) -> Option<Line<'_>> {
    let mut words = text.splitn(6, |byte| *byte == b' ');
    let (time, host, program) = (words.next()?, words.next()?, words.next()?);
    let (pid, _message_id, rest) = (words.next()?, words.next()?, words.next()?);
    let message = match rest.strip_prefix(b"-") {
        Some(message) => message,
        None => structured_data_end(rest)?,
    };
    let message = message.strip_prefix(b" ").unwrap_or(message);
    let message = message.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(message).trim_ascii_end();
    let nil = |text: &'_ [u8]| text == b"-";
    let time = if nil(time) { LineTime::None } else { known(time) };
    let (host, pid) = (if nil(host) { b"" } else { host }, if nil(pid) { b"" } else { pid });
    Some(Line { time, host, program, pid, message })
}

/// What follows the elements in brackets.
fn structured_data_end(text: &[u8]) -> Option<&[u8]> {
    let (mut in_value, mut at) = (false, 0);
    while at < text.len() {
        match text[at] {
            b'\\' if in_value => at += 1,
            b'"' => in_value = !in_value,
            b']' if !in_value && text.get(at + 1) != Some(&b'[') => return Some(&text[at + 1..]),
            _ => {}
        }
        at += 1;
    }
    None
}

fn known(text: &[u8]) -> LineTime<'_> {
    unix_seconds(text).map_or(LineTime::Bad(text), LineTime::Known)
}

/// The time at the beginning of a line, and what follows it.
fn split_time(line: &[u8]) -> Option<(LineTime<'_>, &[u8])> {
    match line.first()? {
        b'0'..=b'9' => numeric_time(line),
        b'@' => {
            let (time, rest) = line.split_at(memchr(b' ', line)?);
            Some((LineTime::Known(tai64n(&time[1..])?), rest))
        }
        _ => match classic_time(line) {
            Some((time, rest)) => Some((LineTime::WithoutYear(time), rest)),
            // A day of the week stands before the date: `journalctl -o short-full`.
            None if has_form(line.get(..15)?, b"aaa 0000-00-00 ") => zoned_time(&line[4..]),
            None => None,
        },
    }
}

/// A date, or a number, and what follows.
fn numeric_time(line: &[u8]) -> Option<(LineTime<'_>, &[u8])> {
    let end = memchr(b' ', line)?;
    if end == b"2025-03-04".len() && line[4] == b'-' {
        let (time, rest) = spaced_time(line)?;
        return Some((known(time), rest));
    }
    let time = Time::parse(&line[..end])?;
    Some((LineTime::Known(time.seconds), &line[end..]))
}

/// `2025-03-04 10:00:00.123`, and what follows.
fn spaced_time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let time = line.get(11..)?;
    let end = memchr(b' ', time).unwrap_or(time.len());
    Some(line.split_at(11 + end))
}

/// `2025-03-04 10:00:00 UTC`, and what follows. Of names of zones UTC alone says what it means.
fn zoned_time(line: &[u8]) -> Option<(LineTime<'_>, &[u8])> {
    let (_, behind) = spaced_time(line)?;
    let zone = behind.get(1..)?;
    let end = line.len() - zone.len() + memchr(b' ', zone)?;
    let (time, rest) = line.split_at(end);
    Some((known(time), rest))
}

/// Seconds of the label that `s6-log t` and `multilog t` write: TAI64N, in hexadecimal digits.
fn tai64n(label: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(label.get(..16)?).ok()?;
    // TAI was 37 seconds ahead of UTC since 2017; s6 counts so.
    i64::try_from(u64::from_str_radix(digits, 16).ok()?.checked_sub((1 << 62) + 37)?).ok()
}

/// A classic time stamp at the beginning of a line, and what follows it and its fraction; a day of one digit has a
/// space before it.
fn classic_time(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (time, rest) = line.split_at_checked(b"Mar 27 13:08:09".len())?;
    let is_form = has_form(time, b"aaa _0 00:00:00") && (time[4] == b' ' || time[4].is_ascii_digit());
    if !is_form {
        return None;
    }
    let num_digits = match rest.strip_prefix(b".") {
        Some(fraction) => 1 + fraction.iter().take_while(|byte| byte.is_ascii_digit()).count(),
        None => 0,
    };
    Some((time, &rest[num_digits..]))
}

/// `HOST [FACILITY.LEVEL] TAG[PID]: MESSAGE`, where a host may be missing.
fn syslog<'a>(time: LineTime<'a>, rest: &'a [u8]) -> Option<Line<'a>> {
    let tag_end = memmem::find(rest, b": ")?;
    let mut head = &rest[..tag_end];
    let message = &rest[tag_end + 2..];
    // A program may have its process's number behind it, and a path before it.
    let tag_start = memchr::memrchr(b' ', head).map_or(0, |at| at + 1);
    let tag = &head[tag_start..];
    head = head[..tag_start].trim_ascii_end();
    let host = match memchr(b' ', head) {
        None => head,
        // BusyBox writes the facility and the level between.
        Some(at) if is_level(head[at + 1..].trim_ascii_start()) => &head[..at],
        Some(_) => return None,
    };
    let program_end = tag.iter().position(|byte| matches!(byte, b'[' | b'(')).unwrap_or(tag.len());
    let program = &tag[..program_end];
    let program = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
    let pid = memchr(b'[', tag).map_or(&b""[..], |at| tag[at + 1..].strip_suffix(b"]").unwrap_or_default());
    let message = without_message_id(message).trim_ascii_end();
    (!program.is_empty()).then_some(Line { time, host, program, pid, message })
}

/// Whether this is `auth.info` or such.
fn is_level(text: &[u8]) -> bool {
    let is_name = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_alphanumeric);
    memchr(b'.', text).is_some_and(|dot| is_name(&text[..dot]) && is_name(&text[dot + 1..]))
}

/// The message behind `[ID 800047 auth.info] `, which Solaris and illumos write.
fn without_message_id(message: &[u8]) -> &[u8] {
    let rest = message.strip_prefix(b"[ID ");
    let end = rest.and_then(|rest| memmem::find(rest, b"] ").map(|end| &rest[end + 2..]));
    end.unwrap_or(message)
}

impl LineTime<'_> {
    /// Seconds since 1970-01-01T00:00:00Z; none where the line has no time. A time without a year is of `year`, or of
    /// the last in which it is not after `newest`, give or take a day, because the clock's zone is not known.
    ///
    /// # Errors
    ///
    /// The time cannot be read.
    pub(super) fn seconds(&self, year: Option<i16>, newest: i64) -> Result<Option<i64>, ()> {
        let time = match self {
            LineTime::Known(seconds) => return Ok(Some(*seconds)),
            LineTime::None => return Ok(None),
            LineTime::Bad(_) => return Err(()),
            LineTime::WithoutYear(time) => time,
        };
        let in_year = |year| classic_seconds(time, year);
        if let Some(year) = year {
            return in_year(year).map(Some).ok_or(());
        }
        let newest = newest.clamp(0, MAX_NEWEST) + 86_400;
        let last = year_of(newest);
        // The 29th of February may be eight years back.
        let found =
            (last - 8..=last).rev().find_map(|year| in_year(year).filter(|seconds| *seconds <= newest));
        found.map(Some).ok_or(())
    }
}

/// The seconds of 9999-12-30T23:59:59Z.
const MAX_NEWEST: i64 = 253_402_214_399;
