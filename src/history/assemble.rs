//! Writes a history from the accounts of each range of hashes.

use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::base::section;
use super::clock::Clock;
use super::container::{HISTORY, SectionWriter};
use super::info::Info;
use super::options::Options;
use super::part::{NUM_PARTITIONS, Part, PartSource, PartWriter, Totals};
use super::population::Widths;
use super::population_write::PopulationWriter;
use super::table::{TableBytes, write_table};
use super::use_sort::UseSorter;
use crate::{Error, Result};

/// Ranges of hashes that are in memory together, at most, and for each core.
const MAX_PARTITIONS_AT_ONCE: usize = 32;
const PARTITIONS_PER_CORE: usize = 4;

/// How a history is written.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The file, for errors.
    pub(super) path: PathBuf,
    /// A folder for temporary files.
    pub(super) folder: PathBuf,
    pub(super) clock: Clock,
    pub(super) max_networks: Option<usize>,
    /// Bytes of pairs that are sorted in memory.
    pub(super) memory_bytes: usize,
}

impl Target {
    pub(super) fn new(path: &Path, clock: Clock, options: &Options) -> Self {
        Self {
            path: path.to_path_buf(),
            folder: options.temporary_folder.clone(),
            clock,
            max_networks: options.max_networks,
            memory_bytes: options.memory_bytes,
        }
    }
}

/// Writes the accounts of one range of hashes.
pub(super) fn write_part(
    source: &impl PartSource,
    partition: usize,
    clock: Clock,
    max_networks: Option<usize>,
) -> Result<Part> {
    let mut writer = PartWriter::new(clock, max_networks);
    source.write_part(partition, &mut writer)?;
    Ok(writer.finish())
}

/// Calls `take` with the written accounts of all ranges of hashes, in order.
pub(super) fn for_each_part(
    source: &impl PartSource,
    clock: Clock,
    max_networks: Option<usize>,
    mut take: impl FnMut(Part) -> Result<()>,
) -> Result<()> {
    let at_once = (PARTITIONS_PER_CORE * rayon::current_num_threads()).min(MAX_PARTITIONS_AT_ONCE);
    for start in (0..NUM_PARTITIONS).step_by(at_once) {
        let partitions = start..NUM_PARTITIONS.min(start + at_once);
        let write = |partition| write_part(source, partition, clock, max_networks);
        let parts: Result<Vec<_>> = partitions.into_par_iter().map(write).collect();
        parts?.into_iter().try_for_each(&mut take)?;
    }
    Ok(())
}

/// Writes a history to `out`. Returns what was written to, and the sums over all accounts. The source is gone before the
/// population is written.
pub(super) fn write_history<W: Write>(
    source: impl PartSource,
    target: &Target,
    out: W,
) -> Result<(W, Totals)> {
    let io = |result: std::io::Result<()>| result.map_err(Error::io("write", &target.path));
    let mut out = SectionWriter::new(out, HISTORY).map_err(Error::io("write", &target.path))?;
    let (mut hashes, mut positions) = (Vec::new(), Vec::new());
    let mut uses = UseSorter::new(target.memory_bytes, &target.folder);
    let mut totals = Totals::default();
    io(out.start(section::BLOCKS))?;
    for_each_part(&source, target.clock, target.max_networks, |part| {
        let start = out.length();
        positions.extend(part.positions.iter().map(|position| start + position));
        hashes.extend(part.hashes);
        totals.add(&part.totals);
        uses.push(part.uses)?;
        io(out.write(&part.blocks))
    })?;
    drop(source);
    check_num_accounts(hashes.len(), &target.path)?;
    let TableBytes { starts, positions, hashes: hash_bytes } = write_table(&hashes, &positions, out.length());
    for (name, bytes) in
        [(section::POSITIONS, positions), (section::HASHES, hash_bytes), (section::STARTS, starts)]
    {
        io(out.start(name))?;
        io(out.write(&bytes))?;
    }
    let accounts = hashes.len() as u64;
    drop(hashes);
    io(out.start(section::POPULATION))?;
    let mut population = PopulationWriter::new(Widths::new(totals.events, accounts));
    let mut uses = uses.finish()?;
    loop {
        let batch = uses.next_batch()?;
        if batch.is_empty() {
            break;
        }
        io(population.push(&batch, &mut out))?;
    }
    let population = population.finish(&mut out).map_err(Error::io("write", &target.path))?;
    for (family, num_addresses) in totals.families.iter_mut().zip(population.num_addresses) {
        family.addresses = num_addresses;
    }
    io(out.start(section::INFO))?;
    let info = info(&totals, target.clock, accounts, population.top_prefixes, population.roots);
    io(out.write(&info.to_bytes()))?;
    let out = out.finish().map_err(Error::io("write", &target.path))?;
    Ok((out, totals))
}

fn info(
    totals: &Totals,
    clock: Clock,
    accounts: u64,
    top_prefixes: u64,
    roots: [Option<u64>; super::chain::NUM_FAMILIES],
) -> Info {
    let (first, last) = totals.times.unwrap_or_default();
    let Totals { events, dropped_pairs, families, .. } = *totals;
    Info { clock, first, last, events, accounts, top_prefixes, dropped_pairs, families, roots }
}

/// The table of accounts counts them in 32 bits.
fn check_num_accounts(num: usize, path: &Path) -> Result<()> {
    match u32::try_from(num) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::data(
            path.display().to_string(),
            format!("the history would have {num} accounts; at most {} fit", u32::MAX),
            "split the accounts over several models",
        )),
    }
}
