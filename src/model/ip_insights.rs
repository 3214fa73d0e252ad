use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use ipsight_kernels::shape::ModelShape;

use super::{EntityEmbedding, EntityEmbeddingConfig, IpEncoder, IpEncoderConfig};
use crate::event::AddressFamilies;

/// Configuration of an [`IpInsights`] model.
#[derive(Config, Debug)]
pub struct IpInsightsConfig {
    /// N, rows of the entity table.
    pub num_entity_vectors: usize,
    /// d, width of both embeddings.
    pub vector_dim: usize,
    /// L, hidden layers of the encoder.
    pub num_ip_encoder_layers: usize,
    /// Rows that one shard of the table may have on the device.
    pub max_rows_per_shard: usize,
    /// The families of addresses that it takes.
    #[config(default = "AddressFamilies::Ipv4")]
    pub addresses: AddressFamilies,
    /// Seed of the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

/// Scores (entity, IP) pairs by the dot product of an entity embedding and an IP embedding.
#[derive(Module, Debug)]
pub struct IpInsights {
    /// One vector per table row.
    pub entity_embedding: EntityEmbedding,
    /// The network that makes a vector of an address.
    pub ip_encoder: IpEncoder,
}

impl IpInsightsConfig {
    /// The model that a configuration asks for.
    pub fn of(config: &crate::config::Config, max_rows_per_shard: usize) -> Self {
        let h = &config.hyperparameters;
        Self {
            num_entity_vectors: h.num_entity_vectors,
            vector_dim: h.vector_dim,
            num_ip_encoder_layers: h.num_ip_encoder_layers,
            max_rows_per_shard,
            addresses: config.model.addresses,
            seed: config.training.seed,
        }
    }

    /// How the model lies in its tensors.
    pub fn shape(&self) -> ModelShape {
        self.ip_encoder().shape()
    }

    /// The table's part of this configuration.
    pub fn entity_embedding(&self) -> EntityEmbeddingConfig {
        EntityEmbeddingConfig {
            num_entity_vectors: self.num_entity_vectors,
            vector_dim: self.vector_dim,
            max_rows_per_shard: self.max_rows_per_shard,
            seed: self.seed,
        }
    }

    /// The encoder's part of this configuration.
    pub fn ip_encoder(&self) -> IpEncoderConfig {
        IpEncoderConfig {
            num_ip_encoder_layers: self.num_ip_encoder_layers,
            vector_dim: self.vector_dim,
            addresses: self.addresses,
            seed: self.seed,
        }
    }

    /// Makes the model. On an autodiff device the encoder requires gradients; the table stays plain.
    pub fn init(&self, device: &Device) -> IpInsights {
        IpInsights {
            entity_embedding: self.entity_embedding().init(device),
            ip_encoder: self.ip_encoder().init(device),
        }
    }
}

impl IpInsights {
    /// How the model lies in its tensors.
    pub fn shape(&self) -> ModelShape {
        self.ip_encoder.shape()
    }

    /// Scores each row against its own addresses: the plain form, which defines the model.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[B, vector_dim]`, of the table
    /// - `pair_ips`: `[B, P · words]`, unsigned 32-bit integers on the plain device, as in
    ///   [`ipsight_kernels::addresses`]
    /// - output: logits `[B, P]`
    pub fn forward(&self, rows: Tensor<2>, pair_ips: Tensor<2, Int>) -> Tensor<2> {
        let [num_rows, num_words] = pair_ips.dims();
        let num_pairs = num_words / self.shape().families.num_words();
        let ips = pair_ips.reshape([num_rows * num_words]);
        let vector_dim = self.entity_embedding.vector_dim();
        let ip_vectors = self.ip_encoder.forward(ips).reshape([num_rows, num_pairs, vector_dim]);
        let products = (ip_vectors * rows.unsqueeze_dim::<3>(1)).sum_dim(2);
        products.reshape([num_rows, num_pairs])
    }
}
