//! Writes a set of addresses of one family, with values, as a tree of prefixes.
//!
//! Up to [`MAX_BUCKET`] addresses lie in a *bucket*: each is written as the number of levels that it shares with the
//! one before it and the bits behind these. More addresses make a *node*, which is the longest prefix of the chain that
//! all share: it has their values and a list of *segments* by the symbol of the next level. A segment is a node, for the one
//! symbol whose addresses do not fit a bucket, or a bucket of one or several symbols; a symbol's addresses never
//! lie in two.
//!
//! A segment is written before the node that refers to it, by distance: every subtree can be written on its own and
//! moved.
//!
//! ```text
//! bucket: 0 | count - 1: 5 | shared levels: 3 each but the first | values | bits of each address | details
//! node:   1 | levels: 3 | prefix | values | children - 1 | segments - 1 | width: 6 | first symbols | distances
//! ```
//!
//! Children, segments and symbols have as many bits as the next level adds. Buckets and nodes start at a byte.

use super::bits::{BitWriter, width};
use super::chain::Chain;

/// Most addresses of a bucket.
pub(super) const MAX_BUCKET: usize = 32;
/// Bits of the number of addresses of a bucket.
pub(super) const COUNT_BITS: u32 = 5;
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
    /// Writes the values of a bucket that a lookup reads.
    fn write_values(&self, leaves: &[Self::Leaf], out: &mut BitWriter);
    /// Writes the values of a bucket that only a reader of all of it reads.
    fn write_details(&self, leaves: &[Self::Leaf], out: &mut BitWriter);
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
    /// Writes a tree of at least one address; they ascend and are distinct. Returns the byte at which its root starts.
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
        let symbol = self.symbol(self.codec.address(&leaves[0]), node.num_shared);
        node.segments.push(Segment { symbol, at });
    }

    /// The bits by which `level` continues the level before it.
    pub(super) fn symbol(&self, address: u64, level: usize) -> u64 {
        self.chain.prefix(address, level + 1) & super::bits::mask(self.chain.step(level))
    }

    fn shared(&self, a: &C::Leaf, b: &C::Leaf) -> usize {
        self.chain.shared(self.codec.address(a) ^ self.codec.address(b))
    }

    /// Writes up to [`MAX_BUCKET`] addresses that share `base` levels.
    pub(super) fn write_bucket(&mut self, leaves: &[C::Leaf], base: usize) -> usize {
        let at = self.out.align();
        self.out.push(0, 1);
        self.out.push(leaves.len() as u64 - 1, COUNT_BITS);
        let mut shared = [base; MAX_BUCKET];
        for i in 1..leaves.len() {
            shared[i] = self.shared(&leaves[i - 1], &leaves[i]);
            self.out.push(shared[i] as u64, LEVEL_BITS);
        }
        self.codec.write_values(leaves, self.out);
        for (leaf, num_shared) in leaves.iter().zip(shared) {
            let rest = self.chain.rest(num_shared);
            self.out.push(self.codec.address(leaf) & super::bits::mask(rest), rest);
        }
        self.codec.write_details(leaves, self.out);
        at
    }

    pub(super) fn write_node(&mut self, node: &Node, sum: &C::Sum) -> usize {
        let at = self.out.align();
        self.out.push(1, 1);
        self.out.push(node.num_shared as u64, LEVEL_BITS);
        self.out.push(self.chain.prefix(node.address, node.num_shared), self.chain.ends[node.num_shared]);
        self.codec.write_node(sum, node.num_shared, self.out);
        let step = self.chain.step(node.num_shared);
        self.out.push(node.num_children - 1, step);
        self.out.push(node.segments.len() as u64 - 1, step);
        let distance = |segment: &Segment| (at - segment.at) as u64;
        // The first segment is the farthest.
        let distance_width = node.segments.first().map_or(0, |segment| width(distance(segment)));
        self.out.push(u64::from(distance_width), WIDTH_BITS);
        node.segments.iter().for_each(|segment| self.out.push(segment.symbol, step));
        node.segments.iter().for_each(|segment| self.out.push(distance(segment), distance_width));
        at
    }
}
