//! What the handlers of requests have in common.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::service::Service;
use super::wire::JSON;

pub type Shared = State<Arc<Service>>;
pub type Answer = Result<Response, Refusal>;

pub fn json_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body.into()).into_response()
}

/// The name in a path.
pub type MaybeName = Result<Path<String>, PathRejection>;

pub fn path_name(name: MaybeName) -> Result<String, Refusal> {
    name.map(|Path(name)| name).map_err(|_| Refusal::invalid("the name in the path is no UTF-8 text"))
}
