//! Attacks that are added to events without labels.

use std::str::FromStr;

use ipsight_kernels::philox::{Stream, philox4x32_10, stream_key};

use crate::event::Address;
use crate::{At, Error, Event, Result, nearest};

/// Where the address of an added attack comes from; its entity is that of an event of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackKind {
    /// Uniform among all IPv4 addresses.
    UniformIpv4,
    /// The address of an event of another entity, drawn uniformly among the events of the data.
    OtherUsers,
    /// Uniform in the /16 of the event's own address, its /24 left out.
    Neighbour,
}

impl AttackKind {
    const ALL: [Self; 3] = [Self::UniformIpv4, Self::OtherUsers, Self::Neighbour];

    /// The kind's name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniformIpv4 => "uniform_ipv4",
            Self::OtherUsers => "other_users",
            Self::Neighbour => "neighbour",
        }
    }
}

/// Attacks of one kind, added to a share of the events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AddedAttacks {
    /// Where their addresses come from.
    pub kind: AttackKind,
    /// The probability that an event gets an attack of this kind beside it, above 0 and at most 1.
    pub fraction: f64,
}

/// What the reference system's article does: 1 % of attacks with random addresses.
const DEFAULT: AddedAttacks = AddedAttacks { kind: AttackKind::UniformIpv4, fraction: 0.01 };

impl FromStr for AddedAttacks {
    type Err = Error;

    /// Reads `KIND=FRACTION`, or `default` for `uniform_ipv4=0.01`.
    fn from_str(text: &str) -> Result<Self> {
        if text == "default" {
            return Ok(DEFAULT);
        }
        let wrong = |what: String, help: String| Error::config(At::option("attacks"), what, help);
        let names = AttackKind::ALL.map(AttackKind::name);
        let list = format!("there are {}, and `default`", names.map(|name| format!("`{name}`")).join(", "));
        let (name, fraction) = text.split_once('=').ok_or_else(|| {
            wrong(format!("`{text}` is not KIND=FRACTION"), format!("for example uniform_ipv4=0.01; {list}"))
        })?;
        let Some(kind) = AttackKind::ALL.into_iter().find(|kind| kind.name() == name) else {
            let help = match nearest(name, names) {
                Some(near) => format!("did you mean `{near}`? {list}"),
                None => list,
            };
            return Err(wrong(format!("no such kind `{name}`"), help));
        };
        match fraction.parse::<f64>() {
            Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => Ok(AddedAttacks { kind, fraction }),
            _ => Err(wrong(
                format!("`{fraction}` is not a fraction"),
                "a number above 0 and at most 1: the share of events that get an attack".into(),
            )),
        }
    }
}

/// Reads several, each of another kind.
///
/// # Errors
///
/// [`Error::Config`] for what is not `KIND=FRACTION` and for a kind that comes twice.
pub fn parse_attacks(texts: &[String]) -> Result<Vec<AddedAttacks>> {
    let mut all: Vec<AddedAttacks> = Vec::new();
    for text in texts {
        let added: AddedAttacks = text.parse()?;
        if all.iter().any(|other| other.kind == added.kind) {
            let what = format!("`{}` comes twice", added.kind.name());
            return Err(Error::config(At::option("attacks"), what, "give each kind one fraction"));
        }
        all.push(added);
    }
    Ok(all)
}

/// The random words of an event's attack of one kind: a function of seed, position, kind and draw alone.
fn words(seed: u64, position: u64, kind: AttackKind, draw: u32) -> [u32; 4] {
    let counter = [position as u32, (position >> 32) as u32, kind as u32, draw];
    philox4x32_10(counter, stream_key(seed, Stream::EvaluationNegatives))
}

/// The random address that the event at `position` is evaluated against; that of [`AttackKind::UniformIpv4`] too. It has
/// the family of `address`: any of the 2^32 of IPv4, any /64 of 2000::/3, the space that is announced, of IPv6.
pub(super) fn random_address(seed: u64, position: u64, address: Address) -> Address {
    let [low, _, _, high] = words(seed, position, AttackKind::UniformIpv4, 0);
    match address.is_ipv4() {
        true => Address::from_ipv4(low),
        false => Address::from_bits(1 << 61 | (u64::from(high) << 32 | u64::from(low)) >> 3),
    }
}

impl AddedAttacks {
    /// Whether the event at `position` gets an attack of this kind.
    pub(super) fn hits(&self, seed: u64, position: u64) -> bool {
        f64::from(words(seed, position, self.kind, 0)[1]) < self.fraction * 4_294_967_296.0
    }
}

/// An address in the /16 of an IPv4 address, but not in its /24; another /64 in the /48 of an IPv6 address.
pub(super) fn neighbour(seed: u64, position: u64, address: Address) -> Address {
    let [host, _, third, _] = words(seed, position, AttackKind::Neighbour, 0);
    let Some(ip) = address.ipv4() else {
        // Any change of the last 16 bits but none.
        return Address::from_bits(address.bits() ^ u64::from(1 + below(third, 65_535)));
    };
    // One of the 255 other values of the third octet.
    let step = 1 + below(third, 255);
    let third = ((ip >> 8 & 0xFF) + step) & 0xFF;
    Address::from_ipv4(ip & 0xFFFF_0000 | third << 8 | host & 0xFF)
}

/// Maps a random word to `0..bound` by the multiply-shift of Lemire (2019); the bias is below bound / 2^32.
fn below(word: u32, bound: u32) -> u32 {
    ((u64::from(word) * u64::from(bound)) >> 32) as u32
}

/// Addresses of other entities for the events that wait for one: 16 bytes for each event of the data.
#[derive(Debug, Default)]
pub(super) struct OtherUsers {
    /// The low half of the entity's hash, and the address: of IPv4, and of IPv6.
    pools: [Vec<(u32, Address)>; 2],
    /// Events that get an attack, with their times and positions.
    waiting: Vec<(Event, Option<u32>, u64)>,
}

impl OtherUsers {
    /// Adds an event of the data, whose address others may get.
    pub(super) fn add(&mut self, event: Event) {
        let pool = usize::from(!event.address.is_ipv4());
        self.pools[pool].push((event.entity as u32, event.address));
    }

    /// Says that the event at `position` gets an attack.
    pub(super) fn wait(&mut self, event: Event, seconds: Option<u32>, position: u64) {
        self.waiting.push((event, seconds, position));
    }

    /// The attacks, at the times of their victims' events.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where all events are those of one entity.
    pub(super) fn attacks(&self, seed: u64) -> Result<Vec<(Event, Option<u32>)>> {
        let attack = |(event, seconds, position): &(Event, Option<u32>, u64)| {
            let other = self.other(seed, *position, event);
            other.map(|address| (Event { address, ..*event }, *seconds))
        };
        let attacks: Option<Vec<_>> = self.waiting.iter().map(attack).collect();
        attacks.ok_or_else(|| {
            let help = "take another kind of attacks, or data of several entities";
            Error::data(At::option_of("attacks", "other_users"), "all events are those of one entity", help)
        })
    }

    /// The address of a random event of another entity, of the same family: the first draw that is one, or, where one
    /// entity has nearly all events, the next one behind the last draw.
    fn other(&self, seed: u64, position: u64, event: &Event) -> Option<Address> {
        const NUM_DRAWS: u32 = 16;
        let entity = event.entity as u32;
        let pool = &self.pools[usize::from(!event.address.is_ipv4())];
        let mut start = 0;
        for draw in 0..NUM_DRAWS {
            let [low, _, _, high] = words(seed, position, AttackKind::OtherUsers, draw);
            let word = u64::from(high) << 32 | u64::from(low);
            start = ((u128::from(word) * pool.len() as u128) >> 64) as usize;
            let (other, address) = pool[start];
            if other != entity {
                return Some(address);
            }
        }
        let (before, behind) = pool.split_at(start);
        behind.iter().chain(before).find(|(other, _)| *other != entity).map(|(_, address)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(entity: u64, ip: u32) -> Event {
        Event { entity, address: Address::from_ipv4(ip) }
    }

    #[test]
    fn kinds_and_fractions_are_read_or_refused_with_help() {
        let read = |text: &str| text.parse::<AddedAttacks>();
        assert_eq!(read("default").unwrap(), DEFAULT);
        let other = AddedAttacks { kind: AttackKind::OtherUsers, fraction: 1.0 };
        assert_eq!(read("other_users=1").unwrap(), other);
        for text in ["uniform_ipv4", "uniform=0.1", "neighbour=0", "neighbour=1.5", "neighbour=nan", "=", ""]
        {
            let error = read(text).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(error.help().is_some_and(|help| !help.is_empty()), "{text}");
        }
        let twice = ["default", "uniform_ipv4=0.5"].map(String::from);
        assert_eq!(parse_attacks(&twice).unwrap_err().exit_code(), 2);
        let help = read("neighbor=0.1").unwrap_err().help().unwrap();
        assert!(help.contains("did you mean `neighbour`"), "{help}");
    }

    #[test]
    fn a_fraction_is_the_share_of_events_that_are_hit() {
        for fraction in [0.001, 0.25, 1.0] {
            let attacks = AddedAttacks { kind: AttackKind::Neighbour, fraction };
            let num_events = 200_000;
            let num_hit = (0..num_events).filter(|position| attacks.hits(3, *position)).count();
            let deviation = (fraction * (1.0 - fraction) * num_events as f64).sqrt();
            let expected = fraction * num_events as f64;
            assert!((num_hit as f64 - expected).abs() <= 5.0 * deviation, "{fraction}: {num_hit}");
        }
    }

    #[test]
    fn neighbours_share_the_16_and_not_the_24_and_reach_all_others() {
        let ip = 0x0A01_0203;
        let mut third_octets = [0; 256];
        for position in 0..20_000 {
            let neighbour = neighbour(1, position, Address::from_ipv4(ip)).ipv4().unwrap();
            assert_eq!(neighbour >> 16, ip >> 16);
            assert_ne!(neighbour >> 8, ip >> 8);
            third_octets[(neighbour >> 8 & 0xFF) as usize] += 1;
        }
        assert_eq!(third_octets.iter().filter(|count| **count == 0).count(), 1);
        assert!(third_octets.iter().all(|count| *count < 150), "{third_octets:?}");
    }

    #[test]
    fn attacks_on_ipv6_are_ipv6_and_neighbours_share_the_48() {
        let address = Address::from_bits(0x2001_0db8_0001_0002);
        for position in 0..2000 {
            let neighbour = neighbour(1, position, address);
            assert_eq!(neighbour.bits() >> 16, address.bits() >> 16);
            assert_ne!(neighbour, address);
            let random = random_address(1, position, address);
            assert_eq!(random.bits() >> 61, 1, "{random} is in 2000::/3");
            assert!(random_address(1, position, Address::from_ipv4(7)).is_ipv4());
        }
        let mut others = OtherUsers::default();
        others.add(event(1, 5));
        others.add(Event { entity: 2, address });
        others.add(Event { entity: 3, address: Address::from_bits(address.bits() + 1) });
        others.wait(Event { entity: 3, address }, Some(7), 0);
        assert_eq!(others.attacks(0).unwrap(), [(Event { entity: 3, address }, Some(7))]);
    }

    #[test]
    fn other_users_addresses_are_those_of_others() {
        let mut others = OtherUsers::default();
        // One entity has nearly everything.
        for i in 0..1000 {
            others.add(event(1, i));
        }
        others.add(event(2, 5000));
        for position in 0..50 {
            others.wait(event(1 + position % 2, 7), None, position);
        }
        for ((attack, _), (victim, ..)) in others.attacks(0).unwrap().iter().zip(&others.waiting) {
            assert_eq!(attack.entity, victim.entity);
            assert_eq!(attack.address == Address::from_ipv4(5000), attack.entity == 1);
        }
        let mut alone = OtherUsers::default();
        alone.add(event(1, 1));
        alone.wait(event(1, 1), None, 0);
        assert_eq!(alone.attacks(0).unwrap_err().exit_code(), 3);
    }
}
