//! Mean scores of each entity by both models.

use std::collections::HashMap;

use serde::{Serialize, Serializer};

/// An entity, and how its events' scores have moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MovedEntity {
    /// Its bytes; in JSON those that are not UTF-8 become U+FFFD.
    #[serde(serialize_with = "as_text")]
    pub entity: Vec<u8>,
    /// Its ordinary events.
    pub num_events: u64,
    /// The mean of their anomaly scores by the old model.
    pub old_mean: f64,
    /// The same by the new model.
    pub new_mean: f64,
    /// The new mean less the old one: above 0 the entity's logins look stranger than before.
    pub change: f64,
}

fn as_text<S: Serializer>(entity: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(entity))
}

/// Sums of scores by entity.
#[derive(Debug, Default)]
pub(super) struct EntityMeans {
    entities: HashMap<u64, Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    name: Box<[u8]>,
    num_events: u64,
    of_scores: [f64; 2],
}

impl EntityMeans {
    /// Says what the entity with a hash is called, before its scores come.
    pub(super) fn name(&mut self, entity: u64, name: &[u8]) {
        self.entities.entry(entity).or_insert_with(|| Sums { name: name.into(), ..Sums::default() });
    }

    /// Adds the anomaly scores of an event by the old and the new model.
    pub(super) fn add(&mut self, entity: u64, scores: [f32; 2]) {
        let sums = self.entities.entry(entity).or_default();
        sums.num_events += 1;
        for (sum, score) in sums.of_scores.iter_mut().zip(scores) {
            *sum += f64::from(score);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entities.len()
    }

    /// The `num` entities whose mean moved most, those first; equal ones by their names. None that did not move.
    pub(super) fn moved_most(self, num: usize) -> Vec<MovedEntity> {
        let moved = |Sums { name, num_events, of_scores }: Sums| {
            let [old_mean, new_mean] = of_scores.map(|sum| sum / num_events as f64);
            let change = new_mean - old_mean;
            MovedEntity { entity: name.into(), num_events, old_mean, new_mean, change }
        };
        let mut all: Vec<MovedEntity> = self.entities.into_values().map(moved).collect();
        all.retain(|moved| moved.change != 0.0);
        all.sort_by(|a, b| b.change.abs().total_cmp(&a.change.abs()).then_with(|| a.entity.cmp(&b.entity)));
        all.truncate(num);
        all
    }
}
