//! A login, and why a record is none.

use std::borrow::Cow;
use std::io::Write;

use crate::Result;
use crate::data::{push_rfc3339, without_brackets_and_port};
use crate::event::{Address, ReservedAddress, ipv6_of, is_nobody, parse_ipv4};

/// Entities are at most this long, in bytes, so that a row with every byte of it escaped is a line that the readers
/// take.
const MAX_ENTITY: usize = 16 * 1024;

/// The seconds of 1970-01-01T00:00:00Z and of 2106-02-07T06:28:15Z, which are all that the readers take.
const YEARS: std::ops::RangeInclusive<i64> = 0..=u32::MAX as i64;

/// One login as a log tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// The entity's bytes as they stand in the log, escapes included; decoded where the log is JSON.
    pub entity: Cow<'a, [u8]>,
    /// The address, of either family.
    pub address: Address,
    /// Whole seconds since 1970-01-01T00:00:00Z; none where the log has no time.
    pub seconds: Option<i64>,
    /// How often it happened, from 1: syslog counts a line that is repeated.
    pub num_times: u32,
}

/// Takes logins.
pub trait LoginSink {
    /// Takes one login.
    ///
    /// # Errors
    ///
    /// Whatever stops the import, such as a failure to write.
    fn login(&mut self, login: &Login<'_>) -> Result<()>;

    /// What has been read is used up and the next bytes may be long in coming: somebody may wait for the logins so far.
    ///
    /// # Errors
    ///
    /// As [`LoginSink::login`].
    fn pause(&mut self) -> Result<()>;
}

/// Why a record is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is not of the format at all.
    NoMatch,
    /// It is of the format, but about something else than a login.
    OtherMessage,
    /// It is what sshd says, by another program's name.
    OtherProgram,
    /// A login whose outcome is not asked for.
    NotChosen,
    /// `--where` does not want it.
    Filtered,
    /// A later line of an attempt that was taken, or left out, already.
    Repeated,
    NoEntity,
    BadEntity,
    NotUtf8,
    FloatingPoint,
    NoAddress,
    NotAddress,
    UnspecifiedIpv6,
    LinkLocalIpv6,
    Service,
    BadTime,
    TooLong,
    Unfinished,
}

impl Skip {
    /// All of them.
    pub(super) const ALL: [Skip; 18] = [
        Skip::NoMatch,
        Skip::OtherMessage,
        Skip::OtherProgram,
        Skip::NotChosen,
        Skip::Filtered,
        Skip::Repeated,
        Skip::NoEntity,
        Skip::BadEntity,
        Skip::NotUtf8,
        Skip::FloatingPoint,
        Skip::NoAddress,
        Skip::NotAddress,
        Skip::UnspecifiedIpv6,
        Skip::LinkLocalIpv6,
        Skip::Service,
        Skip::BadTime,
        Skip::TooLong,
        Skip::Unfinished,
    ];

    /// The reason's name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Skip::NoMatch => "not of the format",
            Skip::OtherMessage => "no login",
            Skip::OtherProgram => "of another program",
            Skip::NotChosen => "of another outcome",
            Skip::Filtered => "left out by --where",
            Skip::Repeated => "later line of an attempt",
            Skip::NoEntity => "no entity",
            Skip::BadEntity => "entity of over 16 KiB or with a zero byte",
            Skip::NotUtf8 => "entity that is not UTF-8",
            Skip::FloatingPoint => "floating-point number for an entity",
            Skip::NoAddress => "no address",
            Skip::NotAddress => "not an IP address",
            Skip::UnspecifiedIpv6 => "IPv6 address in ::/32",
            Skip::LinkLocalIpv6 => "link-local IPv6 address",
            Skip::Service => "address of an AWS service",
            Skip::BadTime => "bad time",
            Skip::TooLong => "too long",
            Skip::Unfinished => "unfinished",
        }
    }
}

impl<'a> Login<'a> {
    /// The login where all of it can be written, and read back.
    pub(super) fn checked(self, keeps_nobody: bool) -> std::result::Result<Self, Skip> {
        if self.entity.is_empty() || (!keeps_nobody && is_nobody(&self.entity)) {
            return Err(Skip::NoEntity);
        }
        // The readers would take zero bytes for UTF-16.
        if self.entity.len() > MAX_ENTITY || self.entity.contains(&0) {
            return Err(Skip::BadEntity);
        }
        match self.seconds {
            Some(seconds) if !YEARS.contains(&seconds) => Err(Skip::BadTime),
            _ => Ok(self),
        }
    }

    /// The login with an entity of its own.
    pub(super) fn into_owned(self) -> Login<'static> {
        Login { entity: Cow::Owned(self.entity.into_owned()), ..self }
    }

    /// The login as a row of CSV, `entity,address,time` with its line feed; of an IPv6 address its /64. The time is RFC 3339 in UTC, or empty.
    pub fn to_csv(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.entity.len() + 48);
        self.push_csv(&mut row);
        row
    }

    /// Appends the row that [`Login::to_csv`] gives.
    pub fn push_csv(&self, rows: &mut Vec<u8>) {
        if is_plain(&self.entity) {
            rows.extend_from_slice(&self.entity);
        } else {
            rows.push(b'"');
            for &byte in self.entity.iter() {
                rows.extend_from_slice(if byte == b'"' { b"\"\"" } else { std::slice::from_ref(&byte) });
            }
            rows.push(b'"');
        }
        // Writing to memory does not fail.
        let _ = write!(rows, ",{},", self.address);
        if let Some(seconds) = self.seconds {
            push_rfc3339(rows, seconds);
        }
        rows.push(b'\n');
    }
}

/// Whether an entity needs no quotes. The reader of the rows recognises their format by the first bytes: a client that chooses a
/// user name must not be able to make it `{`, or the beginning of a compressed file.
fn is_plain(entity: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.@+:/=".contains(byte);
    entity.iter().all(is_plain) && !entity.starts_with(b"PAR1") && !entity.starts_with(b"ARROW1")
}

/// The address of a log's text, as the readers of events take it.
pub(super) fn address(text: &[u8]) -> std::result::Result<Address, Skip> {
    if let Some(ip) = parse_ipv4(text) {
        return Ok(Address::from_ipv4(ip));
    }
    let Some(ip) = ipv6_of(text) else {
        // Gateways of clouds write the client's port behind the address.
        let text = std::str::from_utf8(text).map_err(|_| Skip::NotAddress)?;
        return address(without_brackets_and_port(text).ok_or(Skip::NotAddress)?.as_bytes());
    };
    Address::try_from(ip).map_err(|reserved| match reserved {
        ReservedAddress::Unspecified => Skip::UnspecifiedIpv6,
        ReservedAddress::LinkLocal => Skip::LinkLocalIpv6,
    })
}
