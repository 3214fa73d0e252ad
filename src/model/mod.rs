//! The model: Burn modules, forward only. It does no IO and knows no optimiser.
//!
//! ```text
//! dot_product(entity, ip) = entity_embedding[row(entity)] . ip_encoder(bits(ip))
//! ```
//!
//! No bias, no normalisation: the score is the log odds that the pair is real rather than generated.
//!
//! With [`crate::event::AddressFamilies::Both`] the encoder has a first layer for each family, and one space of vectors
//! behind them, so an entity has one vector, whatever family it uses.

mod address_words;
mod entity_embedding;
mod ip_encoder;
mod ip_insights;
mod named_tensors;
mod prior;

pub use address_words::{address_tensor, families};
pub(crate) use address_words::{address_words, check_family};
pub use entity_embedding::{
    EntityEmbedding, EntityEmbeddingConfig, RowIndex, ShardRows, Sharding, index_tensor,
};
pub use ip_encoder::{IpEncoder, IpEncoderConfig};
pub use ip_insights::{IpInsights, IpInsightsConfig};
pub use named_tensors::{NamedTensor, VECTORS};
pub use prior::{fold_entities, fold_entities_in_pieces, fold_entity, prior_entity};
