//! Writes a set of addresses of one family, with values, as a tree of prefixes.
//!
//! Up to [`MAX_BUCKET`] addresses lie in a *bucket*: each is written as the number of levels that it shares
//! with the one before it and the bits behind these. More addresses make a *node*, which is the longest
//! prefix of the chain that all share: it has their values and a list of *segments* by the symbol of the next
//! level. A segment is a node, for the one symbol whose addresses do not fit a bucket, or a bucket of one or
//! several symbols; a symbol's addresses never lie in two.
//!
//! A segment is written before the node that refers to it, by distance: every subtree can be written on its
//! own and moved.
//!
//! ```text
//! bucket: 0 | count - 1: 4 | note: 11 | end of each address | values
//! node:   1 | levels: 3 | listed: 1 | bytes of a distance - 1: 3 | children - 1 | segments | address
//!         values | first symbols, where they are listed | distances
//! ```
//!
//! All numbers but values in buckets are whole bytes. The end of an address is what is beyond the levels that
//! all addresses of the node above share. The address of a node is one of its addresses, in as many bytes as
//! the family's have; children and symbols have as many as the family's longest symbol, segments at least 2.
//! Where symbols have up to 4 bits, the segments are a bit for the first symbol of each. Else they are their
//! number less 1, and a node that does not list them has a distance for each symbol, 0 where there is none.

use super::bits::{BitWriter, mask, num_bytes};
use super::chain::Chain;

/// Most addresses of a bucket.
pub(super) const MAX_BUCKET: usize = 16;
/// Bits of the number of addresses of a bucket.
pub(super) const COUNT_BITS: u32 = 4;
/// Bits in front of the ends of addresses of a bucket.
pub(super) const BUCKET_HEAD_BITS: u32 = 16;
/// Bits of what the values of a bucket note in front of the addresses.
pub(super) const NOTE_BITS: u32 = BUCKET_HEAD_BITS - COUNT_BITS - 1;
/// Bits of a number of levels below [`super::usage::NUM_LEVELS`].
pub(super) const LEVEL_BITS: u32 = 3;
/// Bits of the width of a column.
pub(super) const WIDTH_BITS: u32 = 6;
/// How the values of the addresses of a tree are written.
pub(super) trait Codec {
    /// An address with its values.
    type Leaf;
    /// Values of several addresses together.
    type Sum;

    fn address(&self, leaf: &Self::Leaf) -> u64;
    fn sum(&self, leaves: &[Self::Leaf]) -> Self::Sum;
    /// Writes the values of a node whose addresses share `num_shared` levels.
    fn write_node(&self, sum: &Self::Sum, num_shared: usize, out: &mut BitWriter);
    /// What a bucket notes of its values, in [`NOTE_BITS`].
    fn note(&self, leaves: &[Self::Leaf]) -> u64;
    /// Writes the values of a bucket.
    fn write_values(&self, leaves: &[Self::Leaf], out: &mut BitWriter);
}

/// A child of a node that is written already.
pub(super) struct Segment {
    /// The first symbol for which it holds addresses.
    pub(super) symbol: u64,
    /// The byte at which it starts.
    pub(super) at: usize,
}

/// What a node says beside the values of its addresses.
pub(super) struct Node {
    /// Levels that its addresses share.
    pub(super) num_shared: usize,
    /// One of its addresses.
    pub(super) address: u64,
    /// Distinct prefixes of the next level.
    pub(super) num_children: u64,
    pub(super) segments: Vec<Segment>,
}

pub(super) struct TrieWriter<'a, C> {
    pub(super) codec: &'a C,
    pub(super) chain: &'static Chain,
    pub(super) out: &'a mut BitWriter,
}

impl<C: Codec> TrieWriter<'_, C> {
    /// Writes a tree of at least one address; they ascend and are distinct. Returns the byte at which its
    /// root starts.
    pub(super) fn write(&mut self, leaves: &[C::Leaf]) -> usize {
        if leaves.len() <= MAX_BUCKET { self.write_bucket(leaves, 0) } else { self.write_subtree(leaves) }
    }

    /// Writes the node of more addresses than a bucket holds, and all below it.
    pub(super) fn write_subtree(&mut self, leaves: &[C::Leaf]) -> usize {
        let address = self.codec.address(&leaves[0]);
        let num_shared = self.shared(&leaves[0], &leaves[leaves.len() - 1]);
        let mut node = Node { num_shared, address, num_children: 0, segments: Vec::new() };
        // Start of the children that wait for a common bucket, and of the present child.
        let (mut waiting, mut child) = (0, 0);
        for end in 1..=leaves.len() {
            if end < leaves.len() && self.shared(&leaves[end - 1], &leaves[end]) > num_shared {
                continue;
            }
            node.num_children += 1;
            if end - waiting > MAX_BUCKET {
                if child > waiting {
                    self.segment(&mut node, &leaves[waiting..child]);
                    waiting = child;
                }
                if end - child > MAX_BUCKET {
                    self.segment(&mut node, &leaves[child..end]);
                    waiting = end;
                }
            }
            child = end;
        }
        if waiting < leaves.len() {
            self.segment(&mut node, &leaves[waiting..]);
        }
        self.write_node(&node, &self.codec.sum(leaves))
    }

    fn segment(&mut self, node: &mut Node, leaves: &[C::Leaf]) {
        let at = match leaves.len() {
            0..=MAX_BUCKET => self.write_bucket(leaves, node.num_shared),
            _ => self.write_subtree(leaves),
        };
        let symbol = self.chain.symbol(self.codec.address(&leaves[0]), node.num_shared);
        node.segments.push(Segment { symbol, at });
    }

    fn shared(&self, a: &C::Leaf, b: &C::Leaf) -> usize {
        self.chain.shared(self.codec.address(a) ^ self.codec.address(b))
    }

    /// Writes up to [`MAX_BUCKET`] addresses that share `base` levels.
    pub(super) fn write_bucket(&mut self, leaves: &[C::Leaf], base: usize) -> usize {
        let at = self.out.align();
        self.out.push(0, 1);
        self.out.push(leaves.len() as u64 - 1, COUNT_BITS);
        self.out.push(self.codec.note(leaves), NOTE_BITS);
        let (rest, rest_bytes) = (self.chain.rest(base), self.chain.rest_bytes(base));
        for leaf in leaves {
            self.push_bytes(self.codec.address(leaf) & mask(rest), rest_bytes);
        }
        self.codec.write_values(leaves, self.out);
        at
    }

    pub(super) fn write_node(&mut self, node: &Node, sum: &C::Sum) -> usize {
        let at = self.out.align();
        let step = self.chain.step(node.num_shared);
        let distance = |segment: &Segment| (at - segment.at) as u64;
        // The first segment is the farthest.
        let distance_bytes =
            node.segments.first().map_or(1, |segment| num_bytes(distance(segment)).max(1)) as usize;
        let num = node.segments.len();
        let symbol_bytes = self.chain.symbol_bytes;
        let has_marks = self.chain.has_marks(node.num_shared);
        let is_listed = !has_marks && distance_bytes << step > num * (symbol_bytes + distance_bytes);
        let segments = match has_marks {
            true => node.segments.iter().fold(0, |marks, segment| marks | 1 << segment.symbol),
            false => num as u64 - 1,
        };
        self.out.push(1, 1);
        self.out.push(node.num_shared as u64, LEVEL_BITS);
        self.out.push(u64::from(is_listed), 1);
        self.out.push(distance_bytes as u64 - 1, 3);
        self.push_bytes(node.num_children - 1, symbol_bytes);
        self.push_bytes(segments, self.chain.segments_bytes);
        self.push_bytes(node.address, self.chain.bits as usize / 8);
        self.codec.write_node(sum, node.num_shared, self.out);
        if is_listed {
            node.segments.iter().for_each(|segment| self.push_bytes(segment.symbol, symbol_bytes));
        }
        if is_listed || has_marks {
            node.segments.iter().for_each(|segment| self.push_bytes(distance(segment), distance_bytes));
        } else {
            self.write_dense(node, step, distance, distance_bytes);
        }
        at
    }

    /// Writes the distance of each symbol.
    fn write_dense(
        &mut self,
        node: &Node,
        step: u32,
        distance: impl Fn(&Segment) -> u64,
        distance_bytes: usize,
    ) {
        let mut segments = node.segments.iter().peekable();
        let mut current = 0;
        for symbol in 0..1_u64 << step {
            if let Some(segment) = segments.next_if(|segment| segment.symbol == symbol) {
                current = distance(segment);
            }
            self.push_bytes(current, distance_bytes);
        }
    }

    fn push_bytes(&mut self, value: u64, num_bytes: usize) {
        self.out.push(value, 8 * num_bytes as u32);
    }
}
