use std::ops::Range;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use ipsight_kernels::bits::{NUM_BITS, ip_bits};
use ipsight_kernels::elsewhere::ElsewhereShape;
use ipsight_kernels::memory::PrefixLengths;
use ipsight_kernels::shape::ModelShape;
use ipsight_kernels::uniform::{Uniform, uniform};

use super::index_tensor;

/// Configuration of an [`IpEncoder`].
#[derive(Config, Debug)]
pub struct IpEncoderConfig {
    /// L, hidden layers, 0..=100.
    pub num_ip_encoder_layers: usize,
    /// d, width of the hidden layers and of the output.
    pub vector_dim: usize,
    /// Lengths of the address prefixes whose weights are learned; none where only bits are.
    #[config(default = "Vec::new()")]
    pub prefix_lengths: Vec<u32>,
    /// Seed of the initial weights.
    #[config(default = 0)]
    pub seed: u64,
}

/// Encodes the 32 bits of an address. L = 0: one linear map. L >= 1: L hidden layers of `vector_dim` units
/// with ReLU, then a linear projection.
#[derive(Module, Debug)]
pub struct IpEncoder {
    /// L + 1 layers; the first takes the 32 bits, the last has no ReLU after it.
    pub layers: Vec<Linear>,
    /// How common each prefix is, as [`ipsight_kernels::elsewhere`] says: `[weights]` of each length, ascending.
    pub prefixes: Vec<Param<Tensor<1>>>,
    prefix_lengths: Vec<u32>,
}

impl IpEncoderConfig {
    /// Width and number of the hidden layers, and the prefixes. It knows of no memory.
    pub fn shape(&self) -> ModelShape {
        let elsewhere = ElsewhereShape { lengths: prefix_lengths(&self.prefix_lengths) };
        ModelShape { elsewhere, ..ModelShape::bits(self.vector_dim, self.num_ip_encoder_layers) }
    }

    /// Makes the encoder with weights and biases uniform in ±1/sqrt(fan-in), as PyTorch's `nn.Linear` does
    /// (He et al. 2015 with a = sqrt 5), the first layer's weighed by [`prefix_prior`]. On an autodiff device
    /// the weights require gradients.
    pub fn init(&self, device: &Device) -> IpEncoder {
        let plain = device.clone().inner();
        let on_device = |shape: [usize; 2], tensor_id: u32, bound: f32| {
            let weights = uniform(shape, Uniform::init(self.seed, tensor_id, 0, bound), &plain);
            if device.is_autodiff() { Tensor::from_inner(weights) } else { weights }
        };
        let layers = (0..=self.num_ip_encoder_layers)
            .map(|layer| {
                let [d_input, d_output] = self.shape().layer_shape(layer);
                let bound = 1.0 / (d_input as f32).sqrt();
                let tensor_id = 1 + 2 * layer as u32;
                let mut weight = on_device([d_input, d_output], tensor_id, bound);
                if layer == 0 {
                    let prior = TensorData::new(prefix_prior().to_vec(), [NUM_BITS, 1]);
                    weight = (weight * Tensor::from_data(prior, device)).detach();
                }
                let bias = on_device([1, d_output], tensor_id + 1, bound).reshape([d_output]);
                Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias.detach())) }
            })
            .collect();
        let zeros = |length| Param::from_tensor(Tensor::zeros([ElsewhereShape::num_weights(length)], device));
        let prefixes = self.shape().elsewhere.lengths.iter().map(zeros).collect();
        self.with(layers, prefixes)
    }

    /// The encoder of its weights.
    pub(super) fn with(&self, layers: Vec<Linear>, prefixes: Vec<Param<Tensor<1>>>) -> IpEncoder {
        // Ascending, as the weights are.
        IpEncoder { layers, prefixes, prefix_lengths: self.shape().elsewhere.lengths.iter().collect() }
    }
}

/// The set of lengths.
pub(super) fn prefix_lengths(lengths: &[u32]) -> PrefixLengths {
    PrefixLengths::new(lengths).expect("the configuration's lengths were checked")
}

/// How strong the first layer's initial weights are for each bit, the most significant first: half as strong
/// four bits further right, with a mean square of 1. Addresses are given out by prefix, so the first bits say
/// the most. On generated logins in the reference notebook's format this takes validation AUC after three
/// epochs from .9901 to .9903.
fn prefix_prior() -> [f32; NUM_BITS] {
    let halved = |bit: usize| 0.5f64.powf(bit as f64 / 4.0);
    let mean_square = (0..NUM_BITS).map(|bit| halved(bit).powi(2)).sum::<f64>() / NUM_BITS as f64;
    std::array::from_fn(|bit| (halved(bit) / mean_square.sqrt()) as f32)
}

impl IpEncoder {
    /// Encodes addresses.
    ///
    /// # Shapes
    ///
    /// - `ips`: `[N]`, unsigned 32-bit integers on the plain device
    /// - output: `[N, vector_dim]`
    pub fn forward(&self, ips: Tensor<1, Int>) -> Tensor<2> {
        let bits = ip_bits(ips);
        let on_autodiff = self.layers[0].weight.val().device().is_autodiff();
        let bits = if on_autodiff { Tensor::from_inner(bits) } else { bits };
        let (projection, hidden) = self.layers.split_last().expect("at least one layer");
        projection.forward(hidden.iter().fold(bits, |x, layer| relu(layer.forward(x))))
    }

    /// Width and number of the hidden layers, and the prefixes. It knows of no memory.
    pub fn shape(&self) -> ModelShape {
        let elsewhere = ElsewhereShape { lengths: prefix_lengths(&self.prefix_lengths) };
        ModelShape { elsewhere, ..ModelShape::bits(self.layers[0].weight.dims()[1], self.layers.len() - 1) }
    }

    /// The sum of each address's prefix weights.
    ///
    /// # Shapes
    ///
    /// - `ips`: `[N]`, unsigned 32-bit integers
    /// - output: `[N]`
    pub fn prefix_sums(&self, ips: &Tensor<1, Int>) -> Tensor<1> {
        let device = self.layers[0].weight.val().device();
        let ips = host_ips(ips);
        let weights = self.prefixes.iter().zip(&self.prefix_lengths).map(|(weights, length)| {
            let places = ips.iter().map(|ip| ElsewhereShape::index(*ip, *length) as i32);
            weights.val().select(0, index_tensor(places.collect(), &device))
        });
        weights.reduce(Tensor::add).expect("there are prefixes")
    }

    /// All weights and biases in one row, `[1, num_parameters]`, as [`ModelShape`] lays them out.
    pub fn parameters(&self) -> Tensor<2> {
        let of_layer = |layer: &Linear| {
            let bias = layer.bias.as_ref().expect("every layer has a bias").val();
            [layer.weight.val().reshape([1, -1]), bias.reshape([1, -1])]
        };
        let prefixes = self.prefixes.iter().map(|weights| weights.val().reshape([1, -1]));
        Tensor::cat(self.layers.iter().flat_map(of_layer).chain(prefixes).collect(), 1)
    }

    /// The encoder of `[1, num_parameters]`, the inverse of [`IpEncoder::parameters`].
    pub fn from_parameters(shape: &ModelShape, parameters: Tensor<2>) -> Self {
        let part = |range: Range<usize>| parameters.clone().slice([0..1, range]);
        let layer = |l: usize| {
            let weight = part(shape.weight(l)).reshape(shape.layer_shape(l));
            let bias = part(shape.bias(l)).reshape([shape.vector_dim]);
            Linear { weight: Param::from_tensor(weight), bias: Some(Param::from_tensor(bias)) }
        };
        let start = shape.prefix_weights().start;
        let prefix = |(_, range): (u32, Range<usize>)| {
            let weights = part(start + range.start..start + range.end);
            Param::from_tensor(weights.reshape([range.len()]))
        };
        IpEncoder {
            layers: (0..=shape.num_hidden).map(layer).collect(),
            prefixes: shape.elsewhere.ranges().map(prefix).collect(),
            prefix_lengths: shape.elsewhere.lengths.iter().collect(),
        }
    }
}

/// Addresses on the host, for the plain form, which computes places there.
pub(super) fn host_ips(ips: &Tensor<1, Int>) -> Vec<u32> {
    ips.to_data().iter::<u32>().collect()
}
