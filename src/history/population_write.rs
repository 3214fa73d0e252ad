//! Writes the addresses of all accounts: one tree for each family, on all cores.

use std::io::{self, Write};

use rayon::prelude::*;

use super::bits::BitWriter;
use super::chain::{CHAINS, NUM_FAMILIES, family};
use super::container::SectionWriter;
use super::population::{Leaves, PopulationCodec, Sum, Use, Widths};
use super::trie_write::{MAX_BUCKET, Node, Segment, TrieWriter};

/// Levels that all addresses of a family share in its root: none of IPv4, the family itself of IPv6.
const ROOT_LEVELS: [usize; NUM_FAMILIES] = [0, 1];

/// Levels that two addresses of one group share: their tree is written by one core.
fn group_key(once: Use) -> (usize, u64) {
    let family = family(once.address());
    (family, CHAINS[family].prefix(once.address().bits(), ROOT_LEVELS[family] + 1))
}

/// Whether two uses belong to the same child of a root.
pub(super) fn same_group(a: Use, b: Use) -> bool {
    group_key(a) == group_key(b)
}

/// What is written of a whole population.
pub(super) struct Written {
    pub(super) roots: [Option<u64>; NUM_FAMILIES],
    pub(super) num_addresses: [u64; NUM_FAMILIES],
    /// Distinct prefixes of level 0.
    pub(super) top_prefixes: u64,
}

/// Takes sorted uses.
pub(super) struct PopulationWriter {
    widths: Widths,
    roots: [Root; NUM_FAMILIES],
}

/// A family's root, whose children are being written.
#[derive(Default)]
struct Root {
    segments: Vec<Segment>,
    /// Addresses that wait for a common bucket.
    waiting: Leaves,
    num_children: u64,
    num_addresses: u64,
    sum: Sum,
    /// One of the addresses.
    address: u64,
}

/// A child of a root.
struct Group {
    family: usize,
    leaves: Leaves,
    sum: Sum,
    /// Where the addresses do not fit a bucket: their tree, and the byte of its root.
    tree: Option<(Vec<u8>, usize)>,
}

impl Group {
    fn new(uses: &[Use], widths: Widths) -> Self {
        use super::trie_write::Codec;
        let family = family(uses[0].address());
        let leaves = Leaves::new(uses);
        let codec = PopulationCodec { leaves: &leaves, widths };
        let sum = codec.sum(&leaves.leaves);
        let mut out = BitWriter::default();
        let root = (leaves.leaves.len() > MAX_BUCKET).then(|| {
            TrieWriter { codec: &codec, chain: &CHAINS[family], out: &mut out }.write_subtree(&leaves.leaves)
        });
        Self { family, leaves, sum, tree: root.map(|root| (out.finish(), root)) }
    }
}

impl PopulationWriter {
    pub(super) fn new(widths: Widths) -> Self {
        Self { widths, roots: Default::default() }
    }

    /// Appends lists of uses, which ascend and are whole groups.
    pub(super) fn push<W: Write>(
        &mut self,
        lists: &[Vec<Use>],
        out: &mut SectionWriter<W>,
    ) -> io::Result<()> {
        let groups = lists.par_iter().flat_map(|uses| uses.par_chunk_by(|a, b| same_group(*a, *b)));
        let groups: Vec<_> = groups.map(|uses| Group::new(uses, self.widths)).collect();
        groups.into_iter().try_for_each(|group| self.push_group(&group, out))
    }

    fn push_group<W: Write>(&mut self, group: &Group, out: &mut SectionWriter<W>) -> io::Result<()> {
        let num = group.leaves.leaves.len();
        let root = &mut self.roots[group.family];
        if group.tree.is_some() || root.waiting.leaves.len() + num > MAX_BUCKET {
            self.write_waiting(group.family, out)?;
        }
        let root = &mut self.roots[group.family];
        root.address = group.leaves.leaves[0].address;
        root.num_children += 1;
        root.num_addresses += num as u64;
        root.sum.add(&group.sum);
        let Some((tree, tree_root)) = &group.tree else {
            root.waiting.append(&group.leaves);
            return Ok(());
        };
        let at = out.length() as usize + tree_root;
        root.segments.push(Segment { symbol: symbol(group.family, root.address), at });
        out.write(tree)
    }

    /// Writes the addresses that wait as a bucket of the root.
    fn write_waiting<W: Write>(&mut self, family: usize, out: &mut SectionWriter<W>) -> io::Result<()> {
        let root = &mut self.roots[family];
        let Some(first) = root.waiting.leaves.first() else { return Ok(()) };
        let symbol = symbol(family, first.address);
        let codec = PopulationCodec { leaves: &root.waiting, widths: self.widths };
        let mut bits = BitWriter::starting_at(out.length() as usize);
        let mut writer = TrieWriter { codec: &codec, chain: &CHAINS[family], out: &mut bits };
        let at = writer.write_bucket(&root.waiting.leaves, ROOT_LEVELS[family]);
        root.segments.push(Segment { symbol, at });
        root.waiting.clear();
        out.write(&bits.finish())
    }

    /// Writes the roots.
    pub(super) fn finish<W: Write>(mut self, out: &mut SectionWriter<W>) -> io::Result<Written> {
        let mut roots = [None; NUM_FAMILIES];
        for (family, root) in roots.iter_mut().enumerate() {
            if self.roots[family].num_addresses > 0 {
                *root = Some(self.write_root(family, out)?);
            }
        }
        let [ipv4, ipv6] = &self.roots;
        let top_prefixes = ipv4.num_children + u64::from(ipv6.num_addresses > 0);
        Ok(Written {
            roots,
            num_addresses: self.roots.each_ref().map(|root| root.num_addresses),
            top_prefixes,
        })
    }

    fn write_root<W: Write>(&mut self, family: usize, out: &mut SectionWriter<W>) -> io::Result<u64> {
        let is_bucket = self.roots[family].segments.is_empty();
        if !is_bucket {
            self.write_waiting(family, out)?;
        }
        let root = &mut self.roots[family];
        let codec = PopulationCodec { leaves: &root.waiting, widths: self.widths };
        let mut bits = BitWriter::starting_at(out.length() as usize);
        let mut writer = TrieWriter { codec: &codec, chain: &CHAINS[family], out: &mut bits };
        let at = if is_bucket {
            writer.write_bucket(&root.waiting.leaves, 0)
        } else {
            let num_shared = ROOT_LEVELS[family];
            let segments = std::mem::take(&mut root.segments);
            let node = Node { num_shared, address: root.address, num_children: root.num_children, segments };
            writer.write_node(&node, &root.sum)
        };
        out.write(&bits.finish())?;
        Ok(at as u64)
    }
}

/// The symbol of a root's child that an address belongs to.
fn symbol(family: usize, address: u64) -> u64 {
    CHAINS[family].symbol(address, ROOT_LEVELS[family])
}
