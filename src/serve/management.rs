//! The operator's paths: metrics, reloads, and the models that are served.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::loaded::{Loaded, ServedModel};
use super::models::LoadFailure;
use super::plain::ToLoad;
use super::refusal::Refusal;
use super::request::{Answer, MaybeName, Shared, json_response, path_name};
use super::service::Service;
use super::{metrics, names};

/// Metrics and reloads.
pub fn operation() -> Router<Arc<Service>> {
    Router::new().route("/metrics", get(metrics_text)).route("/reload", post(reload))
}

/// The models that are loaded, as SageMaker's multi-model endpoints manage them.
pub fn models() -> Router<Arc<Service>> {
    Router::new()
        .route("/models", get(list_models).post(load_model))
        .route("/models/{name}", get(describe_model).delete(unload_model))
}

fn described(model: &ServedModel) -> serde_json::Value {
    json!({ "modelName": model.name, "modelUrl": model.folder.to_string_lossy() })
}

async fn list_models(State(service): Shared) -> Response {
    let models: Vec<_> = service.models.all().values().map(|model| described(model)).collect();
    json_response(json!({ "models": models }).to_string())
}

async fn describe_model(State(service): Shared, name: MaybeName) -> Answer {
    let model =
        service.models.get(&path_name(name)?).ok_or_else(|| Refusal::not_found("no such model is loaded"))?;
    Ok(json_response(described(&model).to_string()))
}

async fn load_model(State(service): Shared, headers: HeaderMap, body: Body) -> Answer {
    let held = service.read_body(body, &headers).await?;
    let ToLoad { model_name, url } = serde_json::from_slice(&held.bytes).map_err(|error| {
        Refusal::invalid(format!("the body: {error}: send {{\"model_name\": NAME, \"url\": FOLDER}}"))
    })?;
    let loader = service.clone();
    let load = move || {
        // It counts as long as it waits, even where its client goes away.
        let _held = held;
        loader.models.load_on_request(&model_name, &url)
    };
    match service.loading.run(load).await? {
        Ok(()) => Ok(json_response("{}")),
        Err(LoadFailure::Exists) => Err(Refusal::conflict("a model of that name is loaded")),
        Err(LoadFailure::Name) => Err(Refusal::invalid(format!("`model_name`: {}", names::RULE))),
        Err(LoadFailure::Unknown) => Err(Refusal::not_found(
            "there is no such model: url is the name of a folder below the server's models, or its whole path",
        )),
        Err(LoadFailure::Unfit(error)) => Err(Refusal::unfit(&error)),
    }
}

async fn unload_model(State(service): Shared, name: MaybeName) -> Answer {
    let Some(unloaded) = service.models.unload(&path_name(name)?) else {
        return Err(Refusal::not_found("no such model is loaded"));
    };
    // Freeing what it holds takes time, which no request is to wait for; where too much work waits, this one does.
    service.loading.push(move || {
        let loaded = unloaded.loaded.clone();
        drop(unloaded);
        Loaded::retire(loaded);
    });
    Ok(json_response("{}"))
}

async fn metrics_text(State(service): Shared) -> Response {
    let text = service.metrics.text(&service.models, service.queue.num_records(), service.budget.used());
    ([(header::CONTENT_TYPE, HeaderValue::from_static(metrics::OPEN_METRICS))], Bytes::from(text))
        .into_response()
}

/// Reads tokens, certificate and models again, and answers with the first that was refused, after all were tried.
async fn reload(State(service): Shared) -> Answer {
    let access = service.reload_access_there().await?;
    let reloader = service.clone();
    let reloaded = service.loading.run(move || reloader.reload(true)).await?;
    let reloaded = reloaded.map_err(|error| Refusal::internal(error.to_string()))?;
    access.map_err(|error| Refusal::unfit(&error))?;
    if let Some(error) = reloaded.iter().find_map(|one| one.outcome.as_ref().err()) {
        return Err(Refusal::unfit(error));
    }
    let models: Vec<_> = reloaded
        .iter()
        .map(|one| json!({ "name": one.name, "version": one.outcome.as_ref().map_or("", |version| version) }))
        .collect();
    Ok(json_response(json!({ "models": models }).to_string()))
}
