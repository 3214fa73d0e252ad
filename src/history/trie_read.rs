//! Looks an address up in a tree of prefixes, and reads all of one. [`super::trie_write`] says how it is laid out.
//!
//! Nothing here trusts the bytes: damaged ones give wrong values, and the work stays bounded.

use std::ops::Range;

use super::bits::{BitReader, Cursor, mask};
use super::chain::Chain;
use super::trie_write::{COUNT_BITS, LEVEL_BITS, MAX_BUCKET, WIDTH_BITS};
use super::usage::NUM_LEVELS;

/// Bits of shared levels that one word holds.
const LEVELS_A_WORD: usize = 19;

/// Takes what a lookup finds.
pub(super) trait Visitor {
    /// Values of a node.
    type Values;
    /// Reads the values of a node.
    fn read_node(&mut self, cursor: &mut Cursor<'_>) -> Self::Values;
    /// Takes the values for `levels`: each has one child, but the last, which has `num_last_children`.
    fn levels(&mut self, values: Self::Values, levels: Range<usize>, num_last_children: u64);
    /// Reads the heading of a bucket's values, and passes the values.
    fn start_bucket(&mut self, cursor: &mut Cursor<'_>, num_leaves: usize, base: usize);
    /// Takes the address at `index` of the bucket, which shares `num_shared` levels with the one looked up, more than `base`,
    /// and `num_before` levels with the one before it.
    fn leaf(&mut self, index: usize, num_shared: usize, num_before: usize);
    /// All that share more than `base` levels were taken.
    fn end_bucket(&mut self, base: usize);
}

/// A tree of prefixes.
#[derive(Clone, Copy)]
pub(super) struct Trie<'a> {
    pub(super) reader: BitReader<'a>,
    pub(super) chain: &'static Chain,
    /// The byte at which the root starts.
    pub(super) root: usize,
    /// No part of the tree starts before this byte.
    pub(super) start: usize,
}

/// The heading of a node, read up to its values.
struct NodeStart {
    num_shared: usize,
    prefix: u64,
}

/// The segments of a node.
struct Segments<'a> {
    reader: BitReader<'a>,
    num: usize,
    step: u32,
    symbols_at: usize,
    distance_width: u32,
    node_at: usize,
}

impl Segments<'_> {
    fn symbol(&self, index: usize) -> u64 {
        self.reader.narrow(self.symbols_at.wrapping_add(index * self.step as usize), self.step)
    }

    /// The byte at which a segment starts, which is before the node.
    #[inline(always)]
    fn at(&self, index: usize) -> Option<usize> {
        let distances_at = self.symbols_at.wrapping_add(self.num * self.step as usize);
        let at = distances_at.wrapping_add(index * self.distance_width as usize);
        let distance = self.reader.read(at, self.distance_width) as usize;
        if distance == 0 { None } else { self.node_at.checked_sub(distance) }
    }

    /// The last segment that starts at `symbol` or before it.
    #[inline(always)]
    fn find(&self, symbol: u64) -> Option<usize> {
        let (mut first, mut end) = (0, self.num);
        while first < end {
            let middle = first.midpoint(end);
            if self.symbol(middle) <= symbol { first = middle + 1 } else { end = middle }
        }
        first.checked_sub(1).and_then(|index| self.at(index))
    }
}

impl<'a> Trie<'a> {
    /// Looks `address` up.
    #[inline(always)]
    pub(super) fn look_up<V: Visitor>(&self, address: u64, visitor: &mut V) {
        let mut at = self.root;
        let mut base = 0;
        // Every node shares more levels than the one above it, but the first.
        for _ in 0..=NUM_LEVELS {
            let mut cursor = self.reader.cursor(at);
            if !cursor.flag() {
                return self.look_up_bucket(&mut cursor, address, base, visitor);
            }
            let node = self.node_start(&mut cursor);
            let values = visitor.read_node(&mut cursor);
            let (num_children, segments) = self.segments(&mut cursor, node.num_shared, at);
            let num_shared = self.num_shared_with(&node, address);
            if num_shared > base {
                let num_last = if num_shared == node.num_shared { num_children } else { 1 };
                visitor.levels(values, base..num_shared, num_last);
            }
            if num_shared < node.num_shared {
                return;
            }
            base = num_shared;
            let symbol = self.chain.prefix(address, base + 1) & mask(self.chain.step(base));
            match segments.find(symbol) {
                Some(segment) => at = segment,
                None => return,
            }
        }
    }

    #[inline(always)]
    fn node_start(&self, cursor: &mut Cursor<'a>) -> NodeStart {
        // A node of all levels would be one address.
        let num_shared = (cursor.narrow(LEVEL_BITS) as usize).min(NUM_LEVELS - 1);
        NodeStart { num_shared, prefix: cursor.read(self.chain.ends[num_shared]) }
    }

    #[inline(always)]
    fn segments(&self, cursor: &mut Cursor<'a>, num_shared: usize, node_at: usize) -> (u64, Segments<'a>) {
        let step = self.chain.step(num_shared);
        let num_children = cursor.narrow(step) + 1;
        let num = cursor.narrow(step) as usize + 1;
        let distance_width = cursor.narrow(WIDTH_BITS) as u32;
        let symbols_at = cursor.at;
        (num_children, Segments { reader: self.reader, num, step, symbols_at, distance_width, node_at })
    }

    /// Levels that an address shares with the prefix of a node.
    #[inline(always)]
    fn num_shared_with(&self, node: &NodeStart, address: u64) -> usize {
        let differing = self.chain.prefix(address, node.num_shared) ^ node.prefix;
        if differing == 0 {
            return node.num_shared;
        }
        self.chain.shared(differing << self.chain.rest(node.num_shared))
    }

    #[inline(always)]
    fn look_up_bucket<V: Visitor>(
        &self,
        cursor: &mut Cursor<'a>,
        address: u64,
        base: usize,
        visitor: &mut V,
    ) {
        let num_leaves = cursor.narrow(COUNT_BITS) as usize + 1;
        let mut levels_at = cursor.at;
        cursor.skip((num_leaves - 1) * LEVEL_BITS as usize);
        visitor.start_bucket(cursor, num_leaves, base);

        let low = |num_shared| address & mask(self.chain.rest(num_shared));
        let first = cursor.read(self.chain.rest(base));
        let mut num_shared = self.chain.shared(first ^ low(base));
        let mut is_past = first > low(base);
        if num_shared > base {
            visitor.leaf(0, num_shared, base);
        }
        let mut levels = 0;
        for index in 1..num_leaves {
            if (index - 1) % LEVELS_A_WORD == 0 {
                levels = self.reader.word(levels_at);
                levels_at += LEVELS_A_WORD * LEVEL_BITS as usize;
            }
            let num_before = (levels & mask(LEVEL_BITS)) as usize;
            levels >>= LEVEL_BITS;
            if num_before < num_shared {
                // It leaves the prefix that the one before it shares with the address: all others are greater.
                num_shared = num_before;
                is_past = true;
            } else if num_before == num_shared && !is_past {
                let rest = self.reader.read(cursor.at, self.chain.rest(num_before));
                num_shared = self.chain.shared(rest ^ low(num_before));
                is_past = rest > low(num_before);
            }
            cursor.skip(self.chain.rest(num_before) as usize);
            if num_shared > base {
                visitor.leaf(index, num_shared, num_before);
            } else if is_past {
                break;
            }
        }
        visitor.end_bucket(base);
    }
}

/// Takes the buckets of a tree, in ascending order of their addresses.
pub(super) trait BucketReader {
    /// Reads the heading of a bucket's values, and passes the values.
    fn start(&mut self, cursor: &mut Cursor<'_>, num_leaves: usize);
    /// Passes the values of a node.
    fn skip_node(&mut self, cursor: &mut Cursor<'_>);
    /// Takes the addresses of the bucket; `cursor` is at the details.
    fn leaves(&mut self, addresses: &[u64], cursor: &mut Cursor<'_>);
}

impl Trie<'_> {
    /// Reads all of the tree.
    pub(super) fn read_all(&self, buckets: &mut impl BucketReader) {
        self.read_from(self.root, self.start, Prefix { num_shared: 0, address: 0 }, true, buckets);
    }

    /// Reads the subtree at byte `at`, which begins behind byte `behind`. Thus no byte is read as part of two subtrees, whatever
    /// the distances say.
    fn read_from(
        &self,
        at: usize,
        behind: usize,
        prefix: Prefix,
        is_root: bool,
        buckets: &mut impl BucketReader,
    ) {
        if at >= self.reader.num_bytes() {
            return;
        }
        let mut cursor = self.reader.cursor(at);
        if !cursor.flag() {
            return self.read_bucket(&mut cursor, prefix, buckets);
        }
        let node = self.node_start(&mut cursor);
        if node.num_shared <= prefix.num_shared && !is_root {
            return;
        }
        buckets.skip_node(&mut cursor);
        let (_, segments) = self.segments(&mut cursor, node.num_shared, at);
        let address = node.prefix.checked_shl(self.chain.rest(node.num_shared)).unwrap_or(0);
        let prefix = Prefix { num_shared: node.num_shared, address };
        let mut behind = behind;
        for index in 0..segments.num {
            match segments.at(index) {
                Some(segment) if segment >= behind => {
                    // A bucket of several symbols has them in its addresses.
                    self.read_from(segment, behind, prefix, false, buckets);
                    behind = segment + 1;
                }
                _ => return,
            }
        }
    }

    fn read_bucket(&self, cursor: &mut Cursor<'_>, prefix: Prefix, buckets: &mut impl BucketReader) {
        let num_leaves = cursor.narrow(COUNT_BITS) as usize + 1;
        let mut levels = Cursor { ..*cursor };
        cursor.skip((num_leaves - 1) * LEVEL_BITS as usize);
        buckets.start(cursor, num_leaves);
        let mut addresses = [0; MAX_BUCKET];
        let mut address = prefix.address;
        for (index, place) in addresses[..num_leaves].iter_mut().enumerate() {
            let num_shared = if index == 0 { prefix.num_shared } else { levels.narrow(LEVEL_BITS) as usize };
            let rest = self.chain.rest(num_shared);
            address = address & !mask(rest) | cursor.read(rest);
            *place = address;
        }
        buckets.leaves(&addresses[..num_leaves], cursor);
    }
}

/// The start of an address.
#[derive(Clone, Copy)]
struct Prefix {
    num_shared: usize,
    address: u64,
}
