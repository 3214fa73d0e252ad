//! Looks an address up in a tree of prefixes, and reads all of one. [`super::trie_write`] says how it is laid
//! out.
//!
//! Nothing here trusts the bytes: damaged ones give wrong values, and the work stays bounded. Branches that a
//! CPU cannot foresee cost more than arithmetic, so a lookup has few.

use super::bits::{BitReader, Window, mask};
use super::chain::{CHAINS, Chain};
use super::trie_write::{BUCKET_HEAD_BITS, COUNT_BITS, LEVEL_BITS, MAX_BUCKET, NOTE_BITS};
use super::usage::NUM_LEVELS;

/// Most values of a node.
pub(super) const MAX_VALUES: usize = 3;

/// A tree of prefixes.
#[derive(Clone, Copy)]
pub(super) struct Trie<'a> {
    pub(super) reader: BitReader<'a>,
    pub(super) family: usize,
    /// The byte at which the root starts.
    root: usize,
    /// Where each value of a node lies behind the first, and its mask.
    values: [(usize, u64); MAX_VALUES],
    /// Bytes of all values of a node.
    values_bytes: usize,
}

impl<'a> Trie<'a> {
    /// `value_bytes` is the number of bytes, up to 8, of each value of a node.
    #[inline(always)]
    pub(super) fn new(
        reader: BitReader<'a>,
        family: usize,
        root: usize,
        value_bytes: [u8; MAX_VALUES],
    ) -> Self {
        let mut values_bytes = 0;
        let values = value_bytes.map(|num_bytes| {
            let start = values_bytes;
            values_bytes += usize::from(num_bytes);
            (start, mask(8 * u32::from(num_bytes)))
        });
        Self { reader, family, root, values, values_bytes }
    }

    /// Has the CPU fetch a node or a bucket.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: usize) {
        self.reader.prefetch(at);
    }

    /// A tree that is never walked.
    pub(super) fn none() -> Self {
        Self::new(BitReader::new(&[]), 0, 0, [0; MAX_VALUES])
    }

    #[inline(always)]
    pub(super) fn chain(&self) -> &'static Chain {
        &CHAINS[self.family]
    }
}

/// A node of a tree.
struct Node<'a> {
    at: usize,
    window: Window<'a>,
    /// The word with which it starts.
    head: u64,
    num_shared: usize,
    /// One of its addresses.
    address: u64,
}

/// Segments that are compared at once.
const SYMBOLS_AT_ONCE: usize = 16;

impl<'a> Node<'a> {
    /// Bytes in front of the values.
    const fn head_bytes(chain: &Chain) -> usize {
        Self::address_at(chain) + chain.bits as usize / 8
    }

    /// Bytes in front of the address.
    const fn address_at(chain: &Chain) -> usize {
        1 + chain.symbol_bytes + chain.segments_bytes
    }

    #[inline(always)]
    fn read(chain: &Chain, at: usize, window: Window<'a>, head: u64) -> Self {
        let address_at = Self::address_at(chain);
        // An address of 4 bytes is in the head.
        let address =
            if chain.bits == 32 { head >> (8 * address_at) & mask(32) } else { window.word(address_at) };
        // A node of all levels would be one address.
        let num_shared = ((head >> 1 & mask(LEVEL_BITS)) as usize).min(NUM_LEVELS - 1);
        Self { at, window, head, num_shared, address }
    }

    #[inline(always)]
    fn is_listed(&self) -> bool {
        self.head >> (1 + LEVEL_BITS) & 1 == 1
    }

    #[inline(always)]
    fn distance_bytes(&self) -> usize {
        (self.head >> (2 + LEVEL_BITS) & mask(3)) as usize + 1
    }

    #[inline(always)]
    fn num_children(&self, chain: &Chain) -> u64 {
        (self.head >> 8 & mask(8 * chain.symbol_bytes as u32)) + 1
    }

    /// What it says of its segments.
    #[inline(always)]
    fn segments(&self, chain: &Chain) -> u64 {
        self.head >> (8 + 8 * chain.symbol_bytes) & mask(8 * chain.segments_bytes as u32)
    }

    /// Segments that are listed.
    #[inline(always)]
    fn num_listed(&self, chain: &Chain) -> usize {
        (self.segments(chain) & mask(8 * chain.symbol_bytes as u32)) as usize + 1
    }

    /// Segments, marked by a bit each, that start with a symbol or before it.
    #[inline(always)]
    fn num_marked_up_to(&self, chain: &Chain, symbol: u64) -> usize {
        (self.segments(chain) & mask(symbol as u32 + 1)).count_ones() as usize
    }

    #[inline(always)]
    fn values(&self, trie: &Trie<'_>, chain: &Chain) -> [u64; MAX_VALUES] {
        trie.values.map(|(start, mask)| self.window.word(Self::head_bytes(chain) + start) & mask)
    }

    /// The byte behind the values.
    #[inline(always)]
    fn behind_values(&self, trie: &Trie<'_>, chain: &Chain) -> usize {
        self.at.wrapping_add(Self::head_bytes(chain) + trie.values_bytes)
    }

    /// The byte at which the distances start.
    #[inline(always)]
    fn distances_at(&self, trie: &Trie<'_>, chain: &Chain) -> usize {
        let listed = if self.is_listed() { self.num_listed(chain) * chain.symbol_bytes } else { 0 };
        self.behind_values(trie, chain).wrapping_add(listed)
    }

    /// The byte at which a segment starts, which is before the node.
    #[inline(always)]
    fn segment(&self, reader: BitReader<'_>, distances_at: usize, index: usize) -> Option<usize> {
        let num_bytes = self.distance_bytes();
        let distance = reader.value_at(distances_at.wrapping_add(index * num_bytes), num_bytes) as usize;
        if distance == 0 { None } else { self.at.checked_sub(distance) }
    }

    /// The segment that has a symbol, if one has.
    #[inline(always)]
    fn find(&self, trie: &Trie<'_>, chain: &Chain, symbol: u64) -> Option<usize> {
        let distances_at = self.distances_at(trie, chain);
        let index = if chain.has_marks(self.num_shared) {
            self.num_marked_up_to(chain, symbol).checked_sub(1)?
        } else if self.is_listed() {
            let symbols_at = self.behind_values(trie, chain);
            self.num_up_to(trie.reader, chain, symbols_at, symbol).checked_sub(1)?
        } else {
            symbol as usize
        };
        self.segment(trie.reader, distances_at, index)
    }

    /// Listed segments that start with a symbol or before it.
    #[inline(always)]
    fn num_up_to(&self, reader: BitReader<'_>, chain: &Chain, symbols_at: usize, symbol: u64) -> usize {
        let num = self.num_listed(chain);
        if chain.symbol_bytes == 1 {
            let (mut start, mut count) = (0, 0);
            while start < num {
                let symbols = reader.array_at(symbols_at.wrapping_add(start));
                count += count_u8(symbols, num - start, symbol as u8);
                start += SYMBOLS_AT_ONCE;
            }
            return count;
        }
        let is_up_to = |index: usize| {
            let at = symbols_at.wrapping_add(index * chain.symbol_bytes);
            usize::from(reader.value_at(at, chain.symbol_bytes) <= symbol)
        };
        let (mut first, mut rest) = (0, num);
        while rest > 1 {
            let half = rest / 2;
            first += half * is_up_to(first + half - 1);
            rest -= half;
        }
        first + is_up_to(first)
    }
}

/// Counts, of the first `num` numbers, those up to `last`: of all at once, without branches.
#[inline(always)]
fn count_u8(numbers: &[u8; SYMBOLS_AT_ONCE], num: usize, last: u8) -> usize {
    let num = num.min(SYMBOLS_AT_ONCE) as u8;
    let mut count = 0;
    for (index, number) in INDICES_U8.iter().zip(numbers) {
        count += u8::from((*index < num) & (*number <= last));
    }
    usize::from(count)
}

const INDICES_U8: [u8; SYMBOLS_AT_ONCE] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The values that a node has for the levels that it shares with an address and the nodes above do not.
pub(super) struct NodeValues {
    /// The first of these levels.
    pub(super) start: usize,
    /// The level behind the last.
    pub(super) end: usize,
    /// The same for each.
    pub(super) values: [u64; MAX_VALUES],
    /// Children at the last of these levels; at the others it is one.
    pub(super) num_last_children: u64,
}

/// A bucket whose addresses share `base` levels with the one looked up.
#[derive(Clone, Copy)]
pub(super) struct BucketAt {
    /// The byte at which it starts.
    at: usize,
    pub(super) base: usize,
}

/// The way of a lookup through the nodes of a tree.
#[derive(Clone, Copy, Default)]
pub(super) struct Walk {
    /// The byte at which the next node or the bucket starts.
    at: usize,
    /// Levels that the nodes so far share with the address.
    num_shared: u8,
    has_bucket: bool,
    num_nodes: u8,
}

impl Walk {
    /// Starts a lookup.
    #[inline(always)]
    pub(super) fn new(trie: &Trie<'_>) -> Self {
        Self { at: trie.root, ..Self::default() }
    }

    /// Passes one node, whose values `take` gets. Returns the byte that is read next; none where the lookup
    /// has passed all.
    #[inline(always)]
    pub(super) fn step(
        &mut self,
        trie: &Trie<'_>,
        address: u64,
        take: impl FnMut(NodeValues),
    ) -> Option<usize> {
        // Constants for each family.
        if trie.family == 0 {
            self.step_in(&CHAINS[0], trie, address, take)
        } else {
            self.step_in(&CHAINS[1], trie, address, take)
        }
    }

    #[inline(always)]
    fn step_in(
        &mut self,
        chain: &Chain,
        trie: &Trie<'_>,
        address: u64,
        mut take: impl FnMut(NodeValues),
    ) -> Option<usize> {
        let window = trie.reader.window_at(self.at);
        let head = window.word(0);
        if head & 1 == 0 {
            self.has_bucket = true;
            return None;
        }
        let node = Node::read(chain, self.at, window, head);
        let start = self.num_shared();
        let num_shared = chain.shared(address ^ node.address).min(node.num_shared);
        self.num_shared = num_shared as u8;
        self.num_nodes += 1;
        let is_whole = num_shared == node.num_shared;
        take(NodeValues {
            start,
            end: num_shared,
            values: node.values(trie, chain),
            num_last_children: if is_whole { node.num_children(chain) } else { 1 },
        });
        // Every node shares more levels than the one above it, but the first.
        if !is_whole || self.num_nodes > NUM_LEVELS as u8 {
            return None;
        }
        self.at = node.find(trie, chain, chain.symbol(address, num_shared))?;
        Some(self.at)
    }

    /// The bucket at which the lookup ended.
    #[inline(always)]
    pub(super) fn bucket(&self) -> Option<BucketAt> {
        self.has_bucket.then_some(BucketAt { at: self.at, base: self.num_shared() })
    }

    /// Levels that nodes share with the address.
    #[inline(always)]
    pub(super) fn num_shared(&self) -> usize {
        usize::from(self.num_shared)
    }

    /// Whether the next step passes a node of at most so many levels, all of which the address shares.
    pub(super) fn passes(&self, trie: &Trie<'_>, address: u64, max_shared: usize) -> bool {
        let (window, chain) = (trie.reader.window_at(self.at), trie.chain());
        let head = window.word(0);
        let node = Node::read(chain, self.at, window, head);
        let is_whole = chain.shared(address ^ node.address) >= node.num_shared;
        head & 1 == 1 && node.num_shared <= max_shared && is_whole
    }

    /// The byte that is read next.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

/// A bucket that is looked up.
pub(super) struct Bucket<'a> {
    reader: BitReader<'a>,
    chain: &'static Chain,
    base: usize,
    num_leaves: usize,
    /// What the values note.
    pub(super) note: u64,
    /// The byte at which the ends of addresses start.
    rests_at: usize,
    /// Bytes of each.
    rest_bytes: usize,
}

/// Bytes of the ends of addresses of a full bucket, and a word more.
const RESTS_BYTES: usize = 8 * MAX_BUCKET;

impl<'a> Bucket<'a> {
    #[inline(always)]
    pub(super) fn read(trie: &Trie<'a>, bucket: BucketAt) -> Self {
        let head = trie.reader.word_at(bucket.at);
        let num_leaves = (head >> 1 & mask(COUNT_BITS)) as usize + 1;
        let note = head >> (1 + COUNT_BITS) & mask(NOTE_BITS);
        let rests_at = bucket.at.wrapping_add(BUCKET_HEAD_BITS as usize / 8);
        let (reader, chain, base) = (trie.reader, trie.chain(), bucket.base);
        Self { reader, chain, base, num_leaves, note, rests_at, rest_bytes: chain.rest_bytes(base) }
    }

    pub(super) fn num_leaves(&self) -> usize {
        self.num_leaves
    }

    /// The bit at which the values start.
    #[inline(always)]
    pub(super) fn values_at(&self) -> usize {
        8 * self.rests_at.wrapping_add(self.num_leaves * self.rest_bytes)
    }

    /// Calls `take` with each address that shares more levels than the base with the one looked up: its
    /// index, how many it shares, and how many it shares with the address before it in the bucket.
    #[inline(always)]
    pub(super) fn for_each_shared(&self, address: u64, mut take: impl FnMut(usize, usize, usize)) {
        let rests: &[u8; RESTS_BYTES + 8] = self.reader.array_at(self.rests_at);
        let rest_mask = mask(8 * self.rest_bytes as u32);
        let rest_at = |index: usize| {
            let at = index * self.rest_bytes % RESTS_BYTES;
            u64::from_le_bytes(rests[at..at + 8].try_into().expect("eight bytes")) & rest_mask
        };
        let rest = address & mask(self.chain.rest(self.base));
        let others = mask(self.chain.rest(self.base + 1));
        // Addresses below all that share more: found without branches.
        let mut num_below = 0;
        let mut half = MAX_BUCKET / 2;
        while half > 0 {
            let num = num_below + half;
            let are_below = (num <= self.num_leaves) & (rest_at(num - 1) < rest & !others);
            num_below += half * usize::from(are_below);
            half /= 2;
        }
        let are_below = (num_below < self.num_leaves) & (rest_at(num_below) < rest & !others);
        num_below += usize::from(are_below);
        let mut before = if num_below == 0 { !rest } else { rest_at(num_below - 1) };
        for index in num_below..self.num_leaves {
            let found = rest_at(index);
            if found > rest | others {
                break;
            }
            take(index, self.chain.shared(found ^ rest), self.chain.shared(found ^ before));
            before = found;
        }
    }
}

/// Takes the buckets of a tree, in ascending order of their addresses.
pub(super) trait BucketReader {
    /// Takes the addresses of a bucket, what its values note, and the bit at which they start.
    fn bucket(&mut self, addresses: &[u64], note: u64, values_at: usize);
}

impl Trie<'_> {
    /// Reads all of the tree, no part of which starts before byte `start`.
    pub(super) fn read_all(&self, start: usize, buckets: &mut impl BucketReader) {
        if self.root < self.reader.num_bytes() {
            self.read_from(self.root, start, 0, 0, true, buckets);
        }
    }

    /// Reads the subtree at byte `at`, no part of which starts before byte `start`, under a node with one of
    /// its addresses. Thus no byte is read as part of two subtrees, whatever the distances say.
    fn read_from(
        &self,
        at: usize,
        mut start: usize,
        base: usize,
        address: u64,
        is_root: bool,
        buckets: &mut impl BucketReader,
    ) {
        let (window, chain) = (self.reader.window_at(at), self.chain());
        let head = window.word(0);
        if head & 1 == 0 {
            return self.read_bucket(BucketAt { at, base }, address, buckets);
        }
        let node = Node::read(chain, at, window, head);
        if node.num_shared <= base && !is_root {
            return;
        }
        let distances_at = node.distances_at(self, chain);
        let has_marks = chain.has_marks(node.num_shared);
        let is_dense = !has_marks && !node.is_listed();
        let num = match (has_marks, is_dense) {
            (true, _) => node.segments(chain).count_ones() as usize,
            (_, true) => 1 << chain.step(node.num_shared),
            _ => node.num_listed(chain),
        };
        for index in 0..num {
            // Where each symbol has a distance, one segment may be that of several symbols, and symbols may have
            // none.
            match node.segment(self.reader, distances_at, index) {
                Some(segment) if segment >= start => {
                    self.read_from(segment, start, node.num_shared, node.address, false, buckets);
                    start = segment + 1;
                }
                _ if is_dense => {}
                _ => return,
            }
        }
    }

    fn read_bucket(&self, bucket: BucketAt, address: u64, buckets: &mut impl BucketReader) {
        let Bucket { num_leaves, note, rests_at, rest_bytes, .. } = Bucket::read(self, bucket);
        let rest = mask(self.chain().rest(bucket.base));
        let addresses: [_; MAX_BUCKET] = std::array::from_fn(|index| {
            let found = self.reader.value_at(rests_at.wrapping_add(index * rest_bytes), rest_bytes);
            address & !rest | found & rest
        });
        let values_at = 8 * rests_at.wrapping_add(num_leaves * rest_bytes);
        buckets.bucket(&addresses[..num_leaves], note, values_at);
    }
}
