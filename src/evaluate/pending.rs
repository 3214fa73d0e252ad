use crate::Event;

/// An event that waits to be scored.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    pub(super) event: Event,
    /// Unix seconds, where they are known.
    pub(super) seconds: Option<u32>,
    /// Its position in the data; of an attack that was added, that of the event beside it.
    pub(super) position: u64,
    /// The index of the attack's kind.
    pub(super) kind: Option<u8>,
    /// Whether it is kept aside, to try on it the calibration that is made from the others.
    pub(super) is_kept_aside: bool,
}
