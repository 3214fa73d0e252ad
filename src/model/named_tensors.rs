use std::ops::Range;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use ipsight_kernels::elsewhere::ElsewhereShape;

use super::{IpEncoder, IpInsights, IpInsightsConfig};

/// A tensor of a model under the name that model files give it.
pub struct NamedTensor {
    /// `entity_embedding.weight`, `entity_embedding.cells`, `ip_encoder.layers.{l}.weight`,
    /// `ip_encoder.layers.{l}.bias` or `ip_encoder.prefixes.{length}.weight`.
    pub name: String,
    /// `[N, d]`, `[N, cells]`, `[in, out]`, `[out]` or `[prefixes]`.
    pub shape: Vec<usize>,
    /// The values row after row; a sharded table has several parts.
    pub parts: Vec<Tensor<1>>,
}

impl IpInsights {
    /// The tensors of the model: the table, then weight and bias of each encoder layer.
    pub fn named_tensors(&self) -> Vec<NamedTensor> {
        let table = &self.entity_embedding;
        let (num_rows, d, num_cells) = (table.num_entity_vectors(), table.vector_dim(), table.num_cells());
        let part = |range: Range<usize>| {
            let columns = |shard: &Param<Tensor<2>>| {
                let shard = shard.val();
                let rows = shard.dims()[0];
                if num_cells == 0 {
                    shard.flatten(0, 1)
                } else {
                    shard.slice([0..rows, range.clone()]).flatten(0, 1)
                }
            };
            table.shards.iter().map(columns).collect()
        };
        let mut tensors =
            vec![NamedTensor { name: VECTORS.into(), shape: vec![num_rows, d], parts: part(0..d) }];
        if num_cells > 0 {
            let shape = vec![num_rows, num_cells];
            tensors.push(NamedTensor { name: CELLS.into(), shape, parts: part(d..d + num_cells) });
        }
        for (l, layer) in self.ip_encoder.layers.iter().enumerate() {
            tensors.push(NamedTensor {
                name: format!("ip_encoder.layers.{l}.weight"),
                shape: layer.weight.dims().to_vec(),
                parts: vec![layer.weight.val().flatten(0, 1)],
            });
            if let Some(bias) = &layer.bias {
                tensors.push(NamedTensor {
                    name: format!("ip_encoder.layers.{l}.bias"),
                    shape: bias.dims().to_vec(),
                    parts: vec![bias.val()],
                });
            }
        }
        for (length, weights) in
            self.ip_encoder.shape().elsewhere.lengths.iter().zip(&self.ip_encoder.prefixes)
        {
            tensors.push(NamedTensor {
                name: prefix_name(length),
                shape: weights.dims().to_vec(),
                parts: vec![weights.val()],
            });
        }
        tensors
    }
}

/// The name of the entities' vectors.
pub const VECTORS: &str = "entity_embedding.weight";
/// The name of the cells behind them.
const CELLS: &str = "entity_embedding.cells";

fn prefix_name(length: u32) -> String {
    format!("ip_encoder.prefixes.{length}.weight")
}

impl IpInsightsConfig {
    /// Makes a model from its tensors: `tensor` is asked for each by name and shape and returns its values,
    /// row after row.
    ///
    /// # Errors
    ///
    /// The first error of `tensor`.
    pub fn from_tensors<E>(
        &self,
        device: &Device,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<IpInsights, E> {
        let vectors = tensor(VECTORS, &[self.num_entity_vectors, self.vector_dim])?;
        let table = self.entity_embedding();
        let rows = match table.num_cells {
            0 => vectors,
            num_cells => {
                let cells = tensor(CELLS, &[self.num_entity_vectors, num_cells])?;
                let rows = vectors.chunks_exact(self.vector_dim).zip(cells.chunks_exact(num_cells));
                rows.flat_map(|(vector, cells)| [vector, cells]).flatten().copied().collect()
            }
        };
        let entity_embedding = table.from_rows(rows, device);
        let ip_encoder = self.ip_encoder_from_tensors(device, tensor)?;
        Ok(IpInsights { entity_embedding, ip_encoder, memory: self.memory() })
    }

    /// Makes the encoder alone; otherwise as [`IpInsightsConfig::from_tensors`].
    ///
    /// # Errors
    ///
    /// The first error of `tensor`.
    pub fn ip_encoder_from_tensors<E>(
        &self,
        device: &Device,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<IpEncoder, E> {
        let encoder = self.ip_encoder();
        let mut layers = Vec::new();
        for l in 0..=self.num_ip_encoder_layers {
            let shape = encoder.shape().layer_shape(l);
            let weight = tensor(&format!("ip_encoder.layers.{l}.weight"), &shape)?;
            let bias = tensor(&format!("ip_encoder.layers.{l}.bias"), &shape[1..])?;
            layers.push(Linear {
                weight: Param::from_data(TensorData::new(weight, shape), device),
                bias: Some(Param::from_data(TensorData::new(bias, [shape[1]]), device)),
            });
        }
        let mut prefixes = Vec::new();
        for length in encoder.shape().elsewhere.lengths.iter() {
            let shape = [ElsewhereShape::num_weights(length)];
            let weights = tensor(&prefix_name(length), &shape)?;
            prefixes.push(Param::from_data(TensorData::new(weights, shape), device));
        }
        Ok(encoder.with(layers, prefixes))
    }
}
