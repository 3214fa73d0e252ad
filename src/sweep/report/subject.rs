//! What a report is about.

use ipsight_search::space::Space;
use ipsight_search::study::Study;

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
