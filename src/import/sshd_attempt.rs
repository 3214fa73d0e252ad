//! What one message of sshd says of somebody's attempt to log in. The messages are those of OpenSSH's `auth.c`,
//! `auth2.c`, `monitor.c`, `packet.c` and `auth-pam.c`, and of Linux-PAM's `pam_unix`.
//!
//! Whoever tries to log in chooses the user name, and it may look like the rest of a message. A name that was let in is
//! a real one, so its message ends at the first address with a port; any other at the last.

use std::borrow::Cow;

use memchr::{memchr, memmem, memrchr};

/// What a message says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A user was named, or an attempt was refused.
    Tried,
    /// A user was let in.
    Accepted,
    /// It ends.
    Ended,
}

/// Somebody's attempt to log in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attempt<'a> {
    pub(super) phase: Phase,
    /// As it stands in the message.
    user: &'a [u8],
    pub(super) address: &'a [u8],
    /// The port of the client, where the message has it.
    pub(super) port: Option<&'a [u8]>,
    pub(super) method: &'a [u8],
    /// What follows `ssh2: `: the type of the key, its fingerprint, and what a certificate says.
    key: &'a [u8],
    /// How often the name was encoded: what a process without privileges says passes through another.
    num_encodings: u32,
}

/// Names are cut to so many bytes in some messages, and so they are in all.
const MAX_USER: usize = 100;

impl<'a> Attempt<'a> {
    /// The attempt that a message tells of.
    pub(super) fn parse(message: &'a [u8]) -> Option<Self> {
        let (message, num_encodings) = match message.strip_suffix(b" [preauth]") {
            Some(message) => (message, 2),
            None => (message, 1),
        };
        let message = message.strip_prefix(b"error: ").unwrap_or(message);
        let attempt = match message.first()? {
            b'A' => accepted(message.strip_prefix(b"Accepted ")?),
            b'p' => pam_unix(message).or_else(|| tried(message)),
            b'C' | b'D' => ended(message),
            _ => tried(message),
        };
        attempt.map(|attempt| Attempt { num_encodings, ..attempt })
    }

    pub(super) fn has_failed(&self) -> bool {
        self.phase != Phase::Accepted
    }

    /// The name of the user, decoded and cut.
    pub(super) fn user(&self) -> Cow<'a, [u8]> {
        let mut user = Cow::Borrowed(self.user);
        if memchr(b'\\', self.user).is_some() {
            for _ in 0..self.num_encodings {
                let Some(decoded) = decoded(&user) else { break };
                user = Cow::Owned(decoded);
            }
        }
        match user {
            Cow::Borrowed(user) => Cow::Borrowed(&user[..user.len().min(MAX_USER)]),
            Cow::Owned(mut user) => {
                user.truncate(MAX_USER);
                Cow::Owned(user)
            }
        }
    }

    /// The identity that a certificate names, of `TYPE-CERT FINGERPRINT ID IDENTITY (serial N) CA …`.
    pub(super) fn key_id(&self) -> Option<&'a [u8]> {
        let at = memmem::find(self.key, b" ID ")?;
        let id = &self.key[at + b" ID ".len()..];
        Some(&id[..memmem::rfind(id, b" (serial ")?])
    }

    /// The fingerprint of the key, such as `SHA256:…`.
    pub(super) fn fingerprint(&self) -> Option<&'a [u8]> {
        self.key.split(|byte| *byte == b' ').nth(1).filter(|fingerprint| !fingerprint.is_empty())
    }
}

/// A name as it was before `vis` encoded it (with octal and C escapes); nothing where it never was.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        if let [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] = rest {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = behind;
            continue;
        }
        let (&code, behind) = rest.split_first()?;
        bytes.push(match code {
            b'\\' => b'\\',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'v' => 11,
            b'f' => 12,
            b's' => b' ',
            b'0' => 0,
            _ => return None,
        });
        rest = behind;
    }
    Some(bytes)
}

/// `METHOD for USER from ADDRESS port N ssh2[: KEY]`.
fn accepted(rest: &[u8]) -> Option<Attempt<'_>> {
    let (method, rest) = split_method(rest)?;
    memmem::find_iter(rest, FROM).find_map(|at| {
        let (address, port, tail) = address_and_port(&rest[at + FROM.len()..])?;
        let key = tail.strip_prefix(b" ssh2").unwrap_or(tail);
        let key = key.strip_prefix(b": ").unwrap_or_default();
        Some(Attempt { method, key, ..Attempt::of(Phase::Accepted, &rest[..at], address, Some(port)) })
    })
}

const FROM: &[u8] = b" from ";

/// The method of `METHOD for …`, and what follows.
fn split_method(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr(b' ', text).filter(|end| *end > 0)?;
    Some((&text[..end], text[end..].strip_prefix(b" for ")?))
}

/// Messages about an attempt that failed while the connection goes on.
fn tried(message: &[u8]) -> Option<Attempt<'_>> {
    let named = |start: &'static [u8]| message.strip_prefix(start);
    if let Some(rest) = named(b"Failed ") {
        let (method, rest) = split_method(rest)?;
        return Some(Attempt { method, ..refused(rest)? });
    }
    if let Some(rest) = named(b"maximum authentication attempts exceeded for ") {
        return refused(rest);
    }
    if let Some(rest) = named(b"Invalid user ").or_else(|| named(b"Illegal user ")) {
        return last_from(rest, |rest| match address_and_port(rest) {
            Some((address, port, b"")) => Some((address, Some(port), &b""[..])),
            Some(_) => None,
            None => Some((rest, None, &b""[..])).filter(|_| !rest.contains(&b' ')),
        });
    }
    if let Some(rest) = named(b"User ") {
        return last_from(rest, |rest| {
            let (address, rest) = rest.split_at(memchr(b' ', rest)?);
            rest.starts_with(b" not allowed because ").then_some((address, None, &b""[..]))
        });
    }
    if let Some(rest) = named(b"PAM: ") {
        let (_, rest) = rest.split_at(memmem::find(rest, b" for ")?);
        let rest = &rest[b" for ".len()..];
        let rest = rest.strip_prefix(b"illegal user ").unwrap_or(rest);
        return last_from(rest, |rest| Some((rest, None, &b""[..])).filter(|_| !rest.contains(&b' ')));
    }
    None
}

/// `[invalid user ]USER from ADDRESS port N ssh2[: KEY]`.
fn refused(rest: &[u8]) -> Option<Attempt<'_>> {
    last_from(rest.strip_prefix(b"invalid user ").unwrap_or(rest), |rest| {
        let (address, port, tail) = address_and_port(rest)?;
        let key = tail.strip_prefix(b" ssh2")?;
        if key.is_empty() {
            return Some((address, Some(port), key));
        }
        let key = key.strip_prefix(b": ")?;
        is_key(key).then_some((address, Some(port), key))
    })
}

/// Whether this is all that sshd says of a key: `TYPE FINGERPRINT`, behind it what a certificate says, or the client's
/// user and host. A name chosen by a client cannot make the rest of its message look so.
fn is_key(text: &[u8]) -> bool {
    let mut words = text.splitn(3, |byte| *byte == b' ');
    let (Some(_), Some(_), rest) = (words.next(), words.next(), words.next()) else { return false };
    let Some(rest) = rest else { return true };
    let is_certificate = || {
        let authority = memmem::rfind(rest, b") CA ").map(|at| &rest[at + b") CA ".len()..]);
        rest.starts_with(b"ID ")
            && authority.is_some_and(|text| text.iter().filter(|b| **b == b' ').count() == 1)
    };
    is_certificate() || rest.starts_with(b"client user \"")
}

/// Messages about a connection that ends, or was, before anybody was let in.
fn ended(message: &[u8]) -> Option<Attempt<'_>> {
    const STARTS: [&[u8]; 4] =
        [b"Connection closed by ", b"Connection reset by ", b"Disconnected from ", b"Disconnecting "];
    let rest = STARTS.iter().find_map(|start| message.strip_prefix(*start))?;
    let rest = rest.strip_prefix(b"authenticating user ").or_else(|| rest.strip_prefix(b"invalid user "))?;
    let (user, address, port) = user_and_address(rest).or_else(|| {
        // The reason may name the user, who is then between the brackets, too.
        positions_from_behind(rest, b": ").find_map(|at| {
            let (user, address, port) = user_and_address(&rest[..at])?;
            let reason = &rest[at + 2..];
            let is_reason = match reason.strip_prefix(b"Change of username or service not allowed: (") {
                Some(names) => names.strip_prefix(user).is_some_and(|behind| behind.starts_with(b",")),
                None => reason.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b' ' | b'-')),
            };
            is_reason.then_some((user, address, port))
        })
    })?;
    Some(Attempt::of(Phase::Ended, user, address, Some(port)))
}

/// Where `needle` stands, the last place first.
fn positions_from_behind<'a>(text: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let mut end = text.len();
    std::iter::from_fn(move || {
        end = memmem::rfind(&text[..end], needle)?;
        Some(end)
    })
}

/// `pam_unix(sshd:auth): authentication failure; … rhost=ADDRESS  user=USER`; an unknown user has no name there.
fn pam_unix(message: &[u8]) -> Option<Attempt<'_>> {
    let rest = message.strip_prefix(b"pam_")?;
    let at = memmem::find(rest, b"(sshd:auth): authentication failure; ")?;
    let rest = &rest[at..];
    let rest = &rest[memmem::find(rest, b" rhost=")? + b" rhost=".len()..];
    let (address, user) = rest.split_at(memchr(b' ', rest).unwrap_or(rest.len()));
    let user = user.trim_ascii_start().strip_prefix(b"user=")?;
    Some(Attempt::of(Phase::Tried, user, address, None))
}

impl<'a> Attempt<'a> {
    fn of(phase: Phase, user: &'a [u8], address: &'a [u8], port: Option<&'a [u8]>) -> Self {
        Attempt { phase, user, address, port, method: b"", key: b"", num_encodings: 1 }
    }
}

type Found<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The user before the last ` from ` behind which `found` finds an address, a port and a key.
fn last_from<'a>(text: &'a [u8], found: impl Fn(&'a [u8]) -> Option<Found<'a>>) -> Option<Attempt<'a>> {
    let mut end = text.len();
    loop {
        let at = memmem::rfind(&text[..end], FROM)?;
        if let Some((address, port, key)) = found(&text[at + FROM.len()..]) {
            return Some(Attempt { key, ..Attempt::of(Phase::Tried, &text[..at], address, port) });
        }
        // Two may share a space.
        end = at + FROM.len() - 1;
    }
}

/// The address and the port of `ADDRESS port N…`, and what follows the number.
fn address_and_port(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (address, rest) = text.split_at(memchr(b' ', text)?);
    let rest = rest.strip_prefix(b" port ")?;
    let num_digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (port, rest) = rest.split_at(num_digits);
    (num_digits > 0 && !address.is_empty()).then_some((address, port, rest))
}

/// `USER ADDRESS port N`, where the user may have spaces.
fn user_and_address(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let at = memmem::rfind(text, b" port ")?;
    let port = &text[at + b" port ".len()..];
    let space = memrchr(b' ', &text[..at])?;
    let is_number = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    is_number.then(|| (&text[..space], &text[space + 1..at], port))
}
