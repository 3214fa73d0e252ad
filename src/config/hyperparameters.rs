use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The ten hyperparameters of SageMaker IP Insights, by their names there, with its ranges and defaults.
///
/// Names, ranges and defaults:
/// <https://docs.aws.amazon.com/sagemaker/latest/dg/ip-insights-hyperparameters.html>. `num_entity_vectors`
/// and `vector_dim` are required there; the defaults here are those of its container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hyperparameters {
    /// Rows of the entity embedding table. Entities are hashed to rows: twice the number of distinct entities
    /// keeps collisions rare, and is what "auto" takes.
    #[schemars(schema_with = "entity_vectors_schema")]
    pub num_entity_vectors: usize,
    /// Length of an entity embedding and of an IP embedding.
    #[schemars(range(min = 4, max = 4096))]
    pub vector_dim: usize,
    /// Training metrics are published every this many mini-batches.
    #[schemars(range(min = 1))]
    pub batch_metrics_publish_interval: usize,
    /// Passes over the training data.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Step size of Adam.
    #[schemars(range(min = 1e-6, max = 10.0))]
    pub learning_rate: f64,
    /// Events in a mini-batch. "auto" takes 10,000, or less where that would leave a run under 1,000 steps.
    #[schemars(schema_with = "mini_batch_schema")]
    pub mini_batch_size: usize,
    /// Hidden fully connected layers of the IP encoder.
    #[schemars(range(min = 0, max = 100))]
    pub num_ip_encoder_layers: usize,
    /// Random negatives per event: the same entity with a random IPv4 address. Together with
    /// `shuffled_negative_sampling_rate` at least 1 and at most 500.
    #[schemars(range(min = 0, max = 500))]
    pub random_negative_sampling_rate: usize,
    /// Shuffled negatives per event: the same entity with the address of another event of the mini-batch.
    /// Together with `random_negative_sampling_rate` at least 1 and at most 500.
    #[schemars(range(min = 0, max = 500))]
    pub shuffled_negative_sampling_rate: usize,
    /// Weight of the L2 penalty on the weights.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
}

impl Default for Hyperparameters {
    fn default() -> Self {
        Hyperparameters {
            num_entity_vectors: 100_000,
            vector_dim: 128,
            batch_metrics_publish_interval: 1000,
            epochs: 10,
            learning_rate: 0.001,
            mini_batch_size: 10_000,
            num_ip_encoder_layers: 1,
            random_negative_sampling_rate: 1,
            shuffled_negative_sampling_rate: 1,
            weight_decay: 0.00001,
        }
    }
}

/// What stands for a size that the training events decide.
pub(super) const AUTO: &str = "auto";

/// Which sizes the training events decide: those that a configuration gives as "auto". The fields of
/// [`Hyperparameters`] hold their defaults until [`crate::train::resolve_sizes`] sets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AutoSizes {
    /// [`Hyperparameters::num_entity_vectors`].
    pub num_entity_vectors: bool,
    /// [`Hyperparameters::mini_batch_size`].
    pub mini_batch_size: bool,
}

impl AutoSizes {
    /// Whether the events decide anything.
    pub fn any(self) -> bool {
        self.num_entity_vectors || self.mini_batch_size
    }

    /// The sizes with their keys in the table of hyperparameters.
    pub(super) fn by_key(&mut self) -> [(&'static str, &mut bool); 2] {
        [("num_entity_vectors", &mut self.num_entity_vectors), ("mini_batch_size", &mut self.mini_batch_size)]
    }
}

fn entity_vectors_schema(_: &mut SchemaGenerator) -> Schema {
    size_schema(250_000_000)
}

fn mini_batch_schema(_: &mut SchemaGenerator) -> Schema {
    size_schema(500_000)
}

/// A number from 1, or "auto".
fn size_schema(max: u32) -> Schema {
    json_schema!({
        "anyOf": [{ "type": "integer", "format": "uint", "minimum": 1, "maximum": max }, { "const": AUTO }]
    })
}
