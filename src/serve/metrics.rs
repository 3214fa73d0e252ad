//! What a server counts, for Prometheus.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

use super::models::Models;

/// The media type of [`Metrics::text`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Request {
    pub route: Arc<str>,
    pub status: u32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Route {
    pub route: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Outcome {
    pub outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelInfo {
    model: Escaped,
    version: Escaped,
}

/// A label's value that may be any text: the encoder takes it as it is, and a quote in it would end it.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Escaped(String);

impl EncodeLabelValue for Escaped {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => encoder.write_str("\\\\")?,
                '"' => encoder.write_str("\\\"")?,
                '\n' => encoder.write_str("\\n")?,
                other => encoder.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// All counters.
pub struct Metrics {
    registry: Registry,
    pub requests: Family<Request, Counter>,
    pub seconds: Family<Route, Histogram>,
    pub records: Counter,
    pub batch_records: Histogram,
    pub batch_requests: Histogram,
    pub reloads: Family<Outcome, Counter>,
    connections: Gauge,
    connections_refused: Counter,
    queue_records: Gauge,
    body_bytes: Gauge,
    models: Family<ModelInfo, Gauge>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("ipsight");
        let r = &mut registry;
        let of_seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(50e-6, 2.0, 20));
        let seconds = Family::new_with_constructor(of_seconds);
        let batches = |buckets| Histogram::new(exponential_buckets(1.0, 2.0, buckets));
        Self {
            requests: registered(r, "requests", "Requests answered, by route and status", Family::default()),
            seconds: registered(r, "request_seconds", "From a request's head to its response", seconds),
            records: registered(r, "records", "Records scored", Counter::default()),
            batch_records: registered(
                r,
                "batch_records",
                "Records scored together in the queue",
                batches(18),
            ),
            batch_requests: registered(
                r,
                "batch_requests",
                "Requests scored together in the queue",
                batches(12),
            ),
            reloads: registered(r, "reloads", "Models loaded again, by outcome", Family::default()),
            connections: registered(r, "connections", "Open connections", Gauge::default()),
            connections_refused: registered(
                r,
                "connections_refused",
                "Connections past the bound",
                Counter::default(),
            ),
            queue_records: registered(r, "queue_records", "Records that wait to be scored", Gauge::default()),
            body_bytes: registered(
                r,
                "body_bytes",
                "Bytes of bodies being read or worked on",
                Gauge::default(),
            ),
            models: registered(r, "model", "Models that are served: always 1", Family::default()),
            registry,
        }
    }

    /// A connection is open until the result is dropped.
    pub fn open_connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    pub fn refuse_connection(&self) {
        self.connections_refused.inc();
    }

    /// All of them in the OpenMetrics text format, which Prometheus reads.
    pub fn text(&self, models: &Models, queue_records: usize, body_bytes: usize) -> String {
        self.queue_records.set(queue_records as i64);
        self.body_bytes.set(body_bytes as i64);
        self.models.clear();
        for model in models.all().values() {
            let info =
                ModelInfo { model: Escaped(model.name.clone()), version: Escaped(model.version().into()) };
            self.models.get_or_create(&info).set(1);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all");
        text
    }
}

fn registered<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// See [`Metrics::open_connection`].
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_label_whatever_is_in_it() {
        let metrics = Metrics::new();
        let info = ModelInfo { model: Escaped("a\"} 1\nb\\".into()), version: Escaped("v".into()) };
        metrics.models.get_or_create(&info).set(1);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("ipsight_model{")).unwrap();
        assert_eq!(line, "ipsight_model{model=\"a\\\"} 1\\nb\\\\\",version=\"v\"} 1");
    }
}
