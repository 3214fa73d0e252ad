//! Paths, and what each does.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::body::{Held, Share};
use super::event_stream::{self, EVENT_STREAM};
use super::json_records::{Form, events_of_json};
use super::loaded::ServedModel;
use super::plain::{self, Model, Scores, ToExplain};
use super::refusal::Refusal;
use super::request::{Answer, MaybeName, Shared, json_response, path_name};
use super::service::{ServeEvent, Service};
use super::wire::{self, Accept, RequestFormat, Vectors};
use super::{management, metrics, names};
use crate::Event;

/// What is longer is parsed and written where it holds nobody up; what is not takes a millisecond or two.
const LONG_BODY: usize = 512 << 10;

const ACCEPT_OF_STREAM: HeaderName = HeaderName::from_static("x-amzn-sagemaker-accept");
const TARGET_MODEL: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-model");

/// The service's own paths.
pub fn service(service: Arc<Service>) -> Router {
    let mut router = Router::new()
        .route("/ping", get(async || StatusCode::OK))
        .route("/invocations", post(invocations))
        .route("/execution-parameters", get(execution_parameters))
        .route("/endpoints/{name}/invocations", post(invoke_endpoint))
        .route("/endpoints/{name}/invocations-response-stream", post(invoke_endpoint_stream))
        .route("/v1/model", get(model))
        .route("/v1/score", post(score))
        .route("/v1/explain", post(explain))
        .route("/openapi.json", get(openapi));
    if service.models.has_several() {
        router = router.route("/models/{name}/invoke", post(invoke_model));
        if service.options.manages_models {
            router = router.merge(management::models());
        }
    }
    finish(router, service)
}

/// The operator's paths.
pub fn admin(service: Arc<Service>) -> Router {
    let mut router = management::operation();
    if service.models.has_several() {
        router = router.merge(management::models());
    }
    finish(router, service)
}

fn finish(router: Router<Arc<Service>>, service: Arc<Service>) -> Router {
    router
        .fallback(async || Refusal::not_found("there is no such path: see /openapi.json"))
        .method_not_allowed_fallback(async || Refusal::method_not_allowed())
        .layer(from_fn_with_state(service.clone(), observe))
        .with_state(service)
}

/// Lets in who may come in, and counts.
async fn observe(
    State(service): Shared,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    // The pattern of a path, not what a client wrote: labels are few and live for ever.
    let route: Arc<str> = path.as_ref().map_or("other", MatchedPath::as_str).into();
    let method = request.method().clone();
    // Chunks may hide a second request: this one is the last on its connection.
    let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
    let is_last = is_last || service.is_draining();
    let mut response = match check(&service, &route, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    if is_last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let (status, seconds) = (response.status().as_u16(), start.elapsed().as_secs_f64());
    service
        .metrics
        .requests
        .get_or_create(&metrics::Request { route: route.clone(), status: status.into() })
        .inc();
    service.metrics.seconds.get_or_create(&metrics::Route { route: route.clone() }).observe(seconds);
    if service.options.log_requests {
        service.report(ServeEvent::Request { method, route: &route, status, seconds });
    }
    response
}

/// Refuses who may not come in, and bodies whose coding is not read.
fn check(service: &Service, route: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    if route != "/ping" && !service.access.admits(headers) {
        return Err(Refusal::unauthorized());
    }
    // Of several codings hyper undoes the last one, chunked, alone.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    match codings.all(is_chunked) {
        true => Ok(()),
        false => Err(Refusal::unknown_coding()),
    }
}

async fn execution_parameters(State(service): Shared) -> Response {
    let megabytes = (service.limits.max_body_bytes >> 20).max(1);
    let parameters =
        json!({ "MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": megabytes });
    json_response(parameters.to_string())
}

async fn openapi(State(service): Shared) -> Response {
    json_response(service.openapi.clone())
}

async fn invocations(State(service): Shared, headers: HeaderMap, body: Body) -> Answer {
    let model = target_model(&service, &headers, None)?;
    invoke(&service, &model, &headers, headers.get(header::ACCEPT), body).await.map(Invoked::response)
}

async fn invoke_endpoint(State(service): Shared, name: MaybeName, headers: HeaderMap, body: Body) -> Answer {
    let model = target_model(&service, &headers, Some(&path_name(name)?))?;
    invoke(&service, &model, &headers, headers.get(header::ACCEPT), body).await.map(Invoked::response)
}

async fn invoke_endpoint_stream(
    State(service): Shared,
    name: MaybeName,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let model = target_model(&service, &headers, Some(&path_name(name)?))?;
    let invoked = invoke(&service, &model, &headers, headers.get(ACCEPT_OF_STREAM), body).await?;
    let Invoked { content_type, body, share } = invoked;
    let stream = service.long_if(body.len() > LONG_BODY, &share, move || event_stream::encode(&body)).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (HeaderName::from_static("x-amzn-sagemaker-content-type"), content_type),
    ];
    Ok((headers, share.until_written(stream)).into_response())
}

async fn invoke_model(State(service): Shared, name: MaybeName, headers: HeaderMap, body: Body) -> Answer {
    let model =
        service.models.get(&path_name(name)?).ok_or_else(|| Refusal::not_found("no such model is loaded"))?;
    invoke(&service, &model, &headers, headers.get(header::ACCEPT), body).await.map(Invoked::response)
}

/// The model that a request means. One model answers to any endpoint's name.
fn target_model(
    service: &Service,
    headers: &HeaderMap,
    endpoint: Option<&str>,
) -> Result<Arc<ServedModel>, Refusal> {
    if !service.models.has_several() {
        return service.models.only().ok_or_else(|| Refusal::internal("no model is loaded"));
    }
    let target = headers.get(TARGET_MODEL).and_then(|value| value.to_str().ok()).or(endpoint);
    let found = match target {
        Some(name) => service.models.get(name.trim_start_matches('/')),
        None => service.models.only(),
    };
    found.ok_or_else(|| {
        let some = names::some(target, service.models.all().keys());
        Refusal::invalid(format!("no such model is loaded: name it in X-Amzn-SageMaker-Target-Model, {some}"))
    })
}

/// What came of an invocation.
struct Invoked {
    content_type: HeaderValue,
    body: Vec<u8>,
    share: Share,
}

impl Invoked {
    fn response(self) -> Response {
        ([(header::CONTENT_TYPE, self.content_type)], self.share.until_written(self.body)).into_response()
    }
}

async fn invoke(
    service: &Arc<Service>,
    model: &Arc<ServedModel>,
    headers: &HeaderMap,
    accept: Option<&HeaderValue>,
    body: Body,
) -> Result<Invoked, Refusal> {
    let Held { bytes, share } = service.read_body(body, headers).await?;
    let is_long = bytes.len() > LONG_BODY;
    let format = RequestFormat::of(headers.get(header::CONTENT_TYPE), &bytes);
    let accept = Accept::of(accept, format);
    let (parser, of) = (service.clone(), model.clone());
    let parse = move || {
        let events = wire::parse(&bytes, format, &parser.reading(&of))?;
        of.check_seen(&events).map(|()| events)
    };
    let mut events = service.long_if(is_long, &share, parse).await??;
    let mut vectors = None;
    if accept.is_verbose {
        check_vectors(service, model, events.len(), &share)?;
        let of = model.clone();
        let embed = move || vectors_of(&of, &events).map(|vectors| (vectors, events));
        let (found, same) = service.long_if(true, &share, embed).await??;
        (vectors, events) = (Some(found), same);
    }
    share.grow(events.len() * wire::RECORD_BYTES)?;
    let scores = scores(service, model, events).await?;
    let is_long = is_long || vectors.is_some();
    let write = move || wire::write(&scores, vectors.as_ref(), accept);
    let body = service.long_if(is_long, &share, write).await?;
    Ok(Invoked { content_type: accept.content_type(), body, share })
}

async fn scores(
    service: &Service,
    model: &Arc<ServedModel>,
    events: Vec<Event>,
) -> Result<Vec<f32>, Refusal> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    service.metrics.records.inc_by(events.len() as u64);
    service.queue.score(model, events).await
}

/// Refuses vectors that would be too many for a response, and takes their share of the budget.
fn check_vectors(
    service: &Service,
    model: &ServedModel,
    num_records: usize,
    share: &Share,
) -> Result<(), Refusal> {
    let vector_dim = model.embeddings.vector_dim();
    let bytes = Vectors::bytes_of(num_records, vector_dim);
    let max = service.limits.max_response_bytes;
    if bytes > max {
        return Err(Refusal::too_large(format!(
            "a response of {num_records} embeddings would have more than {max} bytes: send several requests"
        )));
    }
    // And the vectors themselves.
    share.grow(bytes + 8 * vector_dim * num_records)
}

fn vectors_of(model: &ServedModel, events: &[Event]) -> Result<Vectors, Refusal> {
    let vector_dim = model.embeddings.vector_dim();
    let ip = model.embeddings.ip_embeddings(events).map_err(|error| Refusal::model_error(&error))?;
    let vector = |event: &Event| match model.scorer.is_scored_by_prior(event.entity) {
        true => model.embeddings.prior_embedding().to_vec(),
        false => model.embeddings.entity_embedding(event.entity),
    };
    let entity = events.iter().flat_map(vector).collect();
    Ok(Vectors { vector_dim, ip, entity })
}

/// Which of several models, by name.
#[derive(Deserialize)]
struct ModelQuery {
    model: Option<String>,
}

impl ModelQuery {
    fn find(query: MaybeQuery, service: &Service) -> Result<Arc<ServedModel>, Refusal> {
        let Query(query) = query.map_err(|_| Refusal::invalid("the query is malformed: give ?model=NAME"))?;
        let found = match &query.model {
            Some(name) => service.models.get(name),
            None => service.models.only(),
        };
        found.ok_or_else(|| {
            let some = names::some(query.model.as_deref(), service.models.all().keys());
            Refusal::not_found(format!("there is no such model: give ?model=NAME, {some}"))
        })
    }
}

type MaybeQuery = Result<Query<ModelQuery>, QueryRejection>;

async fn model(State(service): Shared, query: MaybeQuery) -> Answer {
    let model = ModelQuery::find(query, &service)?;
    Ok(json_response(serde_json::to_vec(&Model::new(&model)).expect("string keys and finite numbers")))
}

async fn score(State(service): Shared, query: MaybeQuery, headers: HeaderMap, body: Body) -> Answer {
    let model = ModelQuery::find(query, &service)?;
    let Held { bytes, share } = service.read_body(body, &headers).await?;
    let is_long = bytes.len() > LONG_BODY;
    let (parser, of) = (service.clone(), model.clone());
    let parse = move || {
        let events = events_of_json(&bytes, Form::Plain, &parser.reading(&of))?;
        of.check_seen(&events).map(|()| events)
    };
    let events = service.long_if(is_long, &share, parse).await??;
    share.grow(events.len() * plain::SCORE_BYTES)?;
    let dot_products = scores(&service, &model, events.clone()).await?;
    let write = move || {
        let scores = Scores::new(&model, &events, &dot_products)?;
        Ok(serde_json::to_vec(&scores).expect("string keys and finite numbers"))
    };
    let written = service.long_if(is_long, &share, write).await?;
    let written = written.map_err(|error: crate::Error| Refusal::model_error(&error))?;
    Ok(json_response(share.until_written(written)))
}

async fn explain(State(service): Shared, query: MaybeQuery, headers: HeaderMap, body: Body) -> Answer {
    let model = ModelQuery::find(query, &service)?;
    let held = service.read_body(body, &headers).await?;
    let (asked, event) = ToExplain::parse(&held.bytes, model.addresses)?;
    model.check_seen(&[event])?;
    let permit = service.explanations.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::busy("other explanations are being made: try again later"))?;
    let explain = move || {
        let _permit = permit;
        asked.explain(&model, event)
    };
    service.explaining.run(explain).await?.map(json_response).map_err(|error| Refusal::model_error(&error))
}
