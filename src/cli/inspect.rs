use std::path::PathBuf;

use clap::Args;
use ipsight::{Result, artifact, device};

use super::output;

#[derive(Args)]
pub struct InspectArgs {
    /// Model folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The manifest as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: InspectArgs) -> Result<()> {
    let manifest = artifact::read_and_verify(&args.model)?.0;
    if args.json {
        return output::json(&manifest);
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
    ];
    for (name, value) in figures {
        if let Some(value) = value {
            output::line(format!("{name} {value:.6}"))?;
        }
    }
    for (name, entry) in &manifest.files {
        output::line(format!("{name}: {}, blake3 {}", device::bytes(entry.bytes), entry.blake3))?;
    }
    Ok(())
}
