//! Inference: all that a model folder holds as one value, its scores, and why they are what they are.

mod account_use;
pub mod embeddings;
pub mod explain;
mod loaded_model;
mod prefix;
mod scorer;
mod unseen;

pub use account_use::{AccountUse, Used};
pub use embeddings::Embeddings;
pub use loaded_model::LoadedModel;
pub use prefix::Prefix;
pub(crate) use scorer::training_batch_bytes;
pub use scorer::{FoldedEntities, MAX_BATCH_BYTES, PAIRS_PER_BATCH, Scorer, anomaly_score};
pub use unseen::{Population, Unseen};
