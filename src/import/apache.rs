//! Access logs of Apache httpd and nginx, a request a line:
//!
//! ```text
//! common    %h %l %u [%t] "%r" %>s %b
//! combined  … "%{Referer}i" "%{User-Agent}i"
//! vhost     %v:%p before either
//! ```
//!
//! These are the formats of `mod_log_config`'s documentation (<https://httpd.apache.org/docs/2.4/mod/mod_log_config.html>)
//! and nginx's `combined`, also with `$http_x_forwarded_for` behind it. Quotes in a quoted field are escaped by both
//! servers; a user name is not quoted and may have spaces. A name that came with the status 401 is nobody's: the server
//! did not let it in. Where no password guarded the path, a name is what the client claims.

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2};

use super::access_client::{Client, ClientChoice, split_at_space};
use super::filter::Filter;
use super::login::{Login, Skip};
use super::options::{ImportOptions, Outcomes};
use super::parser::Parser;
use super::records::Records;
use crate::Result;
use crate::data::{has_form, unix_seconds};

/// Fields that can be the entity, and filtered by.
#[derive(Clone, Copy)]
enum Field {
    User,
    UserAgent,
    Path,
    Vhost,
    Method,
    Status,
    Referer,
}

const FIELDS: [(&str, Field); 8] = [
    ("user", Field::User),
    ("user_agent", Field::UserAgent),
    ("path", Field::Path),
    ("vhost", Field::Vhost),
    ("host", Field::Vhost),
    ("method", Field::Method),
    ("status", Field::Status),
    ("referer", Field::Referer),
];

pub(super) struct Apache {
    field: Field,
    outcomes: Outcomes,
    client: ClientChoice,
    filters: Vec<(Field, Filter)>,
}

impl Apache {
    pub(super) fn new(options: &ImportOptions) -> Result<Self> {
        Ok(Apache {
            field: options.field(&FIELDS[..4])?,
            outcomes: options.outcomes.unwrap_or_default(),
            client: ClientChoice::new(options.ip.as_deref(), &options.trusted_proxies)?,
            filters: options.filters(&FIELDS)?,
        })
    }
}

impl Parser for Apache {
    fn records(&mut self, _: &[u8]) -> Records {
        Records::lines()
    }

    fn parse<'a>(&mut self, record: &'a [u8], _: i64) -> std::result::Result<Login<'a>, Skip> {
        let request = Request::parse(record).ok_or(Skip::NoMatch)?;
        if !self.filters.iter().all(|(field, filter)| filter.admits(request.field(*field))) {
            return Err(Skip::Filtered);
        }
        if !self.outcomes.wants(request.status == b"401") {
            return Err(Skip::NotChosen);
        }
        let entity = request.field(self.field);
        if entity.is_empty() {
            return Err(Skip::NoEntity);
        }
        let address = self.client.address(&request.client, request.forwarded())?;
        Ok(Login {
            entity: Cow::Borrowed(entity),
            address,
            seconds: Some(unix_seconds(request.time).ok_or(Skip::BadTime)?),
            num_times: 1,
        })
    }

    fn culprit<'a>(&self, record: &'a [u8], skip: Skip) -> Option<Cow<'a, [u8]>> {
        let request = Request::parse(record)?;
        match skip {
            Skip::BadTime => Some(Cow::Borrowed(request.time)),
            Skip::NotAddress => Some(Cow::Borrowed(request.client.chain())),
            _ => None,
        }
    }
}

/// The parts of a line.
struct Request<'a> {
    client: Client<'a>,
    time: &'a [u8],
    request: &'a [u8],
    status: &'a [u8],
    /// What follows the number of bytes; empty in the common format.
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        // A user name may have a bracket: the time is the first that looks like one.
        let (start, time) = memchr_iter(b'[', line).find_map(|at| {
            let time = line[at + 1..].get(..TIME_LEN)?;
            let is_time = line[at + 1 + TIME_LEN..].starts_with(b"] \"") && looks_like_time(time);
            (is_time && line[..at].ends_with(b" ")).then_some((at, time))
        })?;
        let client = Client::parse(&line[..start - 1])?;
        let (request, rest) = quoted(&line[start + 1 + TIME_LEN + 2..])?;
        let rest = rest.strip_prefix(b" ")?;
        let (status, rest) = split_at_space(rest);
        if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let (_num_bytes, rest) = split_at_space(rest);
        Some(Request { client, time, request, status, rest })
    }

    /// The text of a field; empty where there is none.
    fn field(&self, field: Field) -> &'a [u8] {
        match field {
            Field::User => self.client.user,
            Field::UserAgent => self.quoted_behind(1).unwrap_or_default(),
            Field::Referer => self.quoted_behind(0).unwrap_or_default(),
            Field::Path => self.path(),
            Field::Vhost => self.client.vhost.unwrap_or_default(),
            Field::Method => self.words().map_or(b"", |(method, _)| method),
            Field::Status => self.status,
        }
    }

    /// The quoted field behind `num` others of those that follow the number of bytes.
    fn quoted_behind(&self, num: usize) -> Option<&'a [u8]> {
        let (mut field, mut rest) = quoted(self.rest)?;
        for _ in 0..num {
            (field, rest) = quoted(rest.strip_prefix(b" ")?)?;
        }
        Some(field)
    }

    /// The last quoted field behind the user agent.
    fn forwarded(&self) -> Option<&'a [u8]> {
        let mut rest = self.rest;
        let mut last = None;
        let mut num = 0;
        while let Some((field, behind)) = quoted(rest) {
            num += 1;
            last = (num > 2).then_some(field).or(last);
            let Some(next) = behind.strip_prefix(b" ") else { break };
            rest = next;
        }
        last
    }

    /// The method and the target of the request, where it is one of HTTP.
    fn words(&self) -> Option<(&'a [u8], &'a [u8])> {
        let mut words = self.request.split(|byte| *byte == b' ');
        let (method, target, protocol) = (words.next()?, words.next()?, words.next()?);
        protocol.starts_with(b"HTTP/").then_some((method, target))
    }

    /// The path of the request without its query, empty where the request is none of HTTP.
    fn path(&self) -> &'a [u8] {
        let target = self.words().map_or(&b""[..], |(_, target)| target);
        &target[..memchr2(b'?', b'#', target).unwrap_or(target.len())]
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
