//! Hyperparameter search, without what is searched: which values to try next, which trials to stop early, and a lasting
//! record of both.
//!
//! A [`space`] says what varies. A [`study`] holds the trials so far. A [`sampler`] chooses the values of the next trial,
//! and the rules of [`early_stopping`] choose which trials train further. All of them are functions of the study, a seed
//! and a trial's number, and hold no state, so a search that was interrupted continues with the same choices. A
//! [`journal`] is the study on disk, in the format of Optuna. [`importance`] says which parameters mattered.
//!
//! What a trial does, and how its processes run, is the caller's part.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod early_stopping;
mod error;
pub mod importance;
pub mod journal;
pub mod sampler;
pub mod space;
pub mod study;

pub use error::{Error, Result};
