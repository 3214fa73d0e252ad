use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use clap::Args;
use ipsight::data::{
    EventLimits, Events, Heaviest, Heavy, Input, OnBadRow, ReadOptions, load_events, read_rows, write_kept,
    write_prepared,
};
use ipsight::event::{Address, AddressFamilies, hash_entity};
use ipsight::{Error, Result};
use serde_json::{Value, json};

use super::common_args::parse_choice;
use super::evaluation_text::table;
use super::output;
use super::read_args::{LimitArgs, ReadArgs, inputs_of, talk_about, talk_about_limits};

#[derive(Args)]
pub struct PrepareArgs {
    /// Events: files, folders, globs, or - for stdin
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// The prepared file: Arrow IPC with the columns entity (hash, uint64), address (uint64) and, with --time-column, time
    /// (uint32)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Say which K entities, addresses, and networks (IPv4: /24 and /16, IPv6: /48 and /32) have the most events in the inputs. Entities are
    /// named where they are read from text files, which are read twice for it; else their hashes are told
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    report_heaviest: Option<u32>,
    /// The report as one JSON document on stdout
    #[arg(long, requires = "report_heaviest")]
    json: bool,
    /// Seed by which events are drawn where there are limits: with that of a training, the same events are
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    limits: LimitArgs,
    /// Families of addresses to take; a row with another is bad. A model takes those of its model.addresses [ipv4, both]
    #[arg(long, value_name = "FAMILIES", default_value = "both", value_parser = parse_choice::<AddressFamilies>)]
    addresses: AddressFamilies,
    /// Column of the time of an event, Unix seconds or RFC 3339
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    #[command(flatten)]
    read: ReadArgs,
}

pub fn run(args: PrepareArgs) -> Result<()> {
    let inputs = inputs_of(&args.inputs)?;
    let options = ReadOptions {
        time_column: args.time_column.clone(),
        addresses: args.addresses,
        ..args.read.options()?
    };
    let limits = &args.limits;
    let limits = EventLimits { per_entity: limits.max_events_per_entity, per_ip: limits.max_events_per_ip };
    if limits.are_none() && args.report_heaviest.is_none() {
        let report = write_prepared(&inputs, &options, &args.output)?;
        talk_about(&report);
        talk!("{} events in {}", output::count(report.num_rows), args.output.display());
        return Ok(());
    }
    let (_folder, events) = map_events(&inputs, &options, &args.output)?;
    let heaviest = args.report_heaviest.map(|num| Heaviest::of(&events, num as usize));
    let (kept, left_out) = limits.keep(&events, args.seed);
    talk_about_limits(&left_out);
    write_kept(&events, &kept, &args.output)?;
    talk!("{} events in {}", output::count(kept.len() as u64), args.output.display());
    match heaviest {
        Some(heaviest) => tell(&heaviest, &names(&heaviest, &inputs, &options)?, args.json),
        None => Ok(()),
    }
}

/// The events of the inputs, mapped: those that are no prepared files are prepared beside the output first, in a folder that
/// goes with its value, so that their number takes disk and no memory.
fn map_events(
    inputs: &[Input],
    options: &ReadOptions,
    output: &Path,
) -> Result<(Option<tempfile::TempDir>, Events)> {
    let mut are_prepared = true;
    for input in inputs {
        are_prepared &= input.prepared_file()?.is_some();
    }
    if are_prepared {
        let (events, report) = load_events(inputs, options)?;
        talk_about(&report);
        return Ok((None, events));
    }
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tempfile::Builder::new().prefix(".ipsight-prepare-").tempdir_in(parent);
    let folder = folder.map_err(Error::io("create a folder in", parent))?;
    let path = folder.path().join("events.arrow");
    let report = write_prepared(inputs, options, &path)?;
    talk_about(&report);
    let (events, _) = load_events(&[Input::File(path)], &ReadOptions { format: None, ..options.clone() })?;
    Ok((Some(folder), events))
}

/// The names of the heaviest entities, by their hashes, where there are text files to read again.
fn names(heaviest: &Heaviest, inputs: &[Input], options: &ReadOptions) -> Result<HashMap<u64, String>> {
    let mut texts = Vec::new();
    for input in inputs {
        // What comes through a pipe comes once.
        if matches!(input, Input::File(path) if path.is_file()) && input.prepared_file()?.is_none() {
            texts.push(input.clone());
        }
    }
    let mut names = HashMap::new();
    if texts.is_empty() {
        return Ok(names);
    }
    // Bad rows were dealt with in the first reading.
    let options = ReadOptions { on_bad_row: OnBadRow::Skip, max_bad_fraction: 1.0, ..options.clone() };
    let mut wanted: HashSet<u64> = heaviest.entities.iter().map(|heavy| heavy.key).collect();
    read_rows(&texts, &options, &mut |row, _| {
        let hash = hash_entity(row.entity);
        if wanted.remove(&hash) {
            names.insert(hash, String::from_utf8_lossy(row.entity).into_owned());
        }
        Ok(())
    })?;
    Ok(names)
}

fn tell(heaviest: &Heaviest, names: &HashMap<u64, String>, is_json: bool) -> Result<()> {
    let networks = [
        (&heaviest.networks_24, 24),
        (&heaviest.networks_16, 16),
        (&heaviest.networks_48, 48),
        (&heaviest.networks_32, 32),
    ];
    let ip = |heavy: &Heavy<Address>| heavy.key.to_string();
    let hash = |heavy: &Heavy<u64>| format!("{:016x}", heavy.key);
    if is_json {
        let entity = |heavy: &Heavy<u64>| json!({ "entity": names.get(&heavy.key), "hash": hash(heavy), "num_events": heavy.num_events });
        let [networks_24, networks_16, networks_48, networks_32] = networks.map(|(heaviest, length)| {
            let network =
                |heavy| json!({ "network": format!("{}/{length}", ip(heavy)), "num_events": heavy.num_events });
            heaviest.iter().map(network).collect::<Value>()
        });
        let address = |heavy: &Heavy<Address>| json!({ "ip": ip(heavy), "num_events": heavy.num_events });
        return output::json(&json!({
            "num_events": heaviest.num_events,
            "num_entities": heaviest.num_entities,
            "num_ips": heaviest.num_ips,
            "entities": heaviest.entities.iter().map(entity).collect::<Value>(),
            "ips": heaviest.ips.iter().map(address).collect::<Value>(),
            "networks_24": networks_24,
            "networks_16": networks_16,
            "networks_48": networks_48,
            "networks_32": networks_32,
        }));
    }
    let row = |what: &str, name: String, num_events: u64| {
        let share = 100.0 * num_events as f64 / heaviest.num_events as f64;
        vec![what.to_string(), name, output::count(num_events), format!("{share:.2} %")]
    };
    let mut rows = vec![["", "", "events", "of all"].map(String::from).to_vec()];
    let entity = |heavy: &Heavy<u64>| {
        // Names are whatever somebody has logged.
        let name = names.get(&heavy.key).map(|name| name.escape_debug().to_string());
        row("entity", name.unwrap_or_else(|| hash(heavy)), heavy.num_events)
    };
    rows.extend(heaviest.entities.iter().map(entity));
    rows.extend(heaviest.ips.iter().map(|heavy| row("address", ip(heavy), heavy.num_events)));
    for (heaviest, length) in networks {
        let network = |heavy| row("network", format!("{}/{length}", ip(heavy)), heavy.num_events);
        rows.extend(heaviest.iter().map(network));
    }
    output::line(table(&rows).join("\n"))
}
