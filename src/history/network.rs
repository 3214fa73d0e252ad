//! The head's network on the host: its weights, in one row.

use std::ops::Range;

use super::features::NUM_INPUTS;

/// Units of the first hidden layer.
pub const HIDDEN_1: usize = 20;

/// Units of the second hidden layer.
pub const HIDDEN_2: usize = 12;

/// `[inputs, 20]`, `[20]`, `[20, 12]`, `[12]`, `[12]`, `[1]`, `[inputs]`, `[1]`.
const PART_LENGTHS: [usize; 8] =
    [NUM_INPUTS * HIDDEN_1, HIDDEN_1, HIDDEN_1 * HIDDEN_2, HIDDEN_2, HIDDEN_2, 1, NUM_INPUTS, 1];

/// The parts of a head's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    FirstWeight,
    FirstBias,
    SecondWeight,
    SecondBias,
    OutputWeight,
    OutputBias,
    SkipWeight,
    SkipBias,
}

impl Part {
    /// Where the part lies among the parameters.
    pub const fn range(self) -> Range<usize> {
        let (mut start, mut part) = (0, 0);
        while part < self as usize {
            start += PART_LENGTHS[part];
            part += 1;
        }
        start..start + PART_LENGTHS[part]
    }
}

/// Number of a head's parameters.
pub const NUM_PARAMETERS: usize = Part::SkipBias.range().end;
