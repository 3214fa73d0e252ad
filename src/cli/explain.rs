use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::Args;
use ipsight::artifact::{self, Artifact};
use ipsight::event::{hash_entity, parse_ipv4};
use ipsight::explain::{Explanation, explain};
use ipsight::thresholds::Thresholds;
use ipsight::{Error, Event, Result, anomaly_score};
use serde::Serialize;

use super::explanation_text::text;
use super::{DeviceArg, output};

#[derive(Args)]
pub struct ExplainArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The entity, as it stands in the events
    #[arg(value_name = "ENTITY")]
    entity: OsString,
    /// The IPv4 address
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: u32,
    #[command(flatten)]
    device: DeviceArg,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// What is told of an event; the document of `--json`.
#[derive(Serialize)]
pub struct Explained<'a> {
    /// The entity; bytes that are not UTF-8 become U+FFFD.
    pub entity: &'a str,
    /// The address.
    pub ip: Ipv4Addr,
    /// The negated `dot_product`: high means anomalous.
    pub anomaly_score: f32,
    /// What `score` says of it by the thresholds of the model folder, if it has some.
    #[serde(flatten)]
    pub verdict: Option<Told<'a>>,
    /// Whether the entity's table row was ever trained; where it was, maybe by another entity that shares it.
    pub entity_seen: bool,
    /// Training events of the entity's table row, those of other entities that share it included.
    pub num_row_events: u32,
    /// `dot_product`, `parts`, `along_address` and `usual_networks`.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// The columns that `score` adds where there are thresholds.
#[derive(Serialize)]
pub struct Told<'a> {
    /// The share of the calibration's ordinary events that were less anomalous, 0..=1.
    pub percentile: f32,
    /// The calibrated probability of an attack, 0..=1.
    pub probability: f32,
    /// The name of the strictest threshold that is reached, or `allow`.
    pub decision: &'a str,
}

pub fn run(args: ExplainArgs) -> Result<()> {
    if args.entity.is_empty() {
        return Err(Error::config("ENTITY", "it is empty", "give the entity as it stands in the events"));
    }
    let device = args.device.choose()?;
    let Artifact { manifest, scorer, .. } = artifact::load(&args.model, &device)?;
    let thresholds = Thresholds::load(&args.model, &manifest)?;
    let event = Event { entity: hash_entity(args.entity.as_encoded_bytes()), ip: args.ip };
    let explanation = explain(&scorer, event)?;
    let anomaly_score = anomaly_score(explanation.dot_product);
    let verdict = thresholds.as_ref().map(|thresholds| thresholds.verdict(anomaly_score)).transpose()?;
    let explained = Explained {
        entity: &args.entity.to_string_lossy(),
        ip: args.ip.into(),
        anomaly_score,
        verdict: verdict.map(|verdict| Told {
            percentile: verdict.percentile,
            probability: verdict.probability,
            decision: verdict.decision,
        }),
        entity_seen: scorer.entity_seen(event.entity),
        num_row_events: scorer.num_row_events(event.entity),
        explanation,
    };
    if args.json { output::json(&explained) } else { output::line(text(&explained)) }
}

/// The flag that clap names says where.
fn parse_ip(text: &str) -> std::result::Result<u32, String> {
    let address = text.trim_start_matches('[').split([']', '%', '/']).next().unwrap_or(text);
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err("this is an IPv6 address, and the model knows IPv4 addresses only".into());
    }
    parse_ipv4(text.as_bytes()).ok_or_else(|| {
        "an IPv4 address is four numbers from 0 to 255 with dots between them, without leading zeros, port or \
         prefix length"
            .into()
    })
}
