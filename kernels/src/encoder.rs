//! How the IP encoder's parameters lie in one flat tensor.
//!
//! ```text
//! h_0 = bits(ip)      h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L      v = h_L W_L + b_L
//! parameters = [W_0 | b_0 | W_1 | b_1 | … | W_L | b_L],  W_0: [32, d], the others [d, d], row after row
//! ```
//!
//! Training keeps them so: one tensor is one update, and its gradient another.

use std::ops::Range;

use crate::bits::NUM_BITS;

/// The shape of an IP encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderShape {
    /// d, width of the hidden layers and of the output.
    pub vector_dim: usize,
    /// L, hidden layers.
    pub num_hidden: usize,
}

impl EncoderShape {
    /// Input and output width of layer `l` in `0..=L`.
    pub fn layer_shape(&self, l: usize) -> [usize; 2] {
        [if l == 0 { NUM_BITS } else { self.vector_dim }, self.vector_dim]
    }

    /// Where the weights of layer `l` are.
    pub fn weight(&self, l: usize) -> Range<usize> {
        let [d_input, d_output] = self.layer_shape(l);
        let start = if l == 0 { 0 } else { self.bias(l - 1).end };
        start..start + d_input * d_output
    }

    /// Where the biases of layer `l` are.
    pub fn bias(&self, l: usize) -> Range<usize> {
        let d = self.vector_dim;
        // Layer 0 has 32 rows of weights, the others d, and each one row of biases.
        let end = NUM_BITS * d + d + l * (d * d + d);
        end - d..end
    }

    /// Weights and biases of all layers.
    pub fn num_parameters(&self) -> usize {
        self.bias(self.num_hidden).end
    }

    /// Width of what the last layer takes: 32 where there is no hidden layer, else d.
    pub fn output_width(&self) -> usize {
        self.layer_shape(self.num_hidden)[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_follow_each_other_and_fill_the_whole() {
        for (vector_dim, num_hidden) in [(4, 0), (4, 1), (100, 2), (128, 5)] {
            let shape = EncoderShape { vector_dim, num_hidden };
            let mut end = 0;
            for l in 0..=num_hidden {
                assert_eq!(shape.weight(l).start, end);
                assert_eq!(shape.weight(l).len(), shape.layer_shape(l).iter().product::<usize>());
                assert_eq!(shape.bias(l).start, shape.weight(l).end);
                assert_eq!(shape.bias(l).len(), vector_dim);
                end = shape.bias(l).end;
            }
            assert_eq!(shape.num_parameters(), end);
        }
    }
}
