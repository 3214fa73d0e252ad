//! Intervals of 95 %.

/// The 97.5 % quantile of the standard normal distribution.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// The interval of 95 % of a share `count / total` after Wilson (1927), without continuity correction; 0..=1.
pub(crate) fn wilson(count: u64, total: u64) -> [f64; 2] {
    let (total, share) = (total as f64, count as f64 / total as f64);
    let centre = share + Z * Z / (2.0 * total);
    let half = Z * (share * (1.0 - share) / total + Z * Z / (4.0 * total * total)).sqrt();
    let scale = 1.0 + Z * Z / total;
    // At the ends the two terms cancel but for their last digit.
    let low = if count == 0 { 0.0 } else { (centre - half) / scale };
    let high = if share == 1.0 { 1.0 } else { (centre + half) / scale };
    [low.max(0.0), high.min(1.0)]
}
