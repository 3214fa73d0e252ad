//! Fuzz targets of sweeps: their files and their journals.

use std::path::Path;

use super::file::SweepPlan;
use super::space::{Assignment, Choice, Space};
use crate::config::layers::Layers;

pub use super::journal::fuzz_target::journal;

/// A sweep's TOML: what is taken is written as TOML that holds the same, and has a first trial.
pub fn sweep(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(plan) = read(text) else { return };
    // Tables are in another order there, in which a condition may come before what it names: it is for comparison alone.
    let written: toml::Table = plan.to_toml().parse().unwrap_or_default();
    assert_eq!(written.get("parameters").and_then(|written| written.as_table()), Some(&plan.file.parameters));
    for u in [0.0, 0.5, 1.0] {
        let assignment = first(&plan.space, u);
        // A trial of values that exclude each other is an error, and it is told.
        let _ = plan.training_config(0, &assignment, 1);
        assert!(plan.space.values(&assignment).count() <= plan.space.parameters.len());
    }
}

fn first(space: &Space, u: f64) -> Assignment {
    space.assign(|_, parameter| -> Choice { parameter.domain.from_unit(u) })
}

fn read(text: &str) -> Option<SweepPlan> {
    let mut layers = Layers::default();
    layers.add_text("sweep.toml", text).ok()?;
    // Not whatever file a name happens to lead to.
    if layers.table().contains_key("base") {
        return None;
    }
    SweepPlan::of_layers(Path::new("sweep.toml"), layers, &[]).ok()
}
