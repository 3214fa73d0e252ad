//! The service described in OpenAPI 3.1, from the limits that it runs with.

use serde_json::{Value, json};

use super::limits::Limits;
use crate::Unseen;
use crate::event::AddressFamilies;

/// Four numbers from 0 to 255 with dots between them, as [`crate::event::parse_ipv4`] reads them.
const IPV4: &str =
    r"^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$";

/// Global unicast addresses without `::`. The parser takes more forms of them, which no pattern of this size says.
const IPV6: &str = "^[23][0-9a-f]{3}(:[0-9a-f]{1,4}){7}$";

/// A row `entity,address` of a plain entity.
const CSV_ROW: &str = r"[A-Za-z0-9_.@-]+, ?((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

/// A line of one such row.
const JSON_LINE: &str = r#"\{"features": ?\["[A-Za-z0-9_.@-]+", ?"((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"\]\}"#;

const SEEN: &str = "Whether the model was trained on the entity; true is wrong of one stranger in 10,000";

const UNSEEN: &str = "What becomes of an entity that the model was not trained on. flag: it is scored by its row of the \
    table, which others may share. prior: it is scored as the mean of all entities. error: the request is refused with \
    400, which names the record";

/// The document.
pub fn document(
    limits: &Limits,
    has_several: bool,
    manages_models: bool,
    addresses: AddressFamilies,
) -> Value {
    let mut paths = json!({
        "/ping": { "get": {
            "summary": "Whether the server is up",
            "operationId": "ping",
            "security": [],
            "responses": { "200": { "description": "It is" } },
        } },
        "/execution-parameters": { "get": {
            "summary": "How SageMaker's batch transform is to call",
            "operationId": "executionParameters",
            "responses": responses("ExecutionParameters", &[]),
        } },
        "/invocations": { "post": invoke("invocations", &[]) },
        "/endpoints/{name}/invocations": { "post": invoke("invokeEndpoint", &["name"]) },
        "/endpoints/{name}/invocations-response-stream": { "post": stream() },
        "/v1/model": { "get": {
            "summary": "What is served",
            "operationId": "model",
            "parameters": model_query(has_several),
            "responses": responses("Model", &["400", "404"]),
        } },
        "/v1/score": { "post": {
            "summary": "Score events",
            "operationId": "score",
            "parameters": model_query(has_several),
            "requestBody": body("ToScore"),
            "responses": responses("Scores", &["400", "404", "408", "413", "415", "424", "503"]),
        } },
        "/v1/explain": { "post": {
            "summary": "Say why the score of an event is what it is",
            "operationId": "explain",
            "parameters": model_query(has_several),
            "requestBody": body("ToExplain"),
            "responses": responses("Explanation", &["400", "404", "408", "413", "415", "424", "503"]),
        } },
        "/openapi.json": { "get": {
            "summary": "This document",
            "operationId": "openapi",
            "responses": { "200": {
                "description": "OpenAPI 3.1",
                "content": { "application/json": { "schema": { "type": "object" } } },
            } },
        } },
    });
    if has_several {
        paths["/models/{name}/invoke"] = json!({ "post": invoke("invokeModel", &["name"]) });
    }
    if has_several && manages_models {
        add_model_routes(&mut paths);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ipsight",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "How likely an entity uses an IPv4 address. SageMaker's container and runtime API for IP \
                Insights, and our own under /v1. A high dot_product is usual, a high anomaly_score is not.",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(limits, addresses),
        },
    })
}

fn add_model_routes(paths: &mut Value) {
    paths["/models"] = json!({
        "get": {
            "summary": "The models that are loaded",
            "operationId": "listModels",
            "responses": responses("Models", &[]),
        },
        "post": {
            "summary": "Load a model from its folder below the server's models",
            "operationId": "loadModel",
            "requestBody": body("ToLoad"),
            "responses": responses("Nothing", &["400", "404", "408", "409", "413", "415", "422", "503", "507"]),
        },
    });
    paths["/models/{name}"] = json!({
        "get": {
            "summary": "Whether a model is loaded",
            "operationId": "describeModel",
            "parameters": [path_parameter("name")],
            "responses": responses("ModelName", &["400", "404"]),
        },
        "delete": {
            "summary": "Take a model off",
            "operationId": "unloadModel",
            "parameters": [path_parameter("name")],
            "responses": responses("Nothing", &["400", "404"]),
        },
    });
}

fn path_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}

fn model_query(has_several: bool) -> Value {
    let description = match has_several {
        true => "Which model; needed where several are loaded",
        false => "The name of the model, if at all",
    };
    json!([{ "name": "model", "in": "query", "required": false, "description": description,
             "schema": { "type": "string" } }])
}

fn body(schema: &str) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": reference(schema) } } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The response 200 of a schema, those of the refusals in `statuses`, and those that every path has.
fn responses(schema: &str, statuses: &[&str]) -> Value {
    let mut responses = json!({ "200": {
        "description": "Done",
        "content": { "application/json": { "schema": reference(schema) } },
    } });
    add_refusals(&mut responses, statuses);
    responses
}

fn add_refusals(responses: &mut Value, statuses: &[&str]) {
    for status in ["401"].iter().chain(statuses) {
        let description = match *status {
            "400" => "The request is wrong: Message says where and how to mend it",
            "401" => "No token, or a wrong one",
            "404" => "No such path or model",
            "408" => "The body did not come in time",
            "409" => "A model of that name is loaded",
            "413" => "More than this server takes at once",
            "415" => "The content coding is none of Accept-Encoding",
            "422" => "The model is not fit to serve",
            "424" => "The model gave no score",
            "507" => "There is no room for the model",
            _ => "Too much at once: try again after Retry-After seconds",
        };
        let mut headers = json!({ "x-amzn-ErrorType": { "schema": { "type": "string" } } });
        if *status == "503" {
            headers["Retry-After"] = json!({ "schema": { "type": "integer" } });
        }
        responses[*status] = json!({
            "description": description,
            "headers": headers,
            "content": { "application/json": { "schema": reference("Refusal") } },
        });
    }
}

const INVOKE_STATUSES: [&str; 7] = ["400", "404", "408", "413", "415", "424", "503"];

fn invoke(operation: &str, path_parameters: &[&str]) -> Value {
    let mut responses = json!({ "200": {
        "description": "The scores, in the order of the records",
        "content": {
            "application/json": { "schema": reference("Predictions") },
            "application/jsonlines": { "schema": { "type": "string" } },
            "text/csv": { "schema": { "type": "string" } },
        },
    } });
    add_refusals(&mut responses, &INVOKE_STATUSES);
    let mut parameters: Vec<Value> = path_parameters.iter().map(|name| path_parameter(name)).collect();
    parameters.push(target_model());
    json!({
        "summary": "Score records, as SageMaker's runtime does",
        "description": "Accept: application/json;verbose=True adds the embeddings. The body may be coded: Content-Encoding: gzip or zstd.",
        "operationId": operation,
        "parameters": parameters,
        "requestBody": records(),
        "responses": responses,
    })
}

fn stream() -> Value {
    let mut responses = json!({ "200": {
        "description": "The same response in the AWS event stream encoding",
        "content": { "application/vnd.amazon.eventstream": { "schema": { "type": "string", "format": "binary" } } },
    } });
    add_refusals(&mut responses, &INVOKE_STATUSES);
    json!({
        "summary": "As invocations, for InvokeEndpointWithResponseStream",
        "operationId": "invokeEndpointWithResponseStream",
        "parameters": [
            path_parameter("name"),
            target_model(),
            { "name": "X-Amzn-SageMaker-Accept", "in": "header", "required": false, "schema": { "type": "string" } },
        ],
        "requestBody": records(),
        "responses": responses,
    })
}

fn target_model() -> Value {
    json!({ "name": "X-Amzn-SageMaker-Target-Model", "in": "header", "required": false,
            "description": "Which of several models", "schema": { "type": "string" } })
}

fn records() -> Value {
    json!({ "required": true, "content": {
        "application/json": { "schema": reference("Instances") },
        "application/jsonlines": { "schema": {
            "type": "string",
            "description": "One object of the list `instances` a line",
            "pattern": format!("^{JSON_LINE}(\n{JSON_LINE})*\n?$"),
            "examples": ["{\"features\": [\"user_1\", \"203.0.113.7\"]}\n"],
        } },
        "text/csv": { "schema": {
            "type": "string",
            "description": "Rows entity,address without a header",
            "pattern": format!("^{CSV_ROW}(\n{CSV_ROW})*\n?$"),
            "examples": ["user_1,203.0.113.7\n"],
        } },
    } })
}

fn schemas(limits: &Limits, addresses: AddressFamilies) -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "number" });
    let floats = json!({ "type": "array", "items": number });
    let entity = json!({ "type": "string", "minLength": 1 });
    let ipv4 = json!({ "type": "string", "pattern": IPV4, "examples": ["203.0.113.7"] });
    let ip = match addresses {
        AddressFamilies::Ipv4 => ipv4,
        AddressFamilies::Both => json!({
            "description": "An IPv4 address, or an IPv6 address in any form of RFC 4291, of which the /64 counts",
            "anyOf": [ipv4, { "type": "string", "pattern": IPV6, "examples": ["2001:db8:1:2:3:4:5:6"] }],
        }),
    };
    let hashed = json!({
        "description": "A whole number is taken as its decimal digits",
        "anyOf": [entity, { "type": "integer", "minimum": i64::MIN, "maximum": u64::MAX }],
    });
    let pair = json!({
        "type": "array", "prefixItems": [hashed, ip], "items": false, "minItems": 2, "maxItems": 2,
    });
    let share = json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let model_name = json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", "maxLength": 128 });
    json!({
        "Refusal": object(json!({ "Message": text }), &["Message"]),
        "Nothing": { "type": "object" },
        "ExecutionParameters": object(json!({
            "MaxConcurrentTransforms": { "type": "integer" },
            "BatchStrategy": text,
            "MaxPayloadInMB": { "type": "integer" },
        }), &["MaxConcurrentTransforms", "BatchStrategy", "MaxPayloadInMB"]),
        "Instances": open_object(json!({ "instances": {
            "type": "array",
            "maxItems": limits.max_records,
            "items": { "oneOf": [
                open_object(json!({ "features": pair }), &["features"], &["data"]),
                open_object(json!({ "data": open_object(json!({ "features":
                    open_object(json!({ "values": pair }), &["values"], &["features"]) }), &["features"], &["values"]) }),
                    &["data"], &["features"]),
            ] },
        } }), &["instances"], &[]),
        "Predictions": object(json!({ "predictions": { "type": "array", "items": object(json!({
            "dot_product": number, "ip_embedding": floats, "entity_embedding": floats,
        }), &["dot_product"]) } }), &["predictions"]),
        "ToScore": object(json!({ "events": {
            "type": "array",
            "maxItems": limits.max_records,
            "items": object(json!({ "entity": hashed, "ip": ip }), &["entity", "ip"]),
        } }), &["events"]),
        "Scores": object(json!({ "scores": { "type": "array", "items": object(json!({
            "dot_product": number,
            "anomaly_score": number,
            "percentile": share,
            "probability": share,
            "decision": text,
            "entity_seen": { "type": "boolean", "description": SEEN },
        }), &["dot_product", "anomaly_score", "entity_seen"]) } }), &["scores"]),
        "ToExplain": object(json!({ "entity": entity, "ip": ip }), &["entity", "ip"]),
        "Explanation": {
            "type": "object",
            "required": ["entity", "ip", "dot_product", "anomaly_score", "entity_seen", "scored_by_prior", "along_address",
                         "usual_networks"],
        },
        "Model": {
            "type": "object",
            "properties": { "name": text, "version": text, "manifest": { "type": "object" },
                            "thresholds": { "type": "array", "items": { "type": "object" } },
                            "unseen": { "enum": Unseen::ALL.map(Unseen::name), "description": UNSEEN } },
            "required": ["name", "version", "manifest", "thresholds", "unseen"],
        },
        "ModelName": object(json!({ "modelName": text, "modelUrl": text }), &["modelName", "modelUrl"]),
        "Models": object(json!({ "models": { "type": "array", "items": reference("ModelName") } }), &["models"]),
        "ToLoad": { "type": "object", "properties": { "model_name": model_name, "url": text },
                    "required": ["model_name", "url"] },
    })
}

/// An object of these properties, without those that are `excluded`; others are left alone.
fn open_object(properties: Value, required: &[&str], excluded: &[&str]) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "required": required });
    for name in excluded {
        object["properties"][*name] = json!(false);
    }
    object
}

/// An object of these properties and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
