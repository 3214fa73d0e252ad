//! Access logs of Apache httpd and nginx, a request a line:
//!
//! ```text
//! common    %h %l %u [%t] "%r" %>s %b
//! combined  … "%{Referer}i" "%{User-Agent}i"
//! vhost     %v:%p before either
//! ```
//!
//! These are the formats of `mod_log_config`'s documentation (<https://httpd.apache.org/docs/2.4/mod/mod_log_config.html>)
//! and nginx's `combined`. Quotes in a quoted field are escaped by both servers; a user name is not quoted and may have
//! spaces. A name that came with the status 401 is nobody's: the server did not let it in.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr2};

use super::login::{Login, Skip, address};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::{formatted_seconds, has_form};

/// Fields that can be the entity.
#[derive(Clone, Copy)]
enum Field {
    User,
    UserAgent,
    Path,
    Vhost,
}

const FIELDS: [(&str, Field); 4] =
    [("user", Field::User), ("user_agent", Field::UserAgent), ("path", Field::Path), ("vhost", Field::Vhost)];

pub(super) struct Apache {
    field: Field,
    outcomes: Outcomes,
}

impl Apache {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        Ok(Apache { field: options.field(&FIELDS)?, outcomes: options.outcomes.unwrap_or_default() })
    }
}

impl Parser for Apache {
    fn records(&self) -> Records {
        Records::lines()
    }

    fn parse<'a>(&self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let request = Request::parse(record).ok_or(Skip::NoMatch)?;
        if !self.outcomes.wants(request.status == b"401") {
            return Err(Skip::NotChosen);
        }
        let entity = match self.field {
            Field::User => request.user,
            Field::UserAgent => request.user_agent,
            Field::Path => request.path(),
            Field::Vhost => request.vhost.unwrap_or_default(),
        };
        // A hyphen stands for what there is not, and two quotes for an empty user name.
        if matches!(entity, b"" | b"-" | b"\"\"") {
            return Err(Skip::NoEntity);
        }
        let address = address(request.host)?;
        Ok(Login {
            entity: Cow::Borrowed(entity),
            address,
            seconds: Some(request.seconds.ok_or(Skip::BadTime)?),
            num_times: 1,
        })
    }
}

/// The parts of a line.
struct Request<'a> {
    vhost: Option<&'a [u8]>,
    host: &'a [u8],
    user: &'a [u8],
    seconds: Option<i64>,
    request: &'a [u8],
    status: &'a [u8],
    /// Empty in the common format.
    user_agent: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        // A user name may have a bracket: the time is the first that looks like one.
        let (start, time) = memchr_iter(b'[', line).find_map(|at| {
            let time = line[at + 1..].get(..TIME_LEN)?;
            let is_time = looks_like_time(time) && line[at + 1 + TIME_LEN..].starts_with(b"] \"");
            (is_time && line[..at].ends_with(b" ")).then_some((at, time))
        })?;
        let Client { vhost, host, user } = Client::parse(&line[..start - 1])?;
        let (request, rest) = quoted(&line[start + 1 + TIME_LEN + 2..])?;
        let rest = rest.strip_prefix(b" ")?;
        let (status, rest) = split_at_space(rest);
        if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (_num_bytes, rest) = split_at_space(rest);
        let user_agent = quoted(rest)
            .and_then(|(_referer, rest)| quoted(rest.strip_prefix(b" ")?))
            .map_or(&b""[..], |(user_agent, _)| user_agent);
        Some(Request { vhost, host, user, seconds: seconds_of(time), request, status, user_agent })
    }

    /// The path of the request without its query, empty where the request is none of HTTP.
    fn path(&self) -> &'a [u8] {
        let mut words = self.request.split(|byte| *byte == b' ');
        let (Some(_method), Some(target), Some(protocol)) = (words.next(), words.next(), words.next()) else {
            return b"";
        };
        if !protocol.starts_with(b"HTTP/") {
            return b"";
        }
        &target[..memchr2(b'?', b'#', target).unwrap_or(target.len())]
    }
}

/// What stands before the time.
struct Client<'a> {
    vhost: Option<&'a [u8]>,
    host: &'a [u8],
    user: &'a [u8],
}

impl<'a> Client<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (first, rest) = split_at_space(text);
        let (second, after_second) = split_at_space(rest);
        // The second word is the client only behind a virtual host; elsewhere it is the name that identd gave, and a
        // client's identd must not be able to put an address into the client's place.
        let is_address = |text| !matches!(address(text), Err(Skip::NotAddress));
        if is_address(first) || !is_address(second) {
            return (!after_second.is_empty()).then_some(Client {
                vhost: None,
                host: first,
                user: after_second,
            });
        }
        let vhost = match memchr(b':', first) {
            Some(port) => &first[..port],
            None => first,
        };
        let (_ident, user) = split_at_space(after_second);
        (!user.is_empty()).then_some(Client { vhost: Some(vhost), host: second, user })
    }
}

/// What stands before the first space, and what after it.
fn split_at_space(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

/// A quoted field at the beginning of `text`, as it stands between its quotes, and what follows.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 2;
    }
}

/// The length of `17/May/2015:10:05:03 +0000`.
const TIME_LEN: usize = 26;

fn looks_like_time(time: &[u8]) -> bool {
    has_form(time, b"00/aaa/0000:00:00:00 _0000") && matches!(time[21], b'+' | b'-')
}

/// The seconds of a time that looks like one.
fn seconds_of(time: &[u8]) -> Option<i64> {
    formatted_seconds("%d/%b/%Y:%H:%M:%S %z", time, None)
}
