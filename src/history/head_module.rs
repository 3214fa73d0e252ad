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
    /// `[73, 20]`.
    pub first: Linear,
    /// `[20, 12]`.
    pub second: Linear,
    /// `[12, 1]`.
    pub output: Linear,
    /// `[73, 1]`, past the hidden layers.
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
    /// - `inputs`: `[pairs, 73]`, those of owners zeros without a table of networks
    /// - output: `[pairs, 1]`
    pub fn forward(&self, inputs: Tensor<2>) -> Tensor<2> {
        let hidden = relu(self.first.forward(inputs.clone()));
        let hidden = relu(self.second.forward(hidden));
        self.output.forward(hidden) + self.skip.forward(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceChoice;
    use crate::device::choose;
    use crate::history::features::NUM_INPUTS;
    use crate::history::fit::input_rows;
    use crate::history::head::tests::{head, usages};
    use crate::tensors::read_floats;

    fn check_parity(device: &Device) {
        let (head, usages) = (head(3), usages(300, 4));
        let inputs: Vec<f32> =
            input_rows(&usages).iter().flat_map(|row| row[..NUM_INPUTS].to_vec()).collect();
        let inputs = Tensor::from_data(TensorData::new(inputs, [usages.len(), NUM_INPUTS]), device);
        let networks = read_floats(HeadModule::new(&head, device).forward(inputs)).unwrap();
        for (i, (found, parts)) in networks.iter().zip(head.parts(&usages)).enumerate() {
            assert!((found - parts.network).abs() < 2e-5, "pair {i}: {found} by the module, {parts:?}");
        }
    }

    #[test]
    fn the_module_on_ndarray_computes_the_scores_of_the_host() {
        check_parity(&choose(DeviceChoice::Ndarray).unwrap().device);
    }

    #[cfg(feature = "wgpu")]
    #[test]
    fn the_module_on_wgpu_computes_the_scores_of_the_host() {
        match choose(DeviceChoice::Wgpu) {
            Ok(wgpu) => check_parity(&wgpu.device),
            Err(error) => assert!(std::env::var_os("IPSIGHT_REQUIRE_WGPU").is_none(), "{error}"),
        }
    }
}
