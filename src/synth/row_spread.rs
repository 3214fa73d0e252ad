//! How far from home or work a login is: N(0, 10) table rows, rounded and kept within the table.

/// Standard deviation of the distance, in rows.
pub const ROWS_AWAY: f64 = 10.0;

/// Beyond 39 standard deviations the probability of a row is 0 as an `f64`.
const MAX_AWAY: usize = 39 * ROWS_AWAY as usize;

/// The distribution of the row of a login made from a base row (home or work), in closed form.
pub struct RowSpread {
    /// `at[k]`: the rounded distance is k rows, 0..=MAX_AWAY; that of -k is the same.
    at: Vec<f64>,
    /// `beyond[k]`: it is k rows or more.
    beyond: Vec<f64>,
}

impl RowSpread {
    pub fn new() -> Self {
        let upper = |k: usize| upper_tail((k as f64 - 0.5) / ROWS_AWAY);
        let at = (0..=MAX_AWAY).map(|k| upper(k) - upper(k + 1)).collect();
        RowSpread { at, beyond: (0..=MAX_AWAY).map(upper).collect() }
    }

    /// The probability of `row` from `base`, 0..=1; both are rows of a table that ends with `last_row`.
    ///
    /// The first and the last row have the probability of all that would lie outside the table, too.
    pub fn probability(&self, base: usize, row: usize, last_row: usize) -> f64 {
        let away = base.abs_diff(row);
        let probability = match row {
            _ if last_row == 0 => return 1.0,
            0 => self.beyond.get(away),
            _ if row == last_row => self.beyond.get(away),
            _ => self.at.get(away),
        };
        probability.copied().unwrap_or(0.0)
    }

    /// The bases from which `row` can be reached lie at most this many rows away from it.
    pub fn max_away(&self) -> usize {
        MAX_AWAY
    }
}

/// P(Z > x) of a standard normal Z, to about 1e-12 of itself down to where an `f64` ends.
///
/// Near the centre it is the series of Marsaglia (2004, "Evaluating the Normal Distribution"), in the tail the
/// continued fraction of Laplace (Abramowitz and Stegun 26.2.14), evaluated from its end.
fn upper_tail(x: f64) -> f64 {
    if x < 0.0 {
        return 1.0 - upper_tail(-x);
    }
    let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        for i in 1..100 {
            term *= x * x / f64::from(2 * i + 1);
            sum += term;
        }
        return 0.5 - density * sum;
    }
    density / (1..=200).rev().fold(x, |fraction, i| x + f64::from(i) / fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy.stats.norm.sf.
    #[test]
    fn the_tail_is_that_of_tables() {
        let expected = [
            (-1.0, 0.841_344_746_068_542_9),
            (0.0, 0.5),
            (0.05, 0.480_061_194_161_627_5),
            (1.0, 0.158_655_253_931_457_05),
            (2.0, 0.022_750_131_948_179_195),
            (3.0, 1.349_898_031_630_094_5e-3),
            (5.0, 2.866_515_718_791_933e-7),
            (10.0, 7.619_853_024_160_527e-24),
            (30.0, 4.906_713_927_148_187e-198),
        ];
        for (x, tail) in expected {
            assert!((upper_tail(x) / tail - 1.0).abs() < 1e-11, "{x}: {} not {tail}", upper_tail(x));
        }
    }

    #[test]
    fn the_rows_of_any_base_sum_to_one() {
        let spread = RowSpread::new();
        for last_row in [0, 1, 2, 30, 1000] {
            for base in [0, 1, last_row / 2, last_row].into_iter().filter(|&base| base <= last_row) {
                let sum: f64 = (0..=last_row).map(|row| spread.probability(base, row, last_row)).sum();
                assert!((sum - 1.0).abs() < 1e-13, "{base} of {last_row}: {sum}");
            }
        }
        // Symmetric inside the table, and nothing is lost where the tables of probabilities end.
        assert_eq!(spread.probability(500, 507, 1000), spread.probability(500, 493, 1000));
        assert!(spread.at.last() < Some(&1e-300) && spread.probability(0, 400, 1000) == 0.0);
    }
}
