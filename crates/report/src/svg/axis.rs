//! Scales and axes: where values stand, and the numbers beside them.

use crate::text::significant;

/// How values become positions along one axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From the first value to the second.
    Linear(f64, f64),
    /// Logarithmic, from ten to the first exponent to ten to the second.
    Log10(i32, i32),
}

impl Scale {
    /// The position of a value along the axis, 0 to 1. A value outside has that of the nearer end, NaN that of the first.
    pub fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear(low, high) => (value - low) / (high - low),
            Scale::Log10(low, high) => (value.max(1e-300).log10() - f64::from(low)) / f64::from(high - low),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// The values at which grid lines and numbers stand: powers of ten, or multiples of 1, 2 or 5 times one.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Log10(low, high) => (low..=high).map(power_of_ten).collect(),
            // One value, or an empty range.
            Scale::Linear(low, high) if low >= high => vec![low],
            Scale::Linear(low, high) => {
                let rough = (high - low) / 6.0;
                let unit = 10f64.powf(rough.log10().floor());
                let step =
                    unit * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * unit >= rough).unwrap_or(10.0);
                let first = (low / step).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= high + 1e-9 * step).collect()
            }
        }
    }
}

/// The float nearest to the power, which a product of tens need not be.
fn power_of_ten(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(1.0)
}

/// An axis with its name and with texts at some of its values.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Where values stand.
    pub scale: Scale,
    /// Values with a grid line, and the text beside each.
    pub ticks: Vec<(f64, String)>,
    /// The name.
    pub label: String,
}

impl Axis {
    /// An axis with round numbers.
    pub fn new(scale: Scale, label: &str) -> Self {
        let ticks = scale.ticks().into_iter().map(|tick| (tick, tick_text(tick))).collect();
        Axis { scale, ticks, label: label.into() }
    }

    /// The width that the texts of a vertical axis take at the size of letters on a phone, in units of the drawing.
    pub(super) fn text_width(&self) -> f64 {
        let longest = self.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        30.0 + 9.5 * longest as f64
    }
}

/// A number beside an axis, with a proper minus sign.
pub fn tick_text(value: f64) -> String {
    // Too large for the room beside an axis, or too small for the digits below.
    if value != 0.0 && !(1e-9..1e9).contains(&value.abs()) {
        return significant(value).replace('-', "\u{2212}");
    }
    // A multiple of a step has a rounding error in its last digits.
    let text = format!("{value:.10}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "\u{2212}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::Linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::Log10(-3, 0).ticks(), [0.001, 0.01, 0.1, 1.0]);
        assert_eq!(Scale::Linear(2.0, 2.0).ticks(), [2.0]);
        let ticks = Scale::Linear(-13.7, 8.2).ticks();
        assert_eq!(ticks, [-10.0, -5.0, 0.0, 5.0]);
        assert_eq!(tick_text(-0.30000000000000004), "\u{2212}0.3");
        assert_eq!(tick_text(0.00001), "0.00001");
    }

    #[test]
    fn values_outside_stand_at_the_ends() {
        let scale = Scale::Log10(-4, 0);
        assert_eq!([0.0, 1e-9, 1e-4, 1e-2, 1.0, 7.0].map(|x| scale.share(x)), [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(Scale::Linear(3.0, 3.0).share(3.0), 0.0);
    }
}
