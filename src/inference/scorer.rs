//! The only inference path: training's validation, `evaluate` and `score` all go through it.

use std::ops::Range;

use burn::tensor::{Device, Tensor};
use ipsight_kernels::addresses::Addresses;
use ipsight_kernels::scores::{fold, lookup_tables, scores};
use ipsight_kernels::shape::ModelShape;
use rayon::prelude::*;

use super::unseen::{Population, Unseen};
use crate::data::segments;
use crate::event::entity_row;
use crate::history::Detector;
use crate::model::{
    EntityEmbedding, IpEncoder, IpInsights, Sharding, address_words, fold_entities, index_tensor,
};
use crate::tensors::{ip_tensor, read_floats};
use crate::{Event, Result};

/// Pairs that are scored at once, at most: enough for all cores and for a device.
pub const PAIRS_PER_BATCH: usize = 32_768;

/// The largest tensor of a batch: any device binds as much.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// Pairs that are too few to hand to another thread.
const PAIRS_PER_THREAD: usize = 2048;

/// The anomaly score of a pair: its negated score, so that high means anomalous.
///
/// The score, a dot product, is the log odds that the pair is real; the reference system's article plots and thresholds
/// its negation (0: step-up authentication, 10: manual investigation).
pub fn anomaly_score(dot_product: f32) -> f32 {
    -dot_product
}

/// A model that is ready to score.
#[derive(Debug)]
pub struct Scorer {
    vectors: Vectors,
    /// The encoder: its shape, `[1, num_parameters]`, and its lookup tables.
    shape: ModelShape,
    parameters: Tensor<2>,
    tables: Tensor<2>,
    device: Device,
    row_counts: Vec<u32>,
    /// None in a model that is not from a folder.
    population: Option<Population>,
    /// None in a model of the engine alone.
    detector: Option<Detector>,
    unseen: Unseen,
}

/// The entities, with the encoder's output layer folded in (see [`ipsight_kernels::scores`]).
#[derive(Debug)]
enum Vectors {
    /// All of them.
    Folded(FoldedEntities),
    /// None yet: those that are asked for are folded then.
    Plain(EntityEmbedding),
}

/// The entities of a model, folded.
#[derive(Debug)]
pub struct FoldedEntities {
    /// Shard by shard: `[rows, width + 1]`.
    pub shards: Vec<Tensor<2>>,
    /// Which shard has which rows.
    pub sharding: Sharding,
}

/// Pairs of one shard.
struct Pairs {
    /// Rows within the shard.
    rows: Vec<i32>,
    /// The words of their addresses.
    ips: Vec<u32>,
}

/// Bytes that a batch takes which a model in training scores: the rows of its entities, and these folded.
pub fn training_batch_bytes(shape: &ModelShape) -> u64 {
    let floats = shape.vector_dim + shape.folded_width();
    (size_of::<f32>() * pairs_at_once(shape) * floats) as u64
}

/// Pairs whose rows or activations are at most [`MAX_BATCH_BYTES`].
fn pairs_at_once(shape: &ModelShape) -> usize {
    let widest = shape.vector_dim.max(shape.folded_width());
    (MAX_BATCH_BYTES / (4 * widest)).clamp(1, PAIRS_PER_BATCH)
}

impl Scorer {
    /// Takes a model on a plain device and, for each table row, how many events it was trained on. The whole
    /// table is folded once.
    pub fn new(model: &IpInsights, row_counts: Vec<u32>) -> Self {
        let sharding = model.entity_embedding.sharding();
        let folded = FoldedEntities { shards: fold_entities(model).collect(), sharding };
        Self::of_folded(folded, model.shape(), &model.ip_encoder, row_counts)
    }

    /// Takes entities that were folded before, by [`fold_entities`], with the model's shape and encoder.
    pub fn of_folded(
        entities: FoldedEntities,
        shape: ModelShape,
        ip_encoder: &IpEncoder,
        row_counts: Vec<u32>,
    ) -> Self {
        let device = entities.shards[0].device();
        Self::with(Vectors::Folded(entities), shape, ip_encoder.parameters(), device, row_counts)
    }

    /// Takes a model that is still in training: a second table, of folded rows, might not fit beside it, so
    /// only the rows of each batch are folded.
    pub fn of_training(model: IpInsights, row_counts: Vec<u32>) -> Self {
        let (shape, parameters) = (model.shape(), model.ip_encoder.parameters());
        let device = model.entity_embedding.device();
        Self::with(Vectors::Plain(model.entity_embedding), shape, parameters, device, row_counts)
    }

    fn with(
        vectors: Vectors,
        shape: ModelShape,
        parameters: Tensor<2>,
        device: Device,
        row_counts: Vec<u32>,
    ) -> Self {
        let tables = lookup_tables(parameters.clone(), shape);
        Self {
            vectors,
            shape,
            parameters,
            tables,
            device,
            row_counts,
            population: None,
            detector: None,
            unseen: Unseen::Flag,
        }
    }

    /// Adds what is known of the entities as a whole.
    pub fn with_population(self, population: Population) -> Self {
        Self { population: Some(population), ..self }
    }

    /// Adds the detector whose scores take the place of the dot products.
    pub fn with_detector(self, detector: Option<Detector>) -> Self {
        let unseen = if detector.is_some() { Unseen::Score } else { self.unseen };
        Self { detector, unseen, ..self }
    }

    /// The detector, where the model has one.
    pub fn detector(&self) -> Option<&Detector> {
        self.detector.as_ref()
    }

    /// Chooses what becomes of entities that were not seen. [`Unseen::Prior`] needs a [`Population`] and makes a
    /// difference to every score; [`Unseen::Error`] is [`Scorer::first_refused`], which the caller asks.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] for a choice that is for another kind of model.
    pub fn set_unseen(&mut self, unseen: Unseen) -> Result<()> {
        unseen.check(self.detector.is_some())?;
        self.unseen = unseen;
        Ok(())
    }

    /// The choice.
    pub fn unseen(&self) -> Unseen {
        self.unseen
    }

    /// The index of the first event that [`Unseen::Error`] refuses.
    pub fn first_refused(&self, events: &[Event]) -> Option<usize> {
        if self.unseen != Unseen::Error {
            return None;
        }
        events.iter().position(|event| !self.entity_seen(event.entity))
    }

    /// Whether the model was trained on the entity: `false` is certain, and `true` is wrong of less than one stranger in
    /// 10,000 ([`crate::model_folder::entity_filter`]). Without a [`Population`] it says whether the entity's row was trained, which may be
    /// the doing of another entity that shares it.
    pub fn entity_seen(&self, entity: u64) -> bool {
        let in_filter = || self.population.as_ref().is_none_or(|known| known.filter.contains(entity));
        match &self.detector {
            Some(detector) => detector.history.knows(entity),
            None => self.row_counts[self.row(entity) as usize] > 0 && in_filter(),
        }
    }

    /// Whether the entity is scored by the [`Population::prior`].
    pub fn is_scored_by_prior(&self, entity: u64) -> bool {
        self.prior_for(entity).is_some()
    }

    /// The training events of the entity's table row, those of other entities that share it included.
    pub fn num_row_events(&self, entity: u64) -> u32 {
        self.row_counts[self.row(entity) as usize]
    }

    /// The scores of events, in their order: log odds, high means normal. They are those of the detector, or dot products
    /// where the model has none.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`] where the device fails.
    pub fn scores(&self, events: &[Event]) -> Result<Vec<f32>> {
        self.scores_at(events, None)
    }

    /// [`Scorer::scores`] of events at their `times`, in Unix seconds; without them as of the last event that the model
    /// counted. A model of the engine alone knows no times.
    ///
    /// # Errors
    ///
    /// As [`Scorer::scores`].
    pub fn scores_at(&self, events: &[Event], times: Option<&[u32]>) -> Result<Vec<f32>> {
        let Some(detector) = &self.detector else { return self.dot_products(events) };
        Ok(detector.scores(events, times))
    }

    /// The dot products of events' embeddings, in their order.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Device`] where the device fails, [`crate::Error::Config`] for an IPv6 address where the
    /// model knows IPv4 alone.
    pub fn dot_products(&self, events: &[Event]) -> Result<Vec<f32>> {
        let at_once = pairs_at_once(&self.shape);
        let mut scores = if events.len() <= at_once && !events.is_empty() {
            self.score_batch(events)?
        } else {
            let mut scores = Vec::with_capacity(events.len());
            for events in events.chunks(at_once) {
                scores.append(&mut self.score_batch(events)?);
            }
            scores
        };
        self.score_by_prior(events, &mut scores)?;
        Ok(scores)
    }

    /// Replaces the scores of entities that are scored by the prior, the one row of a table of its own.
    fn score_by_prior(&self, events: &[Event], scores: &mut [f32]) -> Result<()> {
        let (Unseen::Prior, Some(Population { prior, .. })) = (self.unseen, &self.population) else {
            return Ok(());
        };
        let unseen: Vec<usize> =
            (0..events.len()).filter(|index| !self.entity_seen(events[*index].entity)).collect();
        for unseen in unseen.chunks(pairs_at_once(&self.shape)) {
            let ips = self.words(unseen.iter().map(|index| &events[*index]))?;
            let pairs = Pairs { rows: vec![0; unseen.len()], ips };
            for (index, score) in unseen.iter().zip(read_floats(self.dot_products_of(prior, pairs))?) {
                scores[*index] = score;
            }
        }
        Ok(())
    }

    fn prior_for(&self, entity: u64) -> Option<&Tensor<2>> {
        let uses_prior = self.unseen == Unseen::Prior && self.detector.is_none();
        let population = self.population.as_ref().filter(|_| uses_prior)?;
        (!self.entity_seen(entity)).then_some(&population.prior)
    }

    /// The score of one event.
    ///
    /// # Errors
    ///
    /// As [`Scorer::scores`].
    pub fn score(&self, event: Event) -> Result<f32> {
        match &self.detector {
            Some(detector) => Ok(detector.score(event, None)),
            None => Ok(self.dot_products(&[event])?[0]),
        }
    }

    fn row(&self, entity: u64) -> u32 {
        entity_row(entity, self.row_counts.len())
    }

    fn score_batch(&self, events: &[Event]) -> Result<Vec<f32>> {
        match &self.vectors {
            Vectors::Folded(entities) if entities.shards.len() == 1 => {
                let row = |event: &Event| self.row(event.entity) as i32;
                let rows = match events.len() {
                    ..=PAIRS_PER_THREAD => events.iter().map(row).collect(),
                    _ => events.par_iter().with_min_len(PAIRS_PER_THREAD).map(row).collect(),
                };
                let pairs = Pairs { rows, ips: self.words(events.iter())? };
                read_floats(self.dot_products_of(&entities.shards[0], pairs))
            }
            vectors => self.score_by_row(vectors, events),
        }
    }

    /// Scores events in the order of their rows, so that those of one shard are neighbours.
    fn score_by_row(&self, vectors: &Vectors, events: &[Event]) -> Result<Vec<f32>> {
        let mut by_row: Vec<(u32, usize)> =
            events.iter().enumerate().map(|(i, event)| (self.row(event.entity), i)).collect();
        by_row.sort_unstable();
        let rows: Vec<u32> = by_row.iter().map(|(row, _)| *row).collect();
        let ips = self.words(by_row.iter().map(|(_, i)| &events[*i]))?;
        let sorted = match vectors {
            Vectors::Plain(table) => {
                let (unique, _) = segments(&rows);
                let mut index = 0;
                let local = rows.iter().map(|row| {
                    index += usize::from(unique[index] != *row);
                    index as i32
                });
                let pairs = Pairs { rows: local.collect(), ips };
                let folded = fold(table.forward(&table.index(&unique)), self.parameters.clone(), self.shape);
                self.dot_products_of(&folded, pairs)
            }
            Vectors::Folded(FoldedEntities { shards, sharding }) => {
                let of_shard = |(shard, range, local): (usize, Range<usize>, Vec<i32>)| {
                    let ips = Addresses::new(&ips, self.shape.families).slice(range).words().to_vec();
                    self.dot_products_of(&shards[shard], Pairs { rows: local, ips })
                };
                Tensor::cat(sharding.split(&rows).into_iter().map(of_shard).collect(), 0)
            }
        };
        let mut scores = vec![0.0; events.len()];
        for ((_, i), score) in by_row.into_iter().zip(read_floats(sorted)?) {
            scores[i] = score;
        }
        Ok(scores)
    }

    /// The words of events' addresses.
    fn words<'a>(&self, events: impl ExactSizeIterator<Item = &'a Event> + Clone) -> Result<Vec<u32>> {
        address_words(events.map(|event| event.address), self.shape.families)
    }

    fn dot_products_of(&self, folded: &Tensor<2>, pairs: Pairs) -> Tensor<1> {
        let pairs = (index_tensor(pairs.rows, &self.device), ip_tensor(pairs.ips, &self.device));
        scores(folded.clone(), pairs, self.tables.clone(), self.parameters.clone(), self.shape)
    }
}
