//! `ipsight` learns how entities (accounts, hosts, resources) use IPv4 addresses and scores how anomalous an
//! (entity, IP) event is: an entity embedding and an IP encoder, trained on events against generated
//! negatives, whose dot product is the log odds that a pair is real.
//!
//! The way of an event: [`data`] reads it, [`event`] hashes the entity and parses the address, [`train()`] learns from
//! it in mini-batches, [`model_folder`] keeps the [`model`] and the set of entities it was trained on, and
//! [`inference`] loads all of that as one value, scores with it and explains scores. [`evaluate`] measures how well that
//! works, [`compare`] how two models differ, and [`thresholds`] keeps the decisions that follow. [`device`] chooses where
//! that happens, [`config`] says how, [`synth`] makes logins to try it on, and [`import`] takes them from logs. [`serve`]
//! answers requests for scores, [`sagemaker`] knows the folders of a training container, and [`sweep`] searches for
//! hyperparameters.

#![recursion_limit = "256"]

mod adapters;
pub mod allocator;
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
pub mod history;
pub mod import;
pub mod inference;
mod memory_limits;
pub mod model;
pub mod model_folder;
pub mod networks;
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
