//! Who made a request: what stands before the time of an access log, and what proxies say of whom they forwarded.

use memchr::{memchr, memmem};

use super::login::{Skip, address};
use super::network::Network;
use crate::event::Address;
use crate::{At, Error, Result};

/// What stands before the time.
pub(super) struct Client<'a> {
    pub(super) vhost: Option<&'a [u8]>,
    /// The addresses from the client to the last proxy, with commas between them, as they stand.
    chain: &'a [u8],
    /// The chain in brackets behind the address, from `%h (%{X-Forwarded-For}i)`.
    in_brackets: Option<&'a [u8]>,
    pub(super) user: &'a [u8],
}

impl<'a> Client<'a> {
    /// Parses `[VHOST] ADDRESS[, ADDRESS…] [(ADDRESS…)] IDENT USER`.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (first, rest) = split_at_space(text);
        let (second, _) = split_at_space(rest);
        // The second word is the client only behind a virtual host; elsewhere it is the name that identd gave, and a
        // client's identd must not be able to put an address into the client's place.
        let is_behind_host =
            !is_address(first) && is_host(first) && is_address(second.strip_suffix(b",").unwrap_or(second));
        let (vhost, text) = match is_behind_host {
            true => (Some(memchr(b':', first).map_or(first, |port| &first[..port])), rest),
            false => (None, text),
        };
        let (chain, rest) = split_chain(text);
        let (in_brackets, rest) = match rest.strip_prefix(b"(") {
            Some(inner) => {
                let end = memmem::find(inner, b") ")?;
                (Some(&inner[..end]), &inner[end + 2..])
            }
            None => (None, rest),
        };
        let (_ident, user) = split_at_space(rest);
        (!user.is_empty()).then_some(Client { vhost, chain, in_brackets, user })
    }
}

/// Splits what stands before the first space that no comma comes before, and what after it.
fn split_chain(text: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let Some(space) = memchr(b' ', &text[end..]) else { return (text, b"") };
        end += space;
        if !text[..end].ends_with(b",") {
            return (&text[..end], &text[end + 1..]);
        }
        end += 1;
    }
}

/// What stands before the first space, and what after it.
pub(super) fn split_at_space(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b' ', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, b""),
    }
}

fn is_address(text: &[u8]) -> bool {
    !matches!(address(text), Err(Skip::NotAddress))
}

/// Whether this can be the name of a virtual host, with or without a port.
fn is_host(text: &[u8]) -> bool {
    let (name, port) = memchr(b':', text).map_or((text, &b"1"[..]), |at| (&text[..at], &text[at + 1..]));
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._*".contains(byte) || *byte >= 0x80;
    !name.is_empty()
        && name != b"-"
        && name.iter().all(is_name)
        && !port.is_empty()
        && port.iter().all(u8::is_ascii_digit)
}

/// Where the address is among those of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pick {
    #[default]
    First,
    Last,
    /// Counted from 1.
    Nth(usize),
}

/// Which address of a request is the client's.
#[derive(Clone, Debug, Default)]
pub(super) struct ClientChoice {
    pick: Pick,
    /// Whether the addresses of the last quoted field are asked for by name.
    is_forwarded: bool,
    trusted: Vec<Network>,
}

impl ClientChoice {
    /// Parses `first`, `last`, a number from 1, and these behind `forwarded` or `forwarded.`.
    pub(super) fn new(ip: Option<&str>, trusted: &[Network]) -> Result<Self> {
        let text = ip.unwrap_or("first");
        let (is_forwarded, pick) = match text.strip_prefix("forwarded") {
            Some("") => (true, "first"),
            Some(rest) => (true, rest.strip_prefix('.').unwrap_or(text)),
            None => (false, text),
        };
        let refused = |what: String| {
            let help = "take first, last or a number of the addresses before the user, or forwarded, forwarded.last \
                        or forwarded.2 of the last quoted field";
            Err(Error::config(At::option("ip"), what, help))
        };
        if ip.is_some() && !trusted.is_empty() && text != "forwarded" {
            return refused(format!("`{text}` and trusted proxies both say which address it is"));
        }
        let pick = match (pick, pick.parse()) {
            ("first", _) => Pick::First,
            ("last", _) => Pick::Last,
            (_, Ok(number @ 1..)) => Pick::Nth(number),
            _ => return refused(format!("an access log has no address `{text}`")),
        };
        Ok(ClientChoice { pick, is_forwarded, trusted: trusted.to_vec() })
    }

    /// The client's address. `forwarded` is the last quoted field, where there is one behind the user agent.
    pub(super) fn address(
        &self,
        client: &Client<'_>,
        forwarded: Option<&[u8]>,
    ) -> std::result::Result<Address, Skip> {
        if !self.trusted.is_empty() {
            return self.untrusted(client, forwarded);
        }
        // Nearly all lines have one address, and no proxy before it.
        if !self.is_forwarded && client.in_brackets.is_none() && !client.chain.contains(&b',') {
            return match self.pick {
                Pick::First | Pick::Last | Pick::Nth(1) => address(client.chain),
                Pick::Nth(_) => Err(Skip::NoAddress),
            };
        }
        let chain: Vec<&[u8]> = match self.is_forwarded {
            true => elements(forwarded.ok_or(Skip::NoAddress)?).collect(),
            false => client.elements().collect(),
        };
        let picked = match self.pick {
            Pick::First => chain.first(),
            Pick::Last => chain.last(),
            Pick::Nth(number) => chain.get(number - 1),
        };
        address(picked.ok_or(Skip::NoAddress)?)
    }

    /// The last address that no trusted proxy has added: the one that talked to the first of them.
    fn untrusted(&self, client: &Client<'_>, forwarded: Option<&[u8]>) -> std::result::Result<Address, Skip> {
        let forwarded = forwarded.into_iter().flat_map(elements);
        let chain: Vec<&[u8]> = forwarded.chain(client.elements()).collect();
        let mut first = Err(Skip::NoAddress);
        for element in chain.into_iter().rev() {
            first = address(element);
            let is_trusted =
                first.is_ok_and(|address| self.trusted.iter().any(|network| network.contains(address)));
            if !is_trusted {
                break;
            }
        }
        first
    }
}

impl<'a> Client<'a> {
    /// The addresses from the client to the last proxy.
    fn elements(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.in_brackets.into_iter().flat_map(elements).chain(elements(self.chain))
    }

    /// The addresses as they stand.
    pub(super) fn chain(&self) -> &'a [u8] {
        self.chain
    }
}

/// The addresses of a list with commas; none of `-`, which stands for an empty one.
fn elements(chain: &[u8]) -> impl Iterator<Item = &[u8]> {
    chain
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !matches!(*element, b"" | b"-"))
}
