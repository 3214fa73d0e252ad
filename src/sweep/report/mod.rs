//! The report of a sweep: one HTML page that needs nothing else, and its trials as CSV.
//!
//! The page holds no script and forbids itself every request; values appear when a mark or a line is pointed at.

mod domains;
mod html;
mod parallel;
mod plots;
mod tables;
#[cfg(test)]
mod tests;

use super::space::Space;
use super::study::Study;

pub use tables::trials_csv;

/// What the report is about. All of it may be any text: it is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The sweep's name.
    pub name: &'a str,
    /// The metric that is looked for.
    pub metric: &'a str,
    /// The metric that is told after every epoch.
    pub watched: &'a str,
    /// How configurations are chosen.
    pub method: &'a str,
    /// How trials are stopped early.
    pub early_stopping: &'a str,
    /// What varies.
    pub space: &'a Space,
    /// The trials so far.
    pub study: &'a Study,
    /// The best trial's whole configuration.
    pub best_toml: Option<&'a str>,
    /// The inputs, as they were named.
    pub data: &'a [String],
}

/// The whole page, at any time of the sweep: without trials it says so. A function of the subject alone.
pub fn page(subject: &Subject<'_>) -> String {
    html::page(subject)
}
