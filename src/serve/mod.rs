//! A scoring service: SageMaker's container and runtime API, and our own, over HTTP/1.1.
//!
//! The way of a request: `listen` bounds connections and their times, `routes` finds what is asked, `body` reads
//! within a budget, `wire`, `json_records` and `plain` know the formats, `queue` scores requests together, by the
//! path of every other verb ([`crate::Scorer`]). `models` swaps a model under requests that have begun. `service` holds
//! what requests share, and `server` runs it all.

mod access;
mod body;
mod event_stream;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod json_records;
mod limits;
mod listen;
mod metrics;
mod models;
mod openapi;
mod plain;
mod queue;
mod reading;
mod refusal;
mod routes;
mod server;
mod service;
mod wire;

pub use access::{Tokens, is_guarded, tls};
pub use limits::Limits;
pub use models::{AtStart, Models, Reloaded, Scoring};
pub use server::{Listeners, serve};
pub use service::{OnEvent, ServeEvent, Service};
