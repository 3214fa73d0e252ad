//! What a report says beside the figures.

use std::path::PathBuf;

use crate::config::Config;
use crate::model_folder::Manifest;

/// What a report says beside the figures.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Where the model came from.
    pub manifest: &'a Manifest,
    /// The configuration that it was trained with.
    pub config: &'a Config,
    /// The inputs that were evaluated, as they were named.
    pub data: &'a [PathBuf],
    /// The inputs of the history, as they were named.
    pub history: &'a [PathBuf],
}
