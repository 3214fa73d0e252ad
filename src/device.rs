//! The one place that names a Burn backend: which device to take, why, and what fits it.

use burn::tensor::Device;
use ipsight_kernels::folded::{CHUNKS_AT_ONCE, MIN_POSITIVES_PER_CHUNK, ROWS_PER_BLOCK};
use ipsight_kernels::shape::ModelShape;
use serde::Serialize;

use crate::adapters::usable_adapters;
pub use crate::adapters::{Adapter, DeviceLimits, adapters};
use crate::config::{Config, DeviceChoice};
use crate::model::IpInsightsConfig;
use crate::{Error, Result};

/// A device that was chosen, and its limits.
#[derive(Clone, Debug)]
pub struct ComputeDevice {
    /// The device without autodiff.
    pub device: Device,
    /// What was taken and why, for people: `ndarray on 2 threads (no hardware GPU adapter was found)`.
    pub description: String,
    /// What fits it.
    pub limits: DeviceLimits,
}

impl ComputeDevice {
    /// Whether it is the CPU. Only what a graphics adapter binds is limited.
    pub fn is_cpu(&self) -> bool {
        self.limits.max_binding_bytes.is_none()
    }
}

/// Chooses a device.
///
/// `auto` takes wgpu where a hardware adapter makes a device, else ndarray; it never takes a software adapter.
/// `wgpu` takes the best adapter there is: discrete, integrated, virtual, another, software.
///
/// # Errors
///
/// [`Error::Device`] where `wgpu` is asked for and there is no adapter, or the best one makes no device.
pub fn choose(choice: DeviceChoice) -> Result<ComputeDevice> {
    if choice == DeviceChoice::Ndarray {
        return Ok(ndarray("asked for"));
    }
    let mut adapters = usable_adapters();
    adapters.sort_by_key(|adapter| {
        ["discrete", "integrated", "virtual", "other", "cpu"].iter().position(|kind| *kind == adapter.kind)
    });
    if choice == DeviceChoice::Auto {
        return Ok(choose_automatically(&adapters));
    }
    let Some(adapter) = adapters.first() else {
        return Err(Error::device(
            "no wgpu adapter was found that binds the buffers of a kernel",
            "install a Vulkan driver (Debian: mesa-vulkan-drivers for software Vulkan) or set the option device to ndarray",
        ));
    };
    adapter.try_device().map_err(|error| {
        let what = format!("the adapter {} makes no device: {error}", adapter.name);
        Error::device(what, "repair its driver, or set the option device to ndarray or auto")
    })?;
    Ok(on_adapter(adapter, "asked for"))
}

/// The first hardware adapter that makes a device, else the CPU. `adapters`: the best first.
fn choose_automatically(adapters: &[Adapter]) -> ComputeDevice {
    let mut failures = Vec::new();
    for adapter in adapters.iter().filter(|adapter| adapter.is_hardware()) {
        match adapter.try_device() {
            Ok(()) => return on_adapter(adapter, "a hardware adapter exists"),
            Err(error) => failures.push(format!("the adapter {} makes no device: {error}", adapter.name)),
        }
    }
    let software = adapters.iter().find(|adapter| !adapter.is_hardware());
    match (failures.is_empty(), software) {
        (false, _) => ndarray(&failures.join("; ")),
        (true, Some(adapter)) => ndarray(&format!(
            "the only graphics adapter, {}, is a software one, which is taken for the choice wgpu",
            adapter.name
        )),
        (true, None) => ndarray("no graphics adapter was found"),
    }
}

#[cfg(feature = "wgpu")]
fn on_adapter(adapter: &Adapter, why: &str) -> ComputeDevice {
    let Adapter { name, backend, kind, .. } = adapter;
    ComputeDevice {
        device: Device::wgpu(adapter.device_kind.clone()),
        description: format!("wgpu on {name} ({kind}, {backend}; {why})"),
        limits: adapter.limits,
    }
}

#[cfg(not(feature = "wgpu"))]
fn on_adapter(_: &Adapter, _: &str) -> ComputeDevice {
    unreachable!("there are no adapters without the wgpu feature")
}

// burn-ndarray 0.22 is marked deprecated in favour of burn-flex. It is the CPU backend of this project.
#[allow(deprecated)]
fn ndarray(why: &str) -> ComputeDevice {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    ComputeDevice {
        device: Device::ndarray(),
        description: format!("ndarray on {threads} CPU threads ({why})"),
        limits: DeviceLimits::of_memory(),
    }
}

/// What a model takes on a device, found before anything is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// The entity table.
    pub table_bytes: u64,
    /// Adam's two moments of the table.
    pub optimizer_bytes: u64,
    /// Tensors of one step, at most.
    pub step_bytes: u64,
    /// Rows of the table that one shard may have.
    pub max_rows_per_shard: usize,
}

impl MemoryPlan {
    /// Plans the model of a training run and its steps; what the command takes beside it is planned once its events are
    /// known.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] with the figure and what to lower, where a row, a step or the whole does not fit.
    pub fn for_training(config: &Config, limits: &DeviceLimits) -> Result<Self> {
        let shape = model_shape(config);
        // A shard is folded when the model is written.
        let widest_row = shape.vector_dim.max(shape.folded_width());
        let plan = Self::new(config, limits, shape.vector_dim, widest_row)?;
        let plan = Self { optimizer_bytes: 2 * plan.table_bytes, ..plan };
        let step = StepMemory::new(config, limits.max_binding_bytes.is_some());
        let lower = "lower mini_batch_size, the negative sampling rates or vector_dim";
        if let Some(limit) = limits.max_binding_bytes.filter(|limit| step.largest_tensor > *limit) {
            return Err(Error::device(
                format!(
                    "a step needs tensors of {}, but this device binds at most {}",
                    bytes(step.largest_tensor),
                    bytes(limit)
                ),
                lower,
            ));
        }
        let plan = Self { step_bytes: step.total, ..plan };
        plan.check_available(limits, format!("lower num_entity_vectors; or {lower}"))?;
        Ok(plan)
    }

    /// Plans the loading of a model for scoring.
    ///
    /// # Errors
    ///
    /// As [`MemoryPlan::for_training`].
    pub fn for_scoring(config: &Config, limits: &DeviceLimits) -> Result<Self> {
        let width = model_shape(config).folded_width();
        let plan = Self::new(config, limits, width, width)?;
        plan.check_available(limits, "take another device, or a machine with more memory".into())?;
        Ok(plan)
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.table_bytes.saturating_add(self.optimizer_bytes).saturating_add(self.step_bytes)
    }

    /// `row`: floats of a row of the table; `widest_row`: of the widest row that a shard is ever to hold.
    fn new(config: &Config, limits: &DeviceLimits, row: usize, widest_row: usize) -> Result<Self> {
        let table_bytes = 4 * row as u64 * config.hyperparameters.num_entity_vectors as u64;
        let max_rows = limits.max_binding_bytes.map_or(u64::MAX, |limit| limit / (4 * widest_row as u64));
        // All layers are one tensor.
        let encoder_bytes = 4 * model_shape(config).num_parameters() as u64;
        if let Some(limit) = limits.max_binding_bytes.filter(|limit| encoder_bytes > *limit || max_rows == 0)
        {
            return Err(Error::device(
                format!(
                    "an encoder of {} does not fit a buffer binding of {}",
                    bytes(encoder_bytes),
                    bytes(limit)
                ),
                "lower vector_dim or num_ip_encoder_layers",
            ));
        }
        Ok(Self {
            table_bytes,
            optimizer_bytes: 0,
            step_bytes: 0,
            max_rows_per_shard: usize::try_from(max_rows).unwrap_or(usize::MAX),
        })
    }

    fn check_available(&self, limits: &DeviceLimits, remedy: String) -> Result<()> {
        match limits.available_bytes {
            Some(available) if self.total_bytes() > available => {
                let limit = limits.limited_by.unwrap_or("the free memory");
                let what = format!("{self} are needed, but {limit} leaves {}", bytes(available));
                Err(Error::device(what, remedy))
            }
            _ => Ok(()),
        }
    }
}

/// How the model lies in its tensors, however the table is cut.
fn model_shape(config: &Config) -> ModelShape {
    IpInsightsConfig::of(config, usize::MAX).shape()
}

/// What a step allocates beside the table, in bytes.
struct StepMemory {
    largest_tensor: u64,
    total: u64,
}

impl StepMemory {
    fn new(config: &Config, on_gpu: bool) -> Self {
        let (h, shape) = (&config.hyperparameters, model_shape(config));
        let num_pairs = 1 + h.random_negative_sampling_rate + h.shuffled_negative_sampling_rate;
        // Mask, logits, gradients and rows of the pairs are such a tensor each, at most, and each word of addresses.
        let pairs = 4 * (h.mini_batch_size * num_pairs) as u64;
        let num_words = shape.families.num_words() as u64;
        // Entity rows, their gradients, q and s are such a tensor each, at most, where every positive has a row of its
        // own.
        let widest = shape.vector_dim.max(shape.output_width()) + 1;
        let rows = 4 * (h.mini_batch_size * widest) as u64;
        let encoder = 4 * shape.num_parameters() as u64;
        if on_gpu {
            // Activations are kept only where there are products of hidden layers.
            let kept = if h.num_ip_encoder_layers > 1 { pairs * h.vector_dim as u64 } else { 0 };
            const SLICES: u64 = 2 * (16 << 20);
            return Self {
                largest_tensor: (num_words * pairs).max(rows).max(encoder).max(kept),
                total: (4 + num_words) * pairs
                    + 4 * rows
                    + 4 * encoder
                    + kept * h.num_ip_encoder_layers as u64
                    + SLICES,
            };
        }
        // Parameters, moments, gradient; each layer packed two ways; and a gradient a chunk.
        let buckets = 4 * (shape.families.num_nibble_rows() * h.vector_dim) as u64;
        let chunks = h.mini_batch_size.div_ceil(MIN_POSITIVES_PER_CHUNK).min(CHUNKS_AT_ONCE) as u64 + 1;
        // And what a thread keeps of a block of rows: e, dE, Q and S.
        let of_block = 2 * (h.vector_dim + shape.output_width()).next_multiple_of(16);
        let blocks = 4 * (ROWS_PER_BLOCK * of_block * rayon::current_num_threads()) as u64;
        Self {
            largest_tensor: rows,
            total: (4 + num_words) * pairs + 6 * encoder + chunks * (encoder + buckets) + blocks,
        }
    }
}

impl std::fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} (entity table {}, its optimiser state {}, a step up to {})",
            bytes(self.total_bytes()),
            bytes(self.table_bytes),
            bytes(self.optimizer_bytes),
            bytes(self.step_bytes)
        )
    }
}

/// Bytes for people, in binary units.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let exponent = (count.checked_ilog2().unwrap_or(0) / 10).min(5);
    let value = count as f64 / f64::powi(1024.0, exponent as i32);
    if exponent == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[exponent as usize]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Hyperparameters;

    fn config(num_entity_vectors: usize, vector_dim: usize) -> Config {
        let hyperparameters =
            Hyperparameters { num_entity_vectors, vector_dim, ..Hyperparameters::default() };
        Config { hyperparameters, ..Config::default() }
    }

    #[test]
    fn the_plan_counts_the_table_and_both_moments() {
        let plan = MemoryPlan::for_training(&config(1_000_000, 128), &DeviceLimits::default()).unwrap();
        assert_eq!(plan.table_bytes, 512_000_000);
        assert_eq!(plan.optimizer_bytes, 1_024_000_000);
        assert_eq!(plan.max_rows_per_shard, usize::MAX);
    }

    #[test]
    fn a_table_past_the_binding_is_sharded() {
        let limits = DeviceLimits { max_binding_bytes: Some(128 << 20), ..DeviceLimits::default() };
        let plan = MemoryPlan::for_training(&config(1_000_000, 128), &limits).unwrap();
        // A folded row has one float more than a row.
        assert_eq!(plan.max_rows_per_shard, (128 << 20) / (4 * 129));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_figure_and_what_to_lower() {
        let limits = DeviceLimits {
            available_bytes: Some(1 << 30),
            limited_by: Some("RLIMIT_DATA (ulimit -d)"),
            ..DeviceLimits::default()
        };
        let error = MemoryPlan::for_training(&config(250_000_000, 4096), &limits).unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("11.2 TiB"), "{error}");
        assert!(error.to_string().ends_with("but RLIMIT_DATA (ulimit -d) leaves 1.0 GiB"), "{error}");
        assert!(error.help().unwrap().contains("num_entity_vectors"), "{error:?}");

        let limits = DeviceLimits { max_binding_bytes: Some(128 << 20), ..DeviceLimits::default() };
        let mut large = config(1000, 128);
        large.hyperparameters.mini_batch_size = 500_000;
        large.hyperparameters.random_negative_sampling_rate = 500;
        let error = MemoryPlan::for_training(&large, &limits).unwrap_err();
        assert!(error.to_string().contains("128.0 MiB"), "{error}");
        assert!(error.help().unwrap().contains("mini_batch_size"), "{error:?}");
    }

    #[test]
    fn an_encoder_and_its_activations_must_fit_a_binding() {
        let limits = DeviceLimits { max_binding_bytes: Some(128 << 20), ..DeviceLimits::default() };
        let mut deep = config(1000, 4096);
        deep.hyperparameters.num_ip_encoder_layers = 2;
        deep.hyperparameters.mini_batch_size = 100;
        let error = MemoryPlan::for_training(&deep, &limits).unwrap_err();
        assert!(error.to_string().contains("an encoder of 128.5 MiB"), "{error}");
        assert_eq!(error.exit_code(), 5);

        let mut wide = config(1000, 128);
        wide.hyperparameters.mini_batch_size = 100_000;
        assert!(MemoryPlan::for_training(&wide, &limits).is_ok(), "one layer's activations are not kept");
        wide.hyperparameters.num_ip_encoder_layers = 2;
        let error = MemoryPlan::for_training(&wide, &limits).unwrap_err();
        assert!(error.to_string().contains("a step needs tensors of 146.5 MiB"), "{error}");
    }

    #[test]
    fn bytes_are_rounded_for_people() {
        let figures = [0, 1023, 1024, 1536, 512_000_000, u64::MAX].map(bytes);
        assert_eq!(figures, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "488.3 MiB", "16384.0 PiB"]);
    }
}
