//! What a report is about.

use ipsight_search::space::Space;
use ipsight_search::study::Study;

/// What a report is about. Every text is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The sweep's name.
    pub name: &'a str,
    /// The metric to optimise.
    pub metric: &'a str,
    /// The metric that early stopping compares.
    pub watched: &'a str,
    /// The method of the search.
    pub method: &'a str,
    /// The rule of early stopping.
    pub early_stopping: &'a str,
    /// The search space.
    pub space: &'a Space,
    /// The trials so far.
    pub study: &'a Study,
    /// The best trial's whole configuration.
    pub best_toml: Option<&'a str>,
    /// The inputs, as they were named.
    pub data: &'a [String],
}
