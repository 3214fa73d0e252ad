use std::ops::Range;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use ipsight_kernels::bits::ip_bits;
use ipsight_kernels::shape::{Families, ModelShape, NUM_IPV4_BITS};
use ipsight_kernels::uniform::{Uniform, uniform};

use super::families;
use crate::event::AddressFamilies;

/// Configuration of an [`IpEncoder`].
#[derive(Config, Debug)]
pub struct IpEncoderConfig {
    /// L, hidden layers, 0..=100.
    pub num_ip_encoder_layers: usize,
    /// d, width of the hidden layers and of the output.
    pub vector_dim: usize,
    /// The families of addresses that it takes.
    #[config(default = "AddressFamilies::Ipv4")]
    pub addresses: AddressFamilies,
    /// Seed of the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

/// Encodes the bits of an address. L = 0: one linear map. L >= 1: L hidden layers of `vector_dim` units
/// with ReLU, then a linear projection.
///
/// The first layer takes the 32 bits of an IPv4 address or, where the encoder takes both families, 96 numbers: the 32
/// bits of an IPv4 address and 64 zeros, or 32 zeros and the 64 bits of an IPv6 address. Its first 32 rows of weights
/// are thus the first layer of IPv4, and its other 64 that of IPv6.
#[derive(Module, Debug)]
pub struct IpEncoder {
    /// L + 1 layers; the first takes the bits, the last has no ReLU after it.
    pub layers: Vec<Linear>,
}

impl IpEncoderConfig {
    /// Width and number of the hidden layers.
    pub fn shape(&self) -> ModelShape {
        ModelShape::new(self.vector_dim, self.num_ip_encoder_layers, families(self.addresses))
    }

    /// Makes the encoder with weights and biases uniform in ±1/sqrt(fan-in), as PyTorch's `nn.Linear` does
    /// (He et al. 2015 with a = sqrt 5), those of IPv4's first layer weighed by `prefix_prior`. The rows of a family in
    /// the first layer have that family's number of bits as fan-in, and IPv4's do not depend on whether IPv6's are there.
    /// On an autodiff device the weights require gradients.
    pub fn init(&self, device: &Device) -> IpEncoder {
        let plain = device.clone().inner();
        let on_device = |shape: [usize; 2], tensor_id: u32, first_row: usize, bound: f32| {
            let weights =
                uniform(shape, Uniform::init(self.seed, tensor_id, first_row as u32, bound), &plain);
            if device.is_autodiff() { Tensor::from_inner(weights) } else { weights }
        };
        let of_family = |tensor_id: u32, rows: Range<usize>| {
            let num_bits = rows.len();
            on_device([num_bits, self.vector_dim], tensor_id, rows.start, fan_in_bound(num_bits))
        };
        let layers = (0..=self.num_ip_encoder_layers)
            .map(|layer| {
                let [d_input, d_output] = self.shape().layer_shape(layer);
                let tensor_id = 1 + 2 * layer as u32;
                let ipv4 = || {
                    let prior = TensorData::new(prefix_prior(), [NUM_IPV4_BITS, 1]);
                    of_family(tensor_id, 0..NUM_IPV4_BITS) * Tensor::from_data(prior, device)
                };
                let weight = match (layer, families(self.addresses)) {
                    (0, Families::Ipv4) => ipv4(),
                    (0, Families::Both) => {
                        Tensor::cat(vec![ipv4(), of_family(tensor_id, NUM_IPV4_BITS..d_input)], 0)
                    }
                    _ => on_device([d_input, d_output], tensor_id, 0, fan_in_bound(d_input)),
                };
                // Of the first layer IPv4's fan-in, so that it is the same for both choices of families.
                let fan_in = if layer == 0 { NUM_IPV4_BITS } else { d_input };
                let bias =
                    on_device([1, d_output], tensor_id + 1, 0, fan_in_bound(fan_in)).reshape([d_output]);
                Linear {
                    weight: Param::from_tensor(weight.detach()),
                    bias: Some(Param::from_tensor(bias.detach())),
                }
            })
            .collect();
        IpEncoder { layers }
    }
}

/// The bound of weights with so many inputs.
fn fan_in_bound(d_input: usize) -> f32 {
    1.0 / (d_input as f32).sqrt()
}

/// How strong the first layer's initial weights are for each bit of an IPv4 address, the most significant first: half as
/// strong four bits further right, with a mean square of 1. Addresses are given out by prefix, so the first bits say
/// the most. On generated logins in the reference notebook's format this takes validation AUC after three epochs from
/// .9901 to .9903. IPv6 has none: of its first bits few differ, and on Tor relays such a prior, half as strong eight bits
/// further right, took the AUC against addresses of the same /48 from .960 to .938 and of the same /32 from .984 to .970.
fn prefix_prior() -> Vec<f32> {
    let halved = |bit: usize| 0.5f64.powf(bit as f64 / 4.0);
    let mean_square = (0..NUM_IPV4_BITS).map(|bit| halved(bit).powi(2)).sum::<f64>() / NUM_IPV4_BITS as f64;
    (0..NUM_IPV4_BITS).map(|bit| (halved(bit) / mean_square.sqrt()) as f32).collect()
}

impl IpEncoder {
    /// Encodes addresses.
    ///
    /// # Shapes
    ///
    /// - `ips`: `[N · words]`, unsigned 32-bit integers on the plain device, as in [`ipsight_kernels::addresses`]
    /// - output: `[N, vector_dim]`
    pub fn forward(&self, ips: Tensor<1, Int>) -> Tensor<2> {
        let bits = ip_bits(ips, self.shape().families);
        let on_autodiff = self.layers[0].weight.val().device().is_autodiff();
        let bits = if on_autodiff { Tensor::from_inner(bits) } else { bits };
        let (projection, hidden) = self.layers.split_last().expect("at least one layer");
        projection.forward(hidden.iter().fold(bits, |x, layer| relu(layer.forward(x))))
    }

    /// Width and number of the hidden layers.
    pub fn shape(&self) -> ModelShape {
        let [num_bits, vector_dim] = self.layers[0].weight.dims();
        let families = if num_bits == NUM_IPV4_BITS { Families::Ipv4 } else { Families::Both };
        ModelShape::new(vector_dim, self.layers.len() - 1, families)
    }

    /// All weights and biases in one row, `[1, num_parameters]`, as [`ModelShape`] lays them out.
    pub fn parameters(&self) -> Tensor<2> {
        let of_layer = |layer: &Linear| {
            let bias = layer.bias.as_ref().expect("every layer has a bias").val();
            [layer.weight.val().reshape([1, -1]), bias.reshape([1, -1])]
        };
        Tensor::cat(self.layers.iter().flat_map(of_layer).collect(), 1)
    }

    /// The encoder of `[1, num_parameters]`, the inverse of [`IpEncoder::parameters`].
    pub fn from_parameters(shape: &ModelShape, parameters: Tensor<2>) -> Self {
        let part = |range: Range<usize>| parameters.clone().slice([0..1, range]);
        let layer = |l: usize| {
            let weight = part(shape.weight(l)).reshape(shape.layer_shape(l));
            let bias = part(shape.bias(l)).reshape([shape.vector_dim]);
            Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
        };
        IpEncoder { layers: (0..=shape.num_hidden).map(layer).collect() }
    }
}
