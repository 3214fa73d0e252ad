//! The shape of a model: how the IP encoder's parameters lie in their tensor.
//!
//! ```text
//! h_0 = bits(ip)      h_l = relu(h_{l-1} W_{l-1} + b_{l-1}),  l = 1..=L      v = h_L W_L + b_L
//! parameters = [W_0 | b_0 | W_1 | b_1 | … | W_L | b_L],  W_0: [n, d], the others [d, d], row after row
//! ```
//!
//! n is 32 in a model of IPv4 alone. In one of both families it is 96: the first 32 rows of W_0 are the first layer
//! of IPv4 addresses, the other 64 that of IPv6 addresses, and the bits of the family that an address is not of are
//! 0. So each family has a first layer of its own, and everything behind it, the biases included, is shared.
//!
//! Training keeps them in one tensor: one update for all of them, and one gradient. A row of the table of
//! entities is a vector of d floats.

use std::ops::Range;

/// Bits of an IPv4 address.
pub const NUM_IPV4_BITS: usize = 32;

/// Bits of an IPv6 address that the encoder takes: the upper half.
pub const NUM_IPV6_BITS: usize = 64;

/// Bits of a digit by which the first layer is looked up in training and on a device.
pub(crate) const NIBBLE_BITS: usize = 4;

/// Values of such a digit.
pub(crate) const NIBBLE_VALUES: usize = 1 << NIBBLE_BITS;

/// The families of addresses that an encoder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 alone.
    Ipv4,
    /// IPv4 and IPv6.
    Both,
}

impl Families {
    /// n, the width of h_0.
    pub const fn num_bits(self) -> usize {
        match self {
            Families::Ipv4 => NUM_IPV4_BITS,
            Families::Both => NUM_IPV4_BITS + NUM_IPV6_BITS,
        }
    }

    /// Words of 32 bits that an address is kept in.
    pub const fn num_words(self) -> usize {
        match self {
            Families::Ipv4 => 1,
            Families::Both => 2,
        }
    }

    /// Rows of the first layer's lookup tables by nibbles, and of the buckets of its gradients.
    pub const fn num_nibble_rows(self) -> usize {
        self.num_bits() / NIBBLE_BITS * NIBBLE_VALUES
    }
}

/// The shape of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// d, width of the entity vectors, of the hidden layers and of the output.
    pub vector_dim: usize,
    /// L, hidden layers.
    pub num_hidden: usize,
    /// The addresses that it takes.
    pub families: Families,
}

impl ModelShape {
    /// The shape of a model of vectors of `vector_dim` floats and `num_hidden` hidden layers.
    pub fn new(vector_dim: usize, num_hidden: usize, families: Families) -> Self {
        Self { vector_dim, num_hidden, families }
    }

    /// Input and output width of layer `l` in `0..=L`.
    pub fn layer_shape(&self, l: usize) -> [usize; 2] {
        [if l == 0 { self.families.num_bits() } else { self.vector_dim }, self.vector_dim]
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
        // Layer 0 has n rows of weights, the others d, and each one row of biases.
        let end = self.families.num_bits() * d + d + l * (d * d + d);
        end - d..end
    }

    /// Where layer `l` is: its rows of weights and, behind them, its biases, which are one matrix.
    pub fn layer(&self, l: usize) -> Range<usize> {
        self.weight(l).start..self.bias(l).end
    }

    /// Floats of the encoder.
    pub fn num_parameters(&self) -> usize {
        self.bias(self.num_hidden).end
    }

    /// Width of what the last layer takes: n where there is no hidden layer, else d.
    pub fn output_width(&self) -> usize {
        self.layer_shape(self.num_hidden)[0]
    }

    /// Floats of an entity's row with the output layer folded into it: width + 1.
    pub fn folded_width(&self) -> usize {
        self.output_width() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_follow_each_other_and_fill_the_whole() {
        let cases = [(4, 0), (4, 1), (100, 2), (128, 5)];
        for (case, families) in
            [Families::Ipv4, Families::Both].into_iter().flat_map(|f| cases.map(|c| (c, f)))
        {
            let (vector_dim, num_hidden) = case;
            let shape = ModelShape::new(vector_dim, num_hidden, families);
            let mut end = 0;
            for l in 0..=num_hidden {
                assert_eq!(shape.weight(l).start, end);
                assert_eq!(shape.weight(l).len(), shape.layer_shape(l).iter().product::<usize>());
                assert_eq!(shape.bias(l).start, shape.weight(l).end);
                assert_eq!(shape.bias(l).len(), vector_dim);
                assert_eq!(shape.layer(l), end..shape.bias(l).end);
                end = shape.bias(l).end;
            }
            assert_eq!(shape.num_parameters(), end);
        }
    }
}
