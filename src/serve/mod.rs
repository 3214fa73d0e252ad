//! A scoring service: SageMaker's container and runtime API, and our own, over HTTP/1.1.
//!
//! The way of a request: `listen` bounds connections and `patient` their times, `routes` finds what is asked, `body` reads
//! within a budget and `decode` what is compressed, `wire`, `json_records` and `plain` know the formats, `queue` scores requests together, by the
//! path of every other verb ([`crate::Scorer`]). `models` swaps a model under requests that have begun, asked by
//! `management`. `service` holds what requests share, `workers` are its threads, and `server` runs it all on a `runtime`.

mod access;
mod body;
mod decode;
mod event_stream;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz_target;
mod json_records;
mod limits;
mod listen;
mod loaded;
mod management;
mod memory;
mod metrics;
mod models;
mod names;
mod openapi;
mod patient;
mod plain;
mod queue;
mod reading;
mod refusal;
mod request;
mod routes;
mod runtime;
mod server;
mod service;
mod wire;
mod workers;

pub use access::{Access, AccessFiles};
pub use limits::Limits;
pub use models::{AtStart, ModelBounds, Models, Reloaded, Scoring};
pub use runtime::runtime;
pub use server::{Listeners, serve};
pub use service::{OnEvent, ServeEvent, Service, ServiceOptions};
