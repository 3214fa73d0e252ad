use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};

use super::{IpEncoder, IpInsights, IpInsightsConfig};

/// A tensor of a model under the name that model files give it.
pub struct NamedTensor {
    /// `entity_embedding.weight`, `ip_encoder.layers.{l}.weight` or `ip_encoder.layers.{l}.bias`.
    pub name: String,
    /// `[N, d]`, `[in, out]` or `[out]`.
    pub shape: Vec<usize>,
    /// The values row after row; a sharded table has several parts.
    pub parts: Vec<Tensor<1>>,
}

impl IpInsights {
    /// The tensors of the model: the table, then weight and bias of each encoder layer.
    pub fn named_tensors(&self) -> Vec<NamedTensor> {
        let table = &self.entity_embedding;
        let mut tensors = vec![NamedTensor {
            name: VECTORS.into(),
            shape: vec![table.num_entity_vectors(), table.vector_dim()],
            parts: table.shards.iter().map(|shard| shard.val().flatten(0, 1)).collect(),
        }];
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
        tensors
    }
}

/// The name of the entities' vectors.
pub const VECTORS: &str = "entity_embedding.weight";

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
        let entity_embedding = self.entity_embedding().from_rows(vectors, device);
        let ip_encoder = self.ip_encoder_from_tensors(device, tensor)?;
        Ok(IpInsights { entity_embedding, ip_encoder })
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
        let shape = self.shape();
        let mut layers = Vec::new();
        for l in 0..=self.num_ip_encoder_layers {
            let shape = shape.layer_shape(l);
            let weight = tensor(&format!("ip_encoder.layers.{l}.weight"), &shape)?;
            let bias = tensor(&format!("ip_encoder.layers.{l}.bias"), &shape[1..])?;
            layers.push(Linear {
                weight: Param::from_data(TensorData::new(weight, shape), device),
                bias: Some(Param::from_data(TensorData::new(bias, [shape[1]]), device)),
            });
        }
        Ok(IpEncoder { layers })
    }
}
