use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipsight::Result;
use ipsight::model_folder::replace_networks;
use ipsight::networks::{Networks, NetworksSummary, OwnerLevel};

use super::output::{self, count};

#[derive(Args)]
pub struct NetworksArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Replace a model's table of networks, and say how many accounts that concerns
    Update {
        /// Model folder, of a model that was trained with --networks
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// A MaxMind DB with AS numbers or countries (.mmdb), or a TSV as iptoasn.com has it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// One JSON document on stdout
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: NetworksArgs) -> Result<()> {
    let Action::Update { model, file, json } = args.action;
    let networks = Networks::read(&file)?;
    let summary = networks.summary();
    let changes = replace_networks(&model, networks)?;
    if json {
        return output::json(&serde_json::json!({
            "networks": summary,
            "num_entities": changes.num_accounts,
            "num_changed_as": changes.num_changed[0],
            "num_changed_country": changes.num_changed[1],
        }));
    }
    output::line(format!("networks: {}", networks_text(&summary)))?;
    for (level, num) in OwnerLevel::ALL.iter().zip(changes.num_changed) {
        output::line(format!(
            "{} of {} entities have a network whose {} is another now",
            count(num),
            count(changes.num_accounts),
            level.noun()
        ))?;
    }
    Ok(())
}

/// What a table is, in one line.
pub fn networks_text(summary: &NetworksSummary) -> String {
    let source = &summary.source;
    let time = source.time.and_then(|time| jiff::Timestamp::from_second(time).ok());
    let date = time.map_or(String::new(), |time| format!(" of {time}"));
    format!(
        "{} ({}{date}), {} IPv4 and {} IPv6 networks of {} autonomous systems and {} countries, blake3 {}",
        source.file,
        source.kind,
        count(source.num_ipv4),
        count(source.num_ipv6),
        count(summary.num_as),
        count(summary.num_countries),
        &source.blake3[..source.blake3.len().min(16)]
    )
}
