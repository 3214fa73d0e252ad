use std::path::PathBuf;

use clap::Args;
use ipsight::event::AddressFamilies;
use ipsight::model_folder::Manifest;
use ipsight::thresholds::{THRESHOLDS, Threshold, Thresholds};
use ipsight::{Result, device, model_folder};
use serde::Serialize;

use super::evaluation_text::{table, threshold_rows};
use super::inspect_history::{HeadContents, HistoryContents, NetworksContents};
use super::output;

#[derive(Args)]
pub struct InspectArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The manifest, what the history holds, and the thresholds, where there are some, as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: InspectArgs) -> Result<()> {
    let (manifest, config, detector) = model_folder::read_with_detector(&args.model)?;
    let history = detector.as_ref().map(HistoryContents::of);
    let head = detector.as_ref().map(HeadContents::of);
    let networks = detector.as_ref().and_then(|detector| detector.owners.as_ref()).map(NetworksContents::of);
    let thresholds = Thresholds::load(&args.model, manifest.weights_digest()?)?;
    if args.json {
        let thresholds = thresholds.as_ref().map(Thresholds::thresholds);
        return output::json(&Inspected { manifest: &manifest, history, head, networks, thresholds });
    }
    let training = &manifest.training;
    output::line(format!("model of ipsight {}, checksums good", manifest.ipsight_version))?;
    output::line(format!(
        "{} entity vectors of {} floats, {} hidden encoder layers, entities hashed with {}",
        output::count(manifest.num_entity_vectors as u64),
        manifest.vector_dim,
        manifest.num_ip_encoder_layers,
        manifest.entity_hash
    ))?;
    output::line(match config.model.addresses {
        AddressFamilies::Ipv4 => "addresses: IPv4",
        AddressFamilies::Both => "addresses: IPv4, and of IPv6 the upper 64 bits",
    })?;
    output::line(format!(
        "trained on {} events in {} epochs ({} steps){}, {} rows of the table seen",
        output::count(training.num_events),
        training.num_epochs,
        output::count(training.num_steps as u64),
        if training.completed { "" } else { ", stopped early" },
        output::count(training.num_entity_rows_seen)
    ))?;
    let figures = [
        ("loss", training.loss),
        ("accuracy", training.accuracy),
        ("discriminator_auc", training.discriminator_auc),
        ("discriminator_auc_ipv4", training.discriminator_auc_ipv4),
        ("discriminator_auc_ipv6", training.discriminator_auc_ipv6),
    ];
    for (name, value) in figures {
        if let Some(value) = value {
            output::line(format!("{name} {value:.6}"))?;
        }
    }
    if let Some(init_from) = &training.init_from {
        let (blake3, steps) = (&init_from.blake3, init_from.num_optimizer_steps);
        let moments = if steps > 0 { format!(", with moments of {steps} steps") } else { String::new() };
        output::line(format!("began from weights with blake3 {blake3}{moments}"))?;
    }
    let lines = history.iter().flat_map(HistoryContents::lines).chain(head.iter().map(HeadContents::line));
    for line in lines.chain(networks.iter().map(NetworksContents::line)) {
        output::line(line)?;
    }
    for (name, entry) in &manifest.files {
        output::line(format!("{name}: {}, blake3 {}", device::bytes(entry.bytes), entry.blake3))?;
    }
    if let Some(thresholds) = thresholds {
        let calibration = thresholds.calibration();
        output::line(format!(
            "{THRESHOLDS}: calibrated on {} attacks and {} ordinary events",
            output::count(calibration.num_attacks),
            output::count(calibration.num_ordinary)
        ))?;
        output::line(table(&threshold_rows(thresholds.thresholds())).join("\n"))?;
    }
    Ok(())
}

/// The manifest, and what else there is.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryContents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<HeadContents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<NetworksContents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thresholds: Option<&'a [Threshold]>,
}
