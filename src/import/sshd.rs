//! What OpenSSH's sshd says of logins, a message a line, in syslog's classic form, in its RFC 3339 and RFC 5424 forms, as
//! `journalctl` prints it, and as containers keep it:
//!
//! ```text
//! Mar 27 13:08:09 host sshd[1361]: Accepted publickey for alice from 203.0.113.7 port 51123 ssh2: RSA SHA256:…
//! 2024-05-31T12:00:00.123456+02:00 host sshd-session[99]: Failed password for invalid user bob from …
//! ```
//!
//! Times of the classic form, which have no zone, are taken for UTC. One attempt to log in is up to three lines, which
//! spell the name differently; it is one event, by its connection.

use std::borrow::Cow;

use memchr::memchr;

use super::filter::Filter;
use super::journal::Record;
use super::login::{Login, Skip, address};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use super::sshd_attempt::Attempt;
use super::sshd_connections::{Connections, keys};
use super::sshd_line::{Line, LineTime};
use crate::Result;

/// What can be the entity, and filtered by.
#[derive(Clone, Copy)]
enum Field {
    User,
    Host,
    UserAtHost,
    KeyId,
    Fingerprint,
    Method,
    Program,
}

const FIELDS: [(&str, Field); 7] = [
    ("user", Field::User),
    ("host", Field::Host),
    ("user@host", Field::UserAtHost),
    ("key_id", Field::KeyId),
    ("fingerprint", Field::Fingerprint),
    ("method", Field::Method),
    ("program", Field::Program),
];

/// Repetitions that syslog may have counted in a line; more are none of its.
const MAX_REPEATED: u32 = 10_000;

pub(super) struct Sshd {
    field: Field,
    outcomes: Outcomes,
    filters: Vec<(Field, Filter)>,
    year: Option<i16>,
    programs: Vec<String>,
    connections: Connections,
    /// Whether records are those of `journalctl -o export`.
    is_export: bool,
}

impl Sshd {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        Ok(Sshd {
            field: options.field(&FIELDS[..5])?,
            outcomes: options.outcomes.unwrap_or_default(),
            filters: options.filters(&FIELDS)?,
            year: options.year,
            programs: options.programs.clone(),
            connections: Connections::default(),
            is_export: false,
        })
    }

    /// Whether a program of this name says what sshd says. Since OpenSSH 9.8 it is `sshd-session`, too, since 10.0
    /// `sshd-auth`; containers and units of systemd have names of their own with it.
    fn is_sshd(&self, program: &[u8]) -> bool {
        match self.programs.is_empty() {
            true => program.is_empty() || memchr::memmem::find(program, b"ssh").is_some(),
            false => program.is_empty() || self.programs.iter().any(|name| name.as_bytes() == program),
        }
    }

    fn login<'l>(&mut self, line: &Line<'l>, newest: i64) -> std::result::Result<Login<'l>, Skip> {
        let (num_times, message) = repeated(line.message).unwrap_or((1, line.message));
        let attempt = Attempt::parse(message).ok_or(Skip::OtherMessage)?;
        if !self.is_sshd(line.program) {
            return Err(Skip::OtherProgram);
        }
        let seconds = line.time.seconds(self.year, newest).map_err(|()| Skip::BadTime)?;
        let keys = keys(line.host, attempt.address, attempt.port, line.pid);
        if !self.connections.admit(keys, attempt.phase, seconds) {
            return Err(Skip::Repeated);
        }
        if !self.filters.iter().all(|(field, filter)| filter.admits(&text_of(*field, &attempt, line))) {
            return Err(Skip::Filtered);
        }
        if !self.outcomes.wants(attempt.has_failed()) {
            return Err(Skip::NotChosen);
        }
        let entity = text_of(self.field, &attempt, line);
        if entity.is_empty() {
            return Err(Skip::NoEntity);
        }
        let address = address(attempt.address)?;
        Ok(Login { entity, address, seconds, num_times })
    }
}

/// The text of a field; empty where there is none.
fn text_of<'l>(field: Field, attempt: &Attempt<'l>, line: &Line<'l>) -> Cow<'l, [u8]> {
    match field {
        Field::User => attempt.user(),
        Field::Host => Cow::Borrowed(line.host),
        Field::UserAtHost => match attempt.user() {
            user if user.is_empty() => user,
            user => Cow::Owned([&user, &b"@"[..], line.host].concat()),
        },
        Field::KeyId => Cow::Borrowed(attempt.key_id().unwrap_or_default()),
        Field::Fingerprint => Cow::Borrowed(attempt.fingerprint().unwrap_or_default()),
        Field::Method => Cow::Borrowed(attempt.method),
        Field::Program => Cow::Borrowed(line.program),
    }
}

impl Parser for Sshd {
    fn records(&mut self, head: &[u8]) -> Records {
        self.is_export = head.starts_with(b"__CURSOR=");
        match head.trim_ascii_start() {
            _ if self.is_export => Records::export(),
            // An object over several lines: `journalctl -o json-pretty`.
            [b'{', b'\n' | b'\r', ..] => Records::objects(Vec::new()),
            _ => Records::lines(),
        }
    }

    fn parse<'a>(&mut self, record: &'a [u8], newest: i64) -> std::result::Result<Login<'a>, Skip> {
        let kept = match record {
            _ if self.is_export => Some(Record::of_export(record).ok_or(Skip::NoMatch)?),
            [b'{' | 0x1E | b'd', ..] => Record::of_json(record),
            _ => None,
        };
        match kept {
            Some(kept) => {
                let line = kept.line().ok_or(Skip::NoMatch)?;
                self.login(&line, newest).map(Login::into_owned)
            }
            None => self.login(&Line::parse(record).ok_or(Skip::NoMatch)?, newest),
        }
    }

    fn culprit<'a>(&self, record: &'a [u8], skip: Skip) -> Option<Cow<'a, [u8]>> {
        let line = Line::parse(record)?;
        match (skip, line.time) {
            (Skip::OtherProgram, _) => Some(Cow::Borrowed(line.program)),
            (Skip::BadTime, LineTime::Bad(time) | LineTime::WithoutYear(time)) => Some(Cow::Borrowed(time)),
            (Skip::NotAddress, _) => {
                Attempt::parse(line.message).map(|attempt| Cow::Borrowed(attempt.address))
            }
            _ => None,
        }
    }
}

/// The message and the number of `message repeated 5 times: [ … ]`, as rsyslog sums up.
fn repeated(message: &[u8]) -> Option<(u32, &[u8])> {
    let rest = message.strip_prefix(b"message repeated ")?;
    let (number, rest) = rest.split_at(memchr(b' ', rest)?);
    let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let message = rest.strip_prefix(b" times: [ ")?.strip_suffix(b"]")?;
    (1..=MAX_REPEATED).contains(&number).then_some((number, message))
}
