//! Connections that sshd speaks of in several lines, so that an attempt is one event: it is told by its first line that
//! decides, and the later ones of the same connection are none.

use std::collections::{HashMap, VecDeque};

use super::sshd_attempt::Phase;
use crate::event::hash_entity;

/// Connections that are remembered at most; the oldest is forgotten first.
const MAX_OPEN: usize = 65_536;

/// What a connection is known by: its port, and its process.
const NUM_KEYS: usize = 2;

/// Seconds after which the same port is another connection: sshd gives nobody as long to log in.
const MAX_SECONDS: i64 = 900;

/// What is remembered of a connection.
#[derive(Clone, Copy)]
struct Open {
    number: u64,
    /// When its first line was written, where lines have times.
    since: Option<i64>,
    has_ended: bool,
}

/// The connections of which lines may still come.
#[derive(Default)]
pub(super) struct Connections {
    open: HashMap<u64, Open>,
    /// Their numbers and keys, the oldest first.
    order: VecDeque<(u64, u64)>,
    num_so_far: u64,
}

/// What a connection is known by: the client's address and port, and the process that serves it, at a host.
pub(super) fn keys(host: &[u8], address: &[u8], port: Option<&[u8]>, pid: &[u8]) -> [Option<u64>; NUM_KEYS] {
    let key = |kind: &[u8], number: &[u8]| hash_entity(&[kind, host, b"\0", address, b"\0", number].concat());
    [port.map(|port| key(b"port\0", port)), (!pid.is_empty()).then(|| key(b"pid\0", pid))]
}

impl Connections {
    /// Whether a line is the one by which an attempt counts.
    pub(super) fn admit(
        &mut self,
        keys: [Option<u64>; NUM_KEYS],
        phase: Phase,
        seconds: Option<i64>,
    ) -> bool {
        let known = keys.iter().flatten().find_map(|key| self.open.get(key)).copied();
        let known = known.filter(|open| {
            let is_late = matches!((open.since, seconds), (Some(since), Some(now)) if (now - since).abs() > MAX_SECONDS);
            !is_late && (!open.has_ended || phase == Phase::Ended)
        });
        // Being let in decides anew, whatever failed before.
        let is_first = known.is_none() || phase == Phase::Accepted;
        let number = known.map_or(self.num_so_far, |open| open.number);
        self.num_so_far += u64::from(known.is_none());
        let since = known.map_or(seconds, |open| open.since);
        let open = Open { number, since, has_ended: phase != Phase::Tried };
        keys.into_iter().flatten().for_each(|key| self.remember(key, open));
        is_first
    }

    fn remember(&mut self, key: u64, open: Open) {
        if self.open.insert(key, open).is_some_and(|before| before.number == open.number) {
            return;
        }
        self.order.push_back((open.number, key));
        if self.order.len() > NUM_KEYS * MAX_OPEN
            && let Some((number, key)) = self.order.pop_front()
            && self.open.get(&key).is_some_and(|open| open.number == number)
        {
            self.open.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_many_connections_are_remembered() {
        let mut connections = Connections::default();
        let key = |port: u32| keys(b"h", b"192.0.2.1", Some(port.to_string().as_bytes()), b"");
        let num = (NUM_KEYS * MAX_OPEN) as u32 + 10;
        for port in 0..num {
            assert!(connections.admit(key(port), Phase::Tried, Some(0)));
        }
        let max = NUM_KEYS * MAX_OPEN;
        assert!(connections.order.len() <= max && connections.open.len() <= max);
        assert!(!connections.admit(key(num - 1), Phase::Ended, Some(1)));
        assert!(connections.admit(key(3), Phase::Ended, Some(1)), "it was forgotten");
    }

    #[test]
    fn a_port_is_used_again() {
        let mut connections = Connections::default();
        let key = keys(b"h", b"192.0.2.1", Some(b"4"), b"7");
        assert!(connections.admit(key, Phase::Tried, Some(0)));
        assert!(!connections.admit(key, Phase::Tried, Some(5)));
        assert!(connections.admit(key, Phase::Accepted, Some(6)));
        assert!(!connections.admit(key, Phase::Ended, Some(7)));
        assert!(connections.admit(key, Phase::Tried, Some(8)), "a new connection behind one that ended");
        assert!(!connections.admit(key, Phase::Ended, Some(9)));
        assert!(!connections.admit(key, Phase::Ended, Some(9)));
        assert!(connections.admit(key, Phase::Ended, Some(9 + MAX_SECONDS)));
    }
}
