//! All that a model folder holds, loaded once: what `score`, `serve`, `evaluate`, `explain` and `compare` share.

use std::ops::Range;
use std::path::Path;

use burn::tensor::{AllocationProperty, DType, Tensor, TensorData};
use safetensors::tensor::Dtype;

use super::embeddings::Embeddings;
use super::scorer::{FoldedEntities, Scorer};
use super::unseen::Population;
use crate::Result;
use crate::config::Config;
use crate::device::{ComputeDevice, MemoryPlan};
use crate::model::{IpInsightsConfig, VECTORS};
use crate::model_folder::{
    FOLDED, FOLDED_PRIOR, Manifest, PRIOR, Placement, ROW_COUNTS, VerifiedFolder, check_entity_hash,
    entity_filter, floats, numbers, open_and_verify, read_detector,
};
use crate::thresholds::Thresholds;

/// A model folder that was read and verified.
#[derive(Debug)]
pub struct LoadedModel {
    /// What the folder holds and where it came from.
    pub manifest: Manifest,
    /// The configuration that it was trained with.
    pub config: Config,
    /// Ready to score.
    pub scorer: Scorer,
    /// The vectors behind the scores.
    pub embeddings: Embeddings,
    /// The named thresholds and the calibration; `None` where none were chosen.
    pub thresholds: Option<Thresholds>,
}

impl LoadedModel {
    /// Reads a model folder onto a device, after checking every checksum.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Io`] where a file is missing, [`crate::Error::Data`] where one is damaged, [`crate::Error::Device`] where the
    /// model does not fit.
    pub fn load(folder: &Path, device: &ComputeDevice) -> Result<Self> {
        Self::load_into(folder, device, Placement::InPlace)
    }

    /// [`LoadedModel::load`] with a choice of where its bytes lie: a process that lives long, and whose folder others
    /// may write to, copies them.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load`], and [`crate::Error::Device`] where there is no memory for a copy.
    pub fn load_into(folder: &Path, device: &ComputeDevice, placement: Placement) -> Result<Self> {
        let model = Self::without_thresholds(folder, device, placement)?;
        let thresholds = Thresholds::load(folder, model.manifest.weights_digest()?)?;
        Ok(Self { thresholds, ..model })
    }

    /// [`LoadedModel::load`] for those who decide nothing: thresholds of other weights, or damaged ones, do not matter to
    /// them.
    ///
    /// # Errors
    ///
    /// As [`LoadedModel::load`], but none for the thresholds.
    pub fn load_without_thresholds(folder: &Path, device: &ComputeDevice) -> Result<Self> {
        Self::without_thresholds(folder, device, Placement::InPlace)
    }

    fn without_thresholds(folder: &Path, device: &ComputeDevice, placement: Placement) -> Result<Self> {
        let VerifiedFolder { manifest, config, weights, folded, detector } =
            open_and_verify(folder, placement)?;
        check_entity_hash(folder, &manifest)?;
        let plan = MemoryPlan::for_scoring(&config, &device.limits)?;
        let model = IpInsightsConfig::of(&config, plan.max_rows_per_shard);
        let device = &device.device;

        let row_counts = numbers(&weights, ROW_COUNTS, model.num_entity_vectors)?;
        let ip_encoder =
            model.ip_encoder_from_tensors(device, |name, shape| floats(&weights, name, shape))?;
        let vectors = weights.values(VECTORS, Dtype::F32, &[model.num_entity_vectors, model.vector_dim])?;

        let width = model.shape().folded_width();
        let rows = folded.values(FOLDED, Dtype::F32, &[model.num_entity_vectors, width])?;
        let sharding = model.entity_embedding().sharding();
        let shard = |range: Range<usize>| {
            let bytes = rows.slice(4 * width * range.start..4 * width * range.end);
            let bytes = burn::tensor::Bytes::from_shared(bytes, AllocationProperty::File);
            Tensor::from_data(TensorData::from_bytes(bytes, [range.len(), width], DType::F32), device)
        };
        let shards = sharding.shards(model.num_entity_vectors).map(shard).collect();
        let prior = TensorData::new(floats(&folded, FOLDED_PRIOR, &[1, width])?, [1, width]);
        let population =
            Population { filter: entity_filter(&weights)?, prior: Tensor::from_data(prior, device) };
        let scorer =
            Scorer::of_folded(FoldedEntities { shards, sharding }, model.shape(), &ip_encoder, row_counts)
                .with_population(population)
                .with_detector(detector.map(read_detector).transpose()?);
        let prior = floats(&weights, PRIOR, &[1, model.vector_dim])?;
        let embeddings = Embeddings::new(ip_encoder, vectors, prior);
        Ok(Self { manifest, config, scorer, embeddings, thresholds: None })
    }
}
