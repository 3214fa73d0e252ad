//! The population stability index.

/// What is added to the number of events of each bin, so that an empty one has a logarithm.
const PRIOR_EVENTS: f64 = 0.5;

/// The population stability index of two counts over the same bins: the sum over the bins of
/// `(q - p) · ln(q / p)`, p and q being a bin's shares of the first and of the second. 0 where the shares are equal;
/// by the usual rule of thumb up to 0.1 is little, above 0.25 much (Siddiqi, "Credit Risk Scorecards", 2006; Yurdakul
/// and Naranjo, "Statistical properties of the population stability index", 2020). It is Jeffreys' divergence.
///
/// Half an event is added to each bin of both, so that no share is 0.
///
/// # Panics
///
/// Where the numbers of bins differ.
pub fn psi(expected: &[u64], actual: &[u64]) -> f64 {
    assert_eq!(expected.len(), actual.len(), "the bins differ");
    let total = |counts: &[u64]| counts.iter().sum::<u64>() as f64 + PRIOR_EVENTS * counts.len() as f64;
    let (expected_total, actual_total) = (total(expected), total(actual));
    let term = |(expected, actual): (&u64, &u64)| {
        let p = (*expected as f64 + PRIOR_EVENTS) / expected_total;
        let q = (*actual as f64 + PRIOR_EVENTS) / actual_total;
        (q - p) * (q / p).ln()
    };
    expected.iter().zip(actual).map(term).sum()
}
