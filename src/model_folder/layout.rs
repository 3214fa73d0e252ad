//! The names of what lies in a model folder, and the version of its layout.

/// Version of the folder's layout; a reader refuses any other.
pub const FORMAT_VERSION: u32 = 4;

/// The file by which a model folder is known.
pub const MANIFEST: &str = "manifest.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const FOLDED_WEIGHTS: &str = "folded.safetensors";
/// The usage history, where the model has one.
pub const HISTORY: &str = "history.bin";

/// The parameters of the head, where the model has one.
pub const HEAD: &str = "head.safetensors";

/// The table of networks with the counts of their owners, where the model has one.
pub const NETWORKS: &str = "networks.bin";

pub(crate) const CONFIG: &str = "config.toml";

/// Every file that the manifest can name, and itself.
pub(crate) const FILES: [&str; 7] = [MANIFEST, CONFIG, WEIGHTS, FOLDED_WEIGHTS, HISTORY, HEAD, NETWORKS];

/// How many events each table row was trained on, in the first epoch of the run and of those that it began from,
/// `[N]`, beside the weights.
pub(crate) const ROW_COUNTS: &str = "entity_row_counts";

/// The folded entities, `[N, width + 1]`.
pub(crate) const FOLDED: &str = "folded";

/// The entity that stands for all, `[1, vector_dim]`, beside the weights.
pub(crate) const PRIOR: &str = "prior_entity";

/// The same, folded: `[1, width + 1]`.
pub(crate) const FOLDED_PRIOR: &str = "folded_prior";

/// [`super::EntityFilter::parts`], beside the weights.
pub(crate) const FILTER_KEY_BITS: &str = "entity_filter.key_bits";
pub(crate) const FILTER_OFFSETS: &str = "entity_filter.offsets";
pub(crate) const FILTER_RESTS: &str = "entity_filter.rests";

pub(super) const DAMAGED_HELP: &str = "the folder is damaged or was edited: copy it again or train again";
