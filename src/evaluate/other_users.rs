//! Attacks with the addresses of other entities' events, which are known once all events are.

use super::attacks::{AttackKind, words};
use super::family::Family;
use crate::event::Address;
use crate::{At, Error, Event, Result};

/// Addresses of other entities for the events that wait for one: 16 bytes for each event of the data.
#[derive(Debug, Default)]
pub(super) struct OtherUsers {
    /// The low half of the entity's hash, and the address: of IPv4, and of IPv6.
    pools: [Vec<(u32, Address)>; 2],
    waiting: Vec<Waiting>,
}

/// An event that gets an attack, and then the attack in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) event: Event,
    /// Unix seconds, where they are known.
    pub(super) seconds: Option<u32>,
    /// The event's position in the data.
    pub(super) position: u64,
}

impl OtherUsers {
    /// Adds an event of the data, whose address others may get.
    pub(super) fn add(&mut self, event: Event) {
        self.pools[Family::of(event.address) as usize].push((event.entity as u32, event.address));
    }

    /// Says that an event gets an attack.
    pub(super) fn wait(&mut self, event: Waiting) {
        self.waiting.push(event);
    }

    /// The attacks, at the times and positions of their victims' events.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where all events of a family are those of one entity.
    pub(super) fn attacks(&self, seed: u64) -> Result<Vec<Waiting>> {
        let attack = |waiting: &Waiting| {
            let other = self.other(seed, waiting.position, &waiting.event);
            other.map(|address| Waiting { event: Event { address, ..waiting.event }, ..*waiting })
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
        let pool = &self.pools[Family::of(event.address) as usize];
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

    fn event(entity: u64, bits: u64) -> Event {
        Event { entity, address: Address::from_bits(bits) }
    }

    fn waiting(event: Event, position: u64) -> Waiting {
        Waiting { event, seconds: Some(7), position }
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
            others.wait(waiting(event(1 + position % 2, 7), position));
        }
        for (attack, victim) in others.attacks(0).unwrap().iter().zip(&others.waiting) {
            assert_eq!((attack.event.entity, attack.position), (victim.event.entity, victim.position));
            assert_eq!(attack.event.address.bits() == 5000, attack.event.entity == 1);
        }
    }

    #[test]
    fn an_address_is_of_the_family_of_the_event() {
        let mut others = OtherUsers::default();
        let ipv6 = 0x2001_0db8_0001_0002;
        others.add(event(1, 5));
        others.add(event(2, ipv6));
        others.add(event(3, ipv6 + 1));
        others.wait(waiting(event(3, ipv6), 9));
        assert_eq!(others.attacks(0).unwrap(), [waiting(event(3, ipv6), 9)]);
    }

    #[test]
    fn one_entity_alone_has_no_others() {
        let mut alone = OtherUsers::default();
        alone.add(event(1, 1));
        alone.wait(waiting(event(1, 1), 0));
        assert_eq!(alone.attacks(0).unwrap_err().exit_code(), 3);
    }
}
