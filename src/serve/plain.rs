//! Our own JSON: scores with what follows from them.

use serde::{Deserialize, Serialize};

use super::loaded::ServedModel;
use super::refusal::Refusal;
use crate::data::BadRow;
use crate::event::{AddressFamilies, hash_entity};
use crate::inference::explain::Explained;
use crate::model_folder::Manifest;
use crate::thresholds::{Threshold, Verdict};
use crate::{Event, Result, anomaly_score};

/// What a record takes until its response is written, about: the event, its scores and their JSON.
pub const SCORE_BYTES: usize = 250;

/// The answer of `POST /v1/score`.
#[derive(Serialize)]
pub struct Scores<'a> {
    pub scores: Vec<Score<'a>>,
}

/// One event's score.
#[derive(Serialize)]
pub struct Score<'a> {
    pub dot_product: f32,
    pub anomaly_score: f32,
    /// Where the model has thresholds.
    #[serde(flatten)]
    pub verdict: Option<Verdict<'a>>,
    pub entity_seen: bool,
}

impl<'a> Scores<'a> {
    /// What follows from the scores of events.
    ///
    /// # Errors
    ///
    /// As [`crate::thresholds::Thresholds::verdict`].
    pub fn new(model: &'a ServedModel, events: &[Event], dot_products: &[f32]) -> Result<Self> {
        let score = |(event, dot_product): (&Event, &f32)| {
            let anomaly_score = anomaly_score(*dot_product);
            let verdict = model.thresholds.as_ref().map(|thresholds| thresholds.verdict(anomaly_score));
            Ok(Score {
                dot_product: *dot_product,
                anomaly_score,
                verdict: verdict.transpose()?,
                entity_seen: model.scorer.entity_seen(event.entity),
            })
        };
        let scores = events.iter().zip(dot_products).map(score).collect::<Result<_>>()?;
        Ok(Self { scores })
    }
}

/// The answer of `GET /v1/model`.
#[derive(Serialize)]
pub struct Model<'a> {
    pub name: &'a str,
    /// The first digits of the BLAKE3 hash of the weights.
    pub version: &'a str,
    pub manifest: &'a Manifest,
    /// The strictest first; empty where none were chosen.
    pub thresholds: &'a [Threshold],
    /// What becomes of entities that it was not trained on: `--unseen`.
    pub unseen: &'static str,
}

impl<'a> Model<'a> {
    pub fn new(model: &'a ServedModel) -> Self {
        let thresholds = model.thresholds.as_ref().map_or(&[][..], |thresholds| thresholds.thresholds());
        let unseen = model.scorer.unseen().name();
        Self { name: &model.name, version: model.version(), manifest: &model.manifest, thresholds, unseen }
    }
}

/// The body of `POST /v1/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToExplain {
    entity: String,
    ip: String,
}

impl ToExplain {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// 400.
    pub fn parse(body: &[u8], addresses: AddressFamilies) -> std::result::Result<(Self, Event), Refusal> {
        let asked: Self =
            serde_json::from_slice(body).map_err(|error| Refusal::invalid(format!("the body: {error}")))?;
        if let Some(reason) = BadRow::of_entity(asked.entity.as_bytes()) {
            return Err(Refusal::invalid(format!("`entity`: {}: {}", reason.name(), reason.help())));
        }
        let address = addresses.parse(asked.ip.as_bytes()).ok_or_else(|| {
            let reason = BadRow::of_address(asked.ip.as_bytes(), addresses);
            Refusal::invalid(format!("`ip`: {}: {}", reason.name(), reason.help()))
        })?;
        let event = Event { entity: hash_entity(asked.entity.as_bytes()), address };
        Ok((asked, event))
    }

    /// The explanation as JSON.
    ///
    /// # Errors
    ///
    /// As [`crate::inference::explain::explain`].
    pub fn explain(&self, model: &ServedModel, event: Event) -> Result<Vec<u8>> {
        let explained = Explained::new(&model.scorer, model.thresholds.as_ref(), &self.entity, event)?;
        Ok(serde_json::to_vec(&explained).expect("string keys and finite numbers"))
    }
}

/// The body of `POST /models`.
#[derive(Deserialize)]
pub struct ToLoad {
    pub model_name: String,
    pub url: String,
}
