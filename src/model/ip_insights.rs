use burn::config::Config;
use burn::module::Module;
use burn::tensor::activation::softplus;
use burn::tensor::{Device, Int, Tensor};
use ipsight_kernels::elsewhere::{OFFSET, PREFIX_SCALE, row_cell};
use ipsight_kernels::memory::MemoryShape;
use ipsight_kernels::shape::ModelShape;

use super::ip_encoder::prefix_lengths;
use super::{EntityEmbedding, EntityEmbeddingConfig, IpEncoder, IpEncoderConfig, PrefixMemory, index_tensor};
use crate::config::IpEncoderKind;

/// Configuration of an [`IpInsights`] model.
#[derive(Config, Debug)]
pub struct IpInsightsConfig {
    /// N, rows of the entity table.
    pub num_entity_vectors: usize,
    /// d, width of both embeddings.
    pub vector_dim: usize,
    /// L, hidden layers of the encoder.
    pub num_ip_encoder_layers: usize,
    /// Lengths of the address prefixes that the encoder learns; none where it learns bits only.
    #[config(default = "Vec::new()")]
    pub prefix_lengths: Vec<u32>,
    /// C, cells of a row's memory; 0 where there is none.
    #[config(default = 0)]
    pub memory_cells: usize,
    /// Lengths of the address prefixes that the memory remembers.
    #[config(default = "Vec::new()")]
    pub memory_lengths: Vec<u32>,
    /// Rows that one shard of the table may have on the device.
    pub max_rows_per_shard: usize,
    /// Seed of the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

/// Scores (entity, IP) pairs by the dot product of an entity embedding and an IP embedding, and where it has
/// them by what a memory adds and by how likely the address is elsewhere.
#[derive(Module, Debug)]
pub struct IpInsights {
    /// One vector per table row.
    pub entity_embedding: EntityEmbedding,
    /// The network that makes a vector of an address.
    pub ip_encoder: IpEncoder,
    /// What adds the row's cells of an address's prefixes.
    pub memory: PrefixMemory,
}

impl IpInsightsConfig {
    /// The model that a configuration asks for.
    pub fn of(config: &crate::config::Config, max_rows_per_shard: usize) -> Self {
        let (h, model) = (&config.hyperparameters, &config.model);
        let has_prefixes = model.ip_encoder == IpEncoderKind::Prefixes;
        let has_memory = model.memory_cells > 0;
        Self {
            prefix_lengths: if has_prefixes { model.prefix_lengths.clone() } else { Vec::new() },
            memory_cells: model.memory_cells,
            memory_lengths: if has_memory { model.memory_lengths.clone() } else { Vec::new() },
            num_entity_vectors: h.num_entity_vectors,
            vector_dim: h.vector_dim,
            num_ip_encoder_layers: h.num_ip_encoder_layers,
            max_rows_per_shard,
            seed: config.training.seed,
        }
    }

    /// How the model lies in its tensors.
    pub fn shape(&self) -> ModelShape {
        ModelShape { memory: self.memory().shape, ..self.ip_encoder().shape() }
    }

    /// The memory's part of this configuration, which is all there is of it: its weights are the table's.
    pub(super) fn memory(&self) -> PrefixMemory {
        let lengths = prefix_lengths(&self.memory_lengths);
        PrefixMemory { shape: MemoryShape { num_cells: self.memory_cells, lengths } }
    }

    /// The table's part of this configuration.
    pub fn entity_embedding(&self) -> EntityEmbeddingConfig {
        EntityEmbeddingConfig {
            num_entity_vectors: self.num_entity_vectors,
            vector_dim: self.vector_dim,
            num_cells: self.shape().num_cells(),
            max_rows_per_shard: self.max_rows_per_shard,
            seed: self.seed,
        }
    }

    /// The encoder's part of this configuration.
    pub fn ip_encoder(&self) -> IpEncoderConfig {
        IpEncoderConfig {
            num_ip_encoder_layers: self.num_ip_encoder_layers,
            vector_dim: self.vector_dim,
            prefix_lengths: self.prefix_lengths.clone(),
            seed: self.seed,
        }
    }

    /// Makes the model. On an autodiff device the encoder requires gradients; the table stays plain.
    pub fn init(&self, device: &Device) -> IpInsights {
        IpInsights {
            entity_embedding: self.entity_embedding().init(device),
            ip_encoder: self.ip_encoder().init(device),
            memory: self.memory(),
        }
    }
}

impl IpInsights {
    /// How the model lies in its tensors.
    pub fn shape(&self) -> ModelShape {
        ModelShape { memory: self.memory.shape, ..self.ip_encoder.shape() }
    }

    /// Scores each row against its own addresses: the plain form, which defines the model.
    ///
    /// # Shapes
    ///
    /// - `rows`: `[B, vector_dim + cells]`, of the table
    /// - `tags`: B, of the entities, as [`crate::event::entity_tag`] says
    /// - `pair_ips`: `[B, P]`, unsigned 32-bit integers on the plain device
    /// - output: logits `[B, P]`
    pub fn forward(&self, rows: Tensor<2>, tags: &[u32], pair_ips: Tensor<2, Int>) -> Tensor<2> {
        let [num_rows, num_pairs] = pair_ips.dims();
        let (vector_dim, num_cells) = (self.entity_embedding.vector_dim(), self.entity_embedding.num_cells());
        let ips = pair_ips.reshape([num_rows * num_pairs]);
        let entity_vectors = rows.clone().slice([0..num_rows, 0..vector_dim]);
        let ip_vectors = self.ip_encoder.forward(ips.clone()).reshape([num_rows, num_pairs, vector_dim]);
        let products = (ip_vectors * entity_vectors.unsqueeze_dim::<3>(1)).sum_dim(2);
        let usual = products.reshape([num_rows, num_pairs]);
        if num_cells == 0 {
            return usual;
        }
        let elsewhere = self.ip_encoder.shape().elsewhere;
        let first_of_memory = vector_dim + elsewhere.num_row_cells();
        let cells = rows.clone().slice([0..num_rows, first_of_memory..vector_dim + num_cells]);
        let usual = match self.memory.shape.lengths.is_empty() {
            true => usual,
            false => usual + self.memory.forward(cells, tags, &ips),
        };
        if !elsewhere.exists() {
            return usual;
        }
        let row_cells = rows.slice([0..num_rows, vector_dim..first_of_memory]);
        let places = tags.iter().map(|tag| row_cell(*tag) as i32).collect();
        let places = index_tensor(places, &row_cells.device()).reshape([num_rows, 1]);
        let x = row_cells.gather(1, places).add_scalar(OFFSET);
        let common = self.ip_encoder.prefix_sums(&ips).mul_scalar(PREFIX_SCALE);
        // ln(exp(usual) + exp(x)) = x + softplus(usual - x)
        common.reshape([num_rows, num_pairs]) + x.clone() + softplus(usual - x, 1.0)
    }
}
