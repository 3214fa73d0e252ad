//! The parts of a head's parameters.

use std::ops::Range;

use super::features::NUM_INPUTS;

/// Units of the first hidden layer.
pub const HIDDEN_1: usize = 20;

/// Units of the second hidden layer.
pub const HIDDEN_2: usize = 12;

/// A part of a head's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// W1, `[inputs, 20]`.
    FirstWeight,
    /// b1, `[20]`.
    FirstBias,
    /// W2, `[20, 12]`.
    SecondWeight,
    /// b2, `[12]`.
    SecondBias,
    /// w3, `[12, 1]`.
    OutputWeight,
    /// b3, `[1]`.
    OutputBias,
    /// w, `[inputs, 1]`.
    SkipWeight,
    /// b, `[1]`.
    SkipBias,
    /// The weight of the closed form, `[1]`.
    ClosedWeight,
}

impl Part {
    /// All parts, in the order in which they lie.
    pub const ALL: [Self; 9] = [
        Self::FirstWeight,
        Self::FirstBias,
        Self::SecondWeight,
        Self::SecondBias,
        Self::OutputWeight,
        Self::OutputBias,
        Self::SkipWeight,
        Self::SkipBias,
        Self::ClosedWeight,
    ];

    /// The name of its tensor in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstWeight => "head.first.weight",
            Self::FirstBias => "head.first.bias",
            Self::SecondWeight => "head.second.weight",
            Self::SecondBias => "head.second.bias",
            Self::OutputWeight => "head.output.weight",
            Self::OutputBias => "head.output.bias",
            Self::SkipWeight => "head.skip.weight",
            Self::SkipBias => "head.skip.bias",
            Self::ClosedWeight => "head.closed.weight",
        }
    }

    /// The shape of its tensor: `[in, out]` of a weight, `[out]` of a bias.
    pub const fn shape(self) -> &'static [usize] {
        match self {
            Self::FirstWeight => &[NUM_INPUTS, HIDDEN_1],
            Self::FirstBias => &[HIDDEN_1],
            Self::SecondWeight => &[HIDDEN_1, HIDDEN_2],
            Self::SecondBias => &[HIDDEN_2],
            Self::OutputWeight => &[HIDDEN_2, 1],
            Self::SkipWeight => &[NUM_INPUTS, 1],
            _ => &[1],
        }
    }

    const fn len(self) -> usize {
        match self.shape() {
            [rows, columns] => *rows * *columns,
            [len] => *len,
            _ => 0,
        }
    }

    /// Where it lies among the parameters.
    pub const fn range(self) -> Range<usize> {
        let (mut start, mut part) = (0, 0);
        while part < self as usize {
            start += Self::ALL[part].len();
            part += 1;
        }
        start..start + self.len()
    }
}

/// Parameters that are fitted by gradients.
pub const NUM_FITTED: usize = Part::SkipBias.range().end;

/// All parameters of a head.
pub const NUM_PARAMETERS: usize = Part::ClosedWeight.range().end;
