use clap::Args;
use ipsight::Result;
use ipsight::config::{DeviceChoice, Hyperparameters};
use ipsight::device::{self, Adapter, DeviceLimits, bytes};

use super::output;

#[derive(Args)]
pub struct DevicesArgs {
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: DevicesArgs) -> Result<()> {
    let adapters = device::adapters();
    let auto = device::choose(DeviceChoice::Auto)?;
    let cpu = device::choose(DeviceChoice::Ndarray)?;
    if args.json {
        return output::json(&serde_json::json!({
            "auto": auto.description,
            "ndarray": cpu.limits,
            "adapters": adapters,
        }));
    }
    output::line(format!("--device auto takes {}", auto.description))?;
    output::line(format!("ndarray: {}", what_fits(&cpu.limits)))?;
    for Adapter { name, backend, kind, driver, limits, .. } in &adapters {
        output::line(format!("wgpu: {name} ({kind}, {backend}, {driver}): {}", what_fits(limits)))?;
    }
    if adapters.is_empty() {
        output::line("wgpu: no adapter")?;
    }
    Ok(())
}

/// The limits of a device, as a size and as rows of the default width.
fn what_fits(limits: &DeviceLimits) -> String {
    let vector_dim = Hyperparameters::default().vector_dim as u64;
    let mut parts = Vec::new();
    if let Some(limit) = limits.max_binding_bytes {
        parts.push(format!(
            "a buffer binding holds {}, or {} rows of {vector_dim}; larger tables are sharded",
            bytes(limit),
            output::count(limit / (4 * vector_dim))
        ));
    }
    if let Some(available) = limits.available_bytes {
        parts.push(format!(
            "{} free, enough to train a table of {} rows of {vector_dim}",
            bytes(available),
            output::count(available / (3 * 4 * vector_dim))
        ));
    }
    if parts.is_empty() { "limits unknown".into() } else { parts.join("; ") }
}
