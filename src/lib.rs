//! `ipsight` learns how entities (accounts, hosts, resources) use IPv4 addresses and scores how anomalous an
//! (entity, IP) event is: an entity embedding and an IP encoder, trained on events against generated
//! negatives, whose dot product is the log odds that a pair is real.
//!
//! The way of an event: [`data`] reads it, [`event`] hashes the entity and parses the address,
//! [`train()`] learns from it in mini-batches, [`artifact`] keeps the [`model`] and, in an [`entity_filter`], whom it was trained on, and [`score`] scores with it;
//! [`explain`] says why a score is what it is, [`evaluate`] how well all do, [`compare`] how two models differ,
//! and [`thresholds`] keeps what follows from that in the model folder. [`device`] chooses where that happens, [`config`] says how, and [`synth`]
//! makes logins to try it on; [`import`] takes them from logs. [`serve`] answers requests for scores, and [`sagemaker`] knows
//! the folders of a training container. [`sweep`] searches for hyperparameters.

#![recursion_limit = "256"]

pub mod compare;
pub mod config;
pub mod data;
pub mod device;
mod durable;
mod error;
pub mod evaluate;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzz_targets;
pub mod import;
pub mod inference;
pub mod model;
pub mod model_folder;
mod report;
pub mod sagemaker;
pub mod serve;
pub mod sweep;
pub mod synth;
pub mod tensors;
pub mod thresholds;
pub mod train;

pub use config::Config;
pub use durable::OutputFile;
pub use error::{At, Error, Result, nearest};
pub use event::Event;
pub use inference::{LoadedModel, Scorer, Unseen, anomaly_score};
pub use train::train;
