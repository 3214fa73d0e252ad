//! The shape of a model: how a table's row and the IP encoder's parameters lie in their tensors.
//!
//! ```text
//! h_0 = bits(ip)      h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L      v = h_L W_L + b_L
//! parameters = [W_0 | b_0 | W_1 | b_1 | … | W_L | b_L | w],  W_0: [32, d], the others [d, d], row after row
//! row        = [e (d) | cells of `elsewhere` (8 or none) | cells of `memory` (C)]
//! w          = the weights of `elsewhere`, length after length
//! ```
//!
//! Training keeps them so: one tensor is one update, and its gradient another.

use std::ops::Range;

use crate::bits::NUM_BITS;
use crate::elsewhere::ElsewhereShape;
use crate::memory::MemoryShape;

/// The shape of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// d, width of the hidden layers and of the output.
    pub vector_dim: usize,
    /// L, hidden layers.
    pub num_hidden: usize,
    /// The memory of each row.
    pub memory: MemoryShape,
    /// The part of a score that does not ask for usual places.
    pub elsewhere: ElsewhereShape,
}

impl ModelShape {
    /// The shape of a dot product alone: an entity vector and an encoder of bits.
    pub fn bits(vector_dim: usize, num_hidden: usize) -> Self {
        Self { vector_dim, num_hidden, memory: MemoryShape::default(), elsewhere: ElsewhereShape::default() }
    }

    /// Floats of a table's row.
    pub fn row_width(&self) -> usize {
        self.vector_dim + self.num_cells()
    }

    /// Cells behind the vector of a table's row.
    pub fn num_cells(&self) -> usize {
        self.elsewhere.num_row_cells() + self.memory.num_cells
    }

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

    /// Where the weights of [`crate::elsewhere`] are.
    pub fn prefix_weights(&self) -> Range<usize> {
        let start = self.bias(self.num_hidden).end;
        start..start + self.elsewhere.num_parameters()
    }

    /// Everything but the table.
    pub fn num_parameters(&self) -> usize {
        self.prefix_weights().end
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
            let shape = ModelShape::bits(vector_dim, num_hidden);
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
