//! Attacks that are added to events without labels.

use ipsight_kernels::philox::{Stream, below, philox4x32_10, stream_key};

use super::family::Family;
use crate::event::Address;
use crate::{At, Error, Result, nearest};

/// Where the address of an added attack comes from; its entity is that of an event of the data, and it is of the same
/// family as that event's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackKind {
    /// Uniform among all IPv4 addresses.
    UniformIpv4,
    /// The address of an event of another entity, drawn uniformly among the events of the data of one family.
    OtherUsers,
    /// Uniform in the /16 of the event's own IPv4 address, its /24 left out.
    Neighbour,
    /// Uniform among the /64 of 2000::/3, the space of IPv6 that is announced.
    UniformIpv6,
    /// Uniform in the /48 of the event's own IPv6 address, its /64 left out.
    Neighbour48,
    /// Uniform in the /32 of the event's own IPv6 address, its /48 left out.
    Neighbour32,
}

impl AttackKind {
    /// The kind's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniformIpv4 => "uniform_ipv4",
            Self::UniformIpv6 => "uniform_ipv6",
            Self::OtherUsers => "other_users",
            Self::Neighbour => "neighbour",
            Self::Neighbour48 => "neighbour_48",
            Self::Neighbour32 => "neighbour_32",
        }
    }

    /// The one family of events that get attacks of this kind; `None` where both do.
    pub fn family(self) -> Option<Family> {
        match self {
            Self::OtherUsers => None,
            Self::UniformIpv4 | Self::Neighbour => Some(Family::Ipv4),
            Self::UniformIpv6 | Self::Neighbour48 | Self::Neighbour32 => Some(Family::Ipv6),
        }
    }
}

/// Attacks of one kind, added to a share of the events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddedAttacks {
    /// Where their addresses come from.
    pub kind: AttackKind,
    /// The probability that an event of the kind's family gets an attack of this kind beside it, above 0 and at most 1.
    pub fraction: f64,
}

/// What can be asked for, and the kinds that it adds.
const NAMES: [(&str, &[AttackKind]); 5] = [
    ("uniform", &[AttackKind::UniformIpv4, AttackKind::UniformIpv6]),
    ("uniform_ipv4", &[AttackKind::UniformIpv4]),
    ("uniform_ipv6", &[AttackKind::UniformIpv6]),
    ("other_users", &[AttackKind::OtherUsers]),
    ("neighbour", &[AttackKind::Neighbour, AttackKind::Neighbour48, AttackKind::Neighbour32]),
];

/// What the reference system's article does: 1 % of attacks with random addresses.
const DEFAULT: (&str, f64) = ("uniform", 0.01);

/// Reads several `KIND=FRACTION`, or `default` for `uniform=0.01`; each kind comes once. `uniform` and `neighbour` are
/// kinds for both families.
///
/// # Errors
///
/// [`Error::Config`] for what is not `KIND=FRACTION` and for a kind that comes twice.
pub fn parse_attacks(texts: &[String]) -> Result<Vec<AddedAttacks>> {
    let mut all: Vec<AddedAttacks> = Vec::new();
    for text in texts {
        let (kinds, fraction) = parse(text)?;
        for kind in kinds {
            if all.iter().any(|other| other.kind == *kind) {
                let what = format!("`{}` comes twice", kind.name());
                return Err(Error::config(At::option("attacks"), what, "give each kind one fraction"));
            }
            all.push(AddedAttacks { kind: *kind, fraction });
        }
    }
    Ok(all)
}

/// The kinds and the fraction of one text.
fn parse(text: &str) -> Result<(&'static [AttackKind], f64)> {
    let wrong = |what: String, help: String| Error::config(At::option("attacks"), what, help);
    let names = NAMES.map(|(name, _)| name);
    let list = format!("there are {}, and `default`", names.map(|name| format!("`{name}`")).join(", "));
    let (name, fraction) = match text {
        "default" => (DEFAULT.0, Some(DEFAULT.1)),
        _ => {
            let (name, fraction) = text.split_once('=').ok_or_else(|| {
                wrong(format!("`{text}` is not KIND=FRACTION"), format!("for example uniform=0.01; {list}"))
            })?;
            (name, fraction.parse::<f64>().ok().filter(|fraction| *fraction > 0.0 && *fraction <= 1.0))
        }
    };
    let Some((_, kinds)) = NAMES.into_iter().find(|(known, _)| *known == name) else {
        let help = match nearest(name, names) {
            Some(near) => format!("did you mean `{near}`? {list}"),
            None => list,
        };
        return Err(wrong(format!("no such kind `{name}`"), help));
    };
    let fraction = fraction.ok_or_else(|| {
        let help = "take a number above 0 and at most 1: the share of events that get an attack";
        wrong(format!("`{text}` has no fraction from 0 to 1"), help.into())
    })?;
    Ok((kinds, fraction))
}

/// The random words of an event's attack of one kind: a function of seed, position, kind and draw alone.
pub(super) fn words(seed: u64, position: u64, kind: AttackKind, draw: u32) -> [u32; 4] {
    let counter = [position as u32, (position >> 32) as u32, kind as u32, draw];
    philox4x32_10(counter, stream_key(seed, Stream::EvaluationNegatives))
}

/// The random address that the event at `position` is evaluated against, of the family of `address`: any of the 2^32 of
/// IPv4, any /64 of 2000::/3 of IPv6. That of [`AttackKind::UniformIpv4`] and [`AttackKind::UniformIpv6`], too.
pub(super) fn random_address(seed: u64, position: u64, address: Address) -> Address {
    let [low, _, _, high] = words(seed, position, AttackKind::UniformIpv4, 0);
    match address.is_ipv4() {
        true => Address::from_ipv4(low),
        false => Address::from_bits(1 << 61 | (u64::from(high) << 32 | u64::from(low)) >> 3),
    }
}

impl AddedAttacks {
    /// Whether the event at `position` with this address gets an attack of this kind.
    pub(super) fn hits(&self, seed: u64, position: u64, address: Address) -> bool {
        let is_of_family = self.kind.family().is_none_or(|family| family == Family::of(address));
        let word = words(seed, position, self.kind, 0)[1];
        is_of_family && f64::from(word) < self.fraction * 4_294_967_296.0
    }

    /// The address of the attack beside the event at `position`; `None` where it is known once all events are.
    pub(super) fn address(&self, seed: u64, position: u64, own: Address) -> Option<Address> {
        let [host, _, network, _] = words(seed, position, self.kind, 0);
        match self.kind {
            AttackKind::UniformIpv4 | AttackKind::UniformIpv6 => Some(random_address(seed, position, own)),
            AttackKind::OtherUsers => None,
            AttackKind::Neighbour => Some(in_16(own, network, host)),
            AttackKind::Neighbour48 => Some(in_48(own, network)),
            AttackKind::Neighbour32 => Some(in_32(own, network, host)),
        }
    }
}

/// An address in the /16 of an IPv4 address, but not in its /24, from two random words.
fn in_16(own: Address, network: u32, host: u32) -> Address {
    let ip = own.bits() as u32;
    // One of the 255 other values of the third octet.
    let third = ((ip >> 8 & 0xFF) + 1 + below(network, 255)) & 0xFF;
    Address::from_ipv4(ip & 0xFFFF_0000 | third << 8 | host & 0xFF)
}

/// Another /64 in the /48 of an IPv6 address, from a random word.
fn in_48(own: Address, network: u32) -> Address {
    // Any change of the last 16 bits but none.
    Address::from_bits(own.bits() ^ u64::from(1 + below(network, 65_535)))
}

/// A /64 in the /32 of an IPv6 address, but not in its /48, from two random words.
fn in_32(own: Address, network: u32, host: u32) -> Address {
    let other_48 = own.bits() ^ u64::from(1 + below(network, 65_535)) << 16;
    Address::from_bits(other_48 & !0xFFFF | u64::from(host & 0xFFFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_fractions_are_read_or_refused_with_help() {
        let read = |texts: &[&str]| parse_attacks(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let names = |texts: &[&str]| {
            let attacks = read(texts).unwrap();
            attacks.iter().map(|added| (added.kind.name(), added.fraction)).collect::<Vec<_>>()
        };
        assert_eq!(names(&["default"]), [("uniform_ipv4", 0.01), ("uniform_ipv6", 0.01)]);
        assert_eq!(
            names(&["uniform_ipv6=0.5", "other_users=1"]),
            [("uniform_ipv6", 0.5), ("other_users", 1.0)]
        );
        let neighbours = [("neighbour", 0.2), ("neighbour_48", 0.2), ("neighbour_32", 0.2)];
        assert_eq!(names(&["neighbour=0.2"]), neighbours);
        for text in ["uniform_ipv4", "unifrom=0.1", "neighbour=0", "neighbour=1.5", "neighbour=nan", "=", ""]
        {
            let error = read(&[text]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.help().is_some_and(|help| !help.is_empty()), "{text}");
        }
        assert_eq!(read(&["default", "uniform_ipv4=0.5"]).unwrap_err().exit_code(), 2);
        let help = read(&["neighbor=0.1"]).unwrap_err().help().unwrap();
        assert!(help.contains("did you mean `neighbour`"), "{help}");
    }

    const OWN: [Address; 2] = [Address::from_ipv4(0x0A01_0203), Address::from_bits(0x2001_0db8_0001_0002)];

    #[test]
    fn a_fraction_is_the_share_of_events_that_are_hit() {
        for fraction in [0.001, 0.25, 1.0] {
            let attacks = AddedAttacks { kind: AttackKind::Neighbour, fraction };
            let num_events = 200_000;
            let num_hit = (0..num_events).filter(|position| attacks.hits(3, *position, OWN[0])).count();
            let deviation = (fraction * (1.0 - fraction) * num_events as f64).sqrt();
            let expected = fraction * num_events as f64;
            assert!((num_hit as f64 - expected).abs() <= 5.0 * deviation, "{fraction}: {num_hit}");
            assert!(!(0..num_events).any(|position| attacks.hits(3, position, OWN[1])));
        }
    }

    fn attacks(kind: AttackKind, own: Address) -> impl Iterator<Item = Address> {
        let added = AddedAttacks { kind, fraction: 1.0 };
        (0..20_000).map(move |position| added.address(1, position, own).unwrap())
    }

    #[test]
    fn neighbours_share_the_16_and_not_the_24_and_reach_all_others() {
        let mut third_octets = [0; 256];
        for neighbour in attacks(AttackKind::Neighbour, OWN[0]) {
            let ip = neighbour.ipv4().unwrap();
            assert_eq!(ip >> 16, 0x0A01);
            third_octets[(ip >> 8 & 0xFF) as usize] += 1;
        }
        assert_eq!(third_octets[2], 0);
        assert_eq!(third_octets.iter().filter(|count| **count == 0).count(), 1);
        assert!(third_octets.iter().all(|count| *count < 150), "{third_octets:?}");
    }

    #[test]
    fn attacks_on_ipv6_are_ipv6_in_the_network_that_the_kind_says() {
        let own = OWN[1].bits();
        let distinct = |kind, part: fn(u64) -> u64| {
            attacks(kind, OWN[1])
                .map(|address| part(address.bits()))
                .collect::<std::collections::HashSet<_>>()
        };
        assert!(attacks(AttackKind::Neighbour48, OWN[1]).all(|a| a.bits() >> 16 == own >> 16 && a != OWN[1]));
        assert!(distinct(AttackKind::Neighbour48, |bits| bits & 0xFFFF).len() > 15_000);
        let is_in_32 = |a: Address| a.bits() >> 32 == own >> 32 && a.bits() >> 16 != own >> 16;
        assert!(attacks(AttackKind::Neighbour32, OWN[1]).all(is_in_32));
        assert!(distinct(AttackKind::Neighbour32, |bits| bits >> 16 & 0xFFFF).len() > 15_000);
        assert!(distinct(AttackKind::Neighbour32, |bits| bits & 0xFFFF).len() > 15_000);
        assert!(attacks(AttackKind::UniformIpv6, OWN[1]).all(|a| a.bits() >> 61 == 1), "in 2000::/3");
        assert!(attacks(AttackKind::UniformIpv4, OWN[0]).all(Address::is_ipv4));
    }
}
