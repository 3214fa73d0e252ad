//! Memory that one step is done with and the next one takes again: asking the operating system anew for some
//! megabytes a step, page by page, costs a tenth of the step.

use std::sync::Mutex;

/// Spare memory of one kind; `K` says what it fits.
pub(crate) struct Pool<K, T> {
    spare: Mutex<Vec<(K, T)>>,
}

impl<K: PartialEq, T> Pool<K, T> {
    pub const fn new() -> Self {
        Self { spare: Mutex::new(Vec::new()) }
    }

    /// Spare memory for `key`, holding whatever was left in it, or else new.
    pub fn take(&self, key: &K, new: impl FnOnce() -> T) -> T {
        let mut spare = self.spare.lock().expect("nothing panics while it holds the lock");
        // What fits another model would lie there for ever.
        spare.retain(|(fits, _)| fits == key);
        let found = spare.pop();
        drop(spare);
        found.map_or_else(new, |(_, memory)| memory)
    }

    /// Keeps memory for later.
    pub fn give(&self, key: K, memory: T) {
        self.spare.lock().expect("nothing panics while it holds the lock").push((key, memory));
    }
}
