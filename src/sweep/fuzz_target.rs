//! Fuzz targets of sweeps: their files and their journals.

use std::path::Path;

use super::file::SweepPlan;
use super::space::{Assignment, Choice, Space};
use crate::config::layers::Layers;

pub use super::journal::fuzz_target::journal;

/// A sweep's TOML: what is taken is written as TOML that gives the same sweep, and has a first trial.
pub fn sweep(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Some(plan) = read(text) else { return };
    let written = plan.to_toml();
    let Some(again) = read(&written) else { panic!("what was written is refused") };
    assert_eq!((&again.space, again.to_toml()), (&plan.space, written));
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
