//! Events that lead to the same history, in columns: what is counted on from where a history ends.

use super::base::{AccountHistory, History};
use crate::event::Address;
use crate::{Error, Result};

/// Events in columns of equal length, one account after the other, those of an account in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayedEvents {
    /// Hashes of the accounts.
    pub entities: Vec<u64>,
    /// Addresses.
    pub addresses: Vec<Address>,
    /// Unix seconds, where the history has times.
    pub times: Option<Vec<i64>>,
}

impl History {
    /// Events from which the same counts, order of last uses and times of them come. A history does not keep when an
    /// account used an address before the last time, or in which order: these are events of the account's first second.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] where the history keeps a part of the networks only.
    pub fn replayed(&self) -> Result<ReplayedEvents> {
        if self.info.dropped_pairs > 0 {
            let what = format!("the history has left out {} networks of accounts", self.info.dropped_pairs);
            return Err(Error::data("history", what, "train without a bound on an account's networks"));
        }
        let mut events = ReplayedEvents { times: self.times().map(|_| Vec::new()), ..Default::default() };
        for account in self.accounts() {
            events.add(&account).ok_or_else(|| {
                let what =
                    format!("the counts of the account {:016x} contradict each other", account.account);
                Error::data("history", what, "build the history again")
            })?;
        }
        Ok(events)
    }
}

impl ReplayedEvents {
    /// Adds an account's events; `None` where its counts contradict each other.
    fn add(&mut self, account: &AccountHistory) -> Option<()> {
        let start = self.entities.len();
        let num_events = account.events as usize;
        let (first, _) = account.times.unwrap_or_default();
        self.entities.resize(start + num_events, account.account);
        self.addresses.resize(start + num_events, Address::from_bits(0));
        if let Some(times) = &mut self.times {
            times.resize(start + num_events, first);
        }
        let mut last_use_of = vec![None; num_events];
        for address in &account.addresses {
            *last_use_of.get_mut(address.last_ordinal.checked_sub(1)? as usize)? = Some(address);
        }
        // From the last event back: an address has its other events before its last one.
        let mut waiting = Vec::new();
        for (place, last_use) in last_use_of.into_iter().enumerate().rev() {
            self.addresses[start + place] = match last_use {
                Some(address) => {
                    if let (Some(times), Some(of_use)) = (&mut self.times, address.times) {
                        times[start + place] = of_use.last;
                    }
                    waiting.push((address.address, address.events - 1));
                    address.address
                }
                None => {
                    while waiting.pop_if(|(_, num_left)| *num_left == 0).is_some() {}
                    let (address, num_left) = waiting.last_mut()?;
                    *num_left -= 1;
                    *address
                }
            };
        }
        waiting.iter().all(|(_, num_left)| *num_left == 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{EventLog, HistoryBuilder, Options, Query, prequential_usage};
    use super::*;

    /// A history of events, of which those of an account are in ascending order of time.
    fn history(events: &[(u64, u64, u32)], is_timed: bool, max_networks: Option<usize>) -> History {
        let options = Options { max_networks, ..Options::default() };
        let mut builder = HistoryBuilder::new(is_timed.then_some(0), options).unwrap();
        for (account, bits, second) in events {
            let address = Address::from_bits(*bits);
            builder.push(&[*account], &[address], is_timed.then_some(&[*second][..])).unwrap();
        }
        builder.finish_in_memory().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_replayed_says_of_any_pair_what_the_history_does(
            mut events in prop::collection::vec((0u64..4, 0usize..6, 1u32..400_000), 0..60),
            is_timed in any::<bool>(),
        ) {
            const POOL: [u64; 6] =
                [0x0A01_0203, 0x0A01_0204, 0x0A02_0000, 0xC000_0201, 0x2001_0db8_0001_0002, 0x2001_0db8_0001_0003];
            events.sort_by_key(|event| event.2);
            let events: Vec<_> = events.into_iter().map(|(a, i, second)| (a, POOL[i], second)).collect();
            let history = history(&events, is_timed, None);
            let ReplayedEvents { entities, addresses, times } = history.replayed().unwrap();
            prop_assert_eq!(entities.len(), events.len());
            let log = EventLog { entities: &entities, addresses: &addresses, times: times.as_deref(), order: None };
            let (position, time) = (events.len() as u32, 500_000);
            for account in 0..5 {
                for bits in POOL.into_iter().chain([0x0A01_0300]) {
                    let address = Address::from_bits(bits);
                    let query = Query { entity: account, address, position, time };
                    let of_log = prequential_usage(&log, &[query])[0];
                    prop_assert_eq!(of_log, history.usage(account, address, Some(time)));
                }
            }
        }
    }

    #[test]
    fn a_history_with_a_bound_is_refused() {
        let events = [(1, 5, 0), (1, 6, 1)];
        assert_eq!(history(&events, true, Some(1)).replayed().unwrap_err().exit_code(), 3);
        assert_eq!(history(&events, true, Some(2)).replayed().unwrap().entities, [1, 1]);
    }
}
