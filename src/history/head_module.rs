//! The head's network as a Burn module: its definition, forward only.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use super::head::Head;
use super::network::Part;

/// An MLP of two hidden layers beside a linear part; [`Head`] says what it is for, and computes the same on the host.
#[derive(Module, Debug)]
pub struct HeadModule {
    /// `[60, 20]`.
    pub first: Linear,
    /// `[20, 12]`.
    pub second: Linear,
    /// `[12, 1]`.
    pub output: Linear,
    /// `[60, 1]`, past the hidden layers.
    pub skip: Linear,
}

impl HeadModule {
    /// The module of a head, on a device.
    pub fn new(head: &Head, device: &Device) -> Self {
        let linear = |weight: Part, bias: Part| {
            let shape = weight.shape().to_vec();
            let weight = TensorData::new(head.part(weight).to_vec(), shape);
            let bias = TensorData::new(head.part(bias).to_vec(), bias.shape().to_vec());
            Linear {
                weight: Param::from_tensor(Tensor::from_data(weight, device)),
                bias: Some(Param::from_tensor(Tensor::from_data(bias, device))),
            }
        };
        Self {
            first: linear(Part::FirstWeight, Part::FirstBias),
            second: linear(Part::SecondWeight, Part::SecondBias),
            output: linear(Part::OutputWeight, Part::OutputBias),
            skip: linear(Part::SkipWeight, Part::SkipBias),
        }
    }

    /// The network's part of the scores.
    ///
    /// # Shapes
    ///
    /// - `inputs`: `[pairs, 60]`
    /// - output: `[pairs, 1]`
    pub fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.first.forward(inputs.clone()));
        let hidden = relu(self.second.forward(hidden));
        self.output.forward(hidden) + self.skip.forward(inputs)
    }
}
